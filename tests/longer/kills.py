"""SIGKILL at random moments of every command that writes: what it writes is whole, the old or the new, and goes on.

    python -m tests.longer.kills [--times 200] [--what asm,run,...] [--seed 1]

Each command, with one writer and with two of the same file, so many times: a process is killed after a random time, or
before a random one of the files that it opens, renames or removes; meanwhile the files are read. Each file that is read
then, or afterwards, is as it was, or as a writer leaves it whole, in whatever order they come; no input is another.
What else is left has a name that nobody could have guessed: none occurs twice. The same command then works.
"""

import argparse
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from tests.longer.fuzzers.words import PROGRAMS

# Enough bytes that writing them takes a while.
PROGRAM = """.chip edge
.input x i8[256, 256] scale=0.1 = {number}
.weight w i8[256, 256] scale=0.1 = "w.npy"
.output y i8[256, 256] scale=0.1
copy y, x
end
"""
UNFORMATTED = "".join(f"  fill   y ,value={k % 100}   ; {'a comment ' * 20}\n" for k in range(200))
UNFORMATTED = f".chip edge\n.output   y i8[4]\n{UNFORMATTED}end\n"
OPENED = {"open", "os.rename", "os.remove", "os.link", "os.chmod", "os.truncate", "os.mkdir", "os.utime"}
PATIENCE = 120
# The content of each file of a folder.
State = dict[str, bytes]


@dataclass
class Kill:
    """A command that writes: what two writers of one file do, each in the folder, and the files that they find."""

    writers: tuple[Callable[[], int], Callable[[], int]]
    files: State
    # A file whose content is not the same each time.
    ignored: tuple[str, ...] = ()


@dataclass
class Found:
    """What was seen: outcomes counted, and what broke the rule."""

    seen: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    leftovers: Counter[str] = field(default_factory=Counter)


def ratel(*arguments: str) -> Callable[[], int]:
    """Return what runs a command line."""

    def run() -> int:
        from ratel.cli.main import main

        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            return main(arguments)

    return run


def compiling(addend: int) -> Callable[[], int]:
    """Return what compiles functions, or loads them, in a cache in the current folder, and looks at their results."""

    def run() -> int:
        from emulator.jit import cache
        from emulator.jit.compile import hot

        os.environ["RATEL_CACHE"] = "cache"
        cache.home.cache_clear()
        cache.verify.cache_clear()

        def plus(number: Any) -> Any:
            return number + addend

        compiled = hot(plus)
        results = [compiled(1), compiled(0.5), compiled(np.int8(3))]
        return 0 if results == [1 + addend, 0.5 + addend, 3 + addend] and cache.home().lasts else 1

    return run


def float_network() -> bytes:
    """Return a network of floats to quantise."""
    from programs.networks.onnx_model import FORMS, model
    from programs.networks.seeded import Layers

    made = Layers(seed=1)
    made.conv("y", made.input("x", 1, 4, 4, 4), 8, window=3)
    return bytes(model(made.network("floats"), FORMS["float"]).SerializeToString())


def samples() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.random.default_rng(1).random((4, 4, 4, 4), np.float32))
    return file.getvalue()


