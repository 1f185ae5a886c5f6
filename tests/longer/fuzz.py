"""Fuzzers: texts, objects, chips, tensors, command lines and `fmt`, wrong in every way: each a value, or an error.

    python -m tests.longer.fuzz [--what texts,objects:500000,...] [--cases N] [--seconds S] [--seed K] [--workers 2]
        [--scheduler ADDRESS]

Case number n of a seed is always the same. It is right, or ends in a declared error; in no other exception, in at most
SECONDS, with at most MEMORY bytes more than a process has anyway, and without its process's end. Kernels run with their
bounds checked. What does otherwise is saved beside, with the command that shows it again, and the rest goes on.
"""

import argparse
import io
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import chdir, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tests.longer.cluster import add_scheduler, shared
from tests.longer.fuzzers import FUZZERS, USUAL, make

SECONDS, MEMORY = 20, 2 * 2**30
# A process that has not heard its alarm after so many times as long, since it is in compiled code, is ended.
DEAF = 3
# Cases that a process is given at once, of those that are fast, and of the others.
CHUNK = {"tensors": 2_000, "objects": 500}
SMALL_CHUNK = 100
# Chunks that a worker of a cluster is given at once.
CHUNKS = 20
FILES = {"part.inc": b".equ PART = 2\n"}
# Where a file is written in microseconds rather than in milliseconds.
MEMORY_FOLDER = next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)
# Number, error, case.
Broken = tuple[int, str, Any]


class Slow(BaseException):
    """Raised where a case takes too long."""


fuzzer = cache(make)


def fuzz(
    what: str,
    first: int,
    count: int,
    seed: int,
    seen: Counter[str],
    begin: Callable[[int], None] = lambda n: None,
    most: float = SECONDS,
) -> list[Broken]:
    """Run cases in a folder of their own and count their outcomes; return those that broke the rule."""
    cases, broken = fuzzer(what), []

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Slow(f"more than {most:g} s")

    before = signal.signal(signal.SIGALRM, alarm)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY_FOLDER) as folder:
        # Two deep, so that what is written to `..` stays there, too.
        inner = Path(folder, "here")
        inner.mkdir()
        with chdir(inner):
            np.save("w.npy", np.ones((8, 8), np.int8))
            for name, content in FILES.items():
                Path(name).write_bytes(content)
            for n in range(first, first + count):
                begin(n)
                case = cases.case(random.Random(f"{what} {seed} {n}"))
                try:
                    signal.setitimer(signal.ITIMER_REAL, most)
                    try:
                        outcome = cases.run(case)
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    seen[outcome] += 1
                except (Exception, Slow) as error:
                    seen["BROKEN"] += 1
                    kind = "more memory than it may: " if isinstance(error, MemoryError) else ""
                    broken.append((n, f"{kind}{type(error).__name__}: {error}", case))
    signal.signal(signal.SIGALRM, before)
    return broken


