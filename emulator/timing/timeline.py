"""Timeline: what the schedule of a Plan says: cycles, engines, the critical path.

The critical path is walked back from the end: each step asks the record which term won, charges the cycles in between
to the instruction behind that term, and goes on there. The steps touch, so their cycles add up to the makespan.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from emulator.jit.compile import as_python
from emulator.jit.jobs import Job, compile_all
from emulator.jit.later import types
from emulator.plan.load import of_task
from emulator.plan.plan import Plan
from emulator.timing.columns import (
    FINISHES,
    FIRST_LINK,
    NONE,
    PATH_REASONS,
    REASONS,
    RESOURCE_KINDS,
    Engine,
    Fetch,
    Moment,
    PathStep,
    PathSum,
    Reason,
    Record,
    Sequencer,
    Shared,
    Trail,
)
from emulator.timing.costs import Cost, fetch_cycles, resource_names, transfer_cycles
from emulator.timing.critical_path import walk_back
from emulator.timing.flatten import costs_of, flat, shapes_of
from emulator.timing.program_order import goes_on
from emulator.timing.replay import Clock, clock_of, run
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT, EngineTime, Schedule, Step
from emulator.timing.schedule import Fixed, State, walk
from isa.errors import Trap
from isa.memory import HELP, shortage
from isa.operand import MEMORIES
from isa.program import Core
from isa.row import ENGINES

STALLS = {
    "dependence": Engine.STALL_DEPENDENCE,
    "wait": Engine.STALL_WAIT,
    "token": Engine.STALL_TOKEN,
    "resource": Engine.STALL_RESOURCE,
}
# What a schedule takes on, before it is begun: some minutes; of loops, empty ones too. And records of it, of 168 bytes.
MOST_INSTRUCTIONS, MOST_ITERATIONS, MOST_RECORDS = 1_000_000_000, 1_000_000_000, 10_000_000
# Instructions and iterations that are scheduled as Python, 0.4 ms each, where the schedule is not compiled, which takes
# 8 s; in all, in a process.
MOST_AS_PYTHON = 2000
# What the clock, in 64 bits, counts with room to spare.
MOST_CYCLES = 2**62
RECORD_BYTES = 8 * len(Record)


def _of_walk() -> Any:
    """Return the types of the schedule's walk."""
    i64, (row, matrix, tables, blocks) = types.int64, (types.Array(types.int64, n, "C") for n in range(1, 5))
    fixed = *[matrix] * 5, *[i64] * 5, types.float64, i64, types.float64, i64, types.boolean
    of = {"queues": blocks, "recents": blocks, "steps": row}
    of |= dict.fromkeys(["totals", "signals", "meetings", "rooms"], tables)
    state = [of.get(name, matrix) for name in State._fields]
    return types.void(types.NamedTuple(fixed, Fixed), types.NamedTuple(state, State), matrix, matrix, i64)


_MATRIX = "int64[:,::1]"
JOBS = (
    Job("the schedule", walk, _of_walk),
    Job("the order of the schedule", goes_on, f"({_MATRIX}, {_MATRIX}, {_MATRIX}, {_MATRIX}, int64[::1], int64)"),
    Job(
        "the critical path",
        walk_back,
        f"({_MATRIX}, {_MATRIX}, int64, int64, int64[::1], int64[:,:,:,::1], {_MATRIX})",
    ),
)


# How many have been.
_as_python = 0


def is_short(plan: Plan) -> bool:
    """Return whether a task of a plan is scheduled as Python where nothing was before."""
    return _scheduled(plan) <= MOST_AS_PYTHON


def _scheduled(plan: Plan) -> int:
    """Return how many instructions and iterations a task of a plan executes."""
    return sum(iterations_of(part.core) + part.core.executions for part in plan.cores)


@contextmanager
def _computed(plan: Plan, on_compile: Callable[[str], None] | None = None) -> Iterator[None]:
    """Have a task of a plan scheduled by what is compiled, or as Python where that is not there and it is short."""
    global _as_python
    loaded = all(job.function.entry for job in JOBS)
    total = 0 if loaded else _scheduled(plan)
    if not loaded and _as_python + total <= MOST_AS_PYTHON and not all(job.is_kept for job in JOBS):
        _as_python += total
        with as_python():
            yield
        return
    compile_all(JOBS, on_compile)
    yield


