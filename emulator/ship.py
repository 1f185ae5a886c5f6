"""Objects for a wheel: all that a run may need, compiled for each target, where the wheel's files are taken from.

`python -m emulator.ship` takes some minutes. Each target has a process of its own, in which numba compiles for it
rather than for this host.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import STRIPES, run_jobs
from emulator.jit import objects
from emulator.jit.compile import text
from emulator.jit.forms import chosen_form
from emulator.jit.jobs import Job, compile_all
from emulator.jit.targets import SHIPPED, TARGETS, folder_of
from emulator.kernels.table import ALL_KERNELS
from emulator.timing.timeline import JOBS


def all_jobs() -> list[Job]:
    """Return all that any program needs compiled."""
    return [*packing_jobs(ALL_KERNELS), *run_jobs(ALL_KERNELS), STRIPES, *JOBS]


def ship(name: str) -> None:
    """Compile everything for a target, in a process that has been told to."""
    assert chosen_form() == TARGETS[name].form, (name, chosen_form())
    folder = folder_of(name)
    folder.mkdir(parents=True)
    for job in all_jobs():
        compile_all([job])
        code = job.function.code(job.types)
        assert code, f"{job.name} needs more than an object may"
        path = folder / objects.name_of(job.function, text(job.types), "")
        objects.write(path, code)
        assert objects.read(path) == code, path
        # As it is in the cache, others may not read it.
        path.chmod(0o644)


def ship_all() -> None:
    """Compile everything for all targets, in place of what was there."""
    shutil.rmtree(SHIPPED, ignore_errors=True)

    def begin(name: str) -> None:
        with tempfile.TemporaryDirectory() as cache:
            target = TARGETS[name]
            features = ",".join(["-prefer-256-bit", *(f"+{feature}" for feature in target.features)])
            of_target = {"NUMBA_CPU_NAME": target.processor, "NUMBA_CPU_FEATURES": features, "RATEL_CACHE": cache}
            environment = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "RATEL_"))}
            subprocess.run([sys.executable, "-m", "emulator.ship", name], env=environment | of_target, check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(begin, TARGETS))


def main(arguments: Sequence[str]) -> None:
    """Ship for all targets, or for the one that is named."""
    if arguments:
        ship(arguments[0])
    else:
        ship_all()


if __name__ == "__main__":
    main(sys.argv[1:])
