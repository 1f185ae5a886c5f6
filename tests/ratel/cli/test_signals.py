"""Ctrl-C and SIGTERM at a handful of moments end a command quietly; tests/longer/signals.py has hundreds."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import ratel
from ratel.signals import Hearing, leave_when_told

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
SMALL = ".input x i8[4] = 3\n.output y i8[4]\ncopy y, x\nend\n"
# Hours of one instruction.
LONG = """.input x i8[1, 6000, 6000, 1] = 3
.output y i8[1, 3001, 3001, 1]
maxpool y, x, window=3000, stride=1
end
"""

# The command line, which gets a signal as a module is first looked for, or as a file is written.
AT_A_MODULE = """
import os, signal, sys
module, number, *arguments = sys.argv[1:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))
sys.meta_path.insert(0, Finder())
import ratel.__main__
sys.argv[1:] = arguments
sys.exit(ratel.__main__.main())
"""


@pytest.fixture(autouse=True)
def _hook_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a command that was interrupted the process ends; of a test it goes on."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)


def by_default() -> None:
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


def started(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=by_default,
    )


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("module", ["argparse", "ratel.cli.main", "assembler.assemble", "lark", "numpy", "llvmlite"])
def test_a_signal_while_modules_load_ends_quietly(module: str, number: int, tmp_path: Path) -> None:
    path, saved = tmp_path / "a.npu", tmp_path / "y.npy"
    path.write_text(SMALL)
    process = started(["-c", AT_A_MODULE, module, str(int(number)), "run", str(path), "--output", f"y={saved}"])
    _, said = process.communicate(timeout=60)
    assert process.returncode == STATUS[signal.Signals(number)], said
    assert "Traceback" not in said
    # An import is not broken off, and a busy computer may be done before that is looked at: then all of it is there.
    assert {one.name for one in tmp_path.iterdir()} <= {path.name, saved.name}
    assert not saved.exists() or np.load(saved).tolist() == [3] * 4


# The command line, which says so as a long instruction begins.
WITH_WORD = """
import sys
import emulator.execute.walkers
go = emulator.execute.walkers.Walkers.go
def told(self, budget, passing, apart=False):
    if apart:
        print("begins", flush=True)
    return go(self, budget, passing, apart)
emulator.execute.walkers.Walkers.go = told
import ratel.__main__
sys.exit(ratel.__main__.main())
"""


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_is_heard_inside_one_instruction(number: int, tmp_path: Path) -> None:
    path, saved = tmp_path / "a.npu", tmp_path / "y.npy"
    path.write_text(LONG)
    ratel.run(ratel.assemble(LONG.replace("6000", "8").replace("3001", "6").replace("3000", "3")))  # compiles
    process = started(["-c", WITH_WORD, "run", str(path), "--output", f"y={saved}"])
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STATUS[signal.Signals(number)], said
    assert said.startswith("interrupted: 0 of 1 instructions are done; core 0 stands at a.npu:3:")
    assert not saved.exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_hears_inside_one_instruction_and_goes_on_after_it(threads: int) -> None:
    program = ratel.assemble(LONG)
    small = ratel.assemble(SMALL)
    with ratel.Session(program, threads=threads) as session:
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for _ in range(2):
                signal.setitimer(signal.ITIMER_REAL, 0.5)
                with pytest.raises(KeyboardInterrupt):
                    session.run()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert ratel.run(small).outputs["y"].tolist() == [3] * 4
    assert not any(thread.name.startswith("ratel walker") and thread.is_alive() for thread in threading.enumerate())


def test_a_signal_that_somebody_swallows_comes_again() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Hearing() as hearing:
        with suppress(KeyboardInterrupt):  # as a callback of C does
            signal.raise_signal(signal.SIGTERM)
        while time.monotonic() - began < 60:
            time.sleep(0.01)
    assert hearing.number == signal.SIGTERM and time.monotonic() - began < 30
    with pytest.raises(KeyboardInterrupt), Hearing():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("as a module makes of it") from None


def test_a_signal_as_an_object_is_destroyed_comes_again_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    began = time.monotonic()

    class HalfMade:
        def __del__(self) -> None:
            raise AttributeError("it has not what it should have")

    with pytest.raises(KeyboardInterrupt), Hearing():
        Destroyed()
        while time.monotonic() - began < 60:
            time.sleep(0.01)
    HalfMade()
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err == ""


def test_hearing_leaves_handlers_as_they_were() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    with Hearing() as hearing:
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in numbers] == before and hearing.number == 0


def test_a_second_signal_leaves_at_once() -> None:
    script = (
        "import os, signal, time\nfrom ratel.signals import Hearing\n"
        "with Hearing():\n"
        "    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    finally:\n        os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    )
    process = started(["-c", script])
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (143, "")


def test_what_whoever_started_us_ignores_stays_ignored() -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from ratel.signals import Hearing, leave_when_told\nleave_when_told()\n"
        "with Hearing():\n    signal.raise_signal(signal.SIGINT)\nprint('on')\n"
    )
    process = started(["-c", script])
    assert process.communicate(timeout=30) == ("on\n", "")
    assert callable(leave_when_told)