@dataclass(frozen=True, eq=False, repr=False)
class Timeline(Schedule):
    """The schedule of one task, on all cores.

    `cycles` counts from the first byte of the task's DMA in to the last of its DMA out. totals [cores, engines,
    Engine]; sequencer_ends [cores]: when each has issued its `end`; `task` is its number. The states of its run, by
    `clock`, are what the records and the critical path are found from.
    """

    clock: Clock
    states: list[State]
    totals: np.ndarray
    sequencer_ends: np.ndarray
    compute_cycles: int
    transfer_in: int
    transfer_out: int
    task: int = 0

    @property
    def tasks(self) -> int:
        return 1

    @property
    def cycles(self) -> int:
        """Cycles from the first byte of the task's DMA in to the last of its DMA out."""
        return self.transfer_in + self.compute_cycles + self.transfer_out

    @cached_property
    def records(self) -> np.ndarray:
        """A row for each instruction executed (columns Record), core after core, from the end of the DMA in.

        Raises Trap where there are more than MOST_RECORDS.
        """
        if self.instructions > MOST_RECORDS:
            what = f"a task of {self.instructions:,} instructions is too long for a record of each"
            raise Trap(f"{what}: at most {MOST_RECORDS:,}", FEWER)
        short = shortage({f"records of {self.instructions:,} instructions": self.instructions * RECORD_BYTES})
        if short:
            raise Trap(f"{self.plan.program.name}: {short}", f"{FEWER}, {HELP}")
        with _computed(self.plan):
            return self.clock.replay(self.states[0], self.states[-1])[1]

    @cached_property
    def held(self) -> dict[str, int]:
        """The cycles for which each shared resource was held, by name, of those that were; and each core's fetch."""
        names = resource_names(self.plan.chip)
        cycles = self.states[-1].resources[:, Shared.HELD_FOR].tolist()
        names += [f"core{core}.fetch" for core in range(len(self.totals))]
        cycles += [fetch_cycles(self.plan.chip, size) for size in self.fetched]
        return {name: held for name, held in zip(names, cycles, strict=True) if held}

    @cached_property
    def fetched(self) -> list[int]:
        """The bytes of code that each core fetched from device memory."""
        return [int(size) for size in self.states[-1].fetches[:, Fetch.BYTES]]

    @cached_property
    def engines(self) -> dict[str, EngineTime]:
        """Times of each engine, by name as in "core0.te"."""
        times = {}
        for core, totals in enumerate(self.totals):
            for engine, total in zip(ENGINES, totals.tolist(), strict=True):
                stalls = {reason: total[column] for reason, column in STALLS.items()}
                stall = sum(stalls.values())
                idle = self.cycles - total[Engine.BUSY] - stall
                count = total[Engine.COUNT]
                times[f"core{core}.{engine}"] = EngineTime(core, total[Engine.BUSY], stall, idle, stalls, count)
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
        longest = max(len(part.opcodes) for part in self.plan.cores)
        path = np.zeros((len(self.plan.cores), longest, PATH_REASONS, len(PathSum)), np.int64)
        trail, first_block = self._end(), FIRST_LINK + 2 * self.plan.chip["chip.cores"]
        pieces = self.clock.segments(self.states)
        while trail[Trail.MOMENT] != NONE:
            with _computed(self.plan):
                window, records = next(pieces)
                # Each record has four moments.
                steps = np.empty((4 * len(records) + 2 if with_steps else 0, len(PathStep)), np.int64)
                walk_back(records, window, first_block, self.plan.chip["seq.issue_cycles"], trail, path, steps)
            yield path, steps[: trail[Trail.STEPS]]

    def _end(self) -> np.ndarray:
        """Return the trail at the end of the computation."""
        trail = np.zeros(len(Trail), np.int64)
        trail[Trail.NOW], trail[Trail.OWED_CORE] = self.compute_cycles, NONE
        finish = self.totals[:, :, Engine.LAST_FINISH]
        if finish.max() < self.compute_cycles:
            # The sequencer's last instructions, loops and end, come after everything else.
            core = int(self.sequencer_ends.argmax())
            last, first = int(self.states[-1].sequencers[core, Sequencer.NEXT]), int(self.clock.first[core])
            trail[Trail.IN_RECORD], trail[Trail.MOMENT] = last - 1 if last > first else NONE, Moment.IS_ISSUED
            trail[Trail.OWED_CORE], trail[Trail.OWED_INDEX] = core, len(self.plan.cores[core].opcodes) - 1
            trail[Trail.OWED_REASON] = Reason.ISSUE
        else:
            by = self.totals[:, :, Engine.LAST_FINISHED_BY].flat[finish.argmax()]
            trail[Trail.IN_RECORD], trail[Trail.MOMENT], trail[Trail.OWED_REASON] = by, Moment.STARTED, FINISHES
        return trail

    def _step(self, core: int, index: int, why: int, cycles: int) -> Step:
        kind = RESOURCE_KINDS[why - Reason.RESOURCE] if Reason.RESOURCE <= why < FINISHES else ""
        reason = "last" if why == FINISHES else REASONS[min(why, Reason.RESOURCE)]
        engine = (
            "seq"
            if why in (Reason.ISSUE, Reason.FETCH)
            else f"core{core}.{self.plan.cores[core].core.code[index].engine}"
        )
        return Step(core, index, engine, reason, cycles, kind)

    def path_steps(self) -> list[tuple[Step, int]]:
        """Return the critical path, steps that are alike as one: with their cycles in all, and how many they are."""
        steps = self.compute_path()
        for reason, cycles in ((TRANSFER_IN, self.transfer_in), (TRANSFER_OUT, self.transfer_out)):
            if cycles:
                steps.append((Step(-1, -1, "dma", reason, cycles), 1))
        return steps

    def compute_path(self) -> list[tuple[Step, int]]:
        """Return the critical path from the DMA in to the DMA out, each step with its cycles in all and its times."""
        path = np.zeros((0, 0, 0, len(PathSum)), np.int64)
        for summed, _ in self._walk_back(with_steps=False):
            path = summed
        steps = []
        for core, index, why in np.argwhere(path[..., PathSum.COUNT]).tolist():
            count, cycles = path[core, index, why].tolist()
            steps.append((self._step(core, index, why, cycles), count))
        return steps


