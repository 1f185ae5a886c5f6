"""Races: pairs of accesses that conflict and that nothing in the program orders, whatever the cycles.

emulator/checker/happens_before.py walks a task, and says of each execution, or family of them, what it follows. A race
is an access to a byte that one of another queue has accessed before in the walk, one of them writing, and that it does
not follow. Within a queue conflicting instructions never overlap; and of one core the scoreboard of `hardware` order
lets none.

Instructions whose accesses can meet no other's, by their bounds over all iterations, are not looked at; where there are
none at all, nothing but semaphores and barriers is walked. What DMA of a stream moves while another task computes is
not looked at.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from emulator.checker.happens_before import MOST_EXECUTIONS, Walk
from emulator.checker.iteration_sets import Effort, Family, Undecided, common_byte
from emulator.plan.plan import Plan, repeats_after
from isa.diagnostic import Place
from isa.operand import Operand, region, runs
from isa.row import ENGINES

# Of one pair of instructions only the first race is kept, and of a program so many.
MOST_RACES = 1_000
# Pairs of families that are looked at, at most: about a microsecond each where they cannot meet.
MOST_PAIRS = 5_000_000


@dataclass(frozen=True)
class Access(Place):
    """A read or a write of an operand by one execution; `kind` is "read" or "write"."""

    kind: str = ""


@dataclass(frozen=True)
class Race:
    """Two accesses to byte `address` of a memory that either order can meet; of one core `first` is executed first.

    `place` is the memory, as isa.operand.region has it. `follows` are the last executions, one of each other queue,
    that `second` does follow.
    """

    first: Access
    second: Access
    place: tuple[int, str]
    address: int
    follows: tuple[Place, ...]


Key = tuple[int, int]


@dataclass(frozen=True)
class _Reach:
    """An access of a core's instruction, to bytes [low, high) of a place over all iterations."""

    core: int
    kind: str
    operand: Operand
    place: tuple[int, str]
    low: int
    high: int


@dataclass(frozen=True)
class Races:
    """Whether a program is free of races: "proven", "race", or "not proven".

    `why` is the reason where not all could be looked at; of a "race", others may then be missing.
    """

    verdict: Literal["proven", "race", "not proven"]
    races: tuple[Race, ...] = ()
    why: str = ""


def find_races(plan: Plan, skips: bool = True, most: int = MOST_EXECUTIONS) -> Races:
    """Return whether a plan is free of races; raise Trap where it is a deadlock.

    With `skips`, iterations that do as the one before are skipped, unless then something cannot be said. At most `most`
    instructions are followed one by one.
    """
    found = _find(plan, skips, most)
    if not skips or not found.why:
        return found
    one_by_one = _find(plan, skips=False, most=most)
    # What was found before a search was given up is a race all the same.
    return found if found.races and one_by_one.why and not one_by_one.races else one_by_one


def _find(plan: Plan, skips: bool, most: int) -> Races:
    search, why = _Search(plan, skips, most), ""
    try:
        _look(plan, search, skips)
    except Undecided as doubt:
        why = str(doubt)
    verdict: Literal["proven", "race", "not proven"] = "race" if search.races else "not proven" if why else "proven"
    return Races(verdict, tuple(search.races.values()), why)


def _look(plan: Plan, search: "_Search", skips: bool) -> None:
    """Look for races in as many tasks as may differ."""
    # The scoreboard follows addresses, which may differ from task to task; wait bits do not.
    one_by_one = not skips or plan.program.order == "hardware"
    tasks = repeats_after(plan) if one_by_one and search.wanted else 1
    total = tasks * sum(part.core.executions for part in plan.cores)
    if tasks > 1 and total > search.most:
        raise Undecided(f"{tasks:,} tasks that differ, of {total:,} instructions, would have to be followed one by one")
    for task in range(tasks):
        search.look(task, 1 if one_by_one else plan.tasks)
        if len(search.races) == MOST_RACES:
            break