def work(pipe: Connection, at: Any, whats: Sequence[str], seed: int, most: float) -> None:
    """Run what comes through a pipe, (what, first, count).

    Send back what was seen, what broke, the seconds of the processor that it took, and the peak in KB.
    """
    # The supervisor hears Ctrl-C, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        for what in whats:
            # What all cases need is loaded; and what it takes is not the first case's.
            fuzzer(what)
        has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, has + MEMORY))
        # What a crash leaves is told by the supervisor.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def begin(n: int) -> None:
            at.value = n

        while True:
            what, first, count = pipe.recv()
            seen: Counter[str] = Counter()
            before = time.process_time()
            broken = fuzz(what, first, count, seed, seen, begin, most)
            seconds = time.process_time() - before
            pipe.send((seen, broken, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def compile_ahead() -> None:
    """Compile what cases use, so that none is slow for being the first; the cache keeps it."""
    from emulator.execute.walkers import run_jobs
    from emulator.kernels.table import KERNELS
    from emulator.precompile import SCHEDULE
    from emulator.precompile import main as compile_named
    from ratel.cli.main import main as command_line
    from tests.longer.fuzzers.words import PROGRAMS

    compile_named([SCHEDULE, *(job.name for job in run_jobs(KERNELS))])
    digits = str(PROGRAMS / "digits" / "digits.npu")
    lines = ("time --what-if --explain", "time --tasks 3", "run --saturation --no-check", "annotate", "check --waits")
    for rest in lines:
        name, *options = rest.split()
        command_line([name, digits, *options, "--json"])


@dataclass
class Worker:
    """A process that runs cases: how far it has come in what it was given, and since when it is there."""

    whats: Sequence[str]
    seed: int
    most: float
    process: Any = None
    pipe: Any = None
    at: Any = None
    given: tuple[str, int, int] | None = None
    seen_at: tuple[int, float] = (-1, 0.0)

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.at = context.Value("q", -1, lock=False)
        arguments = other, self.at, self.whats, self.seed, self.most
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def give(self, chunk: tuple[str, int, int]) -> None:
        self.given, self.at.value = chunk, -1
        self.seen_at = -1, time.monotonic()
        self.pipe.send(chunk)

    def is_deaf(self) -> bool:
        """Return whether one case has run for longer than the alarm can explain."""
        if self.at.value != self.seen_at[0]:
            self.seen_at = self.at.value, time.monotonic()
        # Before its first case it loads and compiles.
        patience = DEAF * self.most if self.at.value >= 0 else 600
        return time.monotonic() - self.seen_at[1] > patience

    def end(self) -> int:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return int(self.process.exitcode)


@dataclass
class Counts:
    """What was seen of one kind, and the seconds of the processor that it took."""

    seen: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    broken: int = 0


def chunks(wanted: dict[str, int], first: int) -> Iterator[tuple[str, int, int]]:
    """Yield what is to be run: kinds take turns, each until it has had its number of cases."""
    done = dict.fromkeys(wanted, 0)
    while any(done[what] < count for what, count in wanted.items()):
        for what, count in wanted.items():
            size = min(CHUNK.get(what, SMALL_CHUNK), count - done[what])
            if size > 0:
                yield what, first + done[what], size
                done[what] += size


def supervise(
    wanted: dict[str, int],
    first: int,
    seconds: float,
    seed: int,
    workers: int,
    out: Path,
    most: float = SECONDS,
    quiet: bool = False,
) -> dict[str, Counts]:
    """Run the cases in processes, and say what was seen, but if `quiet` not how many; return it by kinds.

    Nothing more is begun after `seconds`. What breaks the rule is saved in the folder `out`; no case may take longer
    than `most` seconds.
    """
    began, peak, shown = time.monotonic(), 0, 0.0
    counts = {what: Counts() for what in wanted}
    waiting = chunks(wanted, first)
    again: list[tuple[str, int, int]] = []
    pool = [Worker(list(wanted), seed, most) for _ in range(workers)]
    idle = list(pool)

    def broke(what: str, n: int, error: str, case: Any) -> None:
        counts[what].broken += 1
        path = out / f"fuzz-{what}-{seed}-{n}"
        path.write_bytes(case if isinstance(case, bytes) else case.encode("utf-8", "surrogatepass"))
        command = f"python -m tests.longer.fuzz --what {what} --seed {seed} --first {n} --cases 1 --workers 1"
        print(f"\n{what} {n}: {error}\n    saved as {path}; again: {command}", flush=True)

    try:
        while True:
            # Several are more than one that is slow to come.
            while idle and (chunk := again.pop() if again else None if over(began, seconds) else next(waiting, None)):
                worker = idle.pop()
                if worker.process is None:
                    worker.start()
                worker.give(chunk)
            busy = [worker for worker in pool if worker.given]
            if not busy:
                break
            ready = wait([worker.pipe for worker in busy], timeout=1)
            for worker in busy:
                assert worker.given
                what, start, size = worker.given
                answer = None
                if worker.pipe in ready:
                    with suppress(EOFError, ConnectionError):
                        answer = worker.pipe.recv()
                if answer is None and worker.pipe not in ready and not worker.is_deaf():
                    continue
                worker.given = None
                idle.append(worker)
                if answer:
                    seen, broken, took, kilobytes = answer
                    counts[what].seen += seen
                    counts[what].seconds += took
                    peak = max(peak, kilobytes)
                    for n, error, case in broken:
                        broke(what, n, error, case)
                    continue
                n, how = worker.at.value, "does not end" if worker.pipe not in ready else "CRASH"
                status = worker.end()
                worker.process = None
                if n < start:
                    raise SystemExit(f"a process ended before its first case: status {status}")
                counts[what].seen["BROKEN"] += 1
                case = fuzzer(what).case(random.Random(f"{what} {seed} {n}"))
                broke(what, n, f"{how}: the process ended with {status}", case)
                # What came before it in the same go has not been told of.
                parts = (what, start, n - start), (what, n + 1, start + size - n - 1)
                again += [part for part in parts if part[2]]
            if not quiet and time.monotonic() - shown > (1 if sys.stderr.isatty() else 60):
                shown = time.monotonic()
                progress(counts, shown - began)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    finally:
        for worker in pool:
            if worker.process is not None:
                worker.end()
    if not quiet:
        summary(counts, time.monotonic() - began, f"{workers} processes, peak {peak / 1e3:,.0f} MB")
    return counts


def part(what: str, first: int, count: int, seed: int) -> tuple[str, Counts, dict[str, bytes], str]:
    """Run cases of a kind, for a cluster; return the kind, what was seen, what was saved by name, and what was said."""
    compile_apart([what])
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="fuzz-out-") as folder, redirect_stdout(said):
        counts = supervise({what: count}, first, float("inf"), seed, 1, Path(folder), quiet=True)
        saved = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return what, counts[what], saved, said.getvalue().replace(f"{folder}/", "")


def over_cluster(wanted: dict[str, int], first: int, seed: int, address: str, out: Path) -> dict[str, Counts]:
    """Run the cases on a cluster, as `supervise` does in processes of this computer."""
    began, counts = time.monotonic(), {what: Counts() for what in wanted}
    parts = []
    for what, count in wanted.items():
        size = CHUNKS * CHUNK.get(what, SMALL_CHUNK)
        parts += [(what, first + done, min(size, count - done), seed) for done in range(0, count, size)]
    for what, found, saved, said in shared(address, part, parts):
        counts[what].seen += found.seen
        counts[what].seconds += found.seconds
        counts[what].broken += found.broken
        for name, content in saved.items():
            (out / name).write_bytes(content)
        print(said, end="", flush=True)
        progress(counts, time.monotonic() - began)
    summary(counts, time.monotonic() - began, "a cluster")
    return counts


def compile_apart(whats: Collection[str]) -> None:
    """Compile what cases of these kinds use, with its bounds checked, in a process of its own."""
    os.environ["NUMBA_BOUNDSCHECK"] = "1"
    if set(whats) & {"objects", "chips", "commands"}:
        print("compiling what there is not yet, with its bounds checked", file=sys.stderr)
        with open(os.devnull, "w") as nothing:
            command = [sys.executable, "-c", "from tests.longer.fuzz import compile_ahead; compile_ahead()"]
            subprocess.run(command, check=True, stdout=nothing)


def over(began: float, seconds: float) -> bool:
    return time.monotonic() - began > seconds


def progress(counts: dict[str, Counts], seconds: float) -> None:
    total = sum(count.seen.total() for count in counts.values())
    each = ", ".join(f"{count.seen.total():,} {what}" for what, count in counts.items())
    broken = sum(count.broken for count in counts.values())
    print(f"\r{seconds:,.0f} s: {total:,} cases ({each}), {broken} broken", end="", file=sys.stderr, flush=True)


def summary(counts: dict[str, Counts], seconds: float, by: str) -> None:
    print(file=sys.stderr)
    for what, count in counts.items():
        rate = count.seen.total() / max(count.seconds, 1e-9)
        print(f"{count.seen.total():,} {what}, {rate:,.0f} in a second of a processor, {count.broken} broken")
        for outcome, times in sorted(count.seen.items(), key=lambda one: -one[1]):
            print(f"{times:>12,}  {outcome}")
    total, broken = sum(count.seen.total() for count in counts.values()), sum(c.broken for c in counts.values())
    print(f"{total:,} cases in {seconds:,.0f} s, {broken} broken; {by}")


def wanted_of(text: str, cases: int) -> dict[str, int]:
    """Return how many cases of each kind, of the form KIND or KIND:CASES, separated by commas."""
    found = {}
    for one in text.split(","):
        what, _, number = one.partition(":")
        if what not in FUZZERS:
            raise SystemExit(f"{what!r} is none of {', '.join(FUZZERS)}")
        found[what] = int(number or cases)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", default=",".join(USUAL), help="kinds, each with :CASES where others are wanted")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no more after these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    add_scheduler(parser)
    options = parser.parse_args()
    wanted = wanted_of(options.what, options.cases)
    if options.scheduler is not None:
        if options.seconds != float("inf"):
            parser.error("--seconds is of one computer: give --cases")
        counts = over_cluster(wanted, options.first, options.seed, options.scheduler, Path.cwd())
    else:
        # Before a process loads numba.
        compile_apart(wanted)
        counts = supervise(wanted, options.first, options.seconds, options.seed, options.workers, Path.cwd())
    return 1 if any(count.broken for count in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
