"""What a first run compiles, in this process and in another."""

import subprocess
import sys
from pathlib import Path

import pytest

from emulator.execute.prepack import packing_jobs
from emulator.execute.walkers import run_jobs
from emulator.jit.cache import ROOT
from emulator.kernels.table import ALL_KERNELS, PRODUCTS
from emulator.precompile import OTHERS, SCHEDULE, SECONDS, shares

NAMES = [job.name for job in run_jobs(ALL_KERNELS)]


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
    packing = [job.name for job in packing_jobs(ALL_KERNELS)]
    assert len({*NAMES, *others, *packing}) == len(NAMES) + len(others) + len(packing)


FIRST = """
import sys
from emulator import precompile
from emulator.jit.cache import home
from emulator.kernels import table
from emulator.plan.load import load
from emulator.timing.timeline import JOBS
from ratel import assemble, load_chip

named, plan = [], load(assemble(sys.argv[1]), load_chip("edge"))
precompile.compile_run(plan, 1, named.append)
for job in table.PRODUCTS:
    # By one set of types each: what was compiled ahead is what the kernels asked for.
    index = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbi")]
    code = [path for path in home().folder.glob(f"*/*.{job.function.py_func.__name__}-*.nbc")]
    assert len(index) == len(code) == 1, (job.name, code)
assert all(job.is_kept for job in JOBS)
again = []
precompile.compile_run(plan, 1, again.append)
assert named and not again
"""


# Too long to be scheduled as Python.
LOOPED = "loop i, 5000\n{}\nbrnz i\nend"


@pytest.mark.parametrize("processors", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_first_run_compiles_everything(tmp_path: Path, processors: int) -> None:
    """With a second process, what was compiled ahead is what kernels ask for; a second run compiles nothing."""
    if processors == 1:
        code = f"import os\nos.cpu_count = lambda: 1\n{FIRST.split('for job in')[0]}assert named"
        text = f".local y i8[16]\n{LOOPED.format('fill y, value=1')}"
    else:
        code = f"import os\nos.cpu_count = lambda: 2\n{FIRST}"
        text = ".local x i8[1, 4, 4, 4]\n.local w i8[4, 1, 1, 4]\n.local y f32[1, 4, 4, 4]\n" + LOOPED.format(
            "fill x, value=1\nconv y, x, w"
        )
    done = subprocess.run(
        [sys.executable, "-c", code, text],
        cwd=ROOT,
        env={"RATEL_CACHE": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


SHORT = """
from emulator.kernels.table import BY_STAGES, ONE_PASS
from emulator.timing.timeline import JOBS
from ratel import assemble, run

text = '''.chip edge
.input x i8[4, 16] scale=0.5 = 3
.const c f32[16] = 0.5
.const f f32[16] = 1e30
.weight w i8[16, 16] scale=0.5 = 2
.output y i8[4, 16] scale=0.5
.output z i8[4, 16]
matmul y, x, w, relu
{}
end'''
named = []
found = run(assemble(text.format("")), on_compile=named.append)
assert found.cycles and found.timeline.compute_path()
assert not any(job.is_kept for job in (BY_STAGES, *JOBS)) and ONE_PASS.is_kept, named
# Types say that one pass is enough, and the numbers do not.
named.clear()
again = run(assemble(text.format("matmul z, x, w, ew1_scale=f")), on_compile=named.append)
assert any("the chain by stages" in name for name in named), named
assert (again.outputs["z"] == 127).all() and (again.outputs["y"] == found.outputs["y"]).all()
"""


@pytest.mark.slow
def test_a_short_program_compiles_neither_schedule_nor_stages(tmp_path: Path) -> None:
    """Until a chain turns out to need its stages: then they are compiled in the middle of the run."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT],
        cwd=ROOT,
        env={"RATEL_CACHE": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
