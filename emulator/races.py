"""Races: pairs of accesses that conflict and that nothing in the program orders, whatever the cycles.

One walk over all that a task executes, cores in turn and each in program order, so that what comes first in the walk
never comes later by an order of the program. An instruction starts at S and finishes at F. Ordered are, and nothing
else is:

    S of an instruction, S of the next in its queue; F likewise                    a queue starts and finishes in order
    F of the last instruction of engine e before it, S of one with wait bit e
    F of all before it in its queue, S of a signal or of an arrival at a barrier
    F of the k-th signal of a semaphore, S of its k-th wait
    what S of each arrival follows, S of all arrivals of the same meeting
    F and S of two whose bounding byte intervals conflict, in `hardware` order and of one core (the scoreboard; a
    result in another core's memory is of another place there)

As each queue finishes in order, what an instruction follows is one number for each queue: how many of it have finished
(a vector clock). A race is an access to a byte that one of another queue has accessed before, one of them writing,
where that number does not reach the other. Within a queue conflicting instructions never overlap.

For each byte and queue the last read and the last write are kept, so a program of too many bytes or executions is not
proven. Loops are walked, iteration after iteration. What DMA of a stream moves while another task computes is not
looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emulator.deadlock import deadlock_trap
from emulator.plan import Plan, repeats_after
from isa.instruction import Instruction
from isa.loops import executions, find_loops
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER, Operand, region, runs
from isa.row import ENGINES, WAIT_LETTERS

# What is walked at most: 10 to 100 us each; and bytes of memory for what has been accessed last.
MOST_EXECUTIONS, MOST_BYTES = 100_000, 2**29
# Of one pair of lines only the first race is kept, and of a program so many.
MOST_RACES = 100

Place = tuple[int, str]


@dataclass(frozen=True)
class Access:
    """A read or a write of an operand: core, index in its code, loop counters (the task first), "read" or "write"."""

    core: int
    index: int
    counters: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class Race:
    """Two accesses to byte `address` of a memory that either order can meet; `first` comes first in program order.

    `tensor` names the symbol that the byte is of, with the byte's place in it; empty where there is none. `fix` says
    what would order them, `text` is the finding in words.
    """

    first: Access
    second: Access
    memory: str
    address: int
    tensor: str
    fix: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether a program is free of races: "proven", "race", or "not proven" with the reason in `why`."""

    verdict: str
    races: tuple[Race, ...] = ()
    why: str = ""


@dataclass(frozen=True, eq=False)
class _Done:
    """What one execution follows: for each queue how many of it have finished before S, and before F."""

    access: tuple[int, int, tuple[int, ...]]
    start: np.ndarray
    finish: np.ndarray


