"""Energy: what a run takes, by what costs it, by engine and by source line; and what a chip's parts take of its area.

All that costs is counted in whole numbers: products, elements, bytes, cycles. One of each takes what the section
[energy] of the chip's file says, in whole attojoules (10^-18 J, a millionth of a pJ), so whatever is added up is exact.
What is on the chip takes the square of its supply's voltage (assumed: what it takes with its clock stopped, too). The
sequencers, the buffers of instructions and what loads weights before the first task are in none of the counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emulator.timing.costs import Cost, ring_links
from emulator.timing.costs_tensor import products_a_cycle
from emulator.timing.flatten import shapes_of
from emulator.timing.result import Schedule
from emulator.timing.stream import Stream
from emulator.timing.timeline import Timeline, transfer_bytes
from isa.chip import CORE, FIELDS, Chip
from isa.instruction import Instruction
from isa.program import Line

# What is counted, by the keys of the section; what is on the chip's own supply, but for a ring of its own clock.
KINDS = ("i8", "i16", "f16", "bf16", "lane", "pool", "lm", "cb", "dev", "pcie", "ring", "clock", "rest")
_OWN_SUPPLY = ("dev", "pcie")
ATTO = 10**18
MEMORIES = ("lm", "cb", "dev", "pcie", "ring")
# The place of what no instruction takes: the task's transfers, code that is fetched, the clock and the rest.
NOWHERE = Line("", 0, "")
Counts = dict[str, int]
_KEYS = {kind: f"energy.{kind}_{'watts' if kind == 'rest' else 'pj'}" for kind in KINDS}
# Of one of each, without the unit.
MEANINGS = {kind: FIELDS[key][3].rpartition(",")[0] for kind, key in _KEYS.items()}


@dataclass(frozen=True, eq=False)
class Energy:
    """The energy of a schedule: `each` is what one of each kind takes, in attojoules, as all sums are.

    `counts` are how many there are of each kind; `by_kind`, `by_memory`, `by_engine` and `by_line` each add up to
    `total`. A kind is a key of the section [energy]; "clock" and "rest" are of cycles.
    """

    schedule: Schedule
    each: dict[str, int]

    @cached_property
    def counts(self) -> Counts:
        """How many there are of each kind."""
        found = Counter[str]()
        for timeline, tasks in _timelines(self.schedule):
            for part, costs in zip(timeline.plan.cores, timeline.costs, strict=True):
                shapes = shapes_of(part.core)
                for k, times in zip(shapes.firsts.values(), shapes.times, strict=True):
                    if k in costs:
                        work = work_of(timeline.plan.chip, part.number, part.core.code[k], costs[k])
                        found.update({kind: tasks * times * count for kind, count in work.items()})
            for _, counts in _beside(timeline):
                found.update({kind: tasks * count for kind, count in counts.items()})
        found.update(dict.fromkeys(("clock", "rest"), self.schedule.cycles))
        return {kind: found[kind] for kind in KINDS}

    @cached_property
    def by_kind(self) -> Counts:
        """Attojoules by what takes them."""
        return {kind: count * self.each[kind] for kind, count in self.counts.items()}

    @property
    def total(self) -> int:
        """Attojoules of the whole run."""
        return sum(self.by_kind.values())

    @property
    def microjoules(self) -> float:
        """Microjoules of the whole run."""
        return microjoules(self.total)

    @property
    def watts(self) -> float:
        """The average power."""
        return self.total / ATTO / self.schedule.seconds if self.schedule.cycles else 0.0

    @property
    def by_memory(self) -> Counts:
        """Attojoules by memory, or path to one; "none" has what is no byte's."""
        found = {kind: self.by_kind[kind] for kind in MEMORIES}
        return {**found, "none": self.total - sum(found.values())}

    @cached_property
    def by_engine(self) -> Counts:
        """Attojoules by engine, as "core0.te"; "dma" has the tasks' transfers, "chip" the clock and the rest."""
        found = Counter[str]()
        for engine, _, amount in self.places():
            found[engine] += amount
        return dict(found)

    @cached_property
    def by_line(self) -> dict[Line, int]:
        """Attojoules by source line; NOWHERE has what no instruction takes."""
        found: dict[Line, int] = defaultdict(int)
        for _, line, amount in self.places():
            found[line] += amount
        return dict(found)

    def of_instructions(self, timeline: Timeline) -> list[list[int]]:
        """Return the attojoules of each core's instructions in one task, by index, all executions of one together."""
        chip, found = timeline.plan.chip, []
        for part, costs in zip(timeline.plan.cores, timeline.costs, strict=True):
            shapes = shapes_of(part.core)
            amounts = [
                self.amount(work_of(chip, part.number, part.core.code[k], costs[k])) if k in costs else 0
                for k in shapes.firsts.values()
            ]
            executed = zip(shapes.of.tolist(), part.core.times, strict=True)
            found.append([times * amounts[shape] for shape, times in executed])
        return found

    def amount(self, counts: Counts) -> int:
        """Return the attojoules of so many of each kind."""
        return sum(count * self.each[kind] for kind, count in counts.items())

    def places(self) -> Iterator[tuple[str, Line, int]]:
        """Yield engines and source lines with what their instructions take, and then what none takes."""
        for timeline, tasks in _timelines(self.schedule):
            for part, amounts in zip(timeline.plan.cores, self.of_instructions(timeline), strict=True):
                for k, amount in enumerate(amounts):
                    if amount:
                        yield f"core{part.number}.{part.core.code[k].engine}", part.line(k), tasks * amount
            for engine, counts in _beside(timeline):
                yield engine, NOWHERE, tasks * self.amount(counts)
        yield "chip", NOWHERE, self.amount(dict.fromkeys(("clock", "rest"), self.schedule.cycles))

    def summary(self) -> dict[str, Any]:
        """Return what `time --energy --json` has under "energy": microjoules, watts, and how many there are of each."""
        lines = sorted(self.by_line.items(), key=lambda item: -item[1])
        sums = {"by_kind": self.by_kind, "by_memory": self.by_memory, "by_engine": self.by_engine}
        return {
            "total": self.microjoules,
            "watts": self.watts,
            "counts": self.counts,
            **{name: {part: microjoules(amount) for part, amount in of.items()} for name, of in sums.items()},
            "by_line": [
                {"file": line.file, "line": line.number, "microjoules": microjoules(amount)} for line, amount in lines
            ],
        }


