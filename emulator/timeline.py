"""Timeline: what the schedule of a Plan says: cycles, engines, the critical path.

The critical path is walked back from the end: each step asks the record which term won, charges the cycles in between
to the instruction behind that term, and goes on there. The steps touch, so their cycles add up to the makespan.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emulator.costs import COSTS, Cost, transfer_cycles
from emulator.plan import Plan
from emulator.record import (
    BUSY,
    CAUSE,
    COUNT,
    FINISH,
    FINISHED_BY,
    FREED_BY,
    INDEX,
    ISSUE,
    ISSUED,
    NONE,
    REASONS,
    STALL_DEPENDENCE,
    STALL_WAIT,
    START,
    WHY,
)
from isa.operand import MEMORIES
from isa.table import ENGINES, TABLE

TRANSFER_IN, TRANSFER_OUT = "transfer in", "transfer out"


@dataclass(frozen=True)
class Step:
    """A piece of the critical path: cycles that the run would be shorter without, for this reason.

    `index` is the instruction's in the code (-1 for the task's transfers), `record` the execution of it (-1 likewise).
    `reason`: "engine busy": it occupies its engine, which the next needs; "dependence" and "wait": the next needs its
    result, or waits for its engine; "last": it finishes last; "issue": the sequencer issues it; or a transfer.
    """

    index: int
    record: int
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
    executed (columns of schedule.py, times from the end of the DMA in).
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

    def start(self, record: int) -> int:
        return int(self.records[record, START])

    def finish(self, record: int) -> int:
        return int(self.records[record, FINISH])

    def index(self, record: int) -> int:
        return int(self.records[record, INDEX])

    def steps(self) -> Iterator[Step]:
        """Yield the critical path from the end of the task to its beginning."""
        if self.transfer_out:
            yield Step(-1, -1, "dma", TRANSFER_OUT, self.transfer_out)
        last = self._last()
        now = self.compute_cycles
        if last < 0 or self.finish(last) < now:
            # The sequencer's last instructions, loops and end, come after everything else.
            at, issuing = len(self.records) - 1, True
            since = int(self.records[at, ISSUED]) if at >= 0 else 0
            yield Step(len(self.plan.opcodes) - 1, -1, "seq", "issue", now - since)
            now = since
        else:
            at, issuing = last, False
            yield self._step(at, "last", now - self.start(at))
            now = self.start(at)
        while at >= 0:
            record = self.records[at]
            if not issuing and record[WHY] != ISSUE:
                cause = int(record[CAUSE])
                reason = REASONS[record[WHY]]
                yield self._step(cause, reason, now - self.start(cause))
                at, now = cause, self.start(cause)
            elif record[FREED_BY] != NONE:
                # The queue was full: issued in the cycle in which that instruction started.
                at, issuing = int(record[FREED_BY]), False
            else:
                since = int(self.records[at - 1, ISSUED]) if at else 0
                yield Step(self.index(at), at, "seq", "issue", now - since)
                at, now, issuing = at - 1, since, True
        if self.transfer_in:
            yield Step(-1, -1, "dma", TRANSFER_IN, self.transfer_in)

    def _step(self, record: int, reason: str, cycles: int) -> Step:
        index = self.index(record)
        return Step(index, record, f"core0.{TABLE[int(self.plan.opcodes[index])].engine}", reason, cycles)

    def _last(self) -> int:
        """Return the record that finishes last, -1 where no engine has any."""
        if not len(self.records):
            return NONE
        return int(self.records[np.argmax(self.records[:, FINISH]), FINISHED_BY])

    @cached_property
    def critical_path(self) -> list[PathEntry]:
        """The critical path by line, instruction, engine and reason, most cycles first; they add up to `cycles`."""
        counts: Counter[tuple] = Counter()
        cycles: Counter[tuple] = Counter()
        for step in self.steps():
            key = (step.index, step.engine, step.reason)
            counts[key] += 1
            cycles[key] += step.cycles
        merged: dict[tuple[str, int, str, str, str, str], tuple[int, int]] = {}
        for (index, engine, reason), spent in cycles.items():
            if index < 0:
                name = ("", 0, "input" if reason == TRANSFER_IN else "output", engine, reason, "PCIe")
            else:
                line = self.plan.line(index)
                limit = self.costs[index].limit if engine != "seq" else "sequencer"
                name = (line.file, line.number, self.plan.core.code[index].row.mnemonic, engine, reason, limit)
            count, before = merged.get(name, (0, 0))
            merged[name] = (count + counts[index, engine, reason], before + spent)
        entries = [PathEntry(*name, count, spent) for name, (count, spent) in merged.items()]
        return sorted(entries, key=lambda e: (-e.cycles, e.line, e.reason))


def transfer_bytes(plan: Plan, kind: str) -> dict[str, int]:
    """Return the bytes of the inputs, or of the outputs, in each memory."""
    amounts = dict.fromkeys(MEMORIES, 0)
    for symbol in plan.core.of_kind(kind):
        amounts[symbol.memory] += symbol.bytes
    return amounts


def schedule(plan: Plan) -> Timeline:
    """Return the timeline of one task of a plan; needs no data."""
    from emulator.schedule import walk

    chip = plan.chip
    code = plan.core.code
    costs = {k: COSTS[i.opcode](chip, i) for k, i in enumerate(code) if i.opcode in COSTS}
    occupancy = np.array([costs[k].occupancy if k in costs else 0 for k in range(len(code))], np.int64)
    latency = np.array([costs[k].latency if k in costs else 0 for k in range(len(code))], np.int64)
    records, totals, end = walk(
        plan.engines,
        plan.waits,
        plan.loops,
        plan.rows,
        plan.terms,
        plan.spans,
        plan.access,
        occupancy,
        latency,
        chip["seq.issue_cycles"],
        chip["seq.loop_cycles"],
        chip["seq.queue_depth"],
        plan.program.order == "hardware",
    )
    held = dict.fromkeys(MEMORIES, 0)
    for segment in plan.core.segments:
        held[segment.memory] += len(segment.data)
    return Timeline(
        plan=plan,
        costs=costs,
        records=records,
        totals=totals,
        compute_cycles=int(end),
        transfer_in=transfer_cycles(chip, transfer_bytes(plan, "input")),
        transfer_out=transfer_cycles(chip, transfer_bytes(plan, "output")),
        setup=transfer_cycles(chip, held),
    )
