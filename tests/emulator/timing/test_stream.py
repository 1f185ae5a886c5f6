"""The queue against a plain simulation of its events, and the laws of a stream's time."""

from dataclasses import replace
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratel
from emulator.plan.load import load
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT
from emulator.timing.stream import COMPUTE, Link, Stream, start_times, stream
from emulator.timing.timeline import schedule
from isa.chip import Chip, load_chip
from isa.dtypes import I8
from isa.errors import Trap
from isa.instruction import Instruction, build
from isa.operand import Term, dense
from isa.program import Core, Line, Program, Symbol
from ratel.testing.programs import programs
from tests.emulator.timing.test_schedule import chips, quick

EDGE = load_chip("edge")


def simulate(tasks: int, link_in: Link, link_out: Link, cycles: list[int]) -> tuple[list[list[int]], int]:
    """Return the starts of each task's three steps and the end of all, by events and by counting buffers."""
    starts: list[list[int]] = [[-1, -1, -1] for _ in range(tasks)]
    events: list[tuple[int, str, int]] = []
    in_buffers = link_in.buffers if link_in.occupancy else tasks
    out_buffers, now = link_out.buffers, 0
    idle = {"in": True, "core": True, "out": True}
    sent = computed = 0
    arrived: set[int] = set()
    results: list[int] = []
    while True:
        if idle["in"] and sent < tasks and in_buffers:
            starts[sent][0], idle["in"], in_buffers = now, False, in_buffers - 1
            heappush(events, (now + link_in.occupancy, "in", sent))
            heappush(events, (now + link_in.occupancy + link_in.latency, "arrived", sent))
            sent += 1
        elif idle["core"] and computed in arrived and out_buffers:
            starts[computed][1], idle["core"], out_buffers = now, False, out_buffers - 1
            heappush(events, (now + cycles[computed % len(cycles)], "core", computed))
            computed += 1
        elif idle["out"] and results:
            task = results.pop(0)
            starts[task][2], idle["out"] = now, False
            heappush(events, (now + link_out.occupancy, "out", task))
            heappush(events, (now + link_out.occupancy + link_out.latency, "drained", task))
        elif events:
            now, what, task = heappop(events)
            if what in idle:
                idle[what] = True
            if what == "arrived":
                arrived.add(task)
            elif what == "core":
                in_buffers += 1
                results.append(task)
            elif what == "drained":
                out_buffers += 1
        else:
            return starts, now


@st.composite
def links(draw: st.DrawFn) -> Link:
    occupancy = draw(st.integers(0, 40))
    return Link(occupancy, draw(st.integers(0, 60)) if occupancy else 0, draw(st.integers(1, 4)))


