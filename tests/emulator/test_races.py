"""Races: the verdict against brute force, over programs and over those with wait bits taken away, and what it says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from emulator.plan import load
from emulator.races import MOST_EXECUTIONS, find_races
from isa.chip import load_chip
from isa.errors import Trap
from isa.program import Program
from ratel.command import main
from tests.emulator.plain_races import racing_pairs
from tests.strategies import programs, programs_of_cores

PROGRAMS = Path(__file__).parents[2] / "programs"


def hold_against_brute_force(program: Program) -> None:
    chip = load_chip("edge" if len(program.cores) == 1 else "hanguang800", memory__lm_bytes=2**19)
    verdict = find_races(load(program, chip, 1))
    expected = racing_pairs(program, chip)
    found = {((race.first.core, race.first.index), (race.second.core, race.second.index)) for race in verdict.races}
    assert verdict.verdict == ("race" if expected else "proven")
    assert set(map(frozenset, found)) <= set(map(frozenset, expected))
    if len(program.cores) == 1:
        # The last access before it stands for all of its queue that race with it.
        assert found <= expected
        assert {second for _, second in found} == {second for _, second in expected}


@settings(max_examples=60, deadline=None)
@given(programs(dev=False), st.sampled_from(("compiler", "compiler", "hardware")))
def test_one_core_is_judged_as_by_brute_force(program: Program, order: str) -> None:
    hold_against_brute_force(replace(program, order=order))


@settings(max_examples=60, deadline=None)
@given(programs_of_cores(least=2))
def test_cores_are_judged_as_by_brute_force(program: Program) -> None:
    hold_against_brute_force(program)


DOUBLE_BUFFER = """
.order compiler
.input x i8[8, 16] in host
.local tile i8[2, 16]
.output y i8[8, 16] in host

loop k, 8
    (w.m) load tile[k % 2], x[k]
    (w.m) store y[k], tile[k % 2]
brnz k
end
"""

POOLED = """
.order compiler
.input x i8[1, 4, 4, 16]
.local a i8[1, 4, 4, 16]
.local b i8[1, 4, 4, 16]
.output y i8[1, 4, 4, 16]

copy a, x
(w.m) maxpool b, a, window=1
{}copy y, b
end
"""


def test_a_missing_wait_is_a_race_with_its_fix() -> None:
    assert ratel.check(ratel.assemble(POOLED.format("(w.p) "), chip="edge")).verdict == "proven"
    program = ratel.assemble(POOLED.format(""), chip="edge")
    verdict = ratel.check(program)
    assert verdict.verdict == "race"
    (race,) = verdict.races
    assert [(access.index, access.kind) for access in (race.first, race.second)] == [(1, "write"), (2, "read")]
    assert race.tensor == "byte 0 of b"
    assert race.fix.startswith("add the wait bit `p` to")


def test_each_wait_bit_of_a_program_is_judged_as_by_brute_force() -> None:
    path = PROGRAMS / "blocks" / "overlap.npu"
    program = ratel.assemble(path.read_text(), path)
    core = program.cores[0]
    verdicts = []
    for k, instruction in enumerate(core.code):
        for bit in (1, 2, 4):
            if instruction.waits & bit:
                code = (*core.code[:k], replace(instruction, waits=instruction.waits & ~bit), *core.code[k + 1 :])
                mutant = replace(program, cores=(replace(core, code=code),))
                plan = load(mutant, load_chip(mutant.chip))
                verdicts.append(find_races(plan).verdict)
                assert (verdicts[-1] == "race") == bool(racing_pairs(mutant, plan.chip))
    assert "race" in verdicts


def test_one_queue_is_in_order() -> None:
    assert ratel.check(ratel.assemble(DOUBLE_BUFFER, chip="edge")).verdict == "proven"


def test_what_is_too_long_is_not_proven() -> None:
    text = DOUBLE_BUFFER.replace("loop k, 8", f"loop n, {MOST_EXECUTIONS}\nloop k, 8").replace(
        "brnz k", "brnz k\nbrnz n"
    )
    verdict = ratel.check(ratel.assemble(text, chip="edge"))
    assert verdict.verdict == "not proven"
    assert "it executes 1,600,000 instructions" in verdict.why


def test_a_deadlock_is_a_trap() -> None:
    text = ".semaphore s\n.local a i8[4]\nwait s, me\ncopy a, a\nsignal s, me\nend\n"
    with pytest.raises(Trap, match="deadlock"):
        ratel.check(ratel.assemble(text.replace("copy a, a\n", ""), chip="edge"))


def test_the_command_says_which_lines_race(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pooled.npu"
    path.write_text(".chip edge" + POOLED.format(""))
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().err.replace("\n", " ")
    assert "pooled.npu:10: copy y, b: its read of byte 0 of b races with the write by" in shown
    assert "pooled.npu:9: (w.m) maxpool b, a, window=1" in shown and "add the wait bit `p`" in shown
    assert main(["check", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["races"][0]["address"] == 512
    path.write_text(".chip edge" + POOLED.format("(w.p) "))
    assert main(["check", str(path)]) == 0
    assert "proven free of races" in capsys.readouterr().out
