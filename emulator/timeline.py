"""Timeline: what the schedule of a Plan says: cycles, engines, the critical path.

The critical path is walked back from the end: each step asks the record which term won, charges the cycles in between
to the instruction behind that term, and goes on there. The steps touch, so their cycles add up to the makespan.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from emulator.costs import COSTS, Cost, transfer_cycles
from emulator.jit import on_cold_compile
from emulator.pace import PAUSE_SECONDS, next_budget
from emulator.plan import SEQ, Plan
from emulator.record import (
    BUSY,
    CAUSE,
    COUNT,
    FINISH,
    FINISHED_BY,
    FREE_FROM,
    FREED_BY,
    INDEX,
    ISSUE,
    ISSUED,
    NEWEST,
    NONE,
    OLDEST,
    REASONS,
    RECORD,
    STALL_DEPENDENCE,
    STALL_WAIT,
    START,
    TOTALS,
    WHY,
)
from emulator.schedule import CLOCK, COUNTERS, DONE, END, ENDED, FULL, OPERAND, PAUSED, flat, walk, walk_back
from isa.errors import Trap
from isa.loops import executions, find_loops, trips_at
from isa.operand import MAX_LOOP_DEPTH, MEMORIES, TASK_COUNTER
from isa.table import ENGINES, MAX_OPERANDS, TABLE

TRANSFER_IN, TRANSFER_OUT = "transfer in", "transfer out"
# What a schedule takes on, before it is begun: records of 96 bytes, and iterations of loops, empty ones too.
MOST_RECORDS, MOST_ITERATIONS = 10_000_000, 1_000_000_000
# Steps of the pass before its first pause, and before any.
FIRST_STEPS, MOST_STEPS = 10_000, 10_000_000
# Accesses of one engine that there is room for at first.
FIRST_ROOM = 4096


@dataclass(frozen=True)
class Step:
    """A piece of the critical path: cycles that the run would be shorter without, for this reason.

    `index` is the instruction's in the code (-1 for the task's transfers).
    `reason`: "engine busy": it occupies its engine, which the next needs; "dependence" and "wait": the next needs its
    result, or waits for its engine; "last": it finishes last; "issue": the sequencer issues it; or a transfer.
    """

    index: int
    engine: str
    reason: str
    cycles: int


@dataclass(frozen=True)
class PathEntry:
    """Steps of the critical path that share source line, instruction, engine and reason.

    `line` is 0 for the task's transfers; `limit` is what decides the instruction's own time (see costs).
    """

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
    """Cycles of one engine: busy + stall + idle is the makespan.

    stall: an instruction had been issued and the engine was free, but it had to wait, for the reasons in `stalls`.
    """

    busy: int
    stall: int
    idle: int
    stalls: dict[str, int]
    instructions: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """The schedule of one task.

    `cycles` counts from the first byte of the task's DMA in to the last of its DMA out; `setup` is what loading
    weights and constants takes before the first task, not in `cycles`. `records` has a row for each instruction
    executed (columns of record.py, times from the end of the DMA in).
    """

    plan: Plan
    costs: dict[int, Cost]
    records: np.ndarray
    totals: np.ndarray
    compute_cycles: int
    transfer_in: int
    transfer_out: int
    setup: int

    @property
    def cycles(self) -> int:
        return self.transfer_in + self.compute_cycles + self.transfer_out

    @property
    def seconds(self) -> float:
        return self.cycles / self.plan.chip.cycles_per_second

    @property
    def instructions(self) -> int:
        return len(self.records)

    @cached_property
    def engines(self) -> dict[str, EngineTime]:
        """Times of each engine, by name as in "core0.te"."""
        times = {}
        for k, engine in enumerate(ENGINES):
            busy = int(self.totals[k, BUSY])
            stalls = {"dependence": int(self.totals[k, STALL_DEPENDENCE]), "wait": int(self.totals[k, STALL_WAIT])}
            stall = sum(stalls.values())
            idle = self.cycles - busy - stall
            times[f"core0.{engine}"] = EngineTime(busy, stall, idle, stalls, int(self.totals[k, COUNT]))
        return times

    def steps(self) -> Iterator[Step]:
        """Yield the critical path from the end of the task to its beginning, plainly: some microseconds a step."""
        if self.transfer_out:
            yield Step(-1, "dma", TRANSFER_OUT, self.transfer_out)
        end, at, issuing = self._end()
        yield end
        now = self._cycle(at, issuing)
        while at >= 0:
            record = self.records[at]
            if not issuing and record[WHY] != ISSUE:
                index, reason, at = None, REASONS[record[WHY]], int(record[CAUSE])
            elif record[FREED_BY] != NONE:
                # The queue was full: issued in the cycle in which that instruction started.
                at, issuing = int(record[FREED_BY]), False
                continue
            else:
                index, reason, at, issuing = int(record[INDEX]), REASONS[ISSUE], at - 1, True
            since = self._cycle(at, issuing)
            yield self._step(int(self.records[at, INDEX]) if index is None else index, reason, now - since)
            now = since
        if self.transfer_in:
            yield Step(-1, "dma", TRANSFER_IN, self.transfer_in)

    def _end(self) -> tuple[Step, int, bool]:
        """Return the last step of the computation, the record to go on from, and whether from its issue."""
        finish = self.records[:, FINISH]
        if not len(finish) or finish.max() < self.compute_cycles:
            # The sequencer's last instructions, loops and end, come after everything else.
            at, issuing = len(finish) - 1, True
            index, reason = len(self.plan.opcodes) - 1, REASONS[ISSUE]
        else:
            at, issuing = int(self.records[finish.argmax(), FINISHED_BY]), False
            index, reason = int(self.records[at, INDEX]), "last"
        return self._step(index, reason, self.compute_cycles - self._cycle(at, issuing)), at, issuing

    def _cycle(self, record: int, issuing: bool) -> int:
        """Return when a record was issued, or started; 0 before the first."""
        return int(self.records[record, ISSUED if issuing else START]) if record >= 0 else 0

    def _step(self, index: int, reason: str, cycles: int) -> Step:
        engine = "seq" if reason == REASONS[ISSUE] else f"core0.{TABLE[int(self.plan.opcodes[index])].engine}"
        return Step(index, engine, reason, cycles)

    @cached_property
    def critical_path(self) -> list[PathEntry]:
        """The critical path by line, instruction, engine and reason, most cycles first; they add up to `cycles`."""
        steps = self.compute_path()
        for reason, cycles in ((TRANSFER_IN, self.transfer_in), (TRANSFER_OUT, self.transfer_out)):
            if cycles:
                steps.append((Step(-1, "dma", reason, cycles), 1))
        return self.entries(steps)

    def compute_path(self) -> list[tuple[Step, int]]:
        """Return the critical path from the DMA in to the DMA out, each step with its cycles in all and its times."""
        end, at, issuing = self._end()
        path = np.zeros((len(self.plan.opcodes), len(REASONS), 2), np.int64)
        walk_back(self.records, at, self._cycle(at, issuing), issuing, path)
        steps = [(end, 1)]
        for index, why in np.argwhere(path[..., 0]):
            count, cycles = path[index, why].tolist()
            steps.append((self._step(int(index), REASONS[why], cycles), count))
        return steps

    def entries(self, steps: Iterable[tuple[Step, int]]) -> list[PathEntry]:
        """Return steps, with their times, by line, instruction, engine and reason, most cycles first."""
        merged: dict[tuple[str, int, str, str, str, str], tuple[int, int]] = {}
        for step, count in steps:
            name = self._name(step)
            count_before, cycles_before = merged.get(name, (0, 0))
            merged[name] = (count_before + count, cycles_before + step.cycles)
        entries = [PathEntry(*name, count, cycles) for name, (count, cycles) in merged.items()]
        return sorted(entries, key=lambda e: (-e.cycles, e.line, e.reason))

    def _name(self, step: Step) -> tuple[str, int, str, str, str, str]:
        """Return file, line, instruction, engine, reason and limit of a step."""
        if step.index < 0:
            return "", 0, "input" if step.reason == TRANSFER_IN else "output", step.engine, step.reason, "PCIe"
        line, mnemonic = self.plan.line(step.index), self.plan.core.code[step.index].row.mnemonic
        limit = "sequencer" if step.engine == "seq" else self.costs[step.index].limit
        return line.file, line.number, mnemonic, step.engine, step.reason, limit


def transfer_bytes(plan: Plan, kind: str) -> dict[str, int]:
    """Return the bytes of the inputs, or of the outputs, in each memory."""
    amounts = dict.fromkeys(MEMORIES, 0)
    for symbol in plan.core.of_kind(kind):
        amounts[symbol.memory] += symbol.bytes
    return amounts


def schedule(
    plan: Plan,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    task: int = 0,
) -> Timeline:
    """Return the timeline of one task of a plan, by its number; needs no data.

    `on_compile` is called with "the schedule" before that is compiled, `on_progress` with the instructions scheduled
    and those of the whole task, some times a second. Raises Trap for a task too long to keep records of.
    """
    chip = plan.chip
    costs = {k: COSTS[i.opcode](chip, i) for k, i in enumerate(plan.core.code) if i.opcode in COSTS}
    total = executed(plan)
    try:
        with on_cold_compile(lambda: on_compile("the schedule") if on_compile else None):
            records, totals, compute_cycles = _records(plan, task, costs, total, on_progress)
            # What the critical path needs is compiled with the rest.
            walk_back(records, -1, 0, False, np.zeros((0, len(REASONS), 2), np.int64))
    except MemoryError as error:
        raise Trap(f"there is no memory for the records of {total:,} instructions", FEWER) from error
    held = dict.fromkeys(MEMORIES, 0)
    for segment in plan.core.segments:
        held[segment.memory] += len(segment.data)
    return Timeline(
        plan=plan,
        costs=costs,
        records=records,
        totals=totals,
        compute_cycles=compute_cycles,
        transfer_in=transfer_cycles(chip, transfer_bytes(plan, "input")),
        transfer_out=transfer_cycles(chip, transfer_bytes(plan, "output")),
        setup=transfer_cycles(chip, held),
    )


FEWER = "give its longest loop a smaller count: the time of one iteration soon repeats"


def executed(plan: Plan, tasks: int = 1) -> int:
    """Return how many instructions of engines a task executes; raise Trap where so many cannot be scheduled."""
    code = plan.core.code
    trips = trips_at(code)
    instructions = executions(code)
    iterations = sum(prod(trips[loop.last]) for loop in find_loops(code))
    for count, most, what in (
        (instructions, MOST_RECORDS, "instructions"),
        (iterations, MOST_ITERATIONS, "iterations of loops"),
    ):
        if count > most:
            raise Trap(f"a task of {count:,} {what} is too long to schedule: at most {most:,}", FEWER)
        if tasks * count > most:
            all_differ = f"{tasks:,} tasks of {count:,} {what}, no two of which need be alike, are too long to schedule"
            raise Trap(f"{all_differ}: at most {most:,}", "ask for fewer tasks, or let addresses follow `task % N`")
    return instructions


def _records(
    plan: Plan, task: int, costs: dict[int, Cost], total: int, on_progress: Callable[[int, int], None] | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the records of a task, the totals of its engines, and the cycle at which all is done."""
    n = len(plan.opcodes)
    occupancy = np.array([costs[k].occupancy if k in costs else 0 for k in range(n)], np.int64)
    latency = np.array([costs[k].latency if k in costs else 0 for k in range(n)], np.int64)
    fixed = (
        *flat(plan, occupancy, latency),
        plan.chip["seq.issue_cycles"],
        plan.chip["seq.loop_cycles"],
        plan.program.order == "hardware",
    )
    state = np.zeros(COUNTERS + MAX_LOOP_DEPTH + 1, np.int64)
    state[COUNTERS + TASK_COUNTER] = task
    queue = np.zeros((SEQ, plan.chip["seq.queue_depth"]), np.int64)
    recent = np.zeros((SEQ, OPERAND, FIRST_ROOM), np.int64)
    totals = np.zeros((SEQ, TOTALS), np.int64)
    totals[:, FREE_FROM] = NONE
    records = np.empty((total, RECORD), np.int64)
    steps, why, reported = FIRST_STEPS, PAUSED, time.perf_counter()
    while why != ENDED:
        began = time.perf_counter()
        why = walk(*fixed, state, queue, recent, totals, records, steps)
        now = time.perf_counter()
        if why == FULL:
            recent = _with_room(recent, totals)
        elif why == PAUSED:
            steps = next_budget(steps, now - began, MOST_STEPS)
        if on_progress and why != ENDED and now - reported >= PAUSE_SECONDS:
            on_progress(int(state[DONE]), total)
            reported = now
    assert state[DONE] == total, "every record is filled"
    return records, totals, int(max(state[END], state[CLOCK]))


def _with_room(recent: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the recent accesses that may still matter, moved to the front, with as much room behind them or more."""
    live = totals[:, NEWEST] - totals[:, OLDEST]
    room = np.zeros((SEQ, OPERAND, max(recent.shape[2], 2 * (int(live.max()) + MAX_OPERANDS))), np.int64)
    for engine, count in enumerate(live):
        room[engine, :, :count] = recent[engine, :, totals[engine, OLDEST] : totals[engine, NEWEST]]
    totals[:, OLDEST], totals[:, NEWEST] = 0, live
    return room
