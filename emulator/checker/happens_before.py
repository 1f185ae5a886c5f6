"""Order: what every execution of a program follows for sure, whatever the cycles.

One walk over what a task executes, cores in turn and each in program order, so that what comes first in the walk never
comes later by an order of the program. An instruction starts at S and finishes at F. Ordered are, and nothing else is:

    S of an instruction, S of the next in its queue; F likewise                    a queue starts and finishes in order
    F of the last instruction of engine e before it, S of one with wait bit e
    F of all before it in its queue, S of a signal or of an arrival at a barrier
    F of the k-th signal of a semaphore, S of its k-th wait
    what S of each arrival follows, S of all arrivals of the same meeting
    F and S of two whose bounding byte intervals conflict, in `hardware` order and of one core (the scoreboard; a
    result in another core's memory is of another place there)

As each queue finishes in order, what an instruction follows is one number for each queue: how many of it have finished
(a vector clock).

Whoever walks may let an instruction wait for more (`wait_for`): what comes behind is walked as if it did.

Loops are not unrolled where wait bits alone order them. What an iteration follows is then, for each queue, the greatest
of some of what the iteration before followed and of some of its own instructions, always the same ones. So once an
iteration has changed neither which of these numbers are of the loop nor those that are not, all that come behind it do
as it did, each number of the loop moving on by what an iteration issues; and what it executed stands, as families, for
the rest.
"""

from collections.abc import Generator, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import reduce

from emulator.checker.iteration_sets import Family, Undecided
from emulator.checker.scoreboard import Scoreboard
from emulator.plan.deadlock import deadlock_trap
from emulator.plan.plan import Plan
from isa.instruction import Instruction
from isa.loops import Loop
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Core
from isa.row import ENGINES

# What is walked at most: 10 to 30 us each.
MOST_WALKED = 200_000

Clock = tuple[int, ...]


def latest(a: Clock, b: Clock) -> Clock:
    return tuple(map(max, a, b))


@dataclass(frozen=True)
class Block:
    """A loop with what is in it, instructions by their index and loops; `skips` where its iterations may be skipped."""

    loop: Loop
    body: tuple["int | Block", ...]
    skips: bool


def blocks(core: Core, skips: bool, only_sync: bool) -> tuple[int | Block, ...]:
    """Return the code of a core by its loops; those with semaphores or barriers in them are never skipped."""
    code = core.code
    ends = {loop.first: loop for loop in core.loops}

    def between(first: int, last: int) -> tuple[int | Block, ...]:
        found: list[int | Block] = []
        k = first
        while k < last:
            if loop := ends.get(k):
                alone = all(code[j].row.engine != "sync" for j in range(k, loop.last))
                if body := between(k + 1, loop.last):
                    found.append(Block(loop, body, skips and alone))
                k = loop.last
            elif code[k].row.engine == "sync" or (code[k].row.engine != "seq" and not only_sync):
                found.append(k)
            k += 1
        return tuple(found)

    return between(0, len(code))


