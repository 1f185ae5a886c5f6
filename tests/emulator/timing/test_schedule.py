"""The schedule against its plain twin, and the laws of time, over random programs and chips."""

from collections import Counter
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import ratel
from emulator.checker.races import find_races
from emulator.jit.compile import as_python
from emulator.plan.load import load
from emulator.timing import replay as clock
from emulator.timing import timeline as timelines
from emulator.timing.columns import NONE, REASONS, Record
from emulator.timing.costs import cost_of
from emulator.timing.costs_tensor import products_a_cycle
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT, Step
from emulator.timing.timeline import Timeline, longest, schedule
from isa.chip import DATAFLOWS, SYSTOLIC, Chip, load_chip
from isa.dtypes import F32, I8
from isa.errors import Trap
from isa.instruction import Instruction, build
from isa.operand import Operand, Term, dense
from isa.program import Core, Line, Program
from isa.row import ENGINES
from ratel.testing.programs import programs, programs_of_cores
from tests.emulator.timing.plain_scheduler import held_by, simulate, unroll

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def dot_product_chips(draw: st.DrawFn) -> Chip:
    """Return `edge` with some cores, drawn sequencer, engines, latencies and paths; slow and fast ones."""
    small, rate = st.integers(1, 40), st.floats(0.5, 64)
    return load_chip("edge").replace(
        chip__frequency_mhz=draw(st.sampled_from((500, 1000, 1234.5))),
        chip__cores=draw(st.integers(4, 6)),
        memory__lm_bytes=2**20,
        # Now and then less than the code takes: but for one instruction with the words of loops around it.
        memory__ib_bytes=draw(st.sampled_from((2**16, 1792, 1792, 2560))),
        seq__fetch_bytes_per_cycle=draw(rate),
        sync__cycles=draw(st.integers(1, 9)),
        sync__latency=draw(st.sampled_from((0, 1, 100))),
        ring__bytes_per_cycle=draw(rate),
        ring__latency=draw(st.integers(0, 200)),
        seq__issue_cycles=draw(st.integers(1, 30)),
        seq__loop_cycles=draw(st.integers(0, 10)),
        seq__queue_depth=draw(st.integers(1, 5)),
        te__multipliers=draw(small),
        te__pixels=draw(small),
        te__channels=draw(small),
        te__vector_lanes=draw(small),
        te__latency=draw(st.integers(0, 200)),
        te__read_bytes_per_cycle=draw(rate),
        pe__lanes=draw(small),
        pe__latency=draw(st.integers(0, 200)),
        me__bytes_per_cycle=draw(rate),
        me__access_bytes=draw(st.sampled_from((1, 4, 32))),
        me__latency=draw(st.integers(0, 200)),
        memory__dev_latency_ns=draw(st.integers(0, 300)),
        memory__dev_gb_per_second=draw(rate),
        memory__pcie_gb_per_second=draw(rate),
        memory__pcie_latency_ns=draw(st.integers(0, 300)),
        memory__lm_block_bytes_per_cycle=draw(rate),
        memory__lm_blocks=draw(st.sampled_from((0, 1, 8, 4096))),
    )


def or_none(cycle: int | None) -> int:
    return NONE if cycle is None else cycle


@st.composite
def chips(draw: st.DrawFn) -> Chip:
    """Return such a chip, with dot products or a systolic array in place of them."""
    chip = draw(dot_product_chips())
    if draw(st.booleans()):
        return chip
    size = st.integers(1, 40)
    return chip.replace(
        te__kind=SYSTOLIC, te__rows=draw(size), te__columns=draw(size), te__dataflow=draw(st.sampled_from(DATAFLOWS))
    )


def core_of(code: list[Instruction]) -> Core:
    body = (*code, build("end"))
    return Core(body, tuple(Line("test.npu", k + 1, "") for k in range(len(body))), (), ())


