"""What a run needs, compiled: on a first run with the help of a second process.

numba compiles one function at a time in a process, and the cache on disk is one for all processes. What the second does
not get done the first compiles itself, so nothing depends on it. The tensor engine's kernels stay with the first: they
have the chain in common, which is typed once for all of them.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from emulator.jit import FOLDER, ROOT, Job, compile_all, is_kept, quiet
from emulator.kernels import KERNELS, kernel_jobs
from emulator.plan import load
from emulator.schedule import walk as schedule_walk
from emulator.timeline import schedule
from emulator.walk import signature, walk
from isa.chip import load_chip
from isa.instruction import build
from isa.program import Core, Line, Program
from isa.table import MNEMONICS

SCHEDULE = "the schedule"
TENSOR_ENGINE = {job.name for job in kernel_jobs(row.opcode for row in MNEMONICS.values() if row.engine == "te")}


def compile_run(opcodes: Iterable[int], on_compile: Callable[[str], None] | None) -> Callable[..., Any]:
    """Load from the cache, or compile, the kernels of these opcodes and the loop over instructions; return the latter.

    The schedule, which most runs need in the end, is only handed to the second process.
    """
    jobs = run_jobs(opcodes)
    missing = [job.name for job in jobs if not is_kept(job.function)]
    if not is_kept(schedule_walk):
        missing.append(SCHEDULE)
    handed = [name for name in missing if name not in TENSOR_ENGINE]
    if handed == missing:
        handed = handed[1:]
    # A process takes longer to start than to compile what one of the smaller functions costs.
    if handed and handed != [SCHEDULE] and (os.cpu_count() or 1) > 1:
        helper = _start(handed)
        compile_all((job for job in jobs if job.name not in handed), on_compile)
        if helper:
            helper.wait()
    return compile_all(jobs, on_compile)[-1]


def run_jobs(opcodes: Iterable[int]) -> list[Job]:
    return [*kernel_jobs(opcodes), Job("the loop over instructions", walk, signature(len(KERNELS)))]


def _start(names: Sequence[str]) -> subprocess.Popen[bytes] | None:
    # It imports what we did, and nothing from the present folder.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "RATEL_CACHE": str(FOLDER.parent)}
    nothing = subprocess.DEVNULL
    try:
        command = [sys.executable, "-P", "-m", __name__, *names]
        return subprocess.Popen(command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing)
    except OSError:
        return None


def main(names: Sequence[str]) -> None:
    """Compile functions by name."""
    compile_all(job for job in run_jobs(KERNELS) if job.name in names)
    if SCHEDULE in names:
        # numba learns its types from a call.
        core = Core((build("end"),), (Line("", 1, ""),), (), ())
        with quiet():
            schedule(load(Program("nothing", "hanguang800", "hardware", (core,)), load_chip("hanguang800")))


if __name__ == "__main__":
    main(sys.argv[1:])