def kinds() -> dict[str, Kill]:
    """Return the commands that write, by name."""
    from assembler.assemble import assemble
    from isa.object_file import to_bytes

    weights = np.random.default_rng(1).integers(-128, 128, (256, 256), np.int8)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "w.npy"), weights)
        texts = {f"p{k}.npu": PROGRAM.format(number=k) for k in (1, 2)}
        objects = {
            name.replace("npu", "npo"): to_bytes(assemble(text, Path(folder, name))) for name, text in texts.items()
        }
        files = {name: text.encode() for name, text in texts.items()} | {"w.npy": Path(folder, "w.npy").read_bytes()}
    racing = (PROGRAMS / "bugs" / "missing_wait.npu").read_bytes() + b"\n" + b"; what follows the end\n" * 5_000
    old = dict.fromkeys(("t.npo", "t.npy", "t.html", "t.json"), b"old" * 1000)

    def pair(arguments: str) -> tuple[Callable[[], int], Callable[[], int]]:
        return ratel(*arguments.format(1).split()), ratel(*arguments.format(2).split())

    shipped = PROGRAMS / "onnx"
    models = {"n1.onnx": (shipped / "digits.onnx").read_bytes(), "n2.onnx": (shipped / "mnist.onnx").read_bytes()}
    floats = {"f.onnx": float_network(), "x.npz": samples()}

    def quantising(method: str) -> Callable[[], int]:
        return ratel(*f"quantise f.onnx --calibrate x.npz -o q.onnx --method {method} --trials 0".split())

    fix, fmt = ratel("check", "--fix", "race.npu"), ratel("fmt", "race.npu")
    return {
        "asm": Kill(pair("asm p{}.npu -o t.npo"), files | old),
        "asm, new": Kill(pair("asm p{}.npu -o t.npo"), files),
        "run": Kill(pair("run p{}.npu --no-check --output y=t.npy"), files | old),
        "fmt": Kill((ratel("fmt", "p.npu"), ratel("fmt", "p.npu")), {"p.npu": UNFORMATTED.encode()}),
        "fix": Kill((fix, fmt), {"race.npu": racing}),
        "report": Kill(pair("report p{}.npu -o t.html"), files | old),
        "trace": Kill(pair("time p{}.npu --trace t.json"), files | old),
        "dis": Kill(pair("dis p{}.npo -o t.npu"), objects),
        "compile": Kill(pair("compile n{}.onnx -o t.npo"), models | old),
        "quantise": Kill((quantising("minmax"), quantising("percentile")), floats | {"q.onnx": b"old" * 1000}),
        "cache": Kill((compiling(5), compiling(5)), {}, ignored=("cache",)),
    }


def state_of(folder: Path, ignored: tuple[str, ...]) -> State:
    """Return what is in a folder; what goes while it is read is not there."""
    found = {}
    for name in os.listdir(folder):
        if name not in ignored:
            try:
                found[name] = (folder / name).read_bytes()
            except FileNotFoundError:
                continue
    return found


@contextmanager
def folder_of(files: State) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield folder
    finally:
        shutil.rmtree(folder)


def whole(kill: Kill) -> tuple[list[State], float, int]:
    """Return the states that writers leave who are not killed, in each order; the most seconds, and files, of one."""
    states, seconds, opened = [kill.files], 0.0, 0
    for order in (*((writer,) for writer in kill.writers), *permutations(kill.writers)):
        with folder_of(kill.files) as folder:
            for writer in order:
                began = time.monotonic()
                status = os.waitstatus_to_exitcode(os.waitpid(start(writer, folder, report=folder / "opened"), 0)[1])
                seconds = max(seconds, time.monotonic() - began)
                assert status in (0, 1), f"it ends with {status} by itself"
                opened = max(opened, int((folder / "opened").read_text()))
                (folder / "opened").unlink()
            states.append(state_of(folder, kill.ignored))
    assert kill.ignored or kill.files not in states[1:2], "it writes nothing"
    return states, seconds, opened