@st.composite
def crowds(draw: st.DrawFn) -> Program:
    """Draw a program of two to four cores that all move bytes at once: to and from dev and host, and to each other.

    Some is moved to constants, which are read.
    """
    cores, sizes = draw(st.integers(2, 4)), st.sampled_from((64, 1024))

    def instruction(core: int) -> Instruction:
        kind, size = (
            draw(st.sampled_from(("load", "store", "send", "send", "send", "copy", "fill", "eltwise", "cb", "scale"))),
            draw(sizes),
        )
        out, x = (dense("lm", 1024 * slot, I8, (size,)) for slot in draw(st.permutations(range(8)))[:2])
        outside = dense(draw(st.sampled_from(("dev", "host"))), 1024 * draw(st.integers(0, 15)), I8, (size,))
        waits = tuple(draw(st.sets(st.sampled_from(ENGINES), max_size=1)))
        if kind == "load":
            return build("load", waits, out=out, x=outside)
        constants = dense("cb", 4 * draw(st.integers(0, 3)), F32, (draw(st.sampled_from((1, 64))),))
        if kind == "cb":
            return build("load", waits, out=constants, x=replace(outside, dtype=F32, shape=constants.shape))
        if kind == "scale":
            shape = size // constants.elements, constants.elements
            out, x = (dense("lm", operand.address, I8, shape) for operand in (out, x))
            return build("eltwise", waits, out=out, x=x, ew1_scale=constants)
        if kind == "store":
            return build("store", waits, out=outside, x=x)
        if kind == "fill":
            return build("fill", waits, out=replace(outside, memory="dev"))
        if kind == "send":
            out = replace(out, core=draw(st.integers(0, cores - 1).filter(lambda other: other != core)))
        return build("eltwise" if kind == "eltwise" else "copy", waits, out=out, x=x)

    def code(core: int) -> list[Instruction]:
        body = [instruction(core) for _ in range(draw(st.integers(1, 6)))]
        count = draw(st.integers(1, 4))
        looped = [build("loop", counter=1, count=count), *body, build("brnz", counter=1)]
        return looped if count > 1 else body

    parts = tuple(core_of(code(core)) for core in range(cores))
    return Program("test", load_chip("edge"), draw(st.sampled_from(("hardware", "compiler"))), parts)


@st.composite
def long_ones(draw: st.DrawFn) -> Program:
    """Draw a program of one core or two whose code, in nested loops, small instruction buffers may not hold."""
    moves = {"eltwise": {}, "maxpool": {"window": (1, 1)}, "copy": {}}

    def body(depth: int) -> list[Instruction]:
        code = []
        for _ in range(draw(st.integers(2, 5))):
            if depth < 3 and draw(st.integers(0, 3)) == 0:
                count = draw(st.integers(1, 4))
                code += [build("loop", counter=depth, count=count), *body(depth + 1), build("brnz", counter=depth)]
            else:
                kind, waits = draw(st.sampled_from(list(moves))), tuple(draw(st.sets(st.sampled_from(ENGINES))))
                x, out = (dense("lm", 64 * draw(st.integers(0, 63)) + half, I8, (1, 1, 1, 64)) for half in (0, 2**13))
                code.append(build(kind, waits, out=out, x=x, **moves[kind]))
        return code

    parts = tuple(core_of([*body(1), *body(1)]) for _ in range(draw(st.integers(1, 2))))
    return Program("test", load_chip("edge"), draw(st.sampled_from(("hardware", "compiler"))), parts)


# Cores that pass tensors on, those that keep to themselves, those that want the same paths, and much code.
any_programs = st.one_of(programs(), programs_of_cores(least=2), crowds(), long_ones())


