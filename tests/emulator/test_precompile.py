"""What a first run compiles, in this process and in another."""

import subprocess
import sys
from pathlib import Path

import pytest

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import run_jobs
from emulator.jit.cache import ROOT
from emulator.kernels.table import KERNELS, PRODUCTS
from emulator.precompile import RUN_CHAIN, SCHEDULE, TENSOR_ENGINE, shares

NAMES = [job.name for job in run_jobs(KERNELS)]


@pytest.mark.parametrize("seconds", [(0, 0), (8, 5), (1, 0), (100, 0), (0, 100)])
def test_everything_is_shared_out_once(seconds: tuple[int, int]) -> None:
    own, handed = shares([*NAMES, SCHEDULE], *seconds)
    assert sorted([*own, *handed]) == sorted({*NAMES, SCHEDULE})
    assert SCHEDULE in handed


def test_a_first_run_leaves_neither_process_idle() -> None:
    """While the second compiles the chain, the first has what does without."""
    own, handed = shares([f"the kernel of {name}" for name in ("conv", "matmul", "maxpool")], 8, 5)
    assert (own, handed) == (["the kernel of maxpool", "the kernel of conv"], ["the kernel of matmul"])
    assert TENSOR_ENGINE.isdisjoint(own[:1])


def test_names_are_unique() -> None:
    """Two opcodes may share a kernel, but the second process finds what to compile by name."""
    others = [RUN_CHAIN.name, *(job.name for job in PRODUCTS), SCHEDULE]
    assert len({*NAMES, *others}) == len(NAMES) + len(others)
    assert [job.name for job in packing_jobs(KERNELS)] == [
        "the packing of conv's weights",
        "the packing of matmul's weights",
    ]


FIRST = """
import sys
from emulator import precompile
from emulator.jit.cache import home, is_kept
from emulator.kernels import table
from emulator.timing.schedule import walk
from isa.table import MNEMONICS

named = []
precompile.compile_run([MNEMONICS[name].opcode for name in sys.argv[1:]], named.append)
for job in (table.RUN_CHAIN, *table.PRODUCTS):
    # By one set of types each: what was compiled ahead is what the kernels asked for.
    index = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbi")]
    code = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbc")]
    assert len(index) == len(code) == 1, (job.name, code)
assert is_kept(walk)
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
