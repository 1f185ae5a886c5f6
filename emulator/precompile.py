"""What a run needs, compiled before it: the first time with the help of a second process.

numba compiles one function at a time in a process, and the cache on disk is one for all processes. What the second does
get done the first compiles itself, so nothing depends on it: without this file a run compiles what it misses, alone.

Each process has about as much to do, the largest first. Nothing waits for anything but at the end: kernels call the
chain by its addresses. What kernels have in common besides the first process compiles before all else, and the second
finds it in the cache.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import jobs_of, keys_of, run_jobs
from emulator.jit.cache import ROOT, home
from emulator.jit.jobs import Job, compile_all, make_all
from emulator.jit.numba_private import is_known
from emulator.kernels.table import ALL_KERNELS, BY_STAGES, PRODUCTS
from emulator.plan.plan import Plan
from emulator.timing.timeline import JOBS as SCHEDULE_JOBS
from emulator.timing.timeline import is_short
from isa.table import MNEMONICS

SCHEDULE = SCHEDULE_JOBS[0].name
# Kernels that have PRODUCTS in common.
MULTIPLIES = {MNEMONICS[name].opcode for name in ("conv", "dwconv", "matmul")}
# Seconds that functions take, about, once what they have in common is there; others take OTHERS.
SECONDS = {"the loop over instructions": 1, SCHEDULE: 8, BY_STAGES.name: 5, "the kernel of maxpool": 4}
OTHERS = 2
# What takes a second process to start; and what products do with the packing of weights.
START_SECONDS, PRODUCTS_SECONDS = 0.5, 5
_COMPILING = threading.Lock()


def _forget() -> None:
    """Forget, in a forked child, that a thread of its parent compiles."""
    global _COMPILING
    _COMPILING = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def compile_run(plan: Plan, threads: int, on_compile: Callable[[str], None] | None) -> None:
    """Load from the cache, or compile, what a run of a plan by so many threads needs.

    `on_compile` is called with the name of each before it is compiled, and how far all are. The schedule, which most
    runs need in the end, is only handed to the second process; that of few instructions is not compiled.
    """
    keys = keys_of(plan)
    jobs = jobs_of(plan, threads)
    schedules = () if is_short(plan) else SCHEDULE_JOBS
    # One thread at a time, or each would start a second process for the same functions.
    with _COMPILING:
        missing = [job for job in jobs if not job.is_kept]
        # Plain numba would have both processes wait for each other.
        if len(missing) > 1 and (os.cpu_count() or 1) > 1 and is_known():
            before = [*packing_jobs(keys), *(PRODUCTS if MULTIPLIES.intersection(keys) else [])]
            before = [job for job in before if not job.is_kept]
            _compile_in_two(missing, before, [job for job in schedules if not job.is_kept], on_compile)
    compile_all(jobs, on_compile)


def _compile_in_two(
    missing: Sequence[Job],
    before: Sequence[Job],
    schedules: Sequence[Job],
    on_compile: Callable[[str], None] | None,
) -> None:
    """Compile what is missing, and what schedules, in this process and in another; here, something before all else."""
    names = [job.name for job in missing] + ([SCHEDULE] if schedules else [])
    own, handed = shares(names, START_SECONDS, PRODUCTS_SECONDS if before else 0)
    # To start a process takes about as long as one of the smaller functions.
    if sum(SECONDS.get(name, OTHERS) for name in handed if name != SCHEDULE) < OTHERS:
        return
    began, total, begun = time.monotonic(), len(before) + len(names), [0, 0]
    helper = _start(handed)

    def listen() -> None:
        for _ in helper.stdout if helper and helper.stdout else ():
            begun[1] += 1

    def say(name: str) -> None:
        begun[0] += 1
        if on_compile:
            on_compile(f"{name}, {min(sum(begun), total)} of {total} after {time.monotonic() - began:.0f} s")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        make_all(before, say)
        make_all(sorted((job for job in missing if job.name in own), key=lambda job: own.index(job.name)), say)
        if helper:
            helper.wait()
    finally:
        # Interrupted: nothing depends on what it would still compile.
        if helper and helper.poll() is None:
            helper.kill()
            helper.wait()
        listener.join()


def shares(names: Iterable[str], handed_seconds: float, own_seconds: float) -> tuple[list[str], list[str]]:
    """Share out functions, so that this process and the other end together; return those of each, the largest first.

    The seconds are what each has to do anyway. The schedule, which this process has not been asked for, is handed over.
    """
    own: list[str] = []
    handed: list[str] = []

    def order(name: str) -> tuple[bool, float, str]:
        return name != SCHEDULE, -SECONDS.get(name, OTHERS), name

    for name in sorted(names, key=order):
        if name == SCHEDULE or handed_seconds < own_seconds:
            handed.append(name)
            handed_seconds += SECONDS.get(name, OTHERS)
        else:
            own.append(name)
            own_seconds += SECONDS.get(name, OTHERS)
    return own, handed


def _start(names: Sequence[str]) -> subprocess.Popen[bytes] | None:
    # It imports what we did, and nothing from the present folder.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "RATEL_CACHE": str(home().folder.parent)}
    nothing = subprocess.DEVNULL
    try:
        # Optimised as we are, or what it keeps is not for us.
        optimised = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
        command = [sys.executable, "-P", *optimised, "-m", __name__, *names]
        return subprocess.Popen(command, env=environment, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing)
    except (OSError, TypeError):
        # No second process is to be had, or, where Python is embedded, no command that starts one.
        return None


def main(names: Sequence[str]) -> None:
    """Compile functions by name, as they are named; say so of each in a line before."""
    jobs = {job.name: job for job in (*run_jobs(ALL_KERNELS), *SCHEDULE_JOBS)}
    for name in names:
        print(name, flush=True)
        make_all(SCHEDULE_JOBS if name == SCHEDULE else [jobs[name]] if name in jobs else [])


if __name__ == "__main__":
    main(sys.argv[1:])
