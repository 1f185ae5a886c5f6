"""The command line: results, exit statuses, messages, JSON, and what it imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ratel.cli.main import main

ROOT = Path(__file__).parents[3]
SOURCE = """\
.chip edge
.input  x i8[4, 8] scale=0.5
.output y i8[4, 8] scale=0.25
.local  t i8[2, 4, 8] scale=0.5
loop i, 3
    copy t[i % 2], x
brnz i
eltwise y, t[0], relu
end
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.npu"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def x(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(-16, 16, dtype=np.int8).reshape(4, 8))
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_run(source: Path, x: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "y.npy"
    assert main(["run", str(source), "--input", f"x={x}", "--output", f"y={out}"]) == 0
    y = np.load(out)
    # The scale halves: 0.5 / 0.25 = 2.
    assert y.dtype == np.int8 and (y == np.maximum(np.load(x), 0) * 2).all()
    shown = capsys.readouterr().out
    assert "cycles" in shown and "critical path" in shown and "core0.te" in shown


def test_run_json(source: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "run", source, "--input", f"x={x}", "--json", "--set", "te.latency=99")
    assert found["chip"] == "edge" and found["seconds"] == pytest.approx(found["cycles"] / 500e6)
    assert found["outputs"] == {"y": {"shape": [4, 8], "dtype": "int8"}}
    assert found["instructions"] == 4 and found["setup"] >= 0
    for times in found["engines"].values():
        assert times["busy"] + times["stall"] + times["idle"] == found["cycles"]
    plain = run_json(capsys, "run", source, "--input", f"x={x}", "--json")
    assert found["cycles"] == plain["cycles"] + 99 - 16


def test_time_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "time", source, "--json")
    assert sum(entry["cycles"] for entry in found["critical_path"]) == found["cycles"]
    assert {"line", "instruction", "engine", "reason", "count", "cycles"} <= set(found["critical_path"][0])
    both = run_json(capsys, "time", source, "--json", "--chip", "edge,hanguang800")
    assert [one["chip"] for one in both["chips"]] == ["edge", "hanguang800"]


def test_streams(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch, out = tmp_path / "batch.npy", tmp_path / "y.npy"
    x = np.arange(-48, 48, dtype=np.int8).reshape(3, 4, 8)
    np.save(batch, x)
    found = run_json(capsys, "run", source, "--input", f"x={batch}", "--output", f"y={out}", "--json")
    assert (np.load(out) == np.maximum(x, 0) * 2).all()
    assert found["tasks"] == 3 and found["instructions"] == 12 and found["outputs"]["y"]["shape"] == [3, 4, 8]
    assert main(["run", str(source), "--input", f"x={batch}", "--tasks", "2"]) == 1
    assert "the run has 2 tasks, x is a batch of 3" in capsys.readouterr().err
    timed = run_json(capsys, "time", source, "--tasks", "3", "--json")
    assert (timed["tasks"], timed["cycles"], timed["stream"]) == (3, found["cycles"], found["stream"])
    assert sum(entry["cycles"] for entry in timed["critical_path"]) == timed["cycles"] < timed["stream"]["in_turn"]
    one = run_json(capsys, "time", source, "--tasks", "1", "--json")
    assert one["cycles"] == timed["stream"]["first"] and "stream" not in one
    assert main(["time", str(source), "--tasks", "3"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("3 tasks: the first done after", " cycles (", "dma.in", "bound by"))


def test_checks_are_for_the_programs_own_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.npu"
    path.write_text(
        ".chip edge\n.tasks 2\n.input x i8[4] buffers=2 = [[1, 2, 3, 4], [5, 6, 7, 8]]\n.output y i8[4]\n"
        ".check y exact [[1, 2, 3, 4], [5, 6, 7, 9]]\ncopy y, x\nend\n"
    )
    assert main(["run", str(path)]) == 1
    assert "[1, 3]: 8, expected 9" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.int8))
    assert main(["run", str(path), "--input", f"x={tmp_path / 'x.npy'}"]) == 0
    assert "checks not evaluated: they are for 2 tasks, and this run has 3" in capsys.readouterr().out


