"""`ratel compile`, and networks where other commands take programs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ratel
from ratel.cli.main import main
from tests.compiler.small_networks import alone, by_onnxruntime, floats, shared, written
from tests.ratel.cli.commands import run_json

EXACT = ("--set", "te.vector_format=fp32", "--set", "pe.vector_format=fp32")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return written(tmp_path, alone("N"))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return written(tmp_path, shared(), "two.onnx")


def saved(folder: Path, name: str, array: np.ndarray) -> str:
    np.save(folder / f"{name}.npy", array)
    return str(folder / f"{name}.npy")


def test_compile_says_what_went_where(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "compile", two, "--json")
    assert found["nodes"] == sum(part["nodes"] for part in found["parts"]) == 5
    assert [part["side"] for part in found["parts"]] == ["chip", "host", "chip"]
    assert found["instructions"] == sum(part.get("instructions", 0) for part in found["parts"])
    assert found["cycles"] == sum(part.get("cycles", 0) for part in found["parts"]) > 0
    assert found["parts"][0]["bytes"]["lm"] >= 192 + 4 * 64
    assert "TopK" in {node["operator"] for node in found["host"]}
    assert main(["compile", str(two)]) == 0
    shown = capsys.readouterr().out
    assert "two.onnx on hanguang800" in shown and "what the host computes" in shown and "TopK" in shown
    assert main(["compile", str(two), "--no-host"]) == 1
    assert "TopK 'topk_best': no engine computes TopK" in capsys.readouterr().err


def test_programs_that_compile_writes_run_as_the_network_does(net: Path, tmp_path: Path) -> None:
    x = floats(2, 3, 8, 8)
    want = by_onnxruntime(alone("N"), {"x": x})[0]
    given, expected = saved(tmp_path, "x", x), saved(tmp_path, "y", want)
    for name in ("out.npo", "out.npu"):
        target = tmp_path / name
        assert main(["compile", str(net), "-o", str(target), "--shape", "x=2,3,8,8", *EXACT]) == 0
        assert main(["run", str(target), "--input", f"x={given}", "--expect", f"y={expected}", *EXACT]) == 0


def test_run_takes_a_network(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = floats(2, 3, 8, 8)
    want = by_onnxruntime(alone("N"), {"x": x})[0]
    given, expected = saved(tmp_path, "x", x), saved(tmp_path, "y", want)
    made = tmp_path / "made.npy"
    more = ["--output", f"y={made}", "--dump", "pool", "--dump", "y", "--saturation", *EXACT]
    found = run_json(capsys, "run", net, "--input", given, "--expect", f"y={expected}", "--json", *more)
    assert found["expect"] == {"y": "equal"} and found["outputs"] == {"y": {"shape": [2, 4, 4, 4], "dtype": "uint8"}}
    assert np.array_equal(np.load(made), want) and found["dumps"]["y"] == want.tolist()
    assert np.shape(found["dumps"]["pool"]) == (2, 8, 4, 4)
    assert found["cycles"] == found["parts"][0]["cycles"] > 0 and found["parts"][0]["saturation"]
    np.save(expected, want + np.uint8(1))
    assert main(["run", str(net), "--input", f"x={given}", "--expect", f"y={expected}", *EXACT]) == 1
    assert "128 of 128 elements differ" in " ".join(capsys.readouterr().out.split())


def test_run_takes_all_parts_in_turn(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    y, places = by_onnxruntime(shared(), {"x": x})
    files = [f"y={saved(tmp_path, 'y', y)}", f"places={saved(tmp_path, 'places', places)}"]
    command = ["run", str(two), "--input", saved(tmp_path, "x", x), "--expect", files[0], "--expect", files[1], *EXACT]
    assert main([*command, "--dump", "first", "--dump", "narrow"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("as expected") == 2 and "part 2 of 3, host" in shown and "by onnxruntime: " in shown
    assert "TopK" in shown and "first uint8[1, 4, 8, 8]" in shown


def test_other_commands_take_the_chips_parts(
    net: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_json(capsys, "time", net, "--json")["instructions"] > 2
    times = run_json(capsys, "time", two, "--json")["parts"]
    assert [one["part"] for one in times] == [1, 3] and all(one["cycles"] > 0 for one in times)
    assert run_json(capsys, "time", two, "--json", "--part", "3")["cycles"] == times[1]["cycles"]
    assert main(["time", str(net), "--chip", "edge,hanguang800"]) == 0
    assert "chips compared" in capsys.readouterr().out
    assert main(["check", str(two)]) == 0
    assert capsys.readouterr().out.count("proven") == 2
    assert main(["annotate", str(two)]) == 0
    shown = capsys.readouterr().out
    assert "part 1 of 3, chip" in shown and "1 QLinearConv qlinearconv_first: x -> first uint8[1, 4, 8, 8]" in shown
    page, trace = tmp_path / "page.html", tmp_path / "trace.json"
    assert main(["report", str(net), "-o", str(page)]) == 0
    assert main(["time", str(net), "--trace", str(trace)]) == 0
    assert "QLinearConv" in page.read_text("utf-8") and "QLinearConv" in trace.read_text("utf-8")
    capsys.readouterr()
    for command in (["report", "-o", str(page)], ["time", "--trace", str(trace)]):
        assert main([command[0], str(two), *command[1:]]) == 2
        assert "a file is written of one part: --part 1 or 3" in capsys.readouterr().err


def test_options_that_do_not_fit(
    net: Path, two: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = saved(tmp_path, "x", floats(1, 3, 8, 8))
    given = ["--input", f"x={x}"]
    for words, said in {
        ("time", net, "--shape", "x=1,a"): "--shape 'x=1,a' is not of the form",
        ("time", net, "--shape", "x=1,3,8,9"): "'x' of net.onnx is [N, 3, 8, 8], not [1, 3, 8, 9]",
        ("time", net, "--shape", "y=1"): "has no input 'y'",
        ("time", net, "--shape", "n=1"): "has no input 'n'\nhelp: did you mean `N`?",
        ("time", net, "--always", "x"): "--always 'x' is not of the form NAME=NUMBER",
        ("time", net, "--always", "x=1", "--always", "x=2"): "--always gives x twice",
        ("time", source, "--always", "x=1"): "are for networks (.onnx), and",
        ("time", net, "--part", "2"): "part 2 of net.onnx is not there",
        ("time", two, "--part", "2"): "part 2 of two.onnx is the host's",
        ("time", source, "--shape", "x=1"): "are for networks (.onnx), and",
        ("run", net): "the input 'x' of net.onnx is missing",
        ("run", net, "--input", f"X={x}"): "has no input 'X'",
        ("run", net, *given, "--output", "Y=made.npy"): "there is no output 'Y'",
        ("run", net, *given, "--dump", "Pool"): "has no value 'Pool'\nhelp: did you mean `pool`?",
        ("run", net, *given, "--dump", "q"): "",
        ("run", net, *given, "--tasks", "2"): "--tasks is for programs",
        ("run", net, *given, "--output", f"y={x}"): "would replace what this command reads",
        ("asm", net): "is an ONNX model: expected an assembly text",
        ("fmt", net): "is an ONNX model: expected an assembly text",
        ("check", net, "--fix"): "--fix changes a text",
        ("compile", source): "is no ONNX network",
        ("compile", net, "-o", "net.txt"): "ends in neither .npo nor .npu",
        ("compile", two, "-o", tmp_path / "two.npo"): "is not one program",
        ("compile", net, "--chip", "edgy"): "there is no chip 'edgy'",
    }.items():
        status = main([str(word) for word in words])
        err = capsys.readouterr().err
        assert said in err and "Traceback" not in err, words
        assert status or not said, words
    assert not (tmp_path / "two.npo").exists()


def test_a_network_comes_through_a_pipe(net: Path) -> None:
    command = [sys.executable, "-m", "ratel", "time", "/dev/stdin", "--json"]
    done = subprocess.run(command, input=net.read_bytes(), capture_output=True, check=True)
    assert json.loads(done.stdout)["cycles"] > 0


def test_a_kept_network_is_run_without_loading_onnx(net: Path, tmp_path: Path) -> None:
    x = saved(tmp_path, "x", floats(1, 3, 8, 8))
    assert main(["run", str(net), "--input", x]) == 0
    code = "import sys; from ratel.cli.main import main; main(sys.argv[1:]); sys.exit('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "run", str(net), "--input", x], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_network_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    image = "programs/onnx/digits_image.npy"
    assert main(["run", "programs/onnx/digits.onnx", "--input", image]) == 0
    assert "scores float32[1, 10]" in capsys.readouterr().out
    (scores,) = ratel.onnx.InferenceSession("programs/onnx/digits.onnx").run(None, {"image": np.load(image)})
    assert scores.argmax() == 5


def test_round_once_says_how_far_results_are_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.compiler.oracle import network

    rng = np.random.default_rng(8)
    held = {"s": np.float32(0.05), "z": np.uint8(100), "w": rng.integers(0, 256, (4, 4, 1, 1), dtype=np.uint8)}
    x = rng.integers(0, 256, (1, 4, 8, 8), dtype=np.uint8)
    nodes = (("QLinearConv", "x s z w s z s z", "c"), ("QLinearAdd", "c s z x s z s z", "y"))
    net = network(*nodes, given={"x": x}, constants={name: np.asarray(array) for name, array in held.items()})
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(net.model.SerializeToString())
    np.save("x.npy", x)
    assert main(["run", "net.onnx", "--input", "x=x.npy", "--round-once"]) == 0
    said = r"y: (all 256 elements are onnxruntime's|\d+ of 256 elements .* by \d+ at most)"
    assert re.search(said, capsys.readouterr().out)
    assert main(["run", "net.onnx", "--input", "x=x.npy"]) == 0
    assert "elements" not in capsys.readouterr().out
