"""Interleave: run a plan in an order that its queues, waits and scoreboards allow, drawn by a seed.

Any order that a chip could take, whatever its cycles, is one of those drawn here: the queues of all engines and cores
go on by turns, an instruction at a time, each when what it needs has finished. That an instruction reads, computes and
writes at once loses nothing: two that could overlap are two that could come in either order. Unwritten bytes are noise.

Nothing is looked up in emulator/checker/happens_before.py, which says what is ordered for sure: here what may go next
is found by going.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from emulator.execute.arena import check_room
from emulator.execute.session import Execution, Session
from emulator.execute.stepping import Observer, Stepping
from emulator.plan.deadlock import deadlock_trap
from emulator.plan.layout import beside_results, shares_bytes
from emulator.plan.plan import CorePlan, Plan
from emulator.plan.traps import overlap_trap
from isa.diagnostic import Place
from isa.errors import Trap
from isa.instruction import Instruction
from isa.memory import hold, limited
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Core
from isa.row import ENGINES

# Executions of a task, at most: each is compared with all before it on its core, and takes a row.
MOST_INTERLEAVED = 10_000
# How much faster some queues go than others, as the deviation of a logarithm: not at all, somewhat, so that one stands
# still until nothing else can go on. How fast each goes is drawn anew after so many steps, on average.
DEVIATIONS, CHANGES = (0.0, 2.0, 16.0), (8, 64, 10**9)


@dataclass(frozen=True)
class Executed(Place):
    """One execution; `needs[e]` of engine e of its core have to be done before it."""

    needs: tuple[int, ...] = ()


class Interleaver:
    """A plan ready to run in drawn orders, each from memories as they were at first. A context manager."""

    def __init__(
        self,
        plan: Plan,
        poison: int | None = 0,
        on_compile: Callable[[str], None] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Set up a plan; unwritten bytes are the noise of seed `poison`, or 0. Raises Trap for what is too long.

        Each of the `observers` is told of every instruction as it runs.
        """
        total = sum(part.core.executions for part in plan.cores)
        if total > MOST_INTERLEAVED:
            raise Trap(
                f"{plan.program.name}: a task executes {total:,} instructions, but at most {MOST_INTERLEAVED:,} can be "
                "followed one by one",
                "give its loops smaller counts",
            )
        self._plan, self._observers = plan, observers
        self._session = Session(plan, poison=poison, on_compile=on_compile)
        # To begin anew is to write all of them, what no program reaches too.
        check_room(plan, {"the program's memories, whole, and as they were at first": 2 * self.memory.nbytes})
        self._first_bytes = self.memory.copy()
        self._queues: list[list[Executed]] = []
        self._task = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_error: object) -> None:
        self._session.close()

    def interleaved(self, seed: int, inputs: Mapping[str, np.ndarray]) -> Execution:
        """Run all tasks on inputs by name, in an order that depends on the seed alone.

        Raises InputError for wrong inputs; Trap as a run does.
        """
        self.memory[...] = self._first_bytes
        order = partial(self._order, seed)
        with limited(None):
            hold(self._first_bytes.nbytes)
            return self._session.run(inputs, runner=Stepping(self._session, order, self._observers))

    @property
    def memory(self) -> np.ndarray:
        """All bytes of all memories, as the last run left them."""
        return self._session.memory

    def _order(self, seed: int, task: int) -> list[Executed]:
        """Return all executions of a task in an order drawn by a seed."""
        if task != self._task:
            self._queues = [queue for part in self._plan.cores for queue in _queues(self._plan, part, task)]
            self._task = task
        return _drawn(self._plan, self._queues, np.random.default_rng((seed, task)))


def _queues(plan: Plan, part: CorePlan, task: int) -> list[list[Executed]]:
    """Return all that a core executes in a task, by engine; raise Trap where a result overlaps what it reads."""
    code = part.core.code
    queues: list[list[Executed]] = [[] for _ in ENGINES]
    board = _Board(plan.program.order == "hardware")
    for index, counters in _in_program_order(part.core, task):
        instruction = code[index]
        engine = ENGINES.index(instruction.engine)
        needs = [len(queue) if instruction.waits >> k & 1 else 0 for k, queue in enumerate(queues)]
        if instruction.row.engine != "sync":
            needs = np.maximum(needs, board.enter(instruction, engine, len(queues[engine]) + 1, counters)).tolist()
            if part.overlap[index]:
                _check_overlap(part, index, counters)
        queues[engine].append(Executed(part.number, index, counters, tuple(needs)))
    return queues