class _Memory:
    """The last read and the last write of each byte by each queue: its number in the queue, from 1; 0 for none."""

    def __init__(self, queues: int, size: int) -> None:
        self.last = {kind: np.zeros((queues, size), np.int32) for kind in ("read", "write")}

    def conflicts(self, kind: str, bytes_: slice | np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield kinds of earlier accesses that conflict, each with the last of every queue [queues, bytes]."""
        for other in ("write",) if kind == "read" else ("write", "read"):
            yield other, self.last[other][:, bytes_]


def find_races(plan: Plan) -> Verdict:
    """Return whether a plan is free of races; raise Trap where it is a deadlock."""
    tasks = repeats_after(plan)
    total = tasks * sum(executions(part.core.code) for part in plan.cores)
    if total > MOST_EXECUTIONS:
        return Verdict("not proven", why=f"it executes {total:,} instructions; {MOST_EXECUTIONS:,} are followed")
    needed = sum(plan.sizes.values()) * len(plan.cores) * len(ENGINES) * 2 * (2 if _scoreboard(plan) else 1) * 4
    if needed > MOST_BYTES:
        return Verdict("not proven", why=f"its memories are too large: {needed:,} bytes would be needed to follow them")
    races: dict[tuple, Race] = {}
    for task in range(tasks):
        for race in _Walk(plan, task).races():
            races.setdefault((race.first.core, race.first.index, race.second.core, race.second.index), race)
            if len(races) == MOST_RACES:
                return Verdict("race", tuple(races.values()))
    return Verdict("race" if races else "proven", tuple(races.values()))


def _scoreboard(plan: Plan) -> bool:
    return plan.program.order == "hardware"


class _Walk:
    """One task, walked."""

    def __init__(self, plan: Plan, task: int) -> None:
        self._plan, self._task = plan, task
        self._queues = len(plan.cores) * len(ENGINES)
        self._done: list[list[_Done]] = [[] for _ in range(self._queues)]
        self._exact = {place: _Memory(self._queues, size) for place, size in plan.sizes.items() if size}
        # The scoreboard of a core sees its own accesses, by memory and by the core that an operand names.
        self._scoreboards: dict[tuple[int, str, int | None], _Memory] = {}
        self._signals: dict[int, list[np.ndarray]] = {}
        self._waits: dict[int, int] = {}
        self._meetings: dict[int, list[dict[int, np.ndarray]]] = {}
        self._users: dict[int, set[int]] = {}
        for part in plan.cores:
            for instruction in part.core.code:
                if instruction.row.mnemonic == "barrier":
                    self._users.setdefault(int(instruction.attributes[0][0]), set()).add(part.number)

    def races(self) -> Iterator[Race]:
        """Walk all cores in turn, and yield races as they are met; raise Trap where no core can go on."""
        places = [0] * len(self._plan.cores)
        walks = {part.number: self._core(part.number, places) for part in self._plan.cores}
        while walks:
            before = sum(map(len, self._done)), len(walks)
            for number, walk in list(walks.items()):
                for found in walk:
                    if found is None:
                        break
                    yield found
                else:
                    del walks[number]
            if walks and before == (sum(map(len, self._done)), len(walks)):
                raise deadlock_trap(self._plan, places)

    def _core(self, number: int, places: list[int]) -> Iterator[Race | None]:
        """Walk one core; yield its races, and None where it has to wait for another."""
        code = self._plan.cores[number].core.code
        opens = {loop.last: loop for loop in find_loops(code)}
        counters = [self._task] + [0] * MAX_LOOP_DEPTH
        at = 0
        while code[at].row.mnemonic != "end":
            places[number] = at
            instruction = code[at]
            if loop := opens.get(at):
                counters[loop.depth] += 1
                if counters[loop.depth] < loop.count:
                    at = loop.first
                else:
                    counters[loop.depth] = 0
            elif instruction.row.mnemonic != "loop":
                yield from self._execute(number, at, instruction, tuple(counters))
            at += 1
        places[number] = at

    def _execute(
        self, number: int, index: int, instruction: Instruction, counters: tuple[int, ...]
    ) -> Iterator[Race | None]:
        first = number * len(ENGINES)
        queue = first + ENGINES.index(instruction.engine)
        mine = self._done[queue]
        start = mine[-1].start.copy() if mine else np.zeros(self._queues, np.int32)
        for k in range(len(ENGINES)):
            if instruction.waits >> k & 1 and self._done[first + k]:
                np.maximum(start, self._done[first + k][-1].finish, out=start)
        mnemonic = instruction.row.mnemonic
        if instruction.row.engine == "sync":
            token = int(instruction.attributes[0][0])
            if mnemonic != "wait" and mine:
                np.maximum(start, mine[-1].finish, out=start)
            if mnemonic == "wait":
                kth = self._waits.get(token, 0)
                while len(self._signals.get(token, ())) <= kth:
                    yield None
                self._waits[token] = kth + 1
                np.maximum(start, self._signals[token][kth], out=start)
            elif mnemonic == "barrier":
                meetings = self._meetings.setdefault(token, [])
                kth = sum(number in meeting for meeting in meetings)
                if kth == len(meetings):
                    meetings.append({})
                meetings[kth][number] = start
                while len(meetings[kth]) < len(self._users[token]):
                    yield None
                start = np.maximum.reduce(list(meetings[kth].values()))
        elif _scoreboard(self._plan):
            self._wait_for_scoreboard(number, instruction, counters, start)
        finish = start.copy() if not mine else np.maximum(start, mine[-1].finish)
        finish[queue] = len(mine) + 1
        if mnemonic == "signal":
            self._signals.setdefault(token, []).append(finish)
        if instruction.row.engine != "sync":
            yield from self._look(number, index, queue, instruction, counters, start)
        mine.append(_Done((number, index, counters), start, finish))

    def _board(self, number: int, operand: Operand) -> _Memory:
        key = number, operand.memory, operand.core
        if key not in self._scoreboards:
            place = region(number if operand.core is None else operand.core, operand.memory)
            self._scoreboards[key] = _Memory(len(ENGINES), self._plan.sizes[place])
        return self._scoreboards[key]

    def _wait_for_scoreboard(
        self, number: int, instruction: Instruction, counters: tuple[int, ...], start: np.ndarray
    ) -> None:
        """Let an instruction follow all of its core whose bounding intervals conflict with its own; enter those."""
        first, touched = number * len(ENGINES), []
        for kind, operand in instruction.accesses():
            if operand.memory == "cb":
                continue
            low, high = (operand.address_at(counters) + end for end in operand.span())
            touched.append((kind, self._board(number, operand), slice(low, high)))
        for kind, board, within in touched:
            for _, last in board.conflicts(kind, within):
                for k, latest in enumerate(last.max(axis=1)):
                    if latest:
                        np.maximum(start, self._done[first + k][latest - 1].finish, out=start)
        own = ENGINES.index(instruction.engine)
        for kind, board, within in touched:
            board.last[kind][own, within] = len(self._done[first + own]) + 1

    def _look(
        self,
        number: int,
        index: int,
        queue: int,
        instruction: Instruction,
        counters: tuple[int, ...],
        start: np.ndarray,
    ) -> Iterator[Race]:
        """Yield the races of an instruction with those before it, and enter its accesses."""
        limit = start.copy()
        limit[queue] = len(self._done[queue])
        touched = []
        for kind, operand in instruction.accesses():
            place = region(number if operand.core is None else operand.core, operand.memory)
            touched.append((kind, place, _bytes_of(operand, operand.address_at(counters))))
        for kind, place, bytes_ in touched:
            for other, last in self._exact[place].conflicts(kind, bytes_):
                for q in np.flatnonzero(last.max(axis=1) > limit):
                    at = int(np.argmax(last[q] > limit[q]))
                    core, k, then = self._done[q][last[q, at] - 1].access
                    address = bytes_.start + at if isinstance(bytes_, slice) else int(bytes_[at])
                    pair = Access(core, k, then, other), Access(number, index, counters, kind)
                    yield self._race(*pair, place, address)
        for kind, place, bytes_ in touched:
            self._exact[place].last[kind][queue, bytes_] = len(self._done[queue]) + 1

    def _race(self, first: Access, second: Access, place: Place, address: int) -> Race:
        core, memory = place
        held = [s for s in self._plan.cores[core].core.symbols if s.memory == memory and s.address <= address < s.end]
        tensor = f"byte {address - held[-1].address:,} of {held[-1].name}" if held else ""
        before = self._plan.cores[first.core].core.code[first.index]
        if first.core == second.core:
            letter = next(letter for letter, engine in WAIT_LETTERS.items() if engine == before.engine)
            fix = f"add the wait bit `{letter}` to {self._plan.cores[second.core].where(second.index)}"
        else:
            fix = (
                f"signal a semaphore of its own behind {self._plan.cores[first.core].where(first.index)}, in queue "
                f"{before.engine}, and wait for it before {self._plan.cores[second.core].where(second.index)}"
            )
        said = f"its {second.kind} of {tensor or f'byte {address:#x} of {memory}'} races with the {first.kind} by"
        text = f"{_said(self._plan, second)}: {said} {_said(self._plan, first)}"
        return Race(first, second, memory, address, tensor, fix, text)


def _bytes_of(operand: Operand, address: int) -> slice | np.ndarray:
    """Return the bytes of a memory that an operand at an address touches: a slice where they lie side by side."""
    begins, length = runs(operand, address)
    if len(begins) == 1:
        return slice(int(begins[0]), int(begins[0]) + length)
    return np.unique(np.add.outer(begins, np.arange(length)))


def _said(plan: Plan, access: Access) -> str:
    """Return the place of an access, with its core where there are several, and its iteration."""
    part = plan.cores[access.core]
    around = [loop for loop in find_loops(part.core.code) if loop.first < access.index < loop.last]
    counted = ", ".join(str(access.counters[loop.depth]) for loop in around)
    of_core = f"core {access.core}, " if len(plan.cores) > 1 else ""
    task = f", task {access.counters[TASK_COUNTER]}" if plan.tasks > 1 else ""
    return f"{of_core}{part.where(access.index)}" + (f" [iteration {counted}{task}]" if counted or task else "")
