"""Breakdown: what the cycles of the critical path went to, by kind, by loop and by engine; each adds up to the run.

An instruction on the path is charged its occupancy to what limits it (of equals the first that its cost names). What
its latency is beyond that is exposed: to launching it first, then to a dependence where the next needed the result,
else to fill and drain.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from emulator.timing.costs import SYNCHRONISATION, Cost, transfer_occupancy
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT, Schedule, Step
from emulator.timing.timeline import transfer_bytes
from isa.loops import Loop

COMPUTE, LM, MEMORY, DEPENDENCE = "compute", "LM bandwidth", "memory bandwidth", "dependence"
RESOURCE, SYNC, ISSUE, FETCH, FILL = "shared resource", SYNCHRONISATION, "issue", "fetch", "fill/drain"
LAUNCH = "launch"
# Each kind, and which cycles of the path it has.
KINDS = {
    COMPUTE: "occupancy that products, their weights' expansion, vector or pooling lanes limit",
    LM: "occupancy that a port to the local memory limits",
    MEMORY: "occupancy that device memory, host or ring limits; bytes of the task's DMA",
    DEPENDENCE: "latency beyond the occupancy, for a result that the next instruction needed",
    RESOURCE: "until another gave up device memory, PCIe, a ring link or a block of local memory",
    SYNC: "signal, wait and barrier, and until whoever waits knows",
    ISSUE: "the sequencer's: issuing, and loops",
    FETCH: "until code was there that the instruction buffer does not hold",
    LAUNCH: "latency in which an instruction is launched on its engine",
    FILL: "latency beyond the occupancy of what finishes last, and of the task's DMA",
}
_LIMITS = {
    "products": COMPUTE,
    "weight": COMPUTE,
    "vector": COMPUTE,
    "pooling": COMPUTE,
    "LM": LM,
    SYNCHRONISATION: SYNC,
}


@dataclass(frozen=True)
class Part:
    """Cycles of the critical path that share something, and their share of the run."""

    name: str
    cycles: int
    share: float


@dataclass(frozen=True)
class LoopPart:
    """Cycles of the critical path in a loop: `own` outside of its inner loops, `cycles` with them.

    For what is in no loop `core` is None and `line` 0, `trips` 1. The `own` of all add up to the run.
    """

    core: int | None
    file: str
    line: int
    depth: int
    trips: int
    own: int
    cycles: int
    share: float


def kind_of_limit(limit: str) -> str:
    """Return the kind of the cycles that a cost's limit decides; where several do, of the first."""
    first = limit.split(",")[0]
    return _LIMITS.get(first, _LIMITS.get(first.split()[0], MEMORY))


def breakdown(timeline: Schedule) -> list[Part]:
    """Return the cycles of the critical path by kind, in the order of KINDS; they add up to `cycles`."""
    cycles = Counter(dict.fromkeys(KINDS, 0))
    for step, count in timeline.path_steps():
        for kind, part in _kinds(timeline, step, count):
            cycles[kind] += part
    assert cycles.total() == timeline.cycles, "the steps of the path touch"
    return [Part(kind, cycles[kind], cycles[kind] / max(timeline.cycles, 1)) for kind in KINDS]


def _kinds(timeline: Schedule, step: Step, count: int) -> Iterator[tuple[str, int]]:
    """Yield the kinds of a step's cycles, which are those of `count` alike."""
    if step.index < 0:
        moved = transfer_bytes(timeline.plan, {TRANSFER_IN: "input", TRANSFER_OUT: "output"}[step.reason])
        held = min(count * transfer_occupancy(timeline.plan.chip, moved), step.cycles)
        yield from ((MEMORY, held), (FILL, step.cycles - held))
    elif step.reason in ("issue", "fetch"):
        yield {"issue": ISSUE, "fetch": FETCH}[step.reason], step.cycles
    elif step.reason == "token":
        yield SYNC, step.cycles
    elif step.reason == "resource":
        yield RESOURCE, step.cycles
    else:
        cost: Cost = timeline.costs[step.core][step.index]
        held = min(count * cost.occupancy, step.cycles)
        launched = min(count * cost.launch, step.cycles - held)
        yield kind_of_limit(cost.limit), held
        yield LAUNCH, launched
        yield DEPENDENCE if step.reason in ("dependence", "wait") else FILL, step.cycles - held - launched


def by_engine(timeline: Schedule) -> list[Part]:
    """Return the cycles of the critical path by engine, most first; the sequencers' and the DMA's among them."""
    cycles = Counter[str]()
    for step, _ in timeline.path_steps():
        cycles[step.engine] += step.cycles
    return [Part(name, of, of / max(timeline.cycles, 1)) for name, of in cycles.most_common()]


def by_loop(timeline: Schedule) -> list[LoopPart]:
    """Return the cycles of the critical path by loop, as the loops open on each core; last, what is in none."""
    plan = timeline.plan
    spent = Counter[tuple[int, int]]()
    for step, _ in timeline.path_steps():
        spent[step.core, step.index] += step.cycles
    parts: list[LoopPart] = []
    in_none = timeline.cycles
    for core in plan.cores:
        loops = core.core.loops
        for loop in loops:
            cycles = sum(spent[core.number, k] for k in range(loop.first, loop.last + 1))
            inner = [other for other in loops if other.depth == loop.depth + 1 and _holds(loop, other)]
            own = cycles - sum(spent[core.number, k] for one in inner for k in range(one.first, one.last + 1))
            line = core.line(loop.first)
            share = cycles / max(timeline.cycles, 1)
            parts.append(LoopPart(core.number, line.file, line.number, loop.depth, loop.count, own, cycles, share))
            in_none -= own
    return [*parts, LoopPart(None, "", 0, 0, 1, in_none, in_none, in_none / max(timeline.cycles, 1))]


def _holds(outer: Loop, inner: Loop) -> bool:
    return outer.first < inner.first and inner.last < outer.last