def _in_program_order(core: Core, task: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return index and counters, the task first, of all that a core executes."""
    code = core.code
    ends = {loop.last: loop for loop in core.loops}
    counters = [task] + [0] * MAX_LOOP_DEPTH
    found, at = [], 0
    while code[at].row.mnemonic != "end":
        loop = ends.get(at)
        if loop:
            counters[loop.depth] += 1
            if counters[loop.depth] < loop.count:
                at = loop.first
            else:
                counters[loop.depth] = 0
        elif code[at].row.engine != "seq":
            found.append((at, tuple(counters)))
        at += 1
    return found


class _Board:
    """The scoreboard of a core: bounding byte intervals of all its accesses, or none where nothing is ordered by it."""

    def __init__(self, is_there: bool) -> None:
        self._is_there = is_there
        self._memories: dict[tuple[str, int | None], int] = {}
        # Of each access: memory, whether it writes, first byte, byte behind the last, engine, number.
        self._rows, self._count = np.zeros((64, 6), np.int64), 0

    def enter(self, instruction: Instruction, engine: int, number: int, counters: Sequence[int]) -> np.ndarray:
        """Return how many of each engine must be done before an instruction, and enter its accesses."""
        needs = np.zeros(len(ENGINES), np.int64)
        if not self._is_there:
            return needs
        rows = []
        for kind, operand in instruction.accesses():
            memory = self._memories.setdefault((operand.memory, operand.core), len(self._memories))
            low, high = (operand.address_at(counters) + end for end in operand.span())
            known = self._rows[: self._count]
            conflicts = (known[:, 0] == memory) & (known[:, 1] | (kind == "write")).astype(bool)
            conflicts &= (known[:, 2] < high) & (low < known[:, 3])
            np.maximum.at(needs, known[conflicts, 4], known[conflicts, 5])
            rows.append((memory, kind == "write", low, high, engine, number))
        while self._count + len(rows) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count : self._count + len(rows)] = rows or np.zeros((0, 6))
        self._count += len(rows)
        return needs


def _check_overlap(part: CorePlan, index: int, counters: Sequence[int]) -> None:
    instruction = part.core.code[index]
    for pair in beside_results(instruction):
        out, operand = (instruction.operands[slot] for slot in pair)
        assert out is not None and operand is not None
        to = out.address_at(counters)
        if shares_bytes(instruction, pair, to, operand.address_at(counters)):
            raise overlap_trap(part.number, part.core, index, pair, to)


class _Going:
    """How far all queues are: what is done of each, and signals."""

    def __init__(self, plan: Plan, queues: Sequence[Sequence[Executed]]) -> None:
        self._plan, self._queues = plan, queues
        self._done = [0] * len(queues)
        self._signals = Counter[int]()
        self._uses = plan.program.uses
        self.order: list[Executed] = []

    def _instruction(self, e: Executed) -> Instruction:
        return self._plan.cores[e.core].core.code[e.index]

    def _head(self, queue: int) -> Executed | None:
        done = self._done[queue]
        return self._queues[queue][done] if done < len(self._queues[queue]) else None

    def _stands(self, queue: int) -> bool:
        """Return whether a head is there, and all that it needs of its own core is done."""
        e = self._head(queue)
        first = queue - queue % len(ENGINES)
        return e is not None and all(self._done[first + k] >= need for k, need in enumerate(e.needs))

    def _at_barrier(self, number: int) -> list[int]:
        """Return the queues that stand at a barrier."""
        found = []
        for queue in range(len(self._queues)):
            e = self._head(queue)
            if e is not None and self._stands(queue):
                instruction = self._instruction(e)
                if instruction.row.mnemonic == "barrier" and instruction.attributes[0][0] == number:
                    found.append(queue)
        return found

    def may_go(self, queue: int) -> bool:
        e = self._head(queue)
        if e is None or not self._stands(queue):
            return False
        instruction = self._instruction(e)
        if instruction.row.engine != "sync":
            return True
        number = int(instruction.attributes[0][0])
        match instruction.row.mnemonic:
            case "wait":
                return self._signals[number] > 0
            case "barrier":
                users = {use.core for use in self._uses["barrier", number]}
                return len(self._at_barrier(number)) == len(users)
        return True

    def go(self, queue: int) -> None:
        """Execute the head of a queue; all that meet at a barrier go on together."""
        e = self._head(queue)
        assert e is not None
        instruction = self._instruction(e)
        going = [queue]
        if instruction.row.engine == "sync":
            number = int(instruction.attributes[0][0])
            match instruction.row.mnemonic:
                case "signal":
                    self._signals[number] += 1
                case "wait":
                    self._signals[number] -= 1
                case "barrier":
                    going = self._at_barrier(number)
        for each in going:
            head = self._head(each)
            assert head is not None
            self.order.append(head)
            self._done[each] += 1

    def stuck(self) -> Trap:
        """Return the trap of a program of which no queue can go on.

        Those that stand wait for another, or at a barrier; what is behind them, by a wait bit, is no cause.
        """
        places = [len(part.core.code) - 1 for part in self._plan.cores]
        for queue in range(len(self._queues)):
            e = self._head(queue)
            if e is not None and self._stands(queue):
                places[e.core] = e.index
        return deadlock_trap(self._plan, places)


def _drawn(plan: Plan, queues: Sequence[Sequence[Executed]], noise: np.random.Generator) -> list[Executed]:
    """Return all executions in a drawn order; raise Trap where no queue can go on."""
    going, total = _Going(plan, queues), sum(map(len, queues))
    deviation, change = noise.choice(DEVIATIONS), int(noise.choice(CHANGES))
    speeds = noise.normal(0, deviation, len(queues))
    while len(going.order) < total:
        ready = [queue for queue in range(len(queues)) if going.may_go(queue)]
        if not ready:
            raise going.stuck()
        if noise.integers(change) == 0:
            speeds = noise.normal(0, deviation, len(queues))
        # The greatest of these with Gumbel noise is each with a share of exp(speed).
        going.go(ready[int(np.argmax(speeds[ready] + noise.gumbel(size=len(ready))))])
    return going.order
