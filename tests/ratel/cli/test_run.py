"""`ratel run`: outputs, checks, JSON, streams and several cores."""

import os
from pathlib import Path

import numpy as np
import pytest

from ratel.cli.main import main
from tests.ratel.cli.commands import SOURCE, run_json

ROOT = Path(__file__).parents[3]


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


def test_names_with_brackets_are_printed_as_they_are(source: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text('.name "[/red] a[b]"\n' + SOURCE)
    assert main(["run", str(source), "--input", f"x={x}"]) == 0
    assert "[/red] a[b] on edge" in capsys.readouterr().out


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
