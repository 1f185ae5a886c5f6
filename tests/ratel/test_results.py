"""Results summarise themselves: what a summary says is what the command prints as JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ratel
from emulator.timing.stream import task_of
from ratel.cli.main import main

TEXT = """\
.chip edge
.order compiler
.input  x i8[4, 8] scale=0.5 buffers=2
.output y i8[4, 8] scale=0.25 buffers=2
.local  t i8[4, 8] scale=0.5
copy t, x
eltwise y, t, relu
end
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.npu"
    path.write_text(TEXT)
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


@pytest.mark.parametrize("tasks", [1, 3])
def test_schedules(tasks: int, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ratel.time(ratel.assemble(source.read_text(), source), tasks=tasks)
    assert isinstance(found, ratel.Schedule) and isinstance(found, ratel.Timeline if tasks == 1 else ratel.Stream)
    assert found.tasks == tasks and found.instructions == 2 * tasks
    assert sum(entry.cycles for entry in found.critical_path) == found.cycles
    assert json.dumps(found.summary()) + "\n" == printed(capsys, "time", source, "--tasks", tasks, "--json")
    alone = task_of(found, tasks - 1)
    assert isinstance(alone, ratel.Timeline) and alone.tasks == alone.summary()["tasks"] == 1
    assert "critical_path" not in found.summary(path=False)


def test_runs(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.ones((3, 4, 8), np.int8)
    np.save(tmp_path / "x.npy", x)
    run = ratel.run(ratel.assemble(source.read_text(), source), {"x": x}, dumps=["t"], check=False)
    command = ["run", source, "--no-check", "--input", f"x={tmp_path / 'x.npy'}", "--dump", "t", "--json"]
    assert json.dumps(run.summary()) + "\n" == printed(capsys, *command)


def test_a_run_without_a_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.timing.timeline.MOST_INSTRUCTIONS", 1)
    run = ratel.run(ratel.assemble(".chip edge\n.output y i8[4]\nfill y, value=1\nfill y, value=2\nend\n"))
    assert "too long to schedule" in run.untimed and run.summary()["cycles"] is None
    for _ in range(2):
        with pytest.raises(ratel.Trap, match="too long to schedule"):
            run.timeline  # noqa: B018


def test_verdicts(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = ratel.check(ratel.assemble(source.read_text(), source))
    assert verdict.verdict == "race" and verdict.findings[0].notes
    found = {**verdict.summary(), "warnings": [], "cycles_saved": None}
    assert json.dumps(found) + "\n" == printed(capsys, "check", source, "--json")


def test_bounds(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ratel.bounds(ratel.assemble(source.read_text(), source), "a800", tasks=2)
    command = ["time", source, "--chip", "a800", "--tasks", 2, "--json"]
    assert json.dumps(bounds.summary()) + "\n" == printed(capsys, *command)


def test_results_are_printed_in_a_line(source: Path) -> None:
    """However large their tensors: a notebook prints what a cell gives."""
    program = ratel.assemble(source.read_text(), source)
    run = ratel.run(program, {"x": np.ones((4, 8), np.int8)}, check=False)
    assert repr(program) == "<Program 'small' for edge: 3 instructions>"
    assert repr(run) == "<Run of 'small' on edge: y int8[4, 8]>"
    assert repr(run.timeline) == f"<Timeline of 'small' on edge: {run.cycles:,} cycles>"
    assert repr(ratel.time(program, tasks=2)).startswith("<Stream of 'small' on edge: 2 tasks, ")
    assert len(repr(run.plan)) < 100
