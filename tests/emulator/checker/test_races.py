"""Races: the verdict against brute force, over programs and over those with wait bits taken away, and what it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from emulator.checker.findings import Edit
from emulator.checker.iteration_sets import common_byte
from emulator.checker.races import Races, find_races
from emulator.plan.load import load
from isa.chip import load_chip
from isa.program import Program
from isa.row import ENGINES
from ratel.cli.main import main
from ratel.testing.programs import looped_programs, programs, programs_of_cores, racy_programs
from tests.emulator.checker.plain_races import Pair, racing_pairs

PROGRAMS = Path(__file__).parents[3] / "programs"


def hold_against_brute_force(program: Program) -> None:
    chip = load_chip("edge" if len(program.cores) == 1 else "hanguang800", memory__lm_bytes=2**19)
    plan = load(program, chip, 1)
    found = find_races(plan, every=True)
    expected = racing_pairs(program)
    pairs = {((race.first.core, race.first.index), (race.second.core, race.second.index)) for race in found.races}
    assert found.verdict == ("race" if expected else "proven")
    # Of one core both say which comes first; of two neither does.
    assert pairs == expected if len(program.cores) == 1 else set(map(frozenset, pairs)) == set(map(frozenset, expected))
    hold_causes(program, find_races(plan), expected)


def hold_causes(program: Program, found: Races, expected: set[Pair]) -> None:
    """Of one cause one race is told, which is one; of one core their wait bits are enough to leave none."""
    assert found.verdict == ("race" if expected else "proven")
    pairs = [((race.first.core, race.first.index), (race.second.core, race.second.index)) for race in found.races]
    assert set(map(frozenset, pairs)) <= set(map(frozenset, expected))
    if len(program.cores) == 1:
        (core,) = program.cores
        code = list(core.code)
        for (_, y), (_, x) in pairs:
            bit = 1 << ENGINES.index(code[y].engine)
            assert not code[x].waits & bit, "a wait that is missing"
            code[x] = replace(code[x], waits=code[x].waits | bit)
        assert not racing_pairs(replace(program, cores=(replace(core, code=tuple(code)),)))


@settings(max_examples=60, deadline=None)
@given(programs(dev=False), st.sampled_from(("compiler", "compiler", "hardware")))
def test_one_core_is_judged_as_by_brute_force(program: Program, order: str) -> None:
    hold_against_brute_force(replace(program, order=order))


@settings(max_examples=60, deadline=None)
@given(looped_programs() | racy_programs().map(lambda drawn: drawn[0]))
def test_what_races_is_judged_as_by_brute_force(program: Program) -> None:
    hold_against_brute_force(program)


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
    (finding,) = verdict.findings
    (note,) = finding.notes
    assert (finding.code, finding.place.index, note[1].index) == ("C101", 2, 1)
    assert finding.message == "this read of byte 0 of b races with a write by engine pe"
    assert finding.edits == (Edit(0, 2, "add wait", "p"),)


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
                plan = load(mutant, mutant.chip)
                verdicts.append(find_races(plan).verdict)
                assert (verdicts[-1] == "race") == bool(racing_pairs(mutant))
    assert "race" in verdicts


def test_one_queue_is_in_order() -> None:
    assert ratel.check(ratel.assemble(DOUBLE_BUFFER, chip="edge")).verdict == "proven"


# Two cores, which race if anything of one conflicts with the other's: so all has to be followed one by one.
MEETING = """
.chip hanguang800
.semaphore full
.semaphore empty
.core 0
.local a i8[2, 1, 1, 16]
loop n, {count}
    copy core1.b[n % 2 : +1], a[n % 2 : +1]
    signal full, me
    wait empty, me
brnz n
end
.core 1
.local b i8[2, 1, 1, 16]
.local c i8[1, 1, 1, 16]
loop n, {count}
    wait full, pe
    maxpool c, b[n % 2 : +1], window=1
    signal empty, pe
