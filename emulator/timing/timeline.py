"""Timeline: what the schedule of a Plan says: cycles, engines, the critical path.

The critical path is walked back from the end: each step asks the record which term won, charges the cycles in between
to the instruction behind that term, and goes on there. The steps touch, so their cycles add up to the makespan.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from emulator.jit.jobs import on_cold_compile
from emulator.plan.plan import Plan
from emulator.timing.columns import (
    BUSY,
    COUNT,
    ISSUE,
    LAST_FINISH,
    LAST_FINISHED_BY,
    NONE,
    REASONS,
    RECORD,
    RESOURCE,
    STALL_DEPENDENCE,
    STALL_RESOURCE,
    STALL_TOKEN,
    STALL_WAIT,
)
from emulator.timing.costs import FIRST_LINK, Cost, cost_of, resource_names, transfer_cycles
from emulator.timing.replay import Clock, clock_of, run
from emulator.timing.schedule import (
    CLOCK,
    END,
    FINISHES,
    HELD_FOR,
    IN_RECORD,
    IS_ISSUED,
    KINDS,
    MOMENT,
    NEXT,
    NOW,
    OWED_CORE,
    OWED_INDEX,
    OWED_REASON,
    PATH_REASONS,
    STARTED,
    STEPS,
    TRAIL,
    State,
    flat,
    walk_back,
)
from isa.errors import Trap
from isa.loops import executions, find_loops, trips_at
from isa.operand import MEMORIES
from isa.row import ENGINES

TRANSFER_IN, TRANSFER_OUT = "transfer in", "transfer out"
# What a schedule takes on, before it is begun: some minutes; of loops, empty ones too. And records of it, of 152 bytes.
MOST_INSTRUCTIONS, MOST_ITERATIONS, MOST_RECORDS = 1_000_000_000, 1_000_000_000, 10_000_000


@dataclass(frozen=True)
class Step:
    """A piece of the critical path: cycles that the run would be shorter without, for this reason.

    `core` and `index` say which instruction it is (-1 for the task's transfers).
    `reason`: "engine busy": it occupies its engine, which the next needs; "dependence" and "wait": the next needs its
    result, or waits for its engine; "resource": it holds the shared `resource` that the next needs; "token": the next,
    on another queue, waits for its signal, or for its arrival at a
    barrier; "last": it finishes last; "issue": the sequencer issues it; or a transfer.
    """

    core: int
    index: int
    engine: str
    reason: str
    cycles: int
    resource: str = ""


@dataclass(frozen=True)
class PathEntry:
    """Steps of the critical path that share core, source line, instruction, engine and reason.

    For the task's transfers `core` is None and `line` 0; `limit` is what decides the instruction's time (see costs),
    or where the reason is "resource", which one it held.
    """

    core: int | None
    file: str
    line: int
    instruction: str
    engine: str
    reason: str
    limit: str
    count: int
    cycles: int


@dataclass(frozen=True)
class EngineTime:
    """Cycles of one engine of a core, or of a link (core None): busy + stall + idle is the makespan.

    stall: an instruction had been issued and the engine was free, but it had to wait, for the reasons in `stalls`.
    """

    core: int | None
    busy: int
    stall: int
    idle: int
    stalls: dict[str, int]
    instructions: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """The schedule of one task, on all cores.

    `cycles` counts from the first byte of the task's DMA in to the last of its DMA out; `setup` is what loading
    weights and constants takes before the first task, not in `cycles`. `costs` are those of each core's instructions,
    by index; totals [cores, engines, columns of record.py]; sequencer_ends [cores]: when each has issued its `end`;
    `task` is its number. The states of its run, by `clock`, are what the records and the critical path are found from.
    """

    plan: Plan
    costs: tuple[dict[int, Cost], ...]
    clock: Clock
    states: list[State]
    instructions: int
    totals: np.ndarray
    sequencer_ends: np.ndarray
    compute_cycles: int
    transfer_in: int
    transfer_out: int
    setup: int
    task: int = 0

    @property
    def cycles(self) -> int:
        """Cycles from the first byte of the task's DMA in to the last of its DMA out."""
        return self.transfer_in + self.compute_cycles + self.transfer_out

    @property
    def seconds(self) -> float:
        """The same at the chip's clock."""
        return self.cycles / self.plan.chip.cycles_per_second

    @cached_property
    def records(self) -> np.ndarray:
        """A row for each instruction executed (columns of record.py), core after core, from the end of the DMA in.

        Raises Trap where there are more than MOST_RECORDS.
        """
        if self.instructions > MOST_RECORDS:
            what = f"a task of {self.instructions:,} instructions is too long for a record of each"
            raise Trap(f"{what}: at most {MOST_RECORDS:,}", FEWER)
        return self.clock.replay(self.states[0], self.states[-1])[1]

    @cached_property
    def held(self) -> dict[str, int]:
        """The cycles for which each shared resource was held, by name, of those that were."""
        names = resource_names(self.plan.chip)
        cycles = self.states[-1].resources[:, HELD_FOR].tolist()
        return {name: held for name, held in zip(names, cycles, strict=True) if held}

    @cached_property
    def engines(self) -> dict[str, EngineTime]:
        """Times of each engine, by name as in "core0.te"."""
        times = {}
        for core, totals in enumerate(self.totals):
            for engine, total in zip(ENGINES, totals.tolist(), strict=True):
                columns = {"dependence": STALL_DEPENDENCE, "wait": STALL_WAIT, "token": STALL_TOKEN}
                columns["resource"] = STALL_RESOURCE
                stalls = {reason: total[column] for reason, column in columns.items()}
                stall = sum(stalls.values())
                idle = self.cycles - total[BUSY] - stall
                times[f"core{core}.{engine}"] = EngineTime(core, total[BUSY], stall, idle, stalls, total[COUNT])
        return times

    def steps(self) -> Iterator[Step]:
        """Yield the critical path from the end of the task to its beginning."""
        if self.transfer_out:
            yield Step(-1, -1, "dma", TRANSFER_OUT, self.transfer_out)
        for _, steps in self._walk_back(with_steps=True):
            for step in steps.tolist():
                yield self._step(*step)
        if self.transfer_in:
            yield Step(-1, -1, "dma", TRANSFER_IN, self.transfer_in)

    def _walk_back(self, with_steps: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go back along the path, piece by piece; yield its sums so far, and the steps of the piece."""
        path = np.zeros((len(self.plan.cores), max(len(p.opcodes) for p in self.plan.cores), PATH_REASONS, 2), np.int64)
        trail, first_block = self._end(), FIRST_LINK + 2 * self.plan.chip["chip.cores"]
        pieces = self.clock.segments(self.states)
        while trail[MOMENT] != NONE:
            window, records = next(pieces)
            # Each record has three moments.
            steps = np.empty((3 * len(records) + 2 if with_steps else 0, 4), np.int64)
            walk_back(records, window, first_block, trail, path, steps)
            yield path, steps[: trail[STEPS]]

    def _end(self) -> np.ndarray:
        """Return the trail at the end of the computation."""
        trail = np.zeros(TRAIL, np.int64)
        trail[NOW], trail[OWED_CORE] = self.compute_cycles, NONE
        finish = self.totals[:, :, LAST_FINISH]
        if finish.max() < self.compute_cycles:
            # The sequencer's last instructions, loops and end, come after everything else.
            core = int(self.sequencer_ends.argmax())
            last, first = int(self.states[-1].sequencers[core, NEXT]), int(self.clock.first[core])
            trail[IN_RECORD], trail[MOMENT] = last - 1 if last > first else NONE, IS_ISSUED
            trail[OWED_CORE], trail[OWED_INDEX], trail[OWED_REASON] = (
                core,
                len(self.plan.cores[core].opcodes) - 1,
                ISSUE,
            )
        else:
            by = self.totals[:, :, LAST_FINISHED_BY].flat[finish.argmax()]
            trail[IN_RECORD], trail[MOMENT], trail[OWED_REASON] = by, STARTED, FINISHES
        return trail

    def _step(self, core: int, index: int, why: int, cycles: int) -> Step:
        kind = KINDS[why - RESOURCE] if RESOURCE <= why < FINISHES else ""
        reason = "last" if why == FINISHES else REASONS[min(why, RESOURCE)]
        engine = "seq" if why == ISSUE else f"core{core}.{self.plan.cores[core].core.code[index].engine}"
        return Step(core, index, engine, reason, cycles, kind)

    @cached_property
    def critical_path(self) -> list[PathEntry]:
        """The critical path by line, instruction, engine and reason, most cycles first; they add up to `cycles`."""
        return self.entries(self.path_steps())

    def path_steps(self) -> list[tuple[Step, int]]:
        """Return the critical path, steps that are alike as one: with their cycles in all, and how many they are."""
        steps = self.compute_path()
        for reason, cycles in ((TRANSFER_IN, self.transfer_in), (TRANSFER_OUT, self.transfer_out)):
            if cycles:
                steps.append((Step(-1, -1, "dma", reason, cycles), 1))
        return steps

    def compute_path(self) -> list[tuple[Step, int]]:
        """Return the critical path from the DMA in to the DMA out, each step with its cycles in all and its times."""
        path = np.zeros((0, 0, 0, 2), np.int64)
        for summed, _ in self._walk_back(with_steps=False):
            path = summed
        steps = []
        for core, index, why in np.argwhere(path[..., 0]).tolist():
            count, cycles = path[core, index, why].tolist()
            steps.append((self._step(core, index, why, cycles), count))
        return steps

    def entries(self, steps: Iterable[tuple[Step, int]]) -> list[PathEntry]:
        """Return steps, with their times, by line, instruction, engine and reason, most cycles first."""
        merged: dict[tuple[int | None, str, int, str, str, str, str], tuple[int, int]] = {}
        for step, count in steps:
            name = self._name(step)
            count_before, cycles_before = merged.get(name, (0, 0))
            merged[name] = (count_before + count, cycles_before + step.cycles)
        entries = [PathEntry(*name, count, cycles) for name, (count, cycles) in merged.items()]
        return sorted(entries, key=lambda e: (-e.cycles, e.line, e.reason, e.core or 0))

    def _name(self, step: Step) -> tuple[int | None, str, int, str, str, str, str]:
        """Return core, file, line, instruction, engine, reason and limit of a step."""
        if step.index < 0:
            return None, "", 0, "input" if step.reason == TRANSFER_IN else "output", step.engine, step.reason, "PCIe"
        part = self.plan.cores[step.core]
        line, mnemonic = part.line(step.index), part.core.code[step.index].row.mnemonic
        limit = "sequencer" if step.engine == "seq" else self.costs[step.core][step.index].limit
        if step.resource:
            limit = step.resource
        return step.core, line.file, line.number, mnemonic, step.engine, step.reason, limit


def transfer_bytes(plan: Plan, kind: str) -> dict[str, int]:
    """Return the bytes of the inputs, or of the outputs, of all cores in each kind of memory."""
    amounts = dict.fromkeys(MEMORIES, 0)
    for _, symbol in plan.program.of_kind(kind):
        amounts[symbol.memory] += symbol.bytes
    return amounts


def costs_of(plan: Plan) -> tuple[dict[int, Cost], ...]:
    """Return, for each core, the costs of its instructions by their index; those of the sequencer have none."""
    found = [{k: cost_of(plan.chip, i) for k, i in enumerate(part.core.code)} for part in plan.cores]
    return tuple({k: cost for k, cost in of_core.items() if cost} for of_core in found)


def schedule(
    plan: Plan,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    task: int = 0,
    max_cycles: int | None = None,
) -> Timeline:
    """Return the timeline of one task of a plan, by its number; needs no data.

    `on_compile` is called with "the schedule" before that is compiled, `on_progress` with the instructions scheduled
    and those of the whole task, some times a second. Raises Trap for a task that takes too long, or more than
    `max_cycles`, and where no core can go on.
    """
    chip, costs, total = plan.chip, costs_of(plan), executed(plan)
    try:
        with on_cold_compile(lambda: on_compile("the schedule") if on_compile else None):
            clock = clock_of(plan, flat(plan, costs))
            states = run(plan, clock, task, total, on_progress, max_cycles)
            # What the critical path needs is compiled with the rest.
            nothing, trail = np.empty((0, RECORD), np.int64), np.full(TRAIL, NONE, np.int64)
            walk_back(
                nothing, clock.no_window(), 0, trail, np.zeros((0, 0, 0, 2), np.int64), np.zeros((0, 4), np.int64)
            )
    except MemoryError as error:
        raise Trap(f"there is no memory for the schedule of {total:,} instructions", FEWER) from error
    last = states[-1]
    sequencer_ends = last.sequencers[:, CLOCK] + chip["seq.issue_cycles"]
    held = dict.fromkeys(MEMORIES, 0)
    for part in plan.cores:
        for segment in part.core.segments:
            held[segment.memory] += len(segment.data)
    timeline = Timeline(
        plan=plan,
        costs=costs,
        clock=clock,
        states=states,
        instructions=total,
        totals=last.totals,
        sequencer_ends=sequencer_ends,
        compute_cycles=max(int(last.sequencers[:, END].max()), int(sequencer_ends.max())),
        transfer_in=transfer_cycles(chip, transfer_bytes(plan, "input")),
        transfer_out=transfer_cycles(chip, transfer_bytes(plan, "output")),
        setup=transfer_cycles(chip, held),
        task=task,
    )
    at_most(plan, timeline.cycles, max_cycles)
    return timeline


def at_most(plan: Plan, cycles: int, max_cycles: int | None) -> None:
    """Raise Trap where a finished schedule has more cycles than it may."""
    if max_cycles is not None and cycles > max_cycles:
        raise Trap(f"{plan.program.name}: more than {max_cycles:,} cycles: it takes {cycles:,}")


FEWER = "give its longest loop a smaller count: the time of one iteration soon repeats"


def executed(plan: Plan, tasks: int = 1) -> int:
    """Return how many instructions of engines a task executes; raise Trap where so many cannot be scheduled."""
    codes = [part.core.code for part in plan.cores]
    instructions = sum(map(executions, codes))
    iterations = sum(
        prod(trips[loop.last]) for code in codes for trips in [trips_at(code)] for loop in find_loops(code)
    )
    for count, most, what in (
        (instructions, MOST_INSTRUCTIONS, "instructions"),
        (iterations, MOST_ITERATIONS, "iterations of loops"),
    ):
        if count > most:
            raise Trap(f"a task of {count:,} {what} is too long to schedule: at most {most:,}", FEWER)
        if tasks * count > most:
            all_differ = f"{tasks:,} tasks of {count:,} {what}, no two of which need be alike, are too long to schedule"
            raise Trap(f"{all_differ}: at most {most:,}", "ask for fewer tasks, or let addresses follow `task % N`")
    return instructions