@given(st.integers(1, 12), links(), links(), st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_equals_the_simulation(tasks: int, link_in: Link, link_out: Link, cycles: list[int]) -> None:
    starts, end = simulate(tasks, link_in, link_out, cycles)
    found = start_times(tasks, link_in, link_out, cycles)
    assert [[t.transfer_in, t.compute, t.transfer_out] for t in found] == starts
    assert found[-1].transfer_out + link_out.occupancy + link_out.latency == end


@given(links(), links(), st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_two_buffers_are_enough(link_in: Link, link_out: Link, cycles: list[int]) -> None:
    """With them a stream takes no longer than its slowest part, and one task's fill and drain."""
    ways = [replace(link, buffers=2) for link in (link_in, link_out)]
    last = start_times(64, *ways, cycles)[-1]
    transfers = [link.occupancy + link.latency for link in ways]
    assert last.transfer_out + transfers[1] <= 64 * max(*transfers, *cycles) + sum(transfers) + max(cycles)


def streamed(tasks: int, *code: Instruction, size: tuple[int, int] = (64, 64), buffers: int = 2) -> Program:
    body = (*code, build("end"))
    symbols = (
        Symbol("x", "input", "lm", 0, I8, size[:1], buffers=buffers),
        Symbol("y", "output", "lm", 65536, I8, size[1:], buffers=buffers),
    )
    lines = tuple(Line("test.npu", k + 1, "") for k in range(len(body)))
    return Program("test", load_chip("edge"), "hardware", (Core(body, lines, (), symbols),), (), tasks)


def fill(size: int, *terms: Term) -> Instruction:
    return build("fill", out=dense("lm", 131072, I8, (size,), terms))


@pytest.mark.parametrize(
    ("bytes_in", "bytes_out", "computed", "bound"),
    [(64, 64, 65536, COMPUTE), (32768, 64, 64, TRANSFER_IN), (64, 32768, 64, TRANSFER_OUT)],
)
def test_law_of_the_stream(bytes_in: int, bytes_out: int, computed: int, bound: str) -> None:
    found = stream(load(streamed(64, fill(computed), size=(bytes_in, bytes_out)), EDGE))
    (task,) = found.timelines
    slowest = 64 * max(task.compute_cycles, found.link_in.occupancy, found.link_out.occupancy)
    fill_and_drain = task.cycles
    assert slowest < found.cycles <= 1.1 * slowest + fill_and_drain
    assert found.bound == bound and found.first == task.cycles
    assert found.interval == pytest.approx(slowest / 64, rel=0.01)
    assert found.in_turn == 64 * task.cycles and found.rate == EDGE.cycles_per_second / found.interval


@quick
@given(programs(), chips(), st.integers(1, 9))
def test_laws_of_a_stream(program: Program, chip: Chip, tasks: int) -> None:
    try:
        plan = load(replace(program, tasks=1), chip, tasks) if not bytes_of_each(program) else load(program, chip)
    except Trap:
        # An address that leaves the memory in so many tasks, or a result that meets what is read.
        return
    found = stream(plan)
    assert sum(step.cycles for step in found.steps()) == found.cycles
    assert sum(entry.cycles for entry in found.critical_path) == found.cycles
    for times in found.engines.values():
        assert times.busy + times.stall + times.idle == found.cycles
        assert min(times.busy, times.stall, times.idle) >= 0
    cycles = [found.timelines[t % len(found.timelines)].compute_cycles for t in range(plan.tasks)]
    bounds = (sum(cycles), plan.tasks * found.link_in.occupancy, plan.tasks * found.link_out.occupancy)
    assert max(bounds) <= found.cycles <= found.in_turn
    for task in (0, plan.tasks - 1):
        alone = schedule(plan, task=task)
        assert alone.compute_cycles == cycles[task]
        assert stream(replace(plan, tasks=1)).cycles == schedule(plan).cycles
    assert sum(step.cycles for step in found.steps() if step.kind == COMPUTE) == sum(
        entry.cycles for entry in found.critical_path if entry.engine != "dma"
    )


def bytes_of_each(program: Program) -> bool:
    """Whether data of the program are for its own number of tasks."""
    defaults = any(len(s.default or b"") > s.bytes for s in program.cores[0].of_kind("input"))
    return defaults or bool(program.checks)


@pytest.mark.parametrize(
    ("terms", "tasks", "distinct"),
    [((), 9, 1), ((Term(0, 2, 64),), 9, 2), ((Term(0, 2, 64), Term(0, 3, 64)), 9, 6), ((Term(0, 3, 64),), 2, 2)],
)
def test_compute_is_scheduled_once_for_each_remainder(terms: tuple, tasks: int, distinct: int) -> None:
    program = streamed(tasks, fill(64, *terms), buffers=1)
    assert len(stream(load(program, EDGE)).timelines) == distinct


def test_addresses_that_never_repeat() -> None:
    program = streamed(1, fill(8, Term(0, 0, 8)))
    reports: list[tuple[int, int]] = []
    found = stream(load(program, EDGE, tasks=5), on_progress=lambda *report: reports.append(report))
    assert len(found.timelines) == 5
    code = (build("loop", counter=1, count=10**8), fill(8, Term(0, 0, 8)), build("brnz", counter=1))
    with pytest.raises(Trap, match="20 tasks of 100,000,000 instructions, no two of which need be alike, are too long"):
        stream(load(streamed(1, *code), EDGE, tasks=20))


def test_a_conflict_in_every_other_task() -> None:
    """The second fill meets the first one's bytes in odd tasks only: those wait for its result."""
    second = build(
        "maxpool",
        out=dense("lm", 140000, I8, (1, 1, 1, 64)),
        x=dense("lm", 131072 + 64, I8, (1, 1, 1, 64), (Term(0, 2, -64),)),
        window=1,
    )
    found = stream(load(streamed(64, fill(64), second, buffers=1), EDGE))
    even, odd = (timeline.compute_cycles for timeline in found.timelines)
    assert odd > even
    assert found.in_turn == 32 * sum(timeline.cycles for timeline in found.timelines)


SLOW = {"chip__frequency_mhz": 1000, "memory__pcie_latency_ns": 500, "memory__pcie_gb_per_second": 1e-6}


@pytest.mark.parametrize(
    ("trips", "tasks", "message"),
    [
        (30_000, 1, "a task that may take 5.9e\\+19 cycles cannot be scheduled"),
        (1000, 10**6, "are too many to be shown"),
    ],
)
def test_what_64_bits_do_not_count_is_refused(trips: int, tasks: int, message: str) -> None:
    """What is counted is exact: of one iteration less, as of any."""
    text = ".chip edge\n.input x i8[64, 1024] in host = 1\n.output y i8[64, 1024]\n" + "\n".join(
        [f"loop i, {trips}", f"loop j, {trips}", "load y, x", "brnz j", "brnz i", "end"]
    )
    chip = EDGE.replace(**SLOW)
    program = ratel.assemble(text, chip=chip)
    with pytest.raises(Trap, match=message):
        ratel.time(program, tasks=tasks)
    each = 64 * 1024 * 10**6
    few = ratel.time(ratel.assemble(text.replace(str(trips), "1000"), chip=chip))
    assert 0 <= few.cycles - 10**6 * each - each < 10**9


def test_one_buffer_takes_turns() -> None:
    """The next input cannot come before COMPUTE is done with the last, nor COMPUTE begin before its result left."""
    one, two = (stream(load(streamed(64, fill(4096), buffers=b), EDGE)) for b in (1, 2))
    (task,) = one.timelines
    assert one.interval == task.cycles - min(task.transfer_in, task.transfer_out) > two.interval
    assert one.engines["dma.in"].stalls["buffer"] > two.engines["dma.in"].stalls["buffer"] > 0


def test_what_stays_in_the_host_does_not_move() -> None:
    program = streamed(8, fill(64))
    (core,) = program.cores
    hosted = replace(program, cores=(replace(core, symbols=tuple(replace(s, memory="host") for s in core.symbols)),))
    found: Stream = stream(load(hosted, EDGE))
    assert found.cycles == 8 * found.timelines[0].compute_cycles == 8 * found.interval
    assert not any(name.startswith("dma") for name in found.engines) and found.bound == COMPUTE
