"""Loops whose iterations are skipped: the same races as where they are followed one by one, and as by brute force."""

import pytest
from hypothesis import given, settings

import ratel
from emulator.checker.races import find_races
from emulator.plan.load import load
from isa.chip import load_chip
from isa.program import Program
from ratel.testing.programs import looped_programs
from tests.emulator.checker.plain_races import racing_pairs

CHIP = load_chip("edge", memory__lm_bytes=2**19)


def pairs(program: Program, skips: bool = True) -> set:
    found = find_races(load(program, CHIP), skips, every=True)
    assert found.verdict == ("race" if found.races else "proven"), found.why
    return {((race.first.core, race.first.index), (race.second.core, race.second.index)) for race in found.races}


@settings(max_examples=100, deadline=None)
@given(looped_programs(most_trips=5))
def test_skipped_iterations_are_judged_as_by_brute_force(program: Program) -> None:
    assert pairs(program) == pairs(program, skips=False)
    if program.cores[0].executions <= 100:
        assert pairs(program) == racing_pairs(program)


@settings(max_examples=30, deadline=None)
@given(looped_programs(most_trips=12))
def test_skipped_iterations_are_judged_as_one_by_one(program: Program) -> None:
    if program.cores[0].executions <= 2000:
        assert pairs(program) == pairs(program, skips=False)


KERNEL = """
.chip zhenwu810e
.order compiler
.equ TILE = 16
.equ ROWS = 1000
.equ COLUMNS = 1001
.input a i8[ROWS*TILE, 256] in dev
.input b i8[COLUMNS*TILE, 256] in dev
.output c i32[ROWS*TILE, COLUMNS*TILE] in dev
.local a_tile i8[2, TILE, 256]
.local b_tile i8[2, TILE, 256]
.local c_tile i32[2, TILE, TILE]
loop m, ROWS
    (w.t) load a_tile[m % 2], a[m*TILE : +TILE]
    load b_tile[0], b[0:TILE]
    (w.m) matmul c_tile[0], a_tile[m % 2], b_tile[0], transpose_w
    loop n, COLUMNS - 1
        load b_tile[1 - n % 2], b[n*TILE + TILE : +TILE]
        (w.t) store c[m*TILE : +TILE, n*TILE : +TILE], c_tile[n % 2]
        (w.m) matmul c_tile[1 - n % 2], a_tile[m % 2], b_tile[1 - n % 2], transpose_w
    brnz n
    (w.t) store c[m*TILE : +TILE, (COLUMNS - 1)*TILE : +TILE], c_tile[(COLUMNS - 1) % 2]
brnz m
end
"""


@pytest.mark.parametrize(
    ("line", "mutant", "lines", "causes"),
    [
        ("", "", set(), set()),
        (
            "(w.t) store c[m*TILE : +TILE, n",
            "store c[m*TILE : +TILE, n",
            {(16, 18), (20, 19), (20, 18), (16, 19)},
            {(16, 19)},
        ),
        ("(w.m) matmul c_tile[1", "matmul c_tile[1", {(18, 20), (19, 20)}, {(18, 20)}),
        # The buffer of the multiply that is running: wrong parity.
        ("load b_tile[1 - n", "load b_tile[n", {(16, 18), (20, 18)}, {(16, 18)}),
    ],
)
def test_a_million_iterations_are_not_unrolled(
    line: str, mutant: str, lines: set[tuple[int, int]], causes: set[tuple[int, int]]
) -> None:
    plan = load(ratel.assemble(KERNEL.replace(line, mutant) if line else KERNEL), load_chip("zhenwu810e"), 1)
    code = plan.cores[0].core.lines
    for every, expected in ((True, lines), (False, causes)):
        found = find_races(plan, every=every)
        assert found.verdict == ("race" if lines else "proven")
        assert {(code[r.first.index].number, code[r.second.index].number) for r in found.races} == expected


def test_searches_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where those of a program are too many together, what is short enough is followed one by one."""
    monkeypatch.setattr("emulator.checker.iteration_sets.MOST_EFFORT", 100)
    monkeypatch.setattr("emulator.checker.happens_before.MOST_WALKED", 1_000)
    long = find_races(load(ratel.assemble(KERNEL), load_chip("zhenwu810e"), 1))
    assert long.verdict == "not proven" and long.why.startswith("more than 1,000 instructions")
    short = KERNEL.replace("ROWS = 1000", "ROWS = 4").replace("COLUMNS = 1001", "COLUMNS = 4")
    assert find_races(load(ratel.assemble(short), load_chip("zhenwu810e"), 1)).verdict == "proven"
