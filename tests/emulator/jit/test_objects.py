"""Machine code of one function: kept, shipped, loaded and called without numba."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from emulator.jit import cache, objects
from emulator.jit.compile import Function, hot
from emulator.jit.jobs import Job, compile_all
from emulator.jit.numba_private import is_known
from emulator.jit.targets import TARGETS

pytestmark = pytest.mark.skipif(not is_known(), reason="of this numba no objects are kept")


class Pair(NamedTuple):
    values: np.ndarray
    factor: float


def pick(pair: Pair, at: int, negated: bool) -> int:
    if at >= pair.values.shape[0]:
        raise IndexError("behind the last")
    if at < 0:
        return np.empty(1 << 62, np.uint8).size
    value = pair.values[at, 1] * pair.factor
    return int(-value if negated else value)


def types_of_pick() -> object:
    from numba import types

    pair = types.NamedTuple([types.int64[:, ::1], types.float64], Pair)
    return types.int64(pair, types.int64, types.boolean)


def twice(values: np.ndarray) -> None:
    values *= 2


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "cache"))
    cache.home.cache_clear()
    yield tmp_path / "cache"
    cache.home.cache_clear()


def prepared(function: Function, types: object) -> list[str]:
    """Return what was compiled as a function was made ready."""
    named: list[str] = []
    compile_all([Job("it", function, types)], named.append)  # type: ignore[arg-type]
    return named


def test_arguments_results_and_what_is_raised(root: Path) -> None:
    """Arrays, numbers of each kind and tuples of them are handed over; what compiled code raises is raised."""
    for expected in (["it"], []):
        function = hot(pick)
        assert prepared(function, types_of_pick) == expected
        pair = Pair(np.arange(6).reshape(3, 2), 2.5)
        assert [function(pair, 2, negated) for negated in (False, True)] == [12, -12]
        with pytest.raises(IndexError, match="behind the last"):
            function(pair, 3, False)
        with pytest.raises(MemoryError):
            function(pair, -1, False)
        assert function(pair, 1, False) == 7


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "noise", "gone"])
def test_what_is_damaged_is_made_anew(root: Path, damage: str) -> None:
    assert prepared(hot(twice), "void(int64[::1])") == ["it"]
    (path,) = root.glob("*/objects/*")
    whole = path.read_bytes()
    half = len(whole) // 2
    if damage == "gone":
        path.unlink()
    else:
        noise = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        path.write_bytes({"empty": b"", "junk": b"junk", "cut": whole[:half], "noise": noise}[damage])
    again = hot(twice)
    assert prepared(again, "void(int64[::1])") == ["it"]
    values = np.arange(3)
    again(values)
    assert values.tolist() == [0, 2, 4]
    assert [file.name for file in root.glob("*/objects/*")] == [path.name] and objects.read(path)
    assert prepared(hot(twice), "void(int64[::1])") == []


def test_other_types_are_another_object(root: Path) -> None:
    for kind in ("int64", "float32", "int64"):
        function, values = hot(twice), np.arange(3).astype(kind)
        prepared(function, f"void({kind}[::1])")
        function(values)
        assert values.tolist() == [0, 2, 4]
    assert len(list(root.glob("*/objects/*"))) == 2


SECOND = """
import sys
import numpy as np
from emulator.jit import cache, numba_private, targets
from emulator.jit.jobs import compile_all
from emulator.timing.timeline import JOBS
job, named = JOBS[1], []
{before}
compile_all([job], named.append)
given = [np.zeros((0, 1), np.int64)] * 4, np.zeros(1, np.int64)
assert job.function(*given[0], given[1], 1) == 0
print(named, "numba" in sys.modules, cache.cache_root().exists())
{after}
"""


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, cwd=cache.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("changed", [{}, {"NUMBA_BOUNDSCHECK": "1"}, {"NUMBA_OPT": "2"}])
def test_a_second_process_loads_no_numba(tmp_path: Path, changed: dict[str, str]) -> None:
    """And finds the same folder: without numba its options are what they would be with it."""
    after = "before = cache.source_hash(); import numba; assert cache.source_hash() == before"
    script = SECOND.format(before="targets.SHIPPED = cache.ROOT / 'nowhere'", after=after)
    outputs = [run(script, RATEL_CACHE=str(tmp_path), **changed) for _ in range(2)]
    assert outputs == ["['the order of the schedule'] True True", "[] False True"]


def test_what_is_shipped_is_used_and_nothing_kept(tmp_path: Path) -> None:
    """Of the present sources, for processors of this host's kind; by who has numba compile for another, it is not."""
    shipped = f"from pathlib import Path; targets.SHIPPED = Path({str(tmp_path / 'shipped')!r})"
    name = run(
        "from emulator.jit import forms, targets\n"
        "print(next((n for n, t in targets.TARGETS.items() if t.form == forms.chosen_form()), ''))"
    )
    if name not in TARGETS:
        pytest.skip("nothing is shipped for this host")
    make = f"""
{shipped}
from emulator import ship
ship.SHIPPED, ship.all_jobs = targets.SHIPPED, lambda: [job]
ship.ship({name!r})
"""
    run(SECOND.format(before=make, after=""), RATEL_CACHE=str(tmp_path / "first"))
    script = SECOND.format(before=shipped, after="")
    assert run(script, RATEL_CACHE=str(tmp_path / "none")) == "[] False False"
    assert run(script, RATEL_CACHE=str(tmp_path / "own"), NUMBA_CPU_NAME="x86-64-v3").startswith("['the order")
    assert run(script, RATEL_CACHE=str(tmp_path / "less"), NUMBA_OPT="2").startswith("['the order")
    (folder,) = (tmp_path / "shipped").iterdir()
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert run(script, RATEL_CACHE=str(tmp_path / "damaged")).startswith("['the order")
