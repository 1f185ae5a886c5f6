"""All commands: what is wrong is said, exit statuses, standard output that is closed, the cache that does not last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratel.cli.main import main
from ratel.show.progress import Progress
from tests.ratel.cli.commands import SOURCE

ROOT = Path(__file__).parents[3]


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


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m ratel chips | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and done.stdout


def test_closed_standard_output_is_no_error(source: Path) -> None:
    command = f"{sys.executable} -m ratel time {source} >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("fault", ["a file is in the way", "others may write there"])
def test_a_cache_that_does_not_last_is_said_once(fault: str, tmp_path: Path) -> None:
    """As a warning of the command's own; what is compiled is then not said to be kept."""
    place, program = tmp_path / "cache", tmp_path / "stop.npu"
    if fault == "a file is in the way":
        place.touch()
        reason = "Not a directory"
    else:
        place.mkdir()
        place.chmod(0o777)
        reason = f"other users may write to {place}: `chmod -R go-w` takes that from them"
    # It stops at a wrong index: nothing more is compiled.
    program.write_text(
        ".chip edge\n.input x i8[2, 4] = 1\n.input k i32[1] = 9\n.output y i8[1, 4]\ngather y, x, k\nend\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ratel", "run", str(program)],
        env={**os.environ, "RATEL_CACHE": str(place)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    warning, *compiled, error, _ = done.stderr.splitlines()
    assert warning == (
        f"warning: what is compiled is not kept, and compiled again the next time: {reason} (the cache is {place}; "
        "$RATEL_CACHE names another)"
    )
    assert compiled == ["compiling the kernel of gather", "compiling the loop over instructions"]
    assert error.startswith("error: stop.npu:5: gather y, x, k: index[0] is 9")


def test_what_is_kept_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("a program").compiling("the kernel of gather")
    assert capsys.readouterr().err == "compiling the kernel of gather (once; kept in the cache)\n"