@quick
@given(any_programs, chips(), chips())
def test_equals_plain_scheduler(program: Program, before: Chip, chip: Chip) -> None:
    # As in a sweep: what is kept of the program follows from nothing of the chip before.
    schedule(load(program, before))
    timeline = schedule(load(program, chip))
    for core, costs in zip(program.cores, timeline.costs, strict=True):
        assert costs == {k: cost for k, i in enumerate(core.code) if (cost := cost_of(chip, i))}
    by_core, spent, end = simulate(program, chip)
    executed = [e for of_core in by_core for e in of_core]
    assert timeline.compute_cycles == end
    columns = [
        Record.CORE,
        Record.INDEX,
        Record.ISSUED,
        Record.ARRIVED,
        Record.START,
        Record.FINISH,
        Record.DEPENDS_UNTIL,
        Record.WAITS_UNTIL,
        Record.TOKEN_UNTIL,
        Record.FETCHED,
    ]
    expected = [
        [e.core, e.index, e.issued, e.arrived, e.start, e.finish]
        + [or_none(cycle) for cycle in (e.depends_until, e.waits_until, e.token_until, e.fetched)]
        for e in executed
    ]
    assert timeline.records[:, columns].tolist() == expected
    assert [REASONS[why] for why in timeline.records[:, Record.WHY]] == [e.reason for e in executed]
    for cause, e in zip(timeline.records[:, Record.CAUSE], executed, strict=True):
        causes = [executed[cause]] if cause != NONE else []
        # Two engines may finish in the same cycle; one of them is named.
        assert len(causes) == min(len(e.causes), 1) and all(c in e.causes for c in causes)
    for by, e in zip(timeline.records[:, Record.TOKEN_BY], executed, strict=True):
        times = [other.arrived or 0 for other in e.partners]
        assert (by == NONE) if not times else executed[by] is e.partners[times.index(max(times))]
    for record, e in zip(timeline.records, executed, strict=True):
        by_resource = record[Record.START] > max(record[Record.ARRIVED], record[Record.TOKEN_UNTIL])
        assert by_resource == (e.reason_to_start == "resource")
        assert not by_resource or any(executed[record[Record.GRANTED_BY]] is holder for holder in e.holders)
    for name, times in timeline.engines.items():
        counted = spent[name]
        assert (times.busy, times.stalls) == (counted.busy, counted.stalls)
        assert times.idle == counted.idle + timeline.transfer_in + timeline.transfer_out


@settings(quick, max_examples=30)
@given(any_programs, chips())
def test_as_python_the_schedule_is_the_same(program: Program, chip: Chip) -> None:
    plan = load(program, chip)
    compiled, plain = schedule(plan), None
    expected = compiled.records, compiled.compute_path()
    with pytest.MonkeyPatch.context() as patch:
        for job in timelines.JOBS:
            patch.setattr(job.function, "entry", None)
        patch.setattr(timelines, "_computed", lambda *_: as_python())
        plain = schedule(plan)
        found = plain.records, plain.compute_path()
    np.testing.assert_array_equal(plain.totals, compiled.totals)
    np.testing.assert_array_equal(found[0], expected[0])
    assert (plain.cycles, plain.held, found[1]) == (compiled.cycles, compiled.held, expected[1])


@quick
@given(any_programs, chips())
def test_laws_of_time(program: Program, chip: Chip) -> None:
    timeline = schedule(load(program, chip))
    assert timeline.compute_cycles <= longest(timeline.plan, timeline.costs)
    assert sum(step.cycles for step in timeline.steps()) == timeline.cycles
    for step in timeline.steps():
        check_step(timeline, step)
    for times in timeline.engines.values():
        assert times.busy + times.stall + times.idle == timeline.cycles
        assert min(times.busy, times.stall, times.idle) >= 0
    terms = timeline.records[:, [Record.ISSUED, Record.FREE, Record.DEPENDS_UNTIL, Record.WAITS_UNTIL]]
    assert (timeline.records[:, Record.ARRIVED] == terms.max(axis=1, initial=0)).all()
    assert (
        timeline.records[:, Record.START]
        == timeline.records[:, [Record.ARRIVED, Record.TOKEN_UNTIL, Record.GRANTED]].max(axis=1, initial=0)
    ).all()
    # A block may be held beyond the finish of the last; all else no longer than its engine is occupied.
    held = [cycles for name, cycles in timeline.held.items() if "LM block" not in name]
    for bound in (*roofline_bounds(timeline), *(times.busy for times in timeline.engines.values()), *held):
        assert timeline.compute_cycles >= bound


