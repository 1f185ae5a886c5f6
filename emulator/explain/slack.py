"""Slack: by how many cycles each instruction executed could start, and so finish, later without a longer run.

Taken alone: all others keep the order and the durations that the schedule gave them, and start when their terms let
them. Where two engines hold the same shared resource, its holders are not moved, and have a slack of 0: moving one may
change who is granted it first. Found backwards: the run's end is the latest finish; whatever an instruction is a term
of (docs/cycles.md, "When it starts") gives the latest cycle that it may start or finish in. All terms count, not only
those that won.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from emulator.plan.plan import CorePlan, Plan, writes_constants
from emulator.plan.row import ABSENT, FIELDS, SEQ, WRITE, Field
from emulator.timing.columns import NONE, Record
from emulator.timing.costs import fetch_cycles, holds
from emulator.timing.timeline import Timeline
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER
from isa.row import ENGINES
from isa.table import MNEMONICS

# Instructions executed that are looked at: each takes some tens of microseconds.
MOST_RECORDS = 100_000
# Accesses compared at once.
BLOCK = 256
_SIGNAL, _WAIT, _BARRIER = (MNEMONICS[name].opcode for name in ("signal", "wait", "barrier"))


def contested(plan: Plan) -> list[set[int]]:
    """Return, for each core, which of its instructions hold a resource that another core holds too.

    Where a chip's blocks of local memory are modelled, that is all of them: nearly all touch it.
    """
    held = [
        {k: {resource for resource, _ in holds(plan.chip, part.number, i)} for k, i in enumerate(part.core.code)}
        for part in plan.cores
    ]
    users = Counter(resource for of_core in held for resource in set().union(*of_core.values()))
    return [
        {k for k, resources in of_core.items() if plan.chip["memory.lm_blocks"] or any(users[r] > 1 for r in resources)}
        for of_core in held
    ]


@dataclass
class Executed:
    """What one core executed, in order: for each, its index, the sequencer's cycles before its issue, its accesses.

    `accesses` of an engine are (record, low, high, written), in order; `ends` [n]: how many of its engine's there are
    up to and with it; `tail`: the sequencer's cycles behind the last issue.
    """

    first: int
    indices: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    accesses: list[list[tuple[int, int, int, bool]]] = field(default_factory=lambda: [[] for _ in ENGINES])
    counts: list[tuple[int, ...]] = field(default_factory=list)
    tail: int = 0


def slack(timeline: Timeline) -> np.ndarray | None:
    """Return the slack of each record in cycles, never below 0; None where there are more than MOST_RECORDS."""
    if timeline.instructions > MOST_RECORDS:
        return None
    return _Backwards(timeline).slack()


def unroll(timeline: Timeline, core: CorePlan, first: int) -> Executed:
    """Return what a core executes, its records numbered from `first`."""
    chip, found = timeline.plan.chip, Executed(first)
    counters = [0] * (MAX_LOOP_DEPTH + 1)
    counters[TASK_COUNTER] = timeline.task
    unwritten = () if writes_constants(core) else ("cb",)
    operands = [_operands(core, k, unwritten) for k in range(len(core.opcodes))]
    engines, loops = core.engines.tolist(), core.loops.tolist()
    at = gap = 0
    while engines[at] != SEQ or loops[at][1]:
        if engines[at] == SEQ:
            gap += chip["seq.loop_cycles"]
            counter, trips, other = loops[at]
            if other > at:
                counters[counter] = 0
            else:
                counters[counter] += 1
                if counters[counter] < trips:
                    at = other
                else:
                    counters[counter] = 0
            at += 1
            continue
        found.counts.append(tuple(map(len, found.accesses)))
        for low, high, written, terms in operands[at]:
            moved = sum((counters[c] % m if m else counters[c]) * stride for c, m, stride in terms)
            record = first + len(found.indices)
            found.accesses[engines[at]].append((record, low + moved, high + moved, written))
        found.indices.append(at)
        found.gaps.append(gap + chip["seq.issue_cycles"])
        gap = 0
        at += 1
    found.tail = gap + chip["seq.issue_cycles"]
    return found


def _operands(core: CorePlan, k: int, unwritten: Sequence[str]) -> list[tuple[int, int, bool, list[list[int]]]]:
    """Return low, high, whether it is written, and terms of each operand of an instruction that may conflict.

    Those in memories that are `unwritten` do not.
    """
    found = []
    for slot, operand in enumerate(core.core.code[k].operands):
        address = int(core.rows[k, slot * FIELDS + Field.ADDRESS])
        if operand is not None and operand.memory not in unwritten and address != ABSENT:
            low, high = (core.spans[k, slot] + address).tolist()
            terms = [[term.counter, term.modulus, term.stride] for term in operand.terms]
            found.append((low, high, bool(core.access[k, slot] & WRITE), terms))
    return found


class _Backwards:
    """The pass from the last record of each core to its first: the latest cycle of each issue, start and finish."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.chip = timeline.plan.chip
        self.hardware = timeline.plan.program.order == "hardware"
        n, end = timeline.instructions, timeline.compute_cycles
        self.issue, self.start, self.finish = ([end] * n for _ in range(3))
        counts = np.bincount(timeline.records[:, Record.CORE], minlength=len(timeline.plan.cores))
        firsts = (counts.cumsum() - counts).tolist()
        self.executed = [unroll(timeline, core, f) for core, f in zip(timeline.plan.cores, firsts, strict=True)]
        self.engines, self.places, self.members = self._queues()
        self.tables = [
            [np.array(of, np.int64).reshape(-1, 4) for of in executed.accesses] for executed in self.executed
        ]
        self.bounds = [[_bounds(table) for table in tables] for tables in self.tables]
        self.partners = self._partners()
        self.fixed = contested(timeline.plan)
        # By core, when what is fetched next must begin to arrive.
        self.fetch = [end] * len(self.executed)
        self.left = [len(executed.indices) for executed in self.executed]
        self.reached: set[int] = set()
        self.passed: set[int] = set()

    def _queues(self) -> tuple[list[int], list[int], list[list[list[int]]]]:
        """Return each record's engine and place in its queue, and the records of each core's engines."""
        engines: list[int] = []
        places: list[int] = []
        members: list[list[list[int]]] = []
        for core, executed in zip(self.timeline.plan.cores, self.executed, strict=True):
            of_core: list[list[int]] = [[] for _ in ENGINES]
            for index in executed.indices:
                engine = int(core.engines[index])
                engines.append(engine)
                places.append(len(of_core[engine]))
                of_core[engine].append(len(engines) - 1)
            members.append(of_core)
        return engines, places, members

    def _partners(self) -> dict[int, list[int]]:
        """Return, for each wait, its signal; for each signal, its wait; for each arrival, all of the meeting."""
        streams: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for core, executed in zip(self.timeline.plan.cores, self.executed, strict=True):
            for n, index in enumerate(executed.indices):
                opcode = int(core.opcodes[index])
                if opcode in (_SIGNAL, _WAIT, _BARRIER):
                    number = int(core.core.code[index].attributes[0][0])
                    whose = core.number if opcode == _BARRIER else 0
                    streams[opcode, number, whose].append(executed.first + n)
        partners: dict[int, list[int]] = defaultdict(list)
        for (opcode, number, _), records in streams.items():
            for k, record in enumerate(records):
                if opcode == _BARRIER:
                    partners[record] = [of[k] for key, of in streams.items() if key[:2] == (opcode, number)]
                elif opcode == _WAIT:
                    signal = streams[_SIGNAL, number, 0][k]
                    partners[record], partners[signal] = [signal], [record]
        return partners

    def slack(self) -> np.ndarray:
        for executed in self.executed:
            if executed.indices:
                last = executed.first + len(executed.indices) - 1
                self.issue[last] = self.timeline.compute_cycles - executed.tail
        while any(self.left):
            for core, executed in enumerate(self.executed):
                while self.left[core] and self._pass(core, executed.first + self.left[core] - 1):
                    self.left[core] -= 1
        return np.array(self.start, np.int64) - self.timeline.records[:, Record.START]

    def _pass(self, core: int, record: int) -> bool:
        """Hand a record's latest cycles on to its terms; return False while another core has to come first."""
        part, executed = self.timeline.plan.cores[core], self.executed[core]
        index = executed.indices[record - executed.first]
        opcode, engine, place = int(part.opcodes[index]), self.engines[record], self.places[record]
        if opcode == _SIGNAL and any(wait not in self.passed for wait in self.partners[record]):
            return False
        cost, of_engine = self.timeline.costs[core][index], self.members[core][engine]
        if index in self.fixed[core]:
            self.start[record] = int(self.timeline.records[record, Record.START])
        start = self.start[record] = min(self.start[record], self.finish[record] - cost.latency)
        arrived = start
        if opcode == _BARRIER:
            self.reached.add(record)
            if not self.reached.issuperset(self.partners[record]):
                return False
            arrived = min(start, min(self.start[other] for other in self.partners[record]) - self.chip["sync.latency"])
        elif opcode == _WAIT:
            self._finish_by(self.partners[record][0], start - self.chip["sync.latency"])
        self.passed.add(record)

        issue = min(self.issue[record], arrived)
        if self.timeline.records[record, Record.FETCHED] != NONE:
            self._fetch_by(core, record, issue - self.chip["seq.issue_cycles"])
        if record > executed.first:
            gap = executed.gaps[record - executed.first]
            self.issue[record - 1] = min(self.issue[record - 1], issue - gap)
        if place >= self.chip["seq.queue_depth"]:
            self._start_by(of_engine[place - self.chip["seq.queue_depth"]], issue)
        if place:
            before = of_engine[place - 1]
            occupancy = self.timeline.costs[core][executed.indices[before - executed.first]].occupancy
            self._start_by(before, arrived - occupancy)
            self._finish_by(before, arrived if opcode in (_SIGNAL, _BARRIER) else self.finish[record])
        for other in range(len(ENGINES)):
            if self.hardware or other == engine:
                conflicting = self._conflict(core, record, other, arrived)
                if conflicting is not None:
                    self._finish_by(conflicting, arrived)
            if part.waits[index] >> other & 1:
                earlier = self._last_before(core, record, other)
                if earlier is not None:
                    self._finish_by(earlier, arrived)
        return True

    def _start_by(self, record: int, cycle: int) -> None:
        self.start[record] = min(self.start[record], cycle)

    def _finish_by(self, record: int, cycle: int) -> None:
        self.finish[record] = min(self.finish[record], cycle)

    def _fetch_by(self, core: int, record: int, cycle: int) -> None:
        size = int(self.timeline.plan.cores[core].fetched[self.timeline.records[record, Record.INDEX]])
        self.fetch[core] = min(self.fetch[core], cycle) - fetch_cycles(self.chip, size)
        room = int(self.timeline.records[record, Record.ROOM_BY])
        if room != NONE:
            self.issue[room] = min(self.issue[room], self.fetch[core] - self.chip.latency("dev"))

    def _last_before(self, core: int, record: int, engine: int) -> int | None:
        of_engine = self.members[core][engine]
        place = bisect_left(of_engine, record)
        return of_engine[place - 1] if place else None

    def _conflict(self, core: int, record: int, engine: int, by: int) -> int | None:
        """Return the newest record of an engine that conflicts with a later one, if it may yet finish after `by`.

        Older ones on that engine finish no later than it, so they need no look.
        """
        executed, table = self.executed[core], self.tables[core][engine]
        n = record - executed.first
        own = self.engines[record]
        first = executed.counts[n][own]
        last = executed.counts[n + 1][own] if n + 1 < len(executed.counts) else len(self.tables[core][own])
        mine = self.tables[core][own][first:last, 1:]
        newest = executed.counts[n][engine]
        if not newest or not len(mine):
            return None
        lows, highs = self.bounds[core][engine]
        near = (lows < mine[:, 1].max()) & (mine[:, 0].min() < highs)
        for block in np.flatnonzero(near[: -(-newest // BLOCK)])[::-1].tolist():
            begin, end = block * BLOCK, min(block * BLOCK + BLOCK, newest)
            if self.finish[int(table[end - 1, 0])] <= by:
                return None
            theirs = table[begin:end, None]
            hits = (theirs[..., 1] < mine[:, 1]) & (mine[:, 0] < theirs[..., 2]) & (theirs[..., 3] | mine[:, 2] > 0)
            found = np.flatnonzero(hits.any(axis=1))
            if len(found):
                return int(table[begin + found[-1], 0])
        return None


def _bounds(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least first byte and the greatest end of each BLOCK of an engine's accesses."""
    if not len(table):
        return table[:, 1], table[:, 2]
    firsts = np.arange(0, len(table), BLOCK)
    return np.minimum.reduceat(table[:, 1], firsts), np.maximum.reduceat(table[:, 2], firsts)