def transfer_bytes(plan: Plan, kind: str) -> dict[str, int]:
    """Return the bytes of the inputs, or of the outputs, of all cores in each kind of memory."""
    amounts = dict.fromkeys(MEMORIES, 0)
    for _, symbol in plan.program.of_kind(kind):
        amounts[symbol.memory] += symbol.bytes
    return amounts


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
    plan = of_task(plan, task)
    chip, costs, total = plan.chip, costs_of(plan), executed(plan)
    _check_countable(plan, costs)
    try:
        clock = clock_of(plan, flat(plan, costs))
        with _computed(plan, on_compile):
            states = run(plan, clock, task, total, on_progress, max_cycles)
    except MemoryError as error:
        raise Trap(f"there is no memory for the schedule of {total:,} instructions", FEWER) from error
    last = states[-1]
    sequencer_ends = last.sequencers[:, Sequencer.CLOCK] + chip["seq.issue_cycles"]
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
        compute_cycles=max(int(last.sequencers[:, Sequencer.END].max()), int(sequencer_ends.max())),
        transfer_in=transfer_cycles(chip, transfer_bytes(plan, "input")),
        transfer_out=transfer_cycles(chip, transfer_bytes(plan, "output")),
        setup=transfer_cycles(chip, held),
        task=task,
    )
    at_most(plan, timeline.cycles, max_cycles)
    return timeline


def longest(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> float:
    """Return cycles that a task's COMPUTE does not take more than: those of all it executes, one after another."""
    chip = plan.chip
    # No number is read that the clock does not read, for what-if tries those that are.
    each = sum(chip[key] for key in ("seq.issue_cycles", "seq.loop_cycles", "sync.latency"))
    block = chip["memory.lm_block_bytes_per_cycle"] if chip["memory.lm_blocks"] else 0
    cycles = 0.0
    for part, of_core in zip(plan.cores, costs, strict=True):
        shapes = shapes_of(part.core)
        for k, times in zip(shapes.firsts.values(), shapes.times, strict=True):
            cycles += times * (each + (of_core[k].latency if k in of_core else 0))
            if block:
                cycles += times * sum(size for _, _, size in part.core.code[k].traffic()) / block
        if part.fetched.any():
            for size, times in zip(part.fetched.tolist(), part.core.times, strict=True):
                cycles += times * (chip.latency("dev") + fetch_cycles(chip, size)) if size else 0
    return cycles


def _check_countable(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> None:
    """Raise Trap where the clock, of 64 bits, could run over."""
    cycles = longest(plan, costs)
    if cycles >= MOST_CYCLES:
        raise Trap(
            f"{plan.program.name}: a task that may take {cycles:.3g} cycles cannot be scheduled: less than "
            f"{MOST_CYCLES:.3g} are counted",
            "give its longest loop a smaller count, or the chip higher rates",
        )


def at_most(plan: Plan, cycles: int, max_cycles: int | None) -> None:
    """Raise Trap where a finished schedule has more cycles than it may, or than all that reads it can count."""
    if cycles >= MOST_CYCLES:
        raise Trap(f"{plan.program.name}: {cycles:,} cycles are too many to be shown: at most {MOST_CYCLES:,}", FEWER)
    if max_cycles is not None and cycles > max_cycles:
        raise Trap(f"{plan.program.name}: more than {max_cycles:,} cycles: it takes {cycles:,}")


FEWER = "give its longest loop a smaller count: the time of one iteration soon repeats"


def iterations_of(core: Core) -> int:
    """Return how many iterations the loops of a core have in a task."""
    return sum(prod(core.trips()[loop.last]) for loop in core.loops)


def executed(plan: Plan, tasks: int = 1) -> int:
    """Return how many instructions of engines a task executes; raise Trap where so many cannot be scheduled."""
    cores = [part.core for part in plan.cores]
    instructions = sum(core.executions for core in cores)
    iterations = sum(map(iterations_of, cores))
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