def check_step(timeline: Timeline, step: Step) -> None:
    """Assert that the cycles of a step are those that the instruction it names takes for that reason."""
    chip = timeline.plan.chip
    if step.reason in (TRANSFER_IN, TRANSFER_OUT):
        assert step.cycles == (timeline.transfer_in if step.reason == TRANSFER_IN else timeline.transfer_out)
    elif step.reason == "engine busy":
        assert step.cycles == timeline.costs[step.core][step.index].occupancy
    elif step.reason == "token":
        signals = timeline.plan.cores[step.core].core.code[step.index].row.mnemonic == "signal"
        assert step.cycles == chip["sync.latency"] + signals * chip["sync.cycles"]
    elif step.reason == "resource":
        assert step.resource and step.cycles > 0
    elif step.reason == "fetch":
        cycles = ceil(int(timeline.plan.cores[step.core].fetched[step.index]) / chip["seq.fetch_bytes_per_cycle"])
        assert step.cycles in (cycles, cycles + chip.latency("dev"))
    elif step.reason == "issue":
        loops = step.cycles - chip["seq.issue_cycles"]
        assert loops >= 0 and (loops == 0 or loops % chip["seq.loop_cycles"] == 0)
    else:
        assert step.reason in ("dependence", "wait", "last")
        assert step.cycles == timeline.costs[step.core][step.index].latency


@quick
@given(any_programs, chips())
def test_critical_path_sums_the_steps(program: Program, chip: Chip) -> None:
    timeline = schedule(load(program, chip))
    counts: Counter[tuple] = Counter()
    cycles: Counter[tuple] = Counter()
    for step in timeline.steps():
        core, line = None, 0
        if step.index >= 0:
            core, line = step.core, timeline.plan.cores[step.core].line(step.index).number
        counts[core, line, step.engine, step.reason] += 1
        cycles[core, line, step.engine, step.reason] += step.cycles
    path = timeline.critical_path
    # What waits for several resources has an entry for each.
    merged: dict[tuple, tuple[int, int]] = {}
    for e in path:
        count, of_count = merged.get(name := (e.core, e.line, e.engine, e.reason), (0, 0))
        merged[name] = count + e.count, of_count + e.cycles
    assert merged == {k: (counts[k], cycles[k]) for k in counts}
    assert sum(entry.cycles for entry in path) == timeline.cycles


@quick
@given(any_programs, chips(), st.integers(1, 5))
def test_pauses_leave_no_trace(program: Program, chip: Chip, steps: int) -> None:
    whole = schedule(load(program, chip))
    calls: list[tuple[int, int]] = []
    changed = {"FIRST_STEPS": steps, "MOST_STEPS": steps, "PAUSE_SECONDS": 0, "FIRST_ROOM": 0, "FIRST_SIGNALS": 1}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setattr(clock, name, value)
        paused = schedule(load(program, chip), on_progress=lambda *progress: calls.append(progress))
    assert paused.records.tolist() == whole.records.tolist() and paused.compute_cycles == whole.compute_cycles
    assert paused.engines == whole.engines
    assert calls == sorted(calls) and {total for _, total in calls} <= {whole.instructions}


@quick
@given(any_programs, chips(), st.integers(1, 9))
def test_records_of_pieces_are_those_of_the_whole(program: Program, chip: Chip, steps: int) -> None:
    whole = schedule(load(program, chip))
    expected = list(whole.steps())
    with pytest.MonkeyPatch.context() as patch:
        changed = {"FIRST_STEPS": steps, "MOST_STEPS": steps, "MOST_REPLAYED": steps, "MOST_STATES": 4}
        for name, value in changed.items():
            patch.setattr(clock, name, value)
        pieces = schedule(load(program, chip))
        assert list(pieces.steps()) == expected and pieces.critical_path == whole.critical_path
    assert pieces.records.tolist() == whole.records.tolist()


