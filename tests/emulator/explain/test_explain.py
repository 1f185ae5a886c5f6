"""What explains a schedule: slack, breakdown, loops, roofline, what-if; laws over random programs and chips."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from emulator.explain.annotate import annotate
from emulator.explain.breakdown import KINDS, breakdown, by_engine, by_loop
from emulator.explain.roofline import roofline
from emulator.explain.slack import contested, slack
from emulator.explain.what_if import can_have_more, more_and_most, numbers_read, timed, what_if
from emulator.plan.load import load
from emulator.timing.columns import Record
from emulator.timing.stream import stream
from emulator.timing.timeline import schedule
from isa.chip import FIELDS, Chip, load_chip
from isa.instruction import build
from isa.program import Program
from tests.emulator.timing.plain_scheduler import simulate
from tests.emulator.timing.test_schedule import any_programs, chips, crowds, looped, program_of, tile

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(any_programs, chips(), st.data())
def test_slack_is_exact(program: Program, chip: Chip, data: st.DataObject) -> None:
    """One instruction later by its slack leaves the run as long as it was; by more, longer by the excess."""
    timeline = schedule(load(program, chip))
    found = slack(timeline)
    assert found is not None and (found >= 0).all()
    assume(len(found) and not any(contested(timeline.plan)))
    record = data.draw(st.integers(0, len(found) - 1))
    core = int(timeline.records[record, Record.CORE])
    place = record - int((timeline.records[:, Record.CORE] < core).sum())
    for excess in (0, 1, 7):
        cycles = int(found[record]) + excess
        assert simulate(program, chip, (core, place, cycles))[2] == timeline.compute_cycles + excess


@quick
@given(crowds(), chips())
def test_who_holds_what_others_hold_is_not_moved(program: Program, chip: Chip) -> None:
    timeline = schedule(load(program, chip))
    found, held = slack(timeline), contested(timeline.plan)
    assert found is not None
    for (core, index), cycles in zip(
        timeline.records[:, [Record.CORE, Record.INDEX]].tolist(), found.tolist(), strict=True
    ):
        assert cycles == 0 or (cycles > 0 and index not in held[core])


@quick
@given(any_programs, chips())
def test_what_decides_has_no_slack(program: Program, chip: Chip) -> None:
    timeline = schedule(load(program, chip))
    found = slack(timeline)
    assert found is not None
    least: dict[tuple[int, int], int] = {}
    for (core, index), cycles in zip(
        timeline.records[:, [Record.CORE, Record.INDEX]].tolist(), found.tolist(), strict=True
    ):
        least[core, index] = min(cycles, least.get((core, index), cycles))
    for step in timeline.steps():
        if step.reason in ("engine busy", "dependence", "wait", "last", "resource"):
            assert least[step.core, step.index] == 0


@quick
@given(any_programs, chips(), st.integers(1, 5))
def test_breakdowns_add_up(program: Program, chip: Chip, tasks: int) -> None:
    # An address that follows the task is good for the program's own tasks.
    tasks = min(tasks, program.tasks)
    timeline = stream(load(program, chip, tasks)) if tasks > 1 else schedule(load(program, chip))
    parts = breakdown(timeline)
    assert [part.name for part in parts] == list(KINDS) and all(part.cycles >= 0 for part in parts)
    assert sum(part.cycles for part in parts) == timeline.cycles
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert sum(part.cycles for part in by_engine(timeline)) == timeline.cycles
    loops = by_loop(timeline)
    assert sum(loop.own for loop in loops) == timeline.cycles and all(loop.cycles >= loop.own >= 0 for loop in loops)


@quick
@given(any_programs, chips(), st.integers(1, 3))
def test_nothing_beats_its_roofline(program: Program, chip: Chip, tasks: int) -> None:
    tasks = min(tasks, program.tasks)
    timeline = stream(load(program, chip, tasks)) if tasks > 1 else schedule(load(program, chip))
    found = roofline(timeline)
    for point in found.points:
        assert point.bound <= point.cycles * (1 + 1e-12) and point.distance > -1e-9
    assert found.bound <= timeline.cycles * (1 + 1e-12)


@quick
@given(any_programs, chips())
def test_annotated_lines_have_all(program: Program, chip: Chip) -> None:
    # As from files of their own: a drawn line is one instruction.
    cores = tuple(
        replace(core, lines=tuple(replace(line, file=f"core{k}.npu") for line in core.lines))
        for k, core in enumerate(program.cores)
    )
    timeline = schedule(load(replace(program, cores=cores), chip))
    lines = [line for line in annotate(timeline) if not line.is_loop]
    assert sum(line.executions for line in lines) == timeline.instructions
    assert sum(line.cycles for line in lines) == sum(times.busy for times in timeline.engines.values())
    assert sum(line.stall for line in lines) == sum(times.stall for times in timeline.engines.values())
    transfers = timeline.transfer_in + timeline.transfer_out
    at_loops = sum(
        step.cycles
        for step, _ in timeline.path_steps()
        if step.index >= 0 and timeline.plan.cores[step.core].core.code[step.index].row.mnemonic == "loop"
    )
    assert sum(line.path for line in lines) + at_loops == timeline.cycles - transfers


def test_loop_lines_have_the_totals_of_what_they_hold() -> None:
    timeline = schedule(load(looped(build("copy", out=tile(0), x=tile(512)), counts=(3, 5)), load_chip("edge")))
    lines = {line.number: line for line in annotate(timeline)}
    assert (lines[1].executions, lines[2].executions, lines[3].executions) == (3, 15, 15)
    assert lines[1].is_loop and lines[1].cycles == lines[2].cycles == lines[3].cycles == 15 * 8
    assert lines[3].stalled_by == "dependence" and lines[3].slack == 0
    outer, inner, none = by_loop(timeline)
    assert (outer.trips, inner.trips, none.core) == (3, 5, None) and outer.cycles >= inner.cycles > 100


@settings(quick, max_examples=8)
@given(any_programs, chips())
def test_only_numbers_read_matter(program: Program, chip: Chip) -> None:
    plan = load(program, chip)
    read, cycles = numbers_read(plan), timed(plan).cycles
    unread = [key for key in FIELDS if key in chip.values and can_have_more(key) and key not in read]
    assert unread
    for key in unread:
        more, _ = more_and_most(chip, key)
        assert timed(load(program, chip.replace(**{key: more}))).cycles == cycles, key


@settings(quick, max_examples=8)
@given(any_programs, chips())
def test_what_if_is_scheduled_again(program: Program, chip: Chip) -> None:
    plan, calls = load(program, chip), []
    found = what_if(plan, lambda *progress: calls.append(progress))
    assert found == sorted(found, key=lambda one: (-one.more_saved, -one.most_saved, one.key))
    assert [done for done, _ in calls] == list(range(1, 2 * len(found) + 1))
    for one in found:
        for value, saved in ((one.more, one.more_saved), (one.most, one.most_saved)):
            assert timed(load(program, chip.replace(**{one.key: value}))).cycles == timed(plan).cycles - saved


def test_what_a_copy_gains() -> None:
    chip = load_chip("edge", seq__issue_cycles=1, me__latency=100, me__bytes_per_cycle=32.0)
    found = {one.key: one for one in what_if(load(program_of(build("copy", out=tile(0), x=tile(512))), chip))}
    assert (found["me.latency"].more, found["me.latency"].more_saved) == (90, 10)
    assert (found["me.latency"].most, found["me.latency"].most_saved) == (0, 100)
    # 256 bytes at 32 a cycle are 8 cycles, at 35.2 still 8, without limit one.
    assert (found["me.bytes_per_cycle"].more_saved, found["me.bytes_per_cycle"].most_saved) == (0, 7)
    assert "te.latency" not in found
