"""All commands: what is wrong is said, exit statuses, standard output that is closed, the cache that does not last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ratel
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


READERS = {
    "chips": (0, "chips"),
    "time": (0, "time {source}"),
    "dis": (0, "dis {object}"),
    "help": (0, "run --help"),
    "a wrong program": (1, "check {wrong} 2>&1"),
}


@pytest.mark.parametrize("case", READERS)
def test_a_reader_who_goes_changes_no_status(case: str, source: Path, tmp_path: Path) -> None:
    """Gone before anything is written; and with more to write than a pipe holds."""
    status, command = READERS[case]
    wrong = ROOT / "programs/bugs/missing_wait.npu"
    whole = ratel.assemble(f'.chip edge\n.weight w i8[80000] = "hex:{"01020304" * 20_000}"\nend\n')
    whole.save(tmp_path / "long.npo")
    words = command.format(source=source, object=tmp_path / "long.npo", wrong=wrong)
    for reader in ("true", "head -c1"):
        script = f"set -o pipefail; {{ sleep 0.2; {sys.executable} -m ratel {words}; }} | {reader}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT)
        assert (done.returncode, done.stderr) == (status, "")


def test_what_cannot_be_printed_is_said(source: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is full")
    for command in ("chips", f"time {source}", "manual"):
        script = f"{sys.executable} -m ratel {command} > /dev/full"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT)
        said = "error: cannot write to standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, said)


ENDS = {
    "files": (OSError(24, "Too many open files", "some.so"), "error: some.so: Too many open files\n"),
    "no name": (OSError(12, "Cannot allocate memory"), "error: Cannot allocate memory\n"),
    "no number": (OSError("odd"), "error: odd\n"),
    "memory": (MemoryError(), "error: there is not enough memory: the computer has no more\n"),
    "an array": (
        MemoryError("Unable to allocate 8. TiB"),
        "error: there is not enough memory: Unable to allocate 8. TiB\n",
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_the_computer_lacks_is_said_as_it_is(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error, said = ENDS[case]

    def lacking() -> None:
        raise error

    monkeypatch.setattr("ratel.cli.reference.chip_names", lacking)
    assert main(["chips"]) == 1
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("command", ["run", "time"])
def test_without_a_compiler(command: str, source: Path, x: Path) -> None:
    """But for the schedule of a short program."""
    if command == "time":
        source.write_text(".chip edge\n.local y i8[16]\nloop i, 5000\nfill y, value=1\nbrnz i\nend\n")
    done = subprocess.run(
        [sys.executable, "-m", "ratel", command, str(source), *(["--input", f"x={x}"] if command == "run" else [])],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: numba is told not to compile") and "unset NUMBA_DISABLE_JIT" in done.stderr


@pytest.mark.parametrize("threads", ["0", "-1", "many"])
def test_numbas_own_threads_are_not_asked_for(threads: str, source: Path) -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
    command = [sys.executable, "-m", "ratel", "time", str(source), "--json"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


FOREIGN = [
    *("isa", "emulator", "assembler", "programs", "numpy", "numba", "llvmlite", "lark", "rich", "ml_dtypes", "random"),
    *("typing", "re", "argparse", "json", "collections", "contextlib", "dataclasses", "tomllib", "gc", "warnings"),
    *("hashlib", "subprocess", "io", "os", "abc", "runpy", "importlib", "platformdirs", "filelock"),
]


@pytest.mark.parametrize("command", ["run", "annotate", "manual conv"])
def test_modules_of_the_current_folder_are_not_run(command: str, source: Path, x: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    # What Python's own `-m` loads, if nothing has before, it takes from there before we are reached.
    script = "import runpy, sys; print(*sys.modules)"
    of_python = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT).stdout.split()
    for name in {*FOREIGN} - {*of_python}:
        (folder / f"{name}.py").write_text(f"import sys\nsys.stderr.write('{name} was run')\nsys.exit(7)\n")
    words = command.split() if " " in command else [command, str(source)]
    words += ["--input", f"x={x}"] if command == "run" else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ratel", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout and "was run" not in done.stderr
    assert not list(folder.glob("__pycache__"))


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


def test_no_argument_makes_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "no\nerror: forged.npu"]) == 2
    assert capsys.readouterr().err == "ratel: error: a line break stands in no\\nerror: forged.npu\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runn p.npu", "there is no command 'runn'; did you mean `run`?"),
        ("p.npu", "there is no command 'p.npu'; commands: asm, dis, fmt, quantise, compile, run, check, time, "),
        ("time p.npu --josn", "time has no option '--josn'; did you mean `--json`?"),
        ("run p.npu --ouput=y=y.npy", "run has no option '--ouput'; did you mean `--output`?"),
        ("fmt p.npu -q", "fmt has no option '-q'; `ratel fmt --help` lists what there is"),
        ("check p.npu q.npu", "check does not take 'q.npu' besides"),
    ],
)
def test_slips_are_told_with_what_was_meant(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err.startswith(f"ratel: error: {said}")