def roofline_bounds(timeline: Timeline) -> list[float]:
    """Return least cycles for the products summed, the bytes moved by each engine, and what is issued, on each core."""
    chip, bounds = timeline.plan.chip, [0.0]
    peak = products_a_cycle(chip)
    for part, costs in zip(timeline.plan.cores, timeline.costs, strict=True):
        executed = timeline.records[timeline.records[:, Record.CORE] == part.number, Record.INDEX]
        by_engine = {
            engine: [costs[k] for k in executed.tolist() if part.engines[k] == e]
            for e, engine in enumerate(("te", "pe", "me"))
        }
        bounds += [sum(costs[k].macs for k in executed.tolist()) / peak, len(executed) * chip["seq.issue_cycles"]]
        for engine in ("te", "pe"):
            bounds.append(sum(c.read for c in by_engine[engine]) / chip[f"{engine}.read_bytes_per_cycle"])
            bounds.append(sum(c.written for c in by_engine[engine]) / chip[f"{engine}.write_bytes_per_cycle"])
        bounds.append(sum(max(c.read, c.written) for c in by_engine["me"]) / chip["me.bytes_per_cycle"])
    return bounds


LATENCIES = (
    *("te.latency", "pe.latency", "me.latency", "memory.dev_latency_ns", "memory.pcie_latency_ns", "ring.latency"),
    *("sync.latency", "sync.cycles", "seq.issue_cycles", "seq.loop_cycles", "seq.launch_cycles"),
)
# Not the multipliers: more of them have more to be filled with before the first product.
BANDWIDTHS = (
    *("te.vector_lanes", "te.read_bytes_per_cycle", "pe.lanes"),
    *("te.write_bytes_per_cycle", "pe.read_bytes_per_cycle", "pe.write_bytes_per_cycle", "me.bytes_per_cycle"),
    *("memory.dev_gb_per_second", "memory.pcie_gb_per_second", "ring.bytes_per_cycle", "seq.queue_depth"),
    "seq.fetch_bytes_per_cycle",
)


def shares(program: Program, chip: Chip) -> bool:
    """Return whether two engines of a program ever hold the same resource."""
    holders: dict[object, set[tuple[int, str]]] = {}
    for core in range(len(program.cores)):
        for executed in unroll(program, core, chip)[0]:
            for resource, _ in held_by(executed, chip):
                holders.setdefault(resource, set()).add((core, executed.instruction.engine))
    return any(len(engines) > 1 for engines in holders.values())


