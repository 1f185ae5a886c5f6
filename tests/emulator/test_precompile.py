"""What a first run compiles, in this process and in another."""

import subprocess
import sys
from pathlib import Path

import pytest

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import run_jobs
from emulator.jit.cache import ROOT
from emulator.kernels.table import KERNELS, PRODUCTS
from emulator.precompile import OTHERS, SCHEDULE, SECONDS, shares

NAMES = [job.name for job in run_jobs(KERNELS)]


@pytest.mark.parametrize("seconds", [(0, 0), (8, 5), (1, 0), (100, 0), (0, 100)])
def test_everything_is_shared_out_once(seconds: tuple[int, int]) -> None:
    own, handed = shares([*NAMES, SCHEDULE], *seconds)
    assert sorted([*own, *handed]) == sorted({*NAMES, SCHEDULE})
    assert SCHEDULE in handed


def test_a_first_run_leaves_neither_process_idle() -> None:
    """Both end within the time of one function, and begin with the largest."""
    names = [*NAMES[:12], SCHEDULE]
    seconds = [[SECONDS.get(name, OTHERS) for name in share] for share in shares(names, 0.5, 5)]
    assert abs(sum(seconds[0]) + 5 - sum(seconds[1]) - 0.5) <= OTHERS
    assert all(share == sorted(share, reverse=True) for share in seconds)


def test_names_are_unique() -> None:
    """Two opcodes may share a kernel, but the second process finds what to compile by name."""
    others = [*(job.name for job in PRODUCTS), SCHEDULE]
    assert len({*NAMES, *others}) == len(NAMES) + len(others)
    assert [job.name for job in packing_jobs(KERNELS)] == [
        f"the packing of {name}'s weights" for name in ("conv", "dwconv", "matmul")
    ]


FIRST = """
import sys
from emulator import precompile
from emulator.jit.cache import home
from emulator.kernels import table
from emulator.timing.timeline import JOBS
from isa.table import MNEMONICS

named = []
precompile.compile_run([MNEMONICS[name].opcode for name in sys.argv[1:]], named.append)
for job in table.PRODUCTS:
    # By one set of types each: what was compiled ahead is what the kernels asked for.
    index = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbi")]
    code = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbc")]
    assert len(index) == len(code) == 1, (job.name, code)
assert all(job.is_kept for job in JOBS)
again = []
precompile.compile_run([MNEMONICS[name].opcode for name in sys.argv[1:]], again.append)
assert named and not again
"""


@pytest.mark.parametrize("processors", [1, 2])
def test_a_first_run_compiles_everything(tmp_path: Path, processors: int) -> None:
    """With a second process, what was compiled ahead is what kernels ask for; a second run compiles nothing."""
    if processors == 1:
        code = f"import os\nos.cpu_count = lambda: 1\n{FIRST.split('for job in')[0]}assert named"
        mnemonics = ["fill"]
    else:
        code, mnemonics = f"import os\nos.cpu_count = lambda: 2\n{FIRST}", ["conv", "fill"]
    done = subprocess.run(
        [sys.executable, "-c", code, *mnemonics],
        cwd=ROOT,
        env={"RATEL_CACHE": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
