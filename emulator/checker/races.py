"""Races: pairs of accesses that conflict and that nothing in the program orders, whatever the cycles.

emulator/checker/happens_before.py walks a task, and says of each execution, or family of them, what it follows. A race
is an access to a byte that one of another queue has accessed before in the walk, one of them writing, and that it does
not follow. Within a queue conflicting instructions never overlap; and of one core the scoreboard of `hardware` order
lets none.

What has one cause is found once: a race counts as mended for all that comes behind it in the walk, of one core by the
wait bit that is missing, of two by a signal. So there are no more races than such waits, of one core enough to leave
none.

Instructions whose accesses can meet no other's, by their bounds over all iterations, are not looked at; where there are
none at all, nothing but semaphores and barriers is walked. The accesses that an execution may meet are found among the
bounds of those before it, as arrays, and only those are compared byte by byte. What DMA of a stream moves while another
task computes is not looked at.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from emulator.checker.happens_before import MOST_WALKED, Walk
from emulator.checker.iteration_sets import Effort, Family, Undecided, common_byte
from emulator.plan.plan import Plan, repeats_after
from isa.diagnostic import Place
from isa.intervals import Intervals
from isa.operand import Operand, region, runs
from isa.row import ENGINES

# Of one pair of instructions only the first race is kept, and of a program so many.
MOST_RACES = 10_000
# Bounds that are compared as arrays in the time of one choice of a search (emulator/checker/iteration_sets.py).
COMPARED = 4_096


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

    `why` is the reason where not all could be looked at; of a "race", others may then be missing. `walked` are the
    executions that were followed.
    """

    verdict: Literal["proven", "race", "not proven"]
    races: tuple[Race, ...] = ()
    why: str = ""
    walked: int = 0


def find_races(
    plan: Plan,
    skips: bool = True,
    every: bool = False,
    most: int = MOST_WALKED,
    first: bool = False,
    wanted: set[Key] | None = None,
) -> Races:
    """Return whether a plan is free of races; raise Trap where it is a deadlock.

    With `skips`, iterations that do as the one before are skipped, unless then something cannot be said. With `every`
    all pairs of instructions that race are told, also those that an earlier one explains. At most `most` instructions
    are followed one by one, and with `first` no race behind the first is looked for. `wanted` are the `may_race` of the
    plan, where they are known.
    """
    most_races = 1 if first else MOST_RACES
    found = _find(plan, skips, every, most, most_races, wanted)
    if not skips or not found.why or len(found.races) == most_races:
        return found
    one_by_one = _find(plan, False, every, most, most_races, wanted)
    # What was found before a search was given up is a race all the same.
    return found if found.races and one_by_one.why and not one_by_one.races else one_by_one


def may_race(plan: Plan) -> set[Key]:
    """Return the instructions, by (core, index), that may race by what they access, whatever waits for what."""
    return _Search(plan, True, False, MOST_WALKED, MOST_RACES, None).wanted


def _find(plan: Plan, skips: bool, every: bool, most: int, most_races: int, wanted: set[Key] | None) -> Races:
    search, why = _Search(plan, skips, every, most, most_races, wanted), ""
    try:
        _look(plan, search, skips)
    except Undecided as undecided:
        why = str(undecided)
    verdict: Literal["proven", "race", "not proven"] = "race" if search.races else "not proven" if why else "proven"
    return Races(verdict, tuple(search.races.values()), why, search.walked)


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