def start(writer: Callable[[], int], folder: Path, at: int = 0, report: Path | None = None) -> int:
    """Start a process that runs a writer in a folder, and kills itself as it opens its `at`-th file; return its number.

    What it opened is counted in `report`.
    """
    number = os.fork()
    if number:
        return number
    status = 3
    try:
        count = 0
        # What is loaded of Python, and of ratel, is not written.
        elsewhere = ("/proc", "/dev", sys.prefix, str(PROGRAMS.parent))

        def seen(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in OPENED and not str(arguments[0]).startswith(elsewhere):
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.chdir(folder)
        sys.addaudithook(seen)
        status = writer()
        if report:
            report.write_text(str(count))
    finally:
        os._exit(status)


def kill_once(kill: Kill, writers: int, states: list[State], seconds: float, opened: int, chance: random.Random) -> str:
    """Kill one or two writers, look at what they leave, and let one write; raise AssertionError where it is wrong.

    Returns how it went, and in it the names that were left, after `|`.
    """
    allowed: dict[str, set[bytes | None]] = {}
    for name in {name for state in states for name in state}:
        allowed[name] = {state.get(name) for state in states}

    def look(folder: Path) -> State:
        state = state_of(folder, kill.ignored)
        for name, contents in allowed.items():
            content = state.get(name)
            said = "gone" if content is None else f"neither old nor new, {len(content)} bytes"
            assert content in contents, f"{name} is {said}"
        return state

    with folder_of(kill.files) as folder:
        running: dict[int, float] = {}
        ends = []
        try:
            for writer in kill.writers[:writers]:
                by_time = chance.random() < 0.5
                number = start(writer, folder, 0 if by_time else chance.randint(1, opened + 1))
                running[number] = time.monotonic() + (chance.uniform(0, 1.2 * seconds) if by_time else PATIENCE)
            while running:
                for number, moment in list(running.items()):
                    if time.monotonic() > moment:
                        os.kill(number, signal.SIGKILL)
                    done, status = os.waitpid(number, os.WNOHANG)
                    if done:
                        ends.append(os.waitstatus_to_exitcode(status))
                        del running[number]
                look(folder)
        finally:
            for number in running:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
        assert set(ends) <= {0, 1, -signal.SIGKILL}, f"a writer ended with {ends}"
        state = look(folder)
        left = sorted(set(state) - set(allowed))
        changed = "old" if all(state.get(name) == kill.files.get(name) for name in allowed) else "new"
        status = os.waitstatus_to_exitcode(os.waitpid(start(kill.writers[0], folder), 0)[1])
        assert status in (0, 1), f"the next command ended with {status}"
        after = look(folder)
        last = (states[1], states[4])
        assert any(all(after.get(name) == one.get(name) for name in allowed) for one in last), "the next wrote nothing"
        killed = sum(end < 0 for end in ends)
        return f"{killed} of {writers} killed, {changed}|{'|'.join(left)}"


def run_kind(name: str, kill: Kill, times: int, seed: int, found: Found) -> None:
    """Kill a command so many times with one writer, and with two."""
    # Here, so that the processes that are forked have all loaded.
    with folder_of(kill.files) as folder, chdir(folder):
        before = dict(os.environ)
        kill.writers[0]()
        os.environ.clear()
        os.environ.update(before)
    states, seconds, opened = whole(kill)
    for writers in (1, 2):
        for n in range(times):
            chance = random.Random(f"{name} {writers} {seed} {n}")
            try:
                how, *left = kill_once(kill, writers, states, seconds, opened, chance).split("|")
                found.seen[f"{name}: {how}"] += 1
                for leftover in filter(None, left):
                    found.leftovers[leftover] += 1
                    assert found.leftovers[leftover] == 1, f"{leftover} is left again: its name can be guessed"
            except AssertionError as error:
                found.seen[f"{name}: BROKEN"] += 1
                found.broken.append(f"{name}, {writers} writers, seed {seed}, number {n}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--what", help="commands, separated by commas; by default all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    known, found = kinds(), Found()
    for name in options.what.split(",") if options.what else known:
        run_kind(name, known[name], options.times, options.seed, found)
        print(f"\r{name}: {found.seen.total():,} kills in all, {len(found.broken)} broken", end="", file=sys.stderr)
    print(file=sys.stderr)
    for how, times in sorted(found.seen.items()):
        print(f"{times:>8,}  {how}")
    print(f"{found.seen.total():,} times, {found.leftovers.total():,} files left, {len(found.broken)} broken")
    print(*found.broken[:20], sep="\n")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