def test_floats_are_quantised(source: Path, tmp_path: Path) -> None:
    floats = tmp_path / "f.npy"
    np.save(floats, np.full((4, 8), 3.1))
    out = tmp_path / "y.npy"
    assert main(["run", str(source), "--input", f"x={floats}", "--output", f"y={out}"]) == 0
    assert (np.load(out) == 12).all()


def test_expect(source: Path, x: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    expected = np.maximum(np.load(x), 0) * 2
    np.save(good, expected)
    expected[2, 5] += 1
    np.save(bad, expected)
    assert main(["run", str(source), "--input", f"x={x}", "--expect", f"y={good}"]) == 0
    assert "as expected" in capsys.readouterr().out
    assert main(["run", str(source), "--input", f"x={x}", "--expect", f"y={bad}"]) == 1
    assert "[2, 5]" in capsys.readouterr().out


def test_dump_and_poison(source: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ["run", source, "--input", f"x={x}", "--json", "--dump"]
    first = run_json(capsys, *whole, "t@0", "--poison", "7")["dumps"]["t@0"]
    assert first[0] == np.load(x).tolist() and first[1] != np.load(x).tolist()
    last = run_json(capsys, *whole, "t", "--poison", "7")["dumps"]["t"]
    assert last[0] == last[1] == np.load(x).tolist()


def test_object_round_trip(source: Path, tmp_path: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, text = tmp_path / "a.npo", tmp_path / "b.npo", tmp_path / "again" / "small.npu"
    text.parent.mkdir()
    assert main(["asm", str(source), "-o", str(first)]) == 0
    assert "instructions" in capsys.readouterr().out
    assert main(["dis", str(first)]) == 0
    text.write_text(capsys.readouterr().out)
    assert main(["asm", str(text), "-o", str(second)]) == 0
    capsys.readouterr()
    of_text = run_json(capsys, "run", first, "--input", f"x={x}", "--json")
    assert of_text == run_json(capsys, "run", second, "--input", f"x={x}", "--json")


def test_format(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("copy t[i % 2], x", "copy   t[ i%2 ],x"))
    assert main(["fmt", str(source), "--check"]) == 1
    assert main(["fmt", str(source)]) == 0
    assert "    copy t[i % 2], x\n" in source.read_text()
    assert main(["fmt", str(source), "--check"]) == 0


def test_chips_and_manual(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chips"]) == 0
    shown = capsys.readouterr().out
    assert "hanguang800" in shown and "te.vector_format" in shown
    assert main(["chips", "hanguang800"]) == 0
    assert "assumed" in capsys.readouterr().out
    assert main(["manual", "conv"]) == 0
    assert "conv" in capsys.readouterr().out
    assert main(["manual", "chain"]) == 0
    shown = capsys.readouterr().out
    assert "reciprocal" in shown and "Order and waits" not in shown


WRONG = {
    "no file": (["run", "missing.npu"], "cannot read missing.npu"),
    "no input": (["run", "{source}"], "x"),
    "unknown input": (["run", "{source}", "--input", "z={x}"], "'z'"),
    "unknown output": (["run", "{source}", "--input", "x={x}", "--output", "z=o.npy"], "outputs: y"),
    "input is text": (["run", "{source}", "--input", "x={source}"], "small.npu"),
    "unknown chip": (["run", "{source}", "--chip", "edgy"], "did you mean `edge`?"),
    "unknown number": (["time", "{source}", "--set", "te.latancy=3"], "did you mean `te.latency`?"),
    "illegal number": (["time", "{source}", "--set", "te.latency=-3"], "expected a whole number from 0"),
    "not an object": (["dis", "{source}"], "not an object file"),
    "unknown tensor": (["run", "{source}", "--input", "x={x}", "--dump", "u"], "u"),
    "late iteration": (["run", "{source}", "--input", "x={x}", "--dump", "t@3"], "3"),
    "unknown instruction": (["manual", "convolve"], "did you mean `conv`?"),
    "unknown chapter": (["manual", "core"], "did you mean `cores`?"),
    "a function": (["manual", "exp"], "see `ratel manual chain`"),
    "a folder": (["run", "{folder}"], "cannot read"),
    "no such folder": (["asm", "{source}", "-o", "nowhere/a.npo"], "cannot write"),
    "output below a file": (["run", "{source}", "--input", "x={x}", "--output", "y={x}/y.npy"], "cannot write"),
    "endless iteration": (["run", "{source}", "--input", "x={x}", "--dump", "t@" + "9" * 5000], "NAME@ITERATION"),
    "output nowhere": (["run", "{source}", "--input", "x={x}", "--output", "y=nowhere/y.npy"], "cannot write"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(
    case: str,
    source: Path,
    x: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, expected = WRONG[case]
    assert main([argument.format(source=source, x=x, folder=tmp_path) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert "error" in captured.err and expected in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.glob("*.part"))


def test_a_mistake_in_the_text_is_shown_with_its_line(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("t[0], relu", "tt[0], relu"))
    assert main(["run", str(source)]) == 1
    shown = capsys.readouterr().err
    assert "small.npu:8:" in shown and "eltwise y, tt[0], relu" in shown and "^^" in shown


USAGE = [
    [],
    ["fly"],
    ["run"],
    ["run", "f", "--input", "x"],
    ["run", "f", "--input", "x=a", "--input", "x=b"],
    ["run", "f", "--poison", "-1"],
    ["time", "f", "--set", "x"],
    ["time", "f", "--tasks", "0"],
    ["time", "f", "--chip", "edge,"],
    ["asm", "."],
]


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(arguments: list[str], source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(source) if argument == "f" else argument for argument in arguments]
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    shown = capsys.readouterr().err
    assert shown and ("--tasks" not in arguments or "'0' is no whole number from 1" in shown)
    assert "--poison" not in arguments or "'-1' is no whole number from 0" in shown


def test_asm_loads_no_numba(source: Path) -> None:
    script = (
        "import sys; from ratel.cli.main import main; main(['asm', sys.argv[1]]);"
        "heavy = {'numba', 'llvmlite', 'rich', 'hypothesis'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(source)], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m ratel chips | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and done.stdout


def test_disassembly_with_its_data_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits, again = ROOT / "programs/digits/digits.npu", tmp_path / "again.npu"
    assert main(["asm", str(digits), "-o", str(tmp_path / "digits.npo")]) == 0
    assert main(["dis", str(tmp_path / "digits.npo"), "-o", str(again)]) == 0
    assert len(list(tmp_path.glob("*.npy"))) == 4 and again.stat().st_size < 10_000
    capsys.readouterr()
    first = run_json(capsys, "run", tmp_path / "digits.npo", "--json")
    assert first == run_json(capsys, "run", again, "--json") and first["checks"][0]["passed"]


def test_names_with_brackets_are_printed_as_they_are(source: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text('.name "[/red] a[b]"\n' + SOURCE)
    assert main(["run", str(source), "--input", f"x={x}"]) == 0
    assert "[/red] a[b] on edge" in capsys.readouterr().out


def test_numbers_of_the_chip_reach_the_assembler(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("i8[2, 4, 8]", "i8[2, 400000, 8]"))
    assert main(["time", str(source)]) == 1
    assert "lm is full" in capsys.readouterr().err
    source.write_text(SOURCE.replace(".local  t", ".local  u i8[400000]\n.local  t"))
    assert main(["time", str(source), "--set", "memory.lm_bytes=1000000"]) == 0


def test_a_chip_file_beside_the_source_is_found_from_anywhere(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = (ROOT / "isa/chips/edge.toml").read_text().replace('name = "edge"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(chip)
    source.write_text(SOURCE.replace(".chip edge", '.chip "mine.toml"'))
    monkeypatch.chdir("/")
    assert run_json(capsys, "time", source, "--json")["chip"] == "mine"


def test_a_device_is_written_to_not_replaced(source: Path, x: Path, tmp_path: Path) -> None:
    before = Path(os.devnull).stat().st_mode
    assert main(["run", str(source), "--input", f"x={x}", "--output", f"y={os.devnull}"]) == 0
    assert Path(os.devnull).stat().st_mode == before


def test_floats_that_json_lacks_are_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.npu"
    tensors = ".chip edge\n.const b f32[3] = [nan, inf, 2]\n.local z i8[3]\n.output y f32[3]\n"
    path.write_text(tensors + "eltwise y, z, ew1_bias=b\nend\n")
    assert run_json(capsys, "run", path, "--json", "--dump", "y")["dumps"] == {"y": [None, None, 2.0]}


def test_a_run_too_long_to_schedule_still_gives_its_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.timing.timeline.MOST_INSTRUCTIONS", 10_000_000)
    path = tmp_path / "long.npu"
    path.write_text(".chip edge\n.output y i8[4]\nloop i, 10000001\n    fill y, value=1\nbrnz i\nend\n")
    assert main(["run", str(path)]) == 0
    assert "[1 1 1 1]" in (shown := capsys.readouterr().out) and "too long to schedule" in shown
    found = run_json(capsys, "run", path, "--json")
    assert found["cycles"] is None and "too long" in found["untimed"] and found["instructions"] == 10_000_001
    assert main(["time", str(path)]) == 1


def test_closed_standard_output_is_no_error(source: Path) -> None:
    command = f"{sys.executable} -m ratel time {source} >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_several_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = ROOT / "programs/cores/pipeline.npu"
    found = run_json(capsys, "run", pipeline, "--json", "--dump", "core1.inbox", "--dump", "h@0")
    assert found["checks"][0]["passed"] and set(found["dumps"]) == {"core1.inbox", "h@0"}
    assert {name: times["core"] for name, times in found["engines"].items()}["core1.te"] == 1
    for times in found["engines"].values():
        assert times["busy"] + times["stall"] + times["idle"] == found["cycles"]
    path = run_json(capsys, "time", pipeline, "--json")["critical_path"]
    assert {entry["core"] for entry in path} == {None, 0, 1}
    assert sum(entry["cycles"] for entry in path) == found["cycles"]
    assert main(["time", str(pipeline)]) == 0
    assert "core   line" in capsys.readouterr().out
    again, text = tmp_path / "again.npo", tmp_path / "again.npu"
    assert main(["asm", str(pipeline), "-o", str(again)]) == 0
    assert "15 instructions on 2 cores" in capsys.readouterr().out
    assert main(["dis", str(again), "-o", str(text)]) == 0
    assert run_json(capsys, "run", text, "--json", "--dump", "core1.inbox", "--dump", "h@0") == found


def test_a_deadlock_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stuck.npu"
    path.write_text(".semaphore a\n.core 0\nwait a, me\nend\n.core 1\nend\n")
    for command in ("run", "time"):
        assert main([command, str(path)]) == 1
        assert "core 0 waits for a signal of semaphore `a` at stuck.npu:3" in capsys.readouterr().err


def test_annotate(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", str(source)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    (loop,) = [words for words in shown if words[-2:] == ["i,", "3"]]
    assert loop[:2] == ["3", "x"]
    assert any(words[:1] == ["3"] and "copy" in words for words in shown)
    assert any(words == ["1", ".chip", "edge"] for words in shown)
    found = run_json(capsys, "annotate", source, "--json")
    assert {line["number"] for line in found["lines"]} == {5, 6, 7, 8, 9}
    assert main(["asm", str(source), "-o", str(tmp_path / "o.npo")]) == 0
    assert main(["annotate", str(tmp_path / "o.npo")]) == 0
    assert "copy t[i % 2], x" in capsys.readouterr().out


def test_explain_and_what_if(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tasks in ("1", "3"):
        found = run_json(capsys, "time", source, "--explain", "--what-if", "--tasks", tasks, "--json")
        assert sum(part["cycles"] for part in found["breakdown"]) == found["cycles"]
        assert sum(part["cycles"] for part in found["by_engine"]) == found["cycles"]
        assert found["roofline"]["bound"] <= found["cycles"] and found["what_if"][0]["more_saved"] > 0
    assert main(["time", str(source), "--explain", "--what-if"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("fill/drain", "in no loop", "roofline", "the whole: bound by", "10 % more"))
