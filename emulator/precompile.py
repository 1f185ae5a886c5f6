"""What a run needs, compiled before it: the first time with the help of a second process.

numba compiles one function at a time in a process, and the cache on disk is one for all processes. What the second does
get done the first compiles itself, so nothing depends on it: without this file a run compiles what it misses, alone.

All kernels of the tensor engine call the chain, which takes a third of the time of a first run. So the second process
begins with that, and says when it is done, while the first compiles what does without: the rest of what conv and matmul
need, and other engines' kernels. What the two compile after that is kernels, with the chain from the cache.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import run_jobs
from emulator.jit.cache import ROOT, home, is_kept
from emulator.jit.jobs import Job, compile_all
from emulator.jit.numba_private import pipeline
from emulator.kernels.table import KERNELS, PRODUCTS, RUN_CHAIN, kernel_jobs
from emulator.plan.load import load
from emulator.timing.schedule import walk as schedule_walk
from emulator.timing.timeline import schedule
from isa.chip import DEFAULT_CHIP, load_chip
from isa.instruction import build
from isa.program import Core, Line, Program
from isa.table import MNEMONICS

SCHEDULE = "the schedule"
TENSOR_ENGINE = {job.name for job in kernel_jobs(row.opcode for row in MNEMONICS.values() if row.engine == "te")}
# Seconds that functions take, about, once what they have in common is there; others take OTHERS.
SECONDS = {"the loop over instructions": 1, SCHEDULE: 8}
OTHERS = 3
# What takes a second process to start; what the chain takes, and what products do with the packing of weights.
START_SECONDS, CHAIN_SECONDS, PRODUCTS_SECONDS = 0.5, 5, 5
_COMPILING = threading.Lock()


def _forget() -> None:
    """Forget, in a forked child, that a thread of its parent compiles."""
    global _COMPILING
    _COMPILING = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def compile_run(opcodes: Iterable[int], on_compile: Callable[[str], None] | None) -> None:
    """Load from the cache, or compile, the kernels of these opcodes and the loop over instructions.

    `on_compile` is called with the name of each before it is compiled. The schedule, which most runs need in the end,
    is only handed to the second process.
    """
    opcodes = list(opcodes)
    jobs = run_jobs(opcodes)
    # One thread at a time, or each would start a second process for the same functions.
    with _COMPILING:
        missing = [job.name for job in jobs if not is_kept(job.function)]
        # Plain numba would have both processes wait for each other.
        if len(missing) > 1 and (os.cpu_count() or 1) > 1 and pipeline():
            _compile_in_two(jobs, missing, packing_jobs(opcodes), on_compile)
    compile_all(jobs, on_compile)


def _compile_in_two(
    jobs: Sequence[Job], missing: Sequence[str], packing: Sequence[Job], on_compile: Callable[[str], None] | None
) -> None:
    """Compile what is missing of some jobs, and the schedule, in this process and in another."""
    chained = TENSOR_ENGINE.intersection(missing) and not is_kept(RUN_CHAIN.function)
    before = [job for job in (*packing, *PRODUCTS) if packing and chained and not is_kept(job.function)]
    schedules = [] if is_kept(schedule_walk) else [SCHEDULE]
    handed_seconds = START_SECONDS + (CHAIN_SECONDS if chained else 0)
    own, handed = shares([*missing, *schedules], handed_seconds, PRODUCTS_SECONDS if before else 0)
    if chained:
        handed = [RUN_CHAIN.name, *handed]
    # A process takes longer to start than to compile what one of the smaller functions costs.
    if handed in ([], [SCHEDULE]):
        return
    helper = _start(handed)
    try:
        mine = [job for job in jobs if job.name in own]
        compile_all((*before, *(job for job in mine if job.name not in TENSOR_ENGINE)), on_compile)
        if helper and chained and helper.stdout:
            helper.stdout.readline()
        compile_all((job for job in mine if job.name in TENSOR_ENGINE), on_compile)
        if helper:
            helper.communicate()
    finally:
        # Interrupted: nothing depends on what it would still compile.
        if helper and helper.poll() is None:
            helper.kill()
            helper.wait()


def shares(names: Iterable[str], handed_seconds: float, own_seconds: float) -> tuple[list[str], list[str]]:
    """Share out functions, so that this process and the other end together; return those of each.

    The seconds are what each has to do anyway. The schedule, which this process has not been asked for, is handed over;
    what needs no chain comes next, for this process has time until there is one.
    """
    own: list[str] = []
    handed: list[str] = []

    def order(name: str) -> tuple[bool, bool, int, str]:
        return name != SCHEDULE, name in TENSOR_ENGINE, -SECONDS.get(name, OTHERS), name

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
    """Compile functions by name: the chain first, saying so in a line, then the others as they are named."""
    if RUN_CHAIN.name in names:
        compile_all([RUN_CHAIN])
        print(RUN_CHAIN.name, flush=True)
    jobs = {job.name: job for job in run_jobs(KERNELS)}
    compile_all(jobs[name] for name in names if name in jobs)
    if SCHEDULE in names:
        # numba learns its types from a call.
        core = Core((build("end"),), (Line("", 1, ""),), (), ())
        chip = load_chip(DEFAULT_CHIP)
        schedule(load(Program("nothing", chip, "hardware", (core,)), chip))


if __name__ == "__main__":
    main(sys.argv[1:])