brnz n
end
"""


@pytest.fixture
def follow_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.checker.happens_before.MOST_WALKED", 1_000)


TOO_LONG = "more than 1,000 instructions would have to be followed one by one"


@pytest.mark.usefixtures("follow_few")
def test_what_is_too_long_is_not_proven() -> None:
    assert ratel.check(ratel.assemble(MEETING.format(count=100))).verdict == "proven"
    verdict = ratel.check(ratel.assemble(MEETING.format(count=10**6)))
    assert (verdict.verdict, verdict.why) == ("not proven", TOO_LONG)


@pytest.mark.usefixtures("follow_few")
def test_a_race_is_told_though_the_rest_is_too_long() -> None:
    text = MEETING.format(count=10**6).replace("    wait full, pe\n", "")
    verdict = ratel.check(ratel.assemble(text))
    assert (verdict.verdict, verdict.why) == ("race", TOO_LONG)
    assert [finding.code for finding in verdict.findings][:2] == ["C101", "C302"]


def test_tasks_that_differ_are_not_followed_without_end() -> None:
    """In hardware order their addresses say what is ordered: here 2,000 of 600 instructions."""
    text = MEETING.format(count=100).replace("a[n % 2", "a[task % 2000").replace("a i8[2", "a i8[2000")
    assert ratel.check(ratel.assemble(text), tasks=100).verdict == "proven"
    verdict = ratel.check(ratel.assemble(text), tasks=5000)
    assert verdict.verdict == "not proven"
    assert verdict.why == "2,000 tasks that differ, of 1,200,000 instructions, would have to be followed one by one"


def test_a_deadlock_is_a_finding() -> None:
    text = ".semaphore s\n.local a i8[4]\nwait s, me\nsignal s, me\nend\n"
    verdict = ratel.check(ratel.assemble(text))
    assert verdict.verdict == "deadlock" and not verdict.passed
    assert verdict.summary()["verdict"] == "deadlock"
    (finding,) = verdict.findings
    assert finding.code == "C301" and "core 0 waits for a signal of semaphore `s`" in finding.message


def test_the_command_says_which_lines_race(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pooled.npu"
    path.write_text(".chip edge" + POOLED.format(""))
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().err
    assert "error[C101]: this read of byte 0 of b races with a write by engine pe" in shown
    assert "pooled.npu:10:1" in shown and "10 | copy y, b" in shown and "add the wait bit `p`" in shown
    assert "pooled.npu:9:1" in shown and "pooled: 1 error" in shown
    assert main(["check", str(path), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["place"]["line"], finding["notes"][0]["place"]["line"]) == (10, 9)
    path.write_text(".chip edge" + POOLED.format("(w.p) "))
    assert main(["check", str(path)]) == 0
    assert "proven free of races" in capsys.readouterr().out


# Pairs of instructions, of which each conflicts with all of the other engine; and copies that meet no other's byte.
CONFLICTING = "maxpool b, a, window=1\ncopy a, b\n"
APART = "maxpool y[{k}], x[{k}], window=1\ncopy z[{k}], x[{k}]\n"
MANY = """
.chip hanguang800
.order compiler
.input x i8[300, 1, 2, 2, 16]
.local a i8[1, 2, 2, 16]
.local b i8[1, 2, 2, 16]
.output y i8[300, 1, 2, 2, 16]
.output z i8[300, 1, 2, 2, 16]
copy a, x[0]
{}end
"""


@pytest.mark.parametrize(
    ("pair", "races", "compared"),
    # A race for each wait that is missing; what meets in no byte by its bounds is not compared at all.
    [(CONFLICTING, 2, 2), (CONFLICTING.replace("max", "(w.m) max").replace("copy", "(w.p) copy"), 0, 0), (APART, 0, 0)],
)
def test_the_work_grows_with_what_is_told(
    pair: str, races: int, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def counted(*of: Any, **named: Any) -> Any:
        searched.append(of)
        return common_byte(*of, **named)

    monkeypatch.setattr("emulator.checker.races.common_byte", counted)
    for pairs in (50, 300):
        searched.clear()
        text = MANY.format("".join(pair.format(k=k) for k in range(pairs)))
        found = find_races(load(ratel.assemble(text), load_chip("hanguang800"), 1))
        assert len(found.races) == races * pairs and not found.why
        assert len(searched) <= compared * pairs


def test_only_so_many_races_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.checker.races.MOST_RACES", 7)
    found = find_races(load(ratel.assemble(MANY.format(20 * CONFLICTING)), load_chip("hanguang800"), 1))
    assert (found.verdict, len(found.races), found.why) == ("race", 7, "only the first 7 races are told")


# Halves of one tensor: their bounds meet, and no byte.
HALVES = "copy t[:, :, :, 0:16], b\nmaxpool c, t[:, :, :, 16:32], window=1\n"


def test_searches_of_one_program_share_what_they_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.checker.iteration_sets.MOST_EFFORT", 200)
    tensors = "".join(f".local {name} i8[1, 2, 2, {size}]\n" for name, size in (("t", 32), ("b", 16), ("c", 16)))
    verdicts = []
    for pairs in (3, 30):
        program = ratel.assemble(f".chip edge\n.order compiler\n{tensors}{pairs * HALVES}end\n")
        found = find_races(load(program, load_chip("edge"), 1))
        verdicts.append((found.verdict, found.why))
    assert verdicts == [("proven", ""), ("not proven", "too many accesses would have to be compared byte by byte")]