class _Search:
    """A search for races; `wanted` are the instructions, by (core, index), that may have one by their bounds."""

    def __init__(
        self, plan: Plan, skips: bool, every: bool, most: int, most_races: int, wanted: set[Key] | None
    ) -> None:
        self._plan, self._skips, self._every, self.most, self._most_races = plan, skips, every, most, most_races
        self._trips = [part.core.trips(plan.tasks) for part in plan.cores]
        self._accesses, self._conflicts = cache(self._accesses_of), cache(self._conflicts_of)
        self._effort, self.walked = Effort(), 0
        self._history: list[list[Family]] = []
        # Of each memory, queue and kind of access: the bounds of all in the queue's history, by their places in it.
        self._bounds: dict[tuple[int, str], dict[tuple[int, str], Intervals]] = {}
        self.wanted = self._find_wanted() if wanted is None else wanted
        self.races: dict[tuple[Key, Key], Race] = {}

    def look(self, task: int, tasks: int) -> None:
        """Look for races within each of so many tasks from one on, whose order is the same."""
        self._history, self._bounds = [[] for _ in range(len(self._plan.cores) * len(ENGINES))], {}
        walk = Walk(self._plan, task, self.wanted, self._skips, self.most)
        try:
            for together in walk.families():
                for family in together:
                    self._enter(family, tasks)
                for family in together:
                    self._look_before(family, tasks, walk)
        finally:
            self.walked += walk.walked

    def _enter(self, family: Family, tasks: int) -> None:
        history = self._history[family.queue]
        for reach in self._accesses(family.core, family.index):
            bounds = self._bounds.setdefault(reach.place, {}).setdefault((family.queue, reach.kind), Intervals())
            bounds.add(len(history), *_bounds_of(reach, family, tasks))
        history.append(family)

    def _look_before(self, x: Family, tasks: int, walk: Walk) -> None:
        """Look for races of a family with those before it that it does not follow; let it wait for those it races."""
        met: dict[int, list[np.ndarray]] = {}
        for reach in self._accesses(x.core, x.index):
            low, high = _bounds_of(reach, x, tasks)
            for (queue, kind), bounds in self._bounds.get(reach.place, {}).items():
                if queue != x.queue and "write" in (kind, reach.kind):
                    # Their last numbers rise.
                    first = bisect_right(self._history[queue], x.follows[queue], key=lambda family: family.last)
                    self._effort.spend((len(self._history[queue]) - first) // COMPARED)
                    met.setdefault(queue, []).append(bounds.meeting(first - 1, low, high))
        for queue in sorted(met):
            # The earliest is met first.
            for k in np.unique(np.concatenate(met[queue])).tolist():
                y = self._history[queue][k]
                known = self._pair(x, y) in self.races
                if (not known and not self._race_of(x, y, tasks)) or self._every:
                    continue
                if known or x.core == y.core:
                    # A wait bit is for all of a queue; so are waits that both have each time.
                    walk.wait_for(x, queue)
                    break
                walk.wait_for_all_of(y)

    def _pair(self, x: Family, y: Family) -> tuple[Key, Key]:
        """Return the key of the race of two, x the later; of two cores neither stands first, and one may be known."""
        pair = (y.core, y.index), (x.core, x.index)
        return pair[::-1] if x.core != y.core and pair[::-1] in self.races else pair

    def _race_of(self, x: Family, y: Family, tasks: int) -> bool:
        """Return whether two families race, and keep the race."""
        for second, first in self._conflicts(x.core, x.index, y.core, y.index):
            found = common_byte(x, second.operand, y, first.operand, self._effort, tasks)
            if found:
                self.races[self._pair(x, y)] = self._race(*found, first, second)
                if len(self.races) == self._most_races:
                    raise Undecided(f"only the first {self._most_races:,} races are told")
                return True
        return False

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
        for found in places.values():
            low, high = (np.array([getattr(reach, end) for _, _, reach in found]) for end in ("low", "high"))
            writes = np.array([reach.kind == "write" for _, _, reach in found])
            queues = np.array([queue for _, queue, _ in found])
            # Within these nothing races, by how they count: a queue, and in hardware order what a scoreboard sees.
            within = [(-1, queues)]
            if self._plan.program.order == "hardware":
                named = np.array([0 if reach.operand.core is None else 1 + reach.operand.core for _, _, reach in found])
                seen = queues // len(ENGINES) + len(self._plan.cores) * named
                within += [(-1, seen), (1, queues + len(ENGINES) * len(self._plan.cores) * named)]
            others = np.zeros(len(found), np.int64)
            for mine, among in ((writes, np.ones_like(writes)), (~writes, writes)):
                others[mine] += _meetings(low, high, mine, among)
                for sign, groups in within:
                    for group in np.unique(groups[mine]):
                        own = groups == group
                        others[mine & own] += sign * _meetings(low, high, mine & own, among & own)
            wanted |= {found[k][0] for k in np.flatnonzero(others)}
        return wanted

    def _race(self, x: Family, y: Family, first: "_Reach", second: "_Reach") -> Race:
        follows = []
        for queue, number in enumerate(x.follows):
            history = self._history[queue]
            before = bisect_right(history, number, key=lambda family: family.number)
            if queue != x.queue and before:
                member = history[before - 1].up_to(number)
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


def _bounds_of(reach: _Reach, family: Family, tasks: int) -> tuple[int, int]:
    """Return bounds of the bytes that a family may touch: exact ones where it is one execution of one task."""
    if family.levels or tasks > 1:
        return reach.low, reach.high
    low, high = reach.operand.span()
    address = reach.operand.address_at(family.counters)
    return address + low, address + high


def _meetings(low: np.ndarray, high: np.ndarray, of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return for each of the intervals `of` how many of those `among` overlap it; both are masks of [low, high)."""
    begun = np.searchsorted(np.sort(low[among]), high[of], side="left")
    return begun - np.searchsorted(np.sort(high[among]), low[of], side="right")


def _first_common(a: tuple[np.ndarray, int], b: tuple[np.ndarray, int]) -> int:
    """Return the first byte that two tensors share, each given as runs."""
    (a_starts, a_length), (b_starts, b_length) = a, b
    after = np.searchsorted(b_starts, a_starts - b_length, side="right")
    within = after < len(b_starts)
    begins = np.maximum(a_starts[within], b_starts[after[within]])
    return int(begins[begins < a_starts[within] + a_length][0])
