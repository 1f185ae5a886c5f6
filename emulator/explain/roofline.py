"""Roofline: the least cycles that each instruction, and the whole, could take at the chip's rates, and what it takes.

The bound of an instruction is the greatest of what it has to do by the rate at which the chip can: products by all
multipliers, elements by lanes, bytes by ports and memories; nothing lost to rounding up, short runs or latency.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from emulator.timing.costs import SYNCHRONISATION, Cost, transfer_occupancy
from emulator.timing.costs_tensor import products_a_cycle
from emulator.timing.result import Schedule
from emulator.timing.stream import task_of
from emulator.timing.timeline import transfer_bytes
from isa.chip import Chip
from isa.instruction import Instruction
from isa.program import Line


@dataclass(frozen=True)
class Point:
    """An instruction of a core under the roofline, for one execution of it; `times` it is executed.

    `operations`: two for each product summed, or one for each element of the result where there are none, 0
    for moves;
    `bytes` by memory ("lm", "dev", "host", "ring"); `bound` in cycles, decided by `limit`; `cycles`: its occupancy;
    `distance`: the part of its cycles, in %, that the bound does not need.
    """

    core: int
    index: int
    file: str
    line: int
    instruction: str
    engine: str
    times: int
    operations: int
    bytes: dict[str, int]
    bound: float
    limit: str
    cycles: int
    distance: float

    @property
    def attained(self) -> float:
        """Operations a cycle."""
        return self.operations / self.cycles


@dataclass(frozen=True)
class Roofline:
    """All points, and the whole: `bound` is the busiest resource's cycles, `limit` its name, `cycles` the run's.

    `resources`: the least cycles of each, as "core0.te products" or "PCIe in"; `distance` in %. `operations` and
    `bytes` are of all executions. `peak`: operations a cycle of all cores' products of 8 bits; `bandwidths`: bytes a
    cycle of all that reaches a memory.
    """

    points: list[Point]
    resources: dict[str, float]
    bound: float
    limit: str
    cycles: int
    distance: float
    operations: int
    bytes: dict[str, int]
    peak: float
    bandwidths: dict[str, float]


def roofline(timeline: Schedule) -> Roofline:
    """Return the roofline of a task, or of all tasks of a stream."""
    plan, tasks = timeline.plan, timeline.tasks
    chip = plan.chip
    points: list[Point] = []
    resources: dict[str, float] = defaultdict(float)
    moved, operations = Counter[str](), 0
    for part, costs in zip(plan.cores, timeline.costs, strict=True):
        times = part.core.times
        for index, cost in costs.items():
            instruction = part.core.code[index]
            least = ideal(chip, instruction, cost)
            point = _point(part.number, index, part.line(index), instruction, cost, times[index], least)
            points.append(point)
            operations += tasks * times[index] * point.operations
            for memory, size in point.bytes.items():
                moved[memory] += tasks * times[index] * size
            for name, cycles in least.items():
                resources[f"core{part.number}.{instruction.engine} {name}"] += tasks * times[index] * cycles
    for name, held in task_of(timeline).held.items():
        # A block of local memory may be held beyond the end of the run.
        if "LM block" not in name:
            resources[name] += tasks * held
    for name, kind in (("PCIe in", "input"), ("PCIe out", "output")):
        resources[name] += tasks * transfer_occupancy(chip, transfer_bytes(plan, kind))
    limit = max(resources, key=resources.__getitem__)
    bound, cycles = resources[limit], timeline.cycles
    return Roofline(
        points=points,
        resources=dict(resources),
        bound=bound,
        limit=limit,
        cycles=cycles,
        distance=100 * (1 - bound / max(cycles, 1)),
        operations=operations,
        bytes=dict(moved),
        peak=2.0 * len(plan.cores) * products_a_cycle(chip),
        bandwidths=bandwidths(chip, len(plan.cores)),
    )


def bandwidths(chip: Chip, cores: int) -> dict[str, float]:
    """Return the bytes a cycle that so many cores can move in or out of each memory; 0 where the chip has none.

    The local memory's are both ports of the tensor engine, whose ports are the widest.
    """
    return {
        "lm": cores * (chip["te.read_bytes_per_cycle"] + chip["te.write_bytes_per_cycle"]),
        "dev": chip.bytes_per_cycle("dev"),
        "host": chip.bytes_per_cycle("pcie"),
        "ring": chip.bytes_per_cycle("ring"),
    }


def ideal(chip: Chip, instruction: Instruction, cost: Cost) -> dict[str, float]:
    """Return the least cycles of an instruction for each of its demands, none of them rounded up."""
    if cost.limit == SYNCHRONISATION:
        return {SYNCHRONISATION: cost.occupancy}
    least: dict[str, float] = dict(cost.demands)
    if "products" in least:
        x = instruction.operand("x")
        assert x is not None
        cycles = chip.product_cycles(x.dtype)
        least["products"] = cycles * cost.macs / products_a_cycle(chip)
    if instruction.engine == "me":
        # Without the accesses of which a short run uses but a part.
        port = chip["me.bytes_per_cycle"]
        ring = min(port, chip.bytes_per_cycle("ring"))
        for name, size, rate in (
            ("LM read", cost.read, port),
            ("LM write", cost.written, port),
            ("CB write", cost.written, port),
            ("ring", cost.written, ring),
        ):
            if name in least:
                least[name] = min(least[name], size / rate)
    return least


def _point(
    core: int, index: int, line: Line, instruction: Instruction, cost: Cost, times: int, least: dict[str, float]
) -> Point:
    bound = max(least.values())
    return Point(
        core=core,
        index=index,
        file=line.file,
        line=line.number,
        instruction=instruction.row.mnemonic,
        engine=f"core{core}.{instruction.engine}",
        times=times,
        operations=operations_of(instruction, cost),
        bytes=bytes_of(instruction),
        bound=bound,
        limit=next(name for name, cycles in least.items() if cycles == bound),
        cycles=cost.occupancy,
        distance=100 * (1 - bound / cost.occupancy),
    )


def operations_of(instruction: Instruction, cost: Cost) -> int:
    """Return two for each product; without any, the elements of the result; 0 for what only moves."""
    if cost.macs:
        return 2 * cost.macs
    if instruction.row.engine not in ("te", "pe"):
        return 0
    out = instruction.operand("out")
    return out.elements if out is not None else 0


def bytes_of(instruction: Instruction) -> dict[str, int]:
    """Return the bytes of operands in each memory, those in another core's as "ring"; constants left out."""
    moved = Counter[str]()
    for _, operand, size in instruction.traffic():
        if operand.memory != "cb":
            moved["ring" if operand.core is not None else operand.memory] += size
    return dict(moved)