class Walk:
    """A walk over one task; what it yields are families in the order of the walk, those that stand together at once.

    `wanted` are the instructions whose families are of interest, by (core, index); where there are none, it is walked
    for a deadlock alone. `skips` lets it skip iterations; `most` are the instructions that it follows at most.
    """

    def __init__(
        self,
        plan: Plan,
        task: int,
        wanted: Set[tuple[int, int]],
        skips: bool = True,
        most: int = MOST_WALKED,
    ) -> None:
        self._plan, self._task, self._wanted, self._most = plan, task, wanted, min(most, MOST_WALKED)
        self._skips = skips and plan.program.order == "compiler"
        self._queues = len(plan.cores) * len(ENGINES)
        self._scoreboards = [Scoreboard() for _ in plan.cores] if plan.program.order == "hardware" else None
        self._issued = [0] * self._queues
        nothing = (0,) * self._queues
        # S and F of the last of each queue.
        self._start, self._finish = [nothing] * self._queues, [nothing] * self._queues
        self._recent: list[list[Family]] = [[] for _ in plan.cores]
        self._signals: dict[int, list[Clock]] = {}
        self._waits: dict[int, int] = {}
        # Of each barrier: its meetings, and at how many of them each core has arrived.
        self._meetings: dict[int, list[dict[int, Clock]]] = {}
        self._arrivals: dict[tuple[int, int], int] = {}
        self._users: dict[int, set[int]] = {}
        for part in plan.cores:
            for instruction in part.core.code:
                if instruction.row.mnemonic == "barrier":
                    self._users.setdefault(int(instruction.attributes[0][0]), set()).add(part.number)
        self.walked = 0
        # Wait bits that were added, how many, and what S of the execution that has just been yielded follows.
        self._added: dict[tuple[int, int], int] = {}
        self._adding = 0
        self._following: Clock = ()
        self._places = [0] * len(plan.cores)

    def families(self) -> Iterator[Sequence[Family]]:
        """Walk all cores in turn; raise Trap where no core can go on, and Undecided."""
        walks = {part.number: self._core(part.number) for part in self._plan.cores}
        while walks:
            before = self.walked, len(walks)
            for number, walk in list(walks.items()):
                for found in walk:
                    if found is None:
                        break
                    yield found
                else:
                    del walks[number]
            if walks and before == (self.walked, len(walks)):
                raise deadlock_trap(self._plan, self._places)

    def wait_for(self, family: Family, queue: int) -> None:
        """Let an execution that has just been yielded wait for all of a queue that is before it in the walk.

        Of its own core it is a wait bit, and later executions of the instruction have it, too. Iterations that have
        been skipped do not.
        """
        self._following = latest(self._following, self._finish[queue])
        if queue // len(ENGINES) == family.core:
            key, bit = (family.core, family.index), 1 << queue % len(ENGINES)
            if not self._added.get(key, 0) & bit:
                self._added[key] = self._added.get(key, 0) | bit
                self._adding += 1

    def wait_for_all_of(self, other: Family) -> None:
        """Let the execution that has just been yielded wait for a family, as if that had signalled it."""
        finish = list(other.follows)
        finish[other.queue] = other.last
        self._following = latest(self._following, tuple(finish))

    def _core(self, number: int) -> Iterator[Sequence[Family] | None]:
        """Walk one core; yield its families, and None where it has to wait for another."""
        core = self._plan.cores[number].core
        counters = [self._task] + [0] * MAX_LOOP_DEPTH
        for part in blocks(core, self._skips, only_sync=not self._wanted):
            yield from self._part(number, part, counters)
            self._recent[number].clear()
        self._places[number] = len(core.code) - 1

    def _part(self, number: int, part: int | Block, counters: list[int]) -> Iterator[Sequence[Family] | None]:
        if isinstance(part, Block):
            yield from self._loop(number, part, counters)
        else:
            yield from self._execute(number, part, tuple(counters))

    def _loop(self, number: int, block: Block, counters: list[int]) -> Iterator[Sequence[Family] | None]:
        depth, recent = block.loop.depth, self._recent[number]
        first = number * len(ENGINES)
        own = range(first, first + len(ENGINES))
        # What other cores do is not of this loop.
        entry = tuple(self._issued[q] if q in own else 2**62 for q in range(self._queues))
        known = None
        for k in range(block.loop.count):
            counters[depth] = k
            issued, mark, added = tuple(self._issued), len(recent), self._adding
            for part in block.body:
                yield from self._part(number, part, counters)
            left = block.loop.count - k - 1
            if block.skips and left:
                clocks = [clock for q in own for clock in (self._start[q], self._finish[q])]
                outside = [tuple(v if v <= e else -1 for v, e in zip(clock, entry)) for clock in clocks]
                if outside == known and added == self._adding:
                    steps = tuple(now - before for now, before in zip(self._issued, issued))
                    repeated = [family.repeated(depth, left, steps, entry) for family in recent[mark:]]
                    recent += repeated
                    self._move_on(own, left, steps, entry)
                    yield repeated
                    break
                # What waits for more from now on is another iteration.
                known = outside if added == self._adding else None
        counters[depth] = 0

    def _move_on(self, own: range, times: int, steps: Clock, entry: Clock) -> None:
        """Let so many iterations go by, each of which issues `steps`."""

        def moved(clock: Clock) -> Clock:
            return tuple(v + times * step if v > e else v for v, step, e in zip(clock, steps, entry))

        for q in own:
            self._start[q], self._finish[q] = moved(self._start[q]), moved(self._finish[q])
            self._issued[q] += times * steps[q]

    def _execute(self, number: int, index: int, counters: tuple[int, ...]) -> Iterator[Sequence[Family] | None]:
        self._places[number] = index
        self.walked += 1
        if self.walked > self._most:
            raise Undecided(f"more than {self._most:,} instructions would have to be followed one by one")
        instruction = self._plan.cores[number].core.code[index]
        first = number * len(ENGINES)
        queue = first + ENGINES.index(instruction.engine)
        start, waits = self._start[queue], instruction.waits | self._added.get((number, index), 0)
        for k in range(len(ENGINES)):
            if waits >> k & 1:
                start = latest(start, self._finish[first + k])
        if instruction.row.engine == "sync":
            start = yield from self._meet(number, instruction, queue, start)
        elif self._scoreboards is not None:
            start = self._scoreboards[number].start(instruction, counters, start, first)
        self._issued[queue] += 1
        if (number, index) in self._wanted:
            family = Family(number, index, queue, self._issued[queue], counters, start, tuple(self._issued))
            self._following = start
            yield (family,)
            start = self._following
            self._recent[number].append(family if start == family.follows else replace(family, follows=start))
        finish = list(latest(start, self._finish[queue]))
        finish[queue] = self._issued[queue]
        self._start[queue], self._finish[queue] = start, tuple(finish)
        if instruction.row.mnemonic == "signal":
            self._signals.setdefault(int(instruction.attributes[0][0]), []).append(tuple(finish))
        elif self._scoreboards is not None and instruction.row.engine != "sync":
            self._scoreboards[number].enter(instruction, counters, self._issued[queue], tuple(finish))

    def _meet(self, number: int, instruction: Instruction, queue: int, start: Clock) -> Generator[None, None, Clock]:
        """Return what S of a signal, a wait or an arrival follows, once it may; yield None where it may not yet."""
        token = int(instruction.attributes[0][0])
        mnemonic = instruction.row.mnemonic
        if mnemonic != "wait":
            start = latest(start, self._finish[queue])
        if mnemonic == "wait":
            kth = self._waits.get(token, 0)
            while len(self._signals.get(token, ())) <= kth:
                yield None
            self._waits[token] = kth + 1
            start = latest(start, self._signals[token][kth])
        elif mnemonic == "barrier":
            meetings = self._meetings.setdefault(token, [])
            kth = self._arrivals.get((token, number), 0)
            self._arrivals[token, number] = kth + 1
            if kth == len(meetings):
                meetings.append({})
            meetings[kth][number] = start
            while len(meetings[kth]) < len(self._users[token]):
                yield None
            start = reduce(latest, meetings[kth].values())
        return start
