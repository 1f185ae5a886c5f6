"""Timeline: what the schedule of a Plan says: cycles, engines, the critical path.

The critical path is walked back from the end: each step asks the record which term won, charges the cycles in between
to the instruction behind that term, and goes on there. The steps touch, so their cycles add up to the makespan.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from emulator.costs import Cost, cost_of, transfer_cycles
from emulator.deadlock import deadlock_trap
from emulator.jit import on_cold_compile
from emulator.pace import PAUSE_SECONDS, next_budget
from emulator.plan import SEQ, Plan, starts
from emulator.record import (
    ARRIVED,
    BUSY,
    CAUSE,
    CORE,
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
    STALL_TOKEN,
    STALL_WAIT,
    START,
    TOKEN,
    TOKEN_BY,
    TOTALS,
    WHY,
)
from emulator.schedule import (
    AT,
    BEGIN,
    CLOCK,
    COUNTERS,
    END,
    FIRST_SIGNAL,
    FULL,
    HAS_ARRIVED,
    IS_ISSUED,
    MEETING,
    NEXT,
    OPERAND,
    PAUSED,
    SEMAPHORE,
    STARTED,
    STUCK,
    flat,
    walk,
    walk_back,
)
from isa.errors import Trap
from isa.loops import executions, find_loops, trips_at
from isa.operand import MAX_LOOP_DEPTH, MEMORIES, TASK_COUNTER
from isa.row import ENGINES
from isa.synchronisation import uses
from isa.table import MAX_OPERANDS

TRANSFER_IN, TRANSFER_OUT = "transfer in", "transfer out"
# What a schedule takes on, before it is begun: records of 128 bytes, and iterations of loops, empty ones too.
MOST_RECORDS, MOST_ITERATIONS = 10_000_000, 1_000_000_000
# Steps of the pass before its first pause, and before any.
FIRST_STEPS, MOST_STEPS = 10_000, 10_000_000
# Accesses of one engine that there is room for at first.
FIRST_ROOM = 4096


@dataclass(frozen=True)
class Step:
    """A piece of the critical path: cycles that the run would be shorter without, for this reason.

    `core` and `index` say which instruction it is (-1 for the task's transfers).
    `reason`: "engine busy": it occupies its engine, which the next needs; "dependence" and "wait": the next needs its
    result, or waits for its engine; "token": the next, on another queue, waits for its signal, or for its arrival at a
    barrier; "last": it finishes last; "issue": the sequencer issues it; or a transfer.
    """

    core: int
    index: int
    engine: str
    reason: str
    cycles: int


@dataclass(frozen=True)
class PathEntry:
    """Steps of the critical path that share core, source line, instruction, engine and reason.

    For the task's transfers `core` is None and `line` 0; `limit` is what decides the instruction's time (see costs).
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
    weights and constants takes before the first task, not in `cycles`. `records` has a row for each instruction
    executed (columns of record.py, times from the end of the DMA in), core after core. `costs` are those of each core's
    instructions, by index; totals [cores, engines, columns of record.py]; sequencer_ends [cores]: when each has
    issued its `end`; `task` is its number.
    """

    plan: Plan
    costs: tuple[dict[int, Cost], ...]
    records: np.ndarray
    totals: np.ndarray
    sequencer_ends: np.ndarray
    compute_cycles: int
    transfer_in: int
    transfer_out: int
    setup: int
    task: int = 0

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
        for core, totals in enumerate(self.totals):
            for engine, total in zip(ENGINES, totals.tolist(), strict=True):
                columns = {"dependence": STALL_DEPENDENCE, "wait": STALL_WAIT, "token": STALL_TOKEN}
                stalls = {reason: total[column] for reason, column in columns.items()}
                stall = sum(stalls.values())
                idle = self.cycles - total[BUSY] - stall
                times[f"core{core}.{engine}"] = EngineTime(core, total[BUSY], stall, idle, stalls, total[COUNT])
        return times

    def steps(self) -> Iterator[Step]:
        """Yield the critical path from the end of the task to its beginning, plainly: some microseconds a step."""
        if self.transfer_out:
            yield Step(-1, -1, "dma", TRANSFER_OUT, self.transfer_out)
        end, at, moment = self._end()
        yield end
        now = self._cycle(at, moment)
        while at != NONE:
            record = self.records[at]
            by = at
            if moment == STARTED and record[START] > record[ARRIVED]:
                reason, by, moment = TOKEN, int(record[TOKEN_BY]), HAS_ARRIVED
                at = by
            elif moment != IS_ISSUED and record[WHY] != ISSUE:
                reason, by, moment = int(record[WHY]), int(record[CAUSE]), STARTED
                at = by
            elif record[FREED_BY] != NONE:
                # The queue was full: issued in the cycle in which that instruction started.
                at, moment = int(record[FREED_BY]), STARTED
                continue
            else:
                reason, at, moment = ISSUE, self._before(at), IS_ISSUED
            since = self._cycle(at, moment)
            yield self._step(int(self.records[by, CORE]), int(self.records[by, INDEX]), REASONS[reason], now - since)
            now = since
        if self.transfer_in:
            yield Step(-1, -1, "dma", TRANSFER_IN, self.transfer_in)

    def _end(self) -> tuple[Step, int, int]:
        """Return the last step of the computation, the record to go on from, and from which moment of it."""
        finish = self.records[:, FINISH]
        if not len(finish) or finish.max() < self.compute_cycles:
            # The sequencer's last instructions, loops and end, come after everything else.
            core = int(self.sequencer_ends.argmax())
            counts = self.totals[:, :, COUNT].sum(axis=1)
            at, moment = int(counts[: core + 1].sum()) - 1 if counts[core] else NONE, IS_ISSUED
            index, reason = len(self.plan.cores[core].opcodes) - 1, REASONS[ISSUE]
        else:
            at, moment = int(self.records[finish.argmax(), FINISHED_BY]), STARTED
            core, index, reason = int(self.records[at, CORE]), int(self.records[at, INDEX]), "last"
        return self._step(core, index, reason, self.compute_cycles - self._cycle(at, moment)), at, moment

    def _before(self, record: int) -> int:
        """Return the record before one on its core, NONE where there is none."""
        same = record > 0 and self.records[record - 1, CORE] == self.records[record, CORE]
        return record - 1 if same else NONE

    def _cycle(self, record: int, moment: int) -> int:
        """Return when a record came to a moment; 0 before the first."""
        column = {IS_ISSUED: ISSUED, HAS_ARRIVED: ARRIVED, STARTED: START}[moment]
        return int(self.records[record, column]) if record != NONE else 0

    def _step(self, core: int, index: int, reason: str, cycles: int) -> Step:
        engine = "seq" if reason == REASONS[ISSUE] else f"core{core}.{self.plan.cores[core].core.code[index].engine}"
        return Step(core, index, engine, reason, cycles)

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
        end, at, moment = self._end()
        longest = max(len(part.opcodes) for part in self.plan.cores)
        path = np.zeros((len(self.plan.cores), longest, len(REASONS), 2), np.int64)
        walk_back(self.records, at, self._cycle(at, moment), moment, path)
        steps = [(end, 1)]
        for core, index, why in np.argwhere(path[..., 0]).tolist():
            count, cycles = path[core, index, why].tolist()
            steps.append((self._step(core, index, REASONS[why], cycles), count))
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
        return step.core, line.file, line.number, mnemonic, step.engine, step.reason, limit


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
) -> Timeline:
    """Return the timeline of one task of a plan, by its number; needs no data.

    `on_compile` is called with "the schedule" before that is compiled, `on_progress` with the instructions scheduled
    and those of the whole task, some times a second. Raises Trap for a task too long to keep records of, and where no
    core can go on.
    """
    chip = plan.chip
    found = [{k: cost_of(chip, i) for k, i in enumerate(part.core.code)} for part in plan.cores]
    costs = tuple({k: cost for k, cost in of_core.items() if cost} for of_core in found)
    total = executed(plan)
    try:
        with on_cold_compile(lambda: on_compile("the schedule") if on_compile else None):
            records, totals, sequencer_ends, end = _records(plan, task, costs, total, on_progress)
            # What the critical path needs is compiled with the rest.
            walk_back(records, NONE, 0, STARTED, np.zeros((0, 0, len(REASONS), 2), np.int64))
    except MemoryError as error:
        raise Trap(f"there is no memory for the records of {total:,} instructions", FEWER) from error
    held = dict.fromkeys(MEMORIES, 0)
    for part in plan.cores:
        for segment in part.core.segments:
            held[segment.memory] += len(segment.data)
    return Timeline(
        plan=plan,
        costs=costs,
        records=records,
        totals=totals,
        sequencer_ends=sequencer_ends,
        compute_cycles=max(end, int(sequencer_ends.max())),
        transfer_in=transfer_cycles(chip, transfer_bytes(plan, "input")),
        transfer_out=transfer_cycles(chip, transfer_bytes(plan, "output")),
        setup=transfer_cycles(chip, held),
        task=task,
    )


FEWER = "give its longest loop a smaller count: the time of one iteration soon repeats"


def executed(plan: Plan, tasks: int = 1) -> int:
    """Return how many instructions of engines a task executes; raise Trap where so many cannot be scheduled."""
    codes = [part.core.code for part in plan.cores]
    instructions = sum(map(executions, codes))
    iterations = sum(
        prod(trips[loop.last]) for code in codes for trips in [trips_at(code)] for loop in find_loops(code)
    )
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
    plan: Plan,
    task: int,
    costs: Sequence[dict[int, Cost]],
    total: int,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the records of a task, the totals of its engines, when each sequencer ends, and the last finish."""
    chip, cores, barriers = plan.chip, len(plan.cores), len(plan.program.barriers)
    fixed = (
        *flat(plan, costs),
        chip["seq.issue_cycles"],
        chip["seq.loop_cycles"],
        chip["sync.latency"],
        plan.program.order == "hardware",
    )
    lengths = [executions(part.core.code) for part in plan.cores]
    states = np.zeros((cores, COUNTERS + MAX_LOOP_DEPTH + 1), np.int64)
    states[:, AT] = states[:, BEGIN] = starts(len(part.rows) for part in plan.cores)
    states[:, COUNTERS + TASK_COUNTER] = task
    states[:, NEXT] = first = starts(lengths)
    queues = np.zeros((cores, SEQ, chip["seq.queue_depth"]), np.int64)
    recents = np.zeros((cores, SEQ, OPERAND, FIRST_ROOM), np.int64)
    totals = np.zeros((cores, SEQ, TOTALS), np.int64)
    totals[:, :, FREE_FROM] = NONE
    used = uses([part.core.code for part in plan.cores])
    given = [sum(use.times for use in used.get(("signal", k), ())) for k in range(len(plan.program.semaphores))]
    semaphores = np.zeros((len(given), SEMAPHORE), np.int64)
    semaphores[:, FIRST_SIGNAL] = starts(given)
    users = np.zeros((cores, barriers), np.int64)
    for k in range(barriers):
        users[[use.core for use in used.get(("barrier", k), ())], k] = 1
    signals, meetings = np.zeros(sum(given), np.int64), np.zeros((barriers, 2, MEETING), np.int64)
    synchronisers = (semaphores, signals, np.zeros_like(users), users, meetings)
    records = np.empty((total, RECORD), np.int64)
    steps, why, reported = FIRST_STEPS, PAUSED, time.perf_counter()
    while why != STUCK:
        began = time.perf_counter()
        why = walk(*fixed, states, queues, recents, totals, *synchronisers, records, steps)
        now = time.perf_counter()
        if why == FULL:
            recents = _with_room(recents, totals)
        elif why == PAUSED:
            steps = next_budget(steps, now - began, MOST_STEPS)
        if on_progress and why != STUCK and now - reported >= PAUSE_SECONDS:
            on_progress(int((states[:, NEXT] - first).sum()), total)
            reported = now
    if (states[:, NEXT] - first != lengths).any():
        raise deadlock_trap(plan, (states[:, AT] - states[:, BEGIN]).tolist())
    return records, totals, states[:, CLOCK] + chip["seq.issue_cycles"], int(states[:, END].max())


def _with_room(recents: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the recent accesses that may still matter, moved to the front, with as much room behind them or more."""
    live = totals[:, :, NEWEST] - totals[:, :, OLDEST]
    room = np.zeros((*recents.shape[:3], max(recents.shape[3], 2 * (int(live.max()) + MAX_OPERANDS))), np.int64)
    for core, engine in np.ndindex(live.shape):
        total = totals[core, engine]
        room[core, engine, :, : live[core, engine]] = recents[core, engine, :, total[OLDEST] : total[NEWEST]]
    totals[:, :, OLDEST], totals[:, :, NEWEST] = 0, live
    return room