class _Search:
    """A search for races; `wanted` are the instructions, by (core, index), that may have one by their bounds."""

    def __init__(self, plan: Plan, skips: bool, most: int) -> None:
        self._plan, self._skips, self.most = plan, skips, most
        self._trips = [part.core.trips(plan.tasks) for part in plan.cores]
        self._accesses, self._conflicts = cache(self._accesses_of), cache(self._conflicts_of)
        self._left, self._effort = MOST_PAIRS, Effort()
        self._history: list[list[Family]] = []
        self.wanted = self._find_wanted()
        self.races: dict[tuple[Key, Key], Race] = {}

    def look(self, task: int, tasks: int) -> None:
        """Look for races within each of so many tasks from one on, whose order is the same."""
        self._history = [[] for _ in range(len(self._plan.cores) * len(ENGINES))]
        for together in Walk(self._plan, task, self.wanted, self._skips, self.most).families():
            for family in together:
                self._history[family.queue].append(family)
            for family in together:
                self._look_before(family, tasks)
                if len(self.races) == MOST_RACES:
                    return

    def _look_before(self, x: Family, tasks: int) -> None:
        """Look for races of a family with those before it that it does not follow."""
        for queue, others in enumerate(self._history):
            if queue == x.queue:
                continue
            # Their last numbers rise; the earliest is met first.
            begin = bisect_right(others, x.follows[queue], key=lambda family: family.last)
            for y in others[begin:]:
                self._left -= 1
                if self._left < 0:
                    raise Undecided(f"more than {MOST_PAIRS:,} pairs of instructions are not ordered")
                pair = (y.core, y.index), (x.core, x.index)
                if pair in self.races:
                    continue
                for second, first in self._conflicts(x.core, x.index, y.core, y.index):
                    found = common_byte(x, second.operand, y, first.operand, self._effort, tasks)
                    if found:
                        self.races[pair] = self._race(*found, first, second)
                        break

    def _accesses_of(self, core: int, index: int) -> list["_Reach"]:
        """Return what an instruction accesses, each with the bytes that it may touch in any iteration."""
        found = []
        for kind, operand in self._plan.cores[core].core.code[index].accesses():
            low, high = operand.extent(self._trips[core][index])
            place = region(core if operand.core is None else operand.core, operand.memory)
            found.append(_Reach(core, kind, operand, place, low, high))
        return found

    def _conflicts_of(self, core: int, index: int, other_core: int, other: int) -> list[tuple["_Reach", "_Reach"]]:
        """Return the accesses of two instructions that may conflict, by their bounds."""
        mine, others = self._accesses(core, index), self._accesses(other_core, other)
        return [(a, b) for a in mine for b in others if self._may_conflict(a, b)]

    def _may_conflict(self, a: "_Reach", b: "_Reach") -> bool:
        if a.place != b.place or "write" not in (a.kind, b.kind) or a.high <= b.low or b.high <= a.low:
            return False
        return self._plan.program.order == "compiler" or a.core != b.core or a.operand.core != b.operand.core

    def _find_wanted(self) -> set[Key]:
        """Return the instructions of which an access may conflict with one of another queue."""
        places: dict[tuple[int, str], list[tuple[Key, int, _Reach]]] = {}
        for part in self._plan.cores:
            for k, instruction in enumerate(part.core.code):
                for reach in self._accesses(part.number, k):
                    queue = part.number * len(ENGINES) + ENGINES.index(instruction.engine)
                    places.setdefault(reach.place, []).append(((part.number, k), queue, reach))
        wanted = set()
        hardware = self._plan.program.order == "hardware"
        for found in places.values():
            low, high = (np.array([getattr(reach, end) for _, _, reach in found]) for end in ("low", "high"))
            writes = np.array([reach.kind == "write" for _, _, reach in found])
            queues = np.array([queue for _, queue, _ in found])
            seen_as = np.array([-1 if reach.operand.core is None else reach.operand.core for _, _, reach in found])
            for k, (key, queue, reach) in enumerate(found):
                meets = (low < reach.high) & (reach.low < high) & (writes | writes[k]) & (queues != queue)
                if hardware:
                    meets &= (queues // len(ENGINES) != queue // len(ENGINES)) | (seen_as != seen_as[k])
                if meets.any():
                    wanted.add(key)
        return wanted

    def _race(self, x: Family, y: Family, first: "_Reach", second: "_Reach") -> Race:
        follows = []
        for queue, number in enumerate(x.follows):
            before = next((f for f in reversed(self._history[queue]) if f.number <= number), None)
            if queue != x.queue and before:
                member = before.up_to(number)
                follows.append(Place(member.core, member.index, member.counters))
        address = _first_common(
            runs(first.operand, first.operand.address_at(y.counters)),
            runs(second.operand, second.operand.address_at(x.counters)),
        )
        return Race(
            Access(y.core, y.index, y.counters, first.kind),
            Access(x.core, x.index, x.counters, second.kind),
            first.place,
            address,
            tuple(follows),
        )


def _first_common(a: tuple[np.ndarray, int], b: tuple[np.ndarray, int]) -> int:
    """Return the first byte that two tensors share, each given as runs."""
    (a_starts, a_length), (b_starts, b_length) = a, b
    after = np.searchsorted(b_starts, a_starts - b_length, side="right")
    within = after < len(b_starts)
    begins = np.maximum(a_starts[within], b_starts[after[within]])
    return int(begins[begins < a_starts[within] + a_length][0])