def microjoules(attojoules: int) -> float:
    """Return attojoules as microjoules."""
    return attojoules * 1e6 / ATTO


def energy(schedule: Schedule) -> Energy:
    """Return the energy of a task, or of all tasks of a stream; raise ChipError for a chip without [energy]."""
    return Energy(schedule, attojoules(schedule.plan.chip))


def has_energy(chip: Chip) -> bool:
    """Return whether a chip's file has a section [energy]."""
    return "energy.clock_pj" in chip.values


def attojoules(chip: Chip) -> Counts:
    """Return what one of each kind takes on a chip, in whole attojoules; raise ChipError where it has no [energy]."""
    numbers = chip.section("energy")
    squared = (numbers["volts"] / numbers["at_volts"]) ** 2
    elsewhere = _OWN_SUPPLY if chip["ring.clock"] == CORE else (*_OWN_SUPPLY, "ring")
    each = {kind: numbers[f"{kind}_pj"] * 1e6 for kind in KINDS if kind != "rest"}
    each["rest"] = numbers["rest_watts"] * ATTO / chip.cycles_per_second
    return {kind: round(amount * (1 if kind in elsewhere else squared)) for kind, amount in each.items()}


def work_of(chip: Chip, core: int, instruction: Instruction, cost: Cost) -> Counts:
    """Return how many of each kind one execution of a core's instruction takes."""
    found = Counter(lm=cost.lm, cb=cost.cb)
    if cost.lanes:
        found["lane" if instruction.row.engine == "te" else "pool"] = cost.lanes
    if cost.macs:
        x = instruction.operand("x")
        assert x is not None
        found[str(x.dtype) if x.dtype.bytes == 2 else "i8"] = cost.macs
    if instruction.row.engine == "me":
        for _, operand, size in instruction.traffic():
            if operand.core is not None:
                found["ring"] += size * len(ring_links(chip["chip.cores"], core, operand.core))
            elif operand.memory in ("dev", "host"):
                found["dev" if operand.memory == "dev" else "pcie"] += size
    return {kind: count for kind, count in found.items() if count}


def _beside(timeline: Timeline) -> Iterator[tuple[str, Counts]]:
    """Yield what a task takes beside its instructions: its transfers, and the code that its cores fetch."""
    for kind in ("input", "output"):
        moved = {memory: size for memory, size in transfer_bytes(timeline.plan, kind).items() if memory != "host"}
        yield "dma", {"pcie": sum(moved.values()), **moved}
    for core, size in enumerate(timeline.fetched):
        if size:
            yield f"core{core}.fetch", {"dev": size}


def _timelines(schedule: Schedule) -> list[tuple[Timeline, int]]:
    """Return the timelines of a schedule, each with how many tasks are as it."""
    if isinstance(schedule, Stream):
        return schedule.counted()
    assert isinstance(schedule, Timeline), "a schedule is of one task or of a stream"
    return [(schedule, 1)]


def area(chip: Chip) -> dict[str, float]:
    """Return the mm2 of a chip's parts, which add up to its own; raise ChipError where its file has no [area]."""
    each, cores = chip.section("area"), chip["chip.cores"]
    kilobytes = sum(chip.memory_bytes(memory) for memory in ("lm", "cb", "ib")) / 1024
    return {
        "multipliers": cores * products_a_cycle(chip) * each["multiplier_mm2"],
        "lanes": cores * (chip["te.vector_lanes"] + chip["pe.lanes"]) * each["lane_mm2"],
        "memories": cores * kilobytes * each["kb_mm2"],
        "other": each["other_mm2"],
    }