@quick
@given(any_programs, chips(), st.sampled_from(LATENCIES + BANDWIDTHS))
def test_a_faster_chip_never_costs_cycles_where_nothing_is_shared(program: Program, chip: Chip, number: str) -> None:
    """Every start is then the latest of sums of costs: with lesser costs, or longer queues, none is later."""
    chip = chip.replace(memory__lm_blocks=0)
    assume(not shares(program, chip))
    least = 0 if number not in ("sync.cycles", "seq.issue_cycles") else 1
    faster = 2 * chip[number] if number in BANDWIDTHS else max(least, chip[number] // 2)
    slow, fast = (schedule(load(program, each)).cycles for each in (chip, chip.replace(**{number: faster})))
    assert fast <= slow


def test_a_faster_engine_can_make_the_whole_slower() -> None:
    """The law ends where something is shared: five instructions whose cycles are more with a faster pooling engine.

    Two cores load from device memory, which serves whoever comes first. On core 1 a short load is awaited by a long
    chain of vectors. On core 0 a long load, which nobody awaits, comes as soon as a pool has read the bytes that it
    overwrites. With a slow pool the short load comes first. With a fast one the long load does: the short one stands
    behind it, and all that awaits it. Had the order of the grants been kept, nothing would be later.
    """
    image, vectors = dense("lm", 0, I8, (1, 16, 16, 16)), (128, 256)
    pool = build("maxpool", out=dense("lm", 32768, I8, (1, 8, 8, 16)), x=image, window=2, stride=2)
    long_load = build("load", out=tile(0, 16384), x=dense("dev", 0, I8, (16384,)))
    fill = build("fill", out=tile(65536, 32768))
    short_load = build("load", out=tile(0, 64), x=dense("dev", 16384, I8, (64,)))
    chain = build("eltwise", out=dense("lm", 32768, I8, vectors), x=dense("lm", 0, I8, vectors))
    program = Program(
        "test", load_chip("edge"), "hardware", (core_of([pool, long_load]), core_of([fill, short_load, chain]))
    )

    def starts(lanes: int) -> tuple[list[int], Timeline]:
        timeline = schedule(load(program, load_chip("edge", chip__cores=2, ring__bytes_per_cycle=8.0, pe__lanes=lanes)))
        return timeline.records[:, Record.START].tolist(), timeline

    (slow_starts, slow), (fast_starts, fast) = starts(2), starts(8)
    # The pool is done sooner and the long load begins sooner; the short load and the vectors begin later.
    assert fast_starts[1] < slow_starts[1]
    assert fast_starts[3] > slow_starts[3] and fast_starts[4] > slow_starts[4]
    assert fast.cycles > slow.cycles
    # The path says so: what came between is the device memory, held by the long load.
    behind = [step for step in fast.steps() if step.reason == "resource"]
    assert [(step.core, step.index, step.resource) for step in behind] == [(0, 1, "dev")]
    assert not any(step.reason == "resource" for step in slow.steps())


def test_grants_of_each_kind() -> None:
    """Where two cores want the same path, the second has it when the first has moved its bytes."""
    chip = load_chip("edge", chip__cores=4, ring__bytes_per_cycle=1.0, memory__dev_gb_per_second=1.0)
    size = (256,)
    here, dev, host = (dense(memory, 0, I8, size) for memory in ("lm", "dev", "host"))
    there = replace(here, core=2)
    kinds = {
        "dev": (build("load", out=here, x=dev), 128),
        "pcie in": (build("load", out=here, x=host), 256 / chip.bytes_per_cycle("pcie")),
        "pcie out": (build("store", out=host, x=here), 256 / chip.bytes_per_cycle("pcie")),
        # From core 0 and from core 1 upwards to core 2: both go over the link between the last two.
        "ring": (build("copy", out=there, x=here), 256),
    }
    for name, (instruction, cycles) in kinds.items():
        program = Program(
            "test", load_chip("edge"), "hardware", (core_of([instruction]), core_of([instruction]), core_of([]))
        )
        timeline = schedule(load(program, chip))
        first, second = timeline.records[:, Record.START].tolist()
        assert second == first + cycles
        assert [(step.core, step.resource) for step in timeline.steps() if step.resource] == [(0, name)]


@quick
@given(any_programs, chips(), st.integers(0, 2**32 - 1))
def test_cycles_do_not_depend_on_data(program: Program, chip: Chip, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cores = tuple(
        replace(
            core,
            segments=tuple(
                replace(s, data=rng.integers(0, 256, len(s.data), np.uint8).tobytes()) for s in core.segments
            ),
        )
        for core in program.cores
    )
    assert schedule(load(program, chip)).cycles == schedule(load(replace(program, cores=cores), chip)).cycles


def program_of(*code: Instruction, order: str = "hardware") -> Program:
    return Program("test", load_chip("edge"), order, (core_of([*code]),))


def tile(address: int, size: int = 256) -> Operand:
    return dense("lm", address, I8, (size,))


def test_independent_copies_overlap_in_latency_only() -> None:
    chip = load_chip("edge", seq__issue_cycles=1, me__latency=100, me__bytes_per_cycle=32.0)
    copies = [build("copy", out=tile(1024 * k), x=tile(1024 * k + 512)) for k in range(3)]
    timeline = schedule(load(program_of(*copies), chip))
    # Issue at 1; 256 bytes at 32 a cycle occupy 8 cycles each; the last result comes 100 after its occupancy.
    assert timeline.records[:, Record.START].tolist() == [1, 9, 17]
    assert timeline.compute_cycles == 17 + 8 + 100
    assert [step.reason for step in timeline.steps()] == ["last", "engine busy", "engine busy", "issue"]


def test_dependent_copy_waits_for_the_finish() -> None:
    chip = load_chip("edge", seq__issue_cycles=1, me__latency=100, me__bytes_per_cycle=32.0)
    chain = [build("copy", out=tile(1024), x=tile(0)), build("copy", out=tile(2048), x=tile(1024))]
    timeline = schedule(load(program_of(*chain), chip))
    assert timeline.records[:, Record.START].tolist() == [1, 109]
    assert [step.reason for step in timeline.steps()] == ["last", "dependence", "issue"]
    assert timeline.engines["core0.me"].stalls == {"dependence": 100, "wait": 0, "token": 0, "resource": 0}


COLUMNS = """
.chip edge
.order {}
.local t i8[4, 2]
.local u i8[8, 1]
.local b i8[4, 1]
copy t[:, 0:1], b
copy {}, b
end
"""


@pytest.mark.parametrize("order", ["hardware", "compiler"])
@pytest.mark.parametrize(("second", "waits"), [("t[:, 1:2]", True), ("t[:, 0:1]", True), ("u[0:4]", False)])
def test_own_instructions_conflict_by_bounding_intervals_in_either_order(order: str, second: str, waits: bool) -> None:
    """The example of docs/cycles.md: columns of one tensor share no byte, and wait for each other."""
    page = (Path(__file__).parents[3] / "docs" / "cycles.md").read_text().replace("\n", " ")
    assert "`copy t[:, 1:2], b` waits for `copy t[:, 0:1], b`, though they share no byte" in page
    plan = load(ratel.assemble(COLUMNS.format(order, second)), load_chip("edge"))
    first, last = schedule(plan).records
    assert (last[Record.START] == first[Record.FINISH]) == waits
    # A queue starts and finishes in order anyway: for the checker nothing follows from that.
    assert find_races(plan).verdict == "proven"


def pooled(waits: tuple[str, ...], order: str) -> Timeline:
    image = dense("lm", 0, I8, (1, 8, 8, 16))
    pool = build("maxpool", waits, out=dense("lm", 4096, I8, (1, 4, 4, 16)), x=image, window=2, stride=2)
    fill = build("fill", out=dense("lm", 0, I8, (1024,)))
    return schedule(load(program_of(fill, pool, order=order), load_chip("edge")))


def test_compiler_order_orders_only_by_waits() -> None:
    assert pooled((), "hardware").records[1, Record.START] == pooled((), "hardware").records[0, Record.FINISH]
    assert pooled((), "compiler").records[1, Record.START] < pooled((), "compiler").records[0, Record.FINISH]
    waited = pooled(("me",), "compiler")
    assert waited.records[1, Record.START] == waited.records[0, Record.FINISH]
    assert waited.engines["core0.pe"].stalls["wait"] > 0


def test_a_full_queue_holds_the_sequencer() -> None:
    chip = load_chip("edge", seq__issue_cycles=1, seq__queue_depth=2, me__bytes_per_cycle=1.0, me__access_bytes=1)
    copies = [build("copy", out=tile(1024 * k), x=tile(1024 * k + 512)) for k in range(5)]
    timeline = schedule(load(program_of(*copies), chip))
    # The first starts at once and two wait; each further one is issued as one of these starts.
    assert timeline.records[:, Record.ISSUED].tolist() == [1, 2, 3, 257, 513]


def test_nothing_but_end() -> None:
    timeline = schedule(load(program_of(), load_chip("edge")))
    assert timeline.cycles == timeline.plan.chip["seq.issue_cycles"]
    assert [entry.reason for entry in timeline.critical_path] == ["issue"]


def test_loop_of_many_iterations() -> None:
    chip = load_chip("edge")
    code = [build("loop", counter=1, count=1000), build("copy", out=tile(0), x=tile(512)), build("brnz", counter=1)]
    timeline = schedule(load(program_of(*code), chip))
    copy = timeline.costs[0][1]
    # Each copy writes what the one before wrote.
    assert timeline.compute_cycles == 1 * chip["seq.loop_cycles"] + chip["seq.issue_cycles"] + 1000 * copy.latency
    entry = timeline.critical_path[0]
    assert (entry.reason, entry.count) == ("dependence", 999)
    assert copy.occupancy == ceil(256 / chip["me.bytes_per_cycle"])


def looped(*body: object, counts: tuple[int, ...]) -> Program:
    opens = [build("loop", counter=k + 1, count=count) for k, count in enumerate(counts)]
    closes = [build("brnz", counter=k + 1) for k in reversed(range(len(counts)))]
    return program_of(*opens, *body, *closes)


def test_a_task_too_long_is_refused_at_once() -> None:
    chip = load_chip("edge")
    with pytest.raises(Trap, match=r"30,000,000,000 instructions is too long to schedule: at most .*\nhelp: "):
        schedule(load(looped(build("copy", out=tile(0), x=tile(512)), counts=(300_000, 100_000)), chip))
    with pytest.raises(Trap, match=r"30,000,300,000 iterations of loops is too long"):
        schedule(load(looped(counts=(300_000, 100_000)), chip))


def test_what_on_progress_raises_ends_the_schedule() -> None:
    def interrupt(done: int, total: int) -> None:
        assert 0 < done < total == 1_000_000
        raise KeyboardInterrupt

    plan = load(looped(build("copy", out=tile(0), x=tile(512)), counts=(1000, 1000)), load_chip("edge"))
    with pytest.raises(KeyboardInterrupt):
        schedule(plan, on_progress=interrupt)


def test_many_instructions_in_flight() -> None:
    """Far more than there is room for at first; each writes what the one 6000 before it wrote."""
    chip = load_chip("edge", me__latency=100_000)
    written = Operand("lm", 0, I8, (8,), (1,), (Term(1, 6000, 8),))
    timeline = schedule(load(looped(build("fill", out=written), counts=(14_000,)), chip))
    starts, depends = timeline.records[:, Record.START], timeline.records[:, Record.DEPENDS_UNTIL]
    assert (depends[:6000] == NONE).all() and (depends[6000:] == timeline.records[:-6000, Record.FINISH]).all()
    assert (starts[6000:] >= timeline.records[:-6000, Record.FINISH]).all()


def test_a_wait_is_for_the_last_instruction_before_it() -> None:
    # Two fills, the long one first: an engine finishes in order, and the wait is for the second.
    fills = [build("fill", out=tile(0, 4096)), build("fill", out=tile(8192, 512))]
    pool = build(
        "maxpool",
        ("me",),
        out=dense("lm", 16384, I8, (1, 4, 4, 16)),
        x=dense("lm", 12288, I8, (1, 8, 8, 16)),
        window=2,
        stride=2,
    )
    timeline = schedule(load(program_of(*fills, pool, order="compiler"), load_chip("edge")))
    starts, finishes = timeline.records[:, Record.START].tolist(), timeline.records[:, Record.FINISH].tolist()
    # 4096 and 512 bytes at 32 a cycle; 8 cycles to drain; issue every 2 cycles.
    assert starts[:2] == [2, 130] and finishes[:2] == [138, 154]
    assert starts[2] == 154


def test_a_queue_of_one_holds_what_follows_a_waiting_instruction() -> None:
    chip = load_chip("edge", seq__queue_depth=1, seq__issue_cycles=1, me__bytes_per_cycle=1.0, me__access_bytes=1)
    image, small = dense("lm", 0, I8, (1, 8, 8, 16)), dense("lm", 4096, I8, (1, 4, 4, 16))
    pools = [build("maxpool", ("me",), out=small, x=image, window=2, stride=2)] * 2
    code = [build("fill", out=tile(16384)), *pools, build("fill", out=tile(32768))]
    timeline = schedule(load(program_of(*code, order="compiler"), chip))
    issued, starts = timeline.records[:, Record.ISSUED].tolist(), timeline.records[:, Record.START].tolist()
    # The first pool waits for the fill; the second has no place in the queue until the first starts, nor has what
    # comes after it been issued by then.
    assert starts[:2] == [1, timeline.records[0, Record.FINISH]] and issued[:2] == [1, 2]
    assert issued[2] == starts[1] and issued[3] == starts[1] + 1


def test_a_loop_keeps_few_states() -> None:
    timeline = schedule(load(looped(build("copy", out=tile(0), x=tile(512)), counts=(1000, 1000)), load_chip("edge")))
    assert timeline.instructions == 1_000_000 and len(timeline.states) <= clock.MOST_STATES + 1
    assert max(state.recents.shape[3] for state in timeline.states[:-1]) < 100
    assert sum(entry.cycles for entry in timeline.critical_path) == timeline.cycles
