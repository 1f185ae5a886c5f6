"""Execute: run a plan on inputs, task after task, each core in program order, and give its outputs.

Before each task its inputs are copied into their buffers, after it its outputs are copied from theirs; all else stays
as the task before left it, but signals and arrivals at barriers, which each task counts anew. The order between engines
does not show in the results of a program that is free of races, so there is none here: each instruction reads its
operands, computes and writes before the next of its core begins. Cores take turns, where one has to wait for another; a
program whose waits cannot be met so is a deadlock, whatever its queues might hold.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import NamedTuple, Protocol, Self

import numpy as np

from emulator.execute.arena import (
    END_WORD_BYTES,
    SCRATCH_BYTES,
    Needs,
    check_needs,
    check_outputs,
    copy_out,
    not_enough,
    open_arena,
    tensor,
)
from emulator.execute.inputs import prepare
from emulator.execute.prepack import constants_of
from emulator.execute.walkers import Progress, Walkers, count_threads
from emulator.plan.plan import CorePlan, Plan
from emulator.plan.traps import standing
from isa.errors import InputError
from isa.memory import hold, limited
from isa.program import Symbol
from isa.suggest import did_you_mean


@dataclass(frozen=True)
class Dump:
    """A tensor to show, `NAME` or `coreK.NAME`: as the last task ends, or as its iteration `iteration` ends.

    The iteration is one of the outermost loop around the first instruction of its core that writes the tensor.
    """

    symbol: str
    iteration: int | None = None


@dataclass(frozen=True, eq=False)
class Execution:
    """What a run left: outputs by name, dumps in the order asked for, and how many instructions of engines ran."""

    outputs: dict[str, np.ndarray]
    dumps: list[np.ndarray]
    instructions: int


class Runner(Protocol):
    """What computes the tasks of a session: its Walkers, or emulator/execute/stepping.py an instruction at a time."""

    @property
    def done(self) -> int:
        """How many instructions of engines it has run, over all tasks."""

    @property
    def places(self) -> list[int]:
        """The next instruction of each core."""

    def compute(self, task: int, on_stop: Callable[[], None], progress: Progress | None) -> None:
        """Run the code of one task to its end on every core; Walkers call `on_stop` where a dump of an iteration is."""


class _Laid(NamedTuple):
    """A plan with its memories, the walkers of its code, and what is dumped: the tensors, and the moments when.

    Of each input and output it has the tensors of its buffers, views of the arena.
    """

    plan: Plan
    arena: np.ndarray
    walkers: Walkers
    wanted: list[tuple[int, Symbol]]
    moments: list[tuple[int, int] | None]
    needs: Needs
    inputs: list[tuple[Symbol, list[np.ndarray]]]
    outputs: list[tuple[Symbol, list[np.ndarray]]]


class Session:
    """A plan ready to run: memories set up, kernels compiled, constant weights packed, threads waiting.

    It runs streams of tasks, one after the other, on memories that stay as the stream before left them. `plan` is
    good for the longest so far. `walkers` run them, unless a run is given another Runner. A context manager:
    `close` ends its threads. A forked child has a copy of the memories, as they were then, and starts threads of its
    own.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        poison: int | None = None,
        dumps: Sequence[Dump] = (),
        threads: int = 1,
        on_compile: Callable[[str], None] | None = None,
    ) -> None:
        """Set up a plan.

        `poison` seeds the noise that unwritten bytes hold instead of 0. So many `threads` share large instructions; it
        changes no bit. `on_compile` is called with what is compiled, as in "the kernel of conv", before it is. Raises
        InputError for wrong dumps, seeds and numbers of threads, Trap where there is not the memory.
        """
        self._threads, self._poison, self._on_compile = count_threads(threads), poison, on_compile
        self._dumps = dumps
        self._running, self._closed, self._process = Lock(), False, os.getpid()
        # Nothing of its memories is there before a run reaches it.
        self._has_run = False
        self._laid = self._lay_out(plan)

    @property
    def plan(self) -> Plan:
        return self._laid.plan

    @property
    def walkers(self) -> Walkers:
        return self._laid.walkers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self.walkers.close()

    def _lay_out(self, plan: Plan) -> _Laid:
        """Return a plan with its memories, as its program has them."""
        constants = constants_of(plan)
        users = [user for weight in constants.weights for user in weight.users]
        wanted = [_wanted(plan, dump) for dump in self._dumps]
        dumped = (symbol for _, symbol in wanted)
        needs = check_needs(plan, constants.arena_bytes, users, dumped, self._poison is not None, self._threads)
        arena = open_arena(plan, self._poison, constants.arena_bytes + self._threads * SCRATCH_BYTES + END_WORD_BYTES)
        moments = [_moment(plan, dump, *place) for dump, place in zip(self._dumps, wanted, strict=True)]
        stops = [at for at in moments if at is not None]
        walkers = Walkers(plan, arena, constants, stops, self._threads, self._on_compile)
        inputs, outputs = (
            [
                (symbol, [tensor(arena, plan, core, symbol, k) for k in range(min(symbol.buffers, plan.tasks))])
                for core, symbol in plan.program.of_kind(kind)
            ]
            for kind in ("input", "output")
        )
        return _Laid(plan, arena, walkers, wanted, moments, needs, inputs, outputs)

    def _extend(self, plan: Plan) -> None:
        """Go on with the plan of a longer stream, on the memories as they are: its addresses may reach further.

        Until all is copied there are both, and the session has the old ones.
        """
        before = self._laid
        with limited(None):
            hold(before.needs.kept, taken=self._has_run)
            laid = self._lay_out(plan)
        for place, size in before.plan.sizes.items():
            start, base = plan.bases[place], before.plan.bases[place]
            laid.arena[start : start + size] = before.arena[base : base + size]
        self._laid = laid
        before.walkers.close()

    def _so_far(self, plan: Plan, task: int, done: int, places: Sequence[int]) -> str:
        """Return how far a run is: tasks, instructions, and where each core stands."""
        total = sum(part.core.executions for part in plan.cores) * plan.tasks
        of_task = f"in task {task:,} of {plan.tasks:,}, " if plan.tasks > 1 else ""
        return f"{of_task}{done:,} of {total:,} instructions are done; {standing(plan, places)}"

    @property
    def memory(self) -> np.ndarray:
        """All bytes of all memories, uint8 [arena_bytes], each from its base in the plan; a view."""
        return self._laid.arena[: self.plan.arena_bytes]

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        on_progress: Callable[[int, int], None] | None = None,
        runner: Runner | None = None,
        plan: Plan | None = None,
        task: int | None = None,
    ) -> Execution:
        """Run the plan's tasks on inputs by name and return what they left; `runner` computes them where given.

        With `task` it is that one alone, by its number. `plan` is one of the same program and chip, for another
        number of tasks; the session's own where None.
        An input is one tensor for all tasks, or a batch [tasks, *shape]. Outputs are batches where there are several
        tasks, or where an input is one. Both are in the host's order. `on_progress` is called with the instructions
        done and those of the whole run, some times a second.
        Raises InputError for wrong inputs, for a `runner` where a dump is of an iteration, which only walkers take, and
        where the session is closed or runs already; Trap when an instruction's result overlaps what it reads, an index
        is out of range, no core can go on, or there is not the memory. The session can go on after either.
        """
        if self._closed:
            raise InputError("the session is closed", "open another one, or run before the end of its `with`")
        if runner is not None and runner is not self.walkers:
            self._check_untimed()
        if self._process != os.getpid():
            # A fork: what runs in its parent does not run here.
            self._running, self._process = Lock(), os.getpid()
        if not self._running.acquire(blocking=False):
            raise InputError("the session is running", "one session runs one thing at a time: open one for each thread")
        try:
            if plan is not None and plan.tasks > self.plan.tasks:
                self._extend(plan)
            runner = self.walkers if runner is None else runner
            return self._run(plan or self.plan, inputs, on_progress, runner, task)
        finally:
            self._running.release()

    def _check_untimed(self) -> None:
        """Raise InputError where a dump is of an iteration."""
        for dump in self._dumps:
            if dump.iteration is not None:
                raise InputError(
                    f"{dump.symbol}@{dump.iteration}: a runner other than the session's walkers takes no dump of an "
                    "iteration",
                    f"open the session with a dump of {dump.symbol} as the program ends, or run without `runner`",
                )

    def _run(
        self,
        plan: Plan,
        inputs: Mapping[str, np.ndarray],
        on_progress: Callable[[int, int], None] | None,
        runner: Runner,
        alone: int | None,
    ) -> Execution:
        laid, numbers = self._laid, range(plan.tasks) if alone is None else range(alone, alone + 1)
        last, count = numbers[-1], len(numbers)
        walkers, wanted, moments = laid.walkers, laid.wanted, laid.moments
        try:
            with limited(None):
                hold(laid.needs.kept, taken=self._has_run)
                hold(laid.needs.working, taken=False)
                hold(check_outputs(plan, laid.needs), taken=False)
                prepared = prepare(plan.program, inputs, count, alone)
                outputs = {s.name: np.empty((count, *s.host_shape), s.dtype.numpy) for s, _ in laid.outputs}
        except MemoryError as error:
            raise not_enough(plan) from error
        is_batch = count > 1
        for symbol, _ in laid.inputs:
            is_batch |= prepared[symbol.name].ndim > len(symbol.shape)
        shown: dict[int, np.ndarray] = {}

        def show(task: int) -> None:
            for k, (dump, at) in enumerate(zip(self._dumps, moments, strict=True)):
                if task == last and at == walkers.at and walkers.counters[1] == dump.iteration:
                    shown[k] = copy_out(laid.arena, laid.plan, *wanted[k], task)

        self._has_run = True
        before = runner.done
        progress = None
        if on_progress:
            total = sum(part.core.executions for part in plan.cores) * count
            progress = Progress(lambda: on_progress(runner.done - before, total))
        for k, task in enumerate(numbers):
            for symbol, buffers in laid.inputs:
                value = prepared[symbol.name]
                buffers[task % len(buffers)][...] = value[k] if value.ndim > len(symbol.shape) else value
            try:
                runner.compute(task, partial(show, task), progress)
            except KeyboardInterrupt as interrupt:
                interrupt.add_note(self._so_far(plan, task, runner.done - before, runner.places))
                raise
            for symbol, buffers in laid.outputs:
                outputs[symbol.name][k] = symbol.to_host(buffers[task % len(buffers)])
        for k, dump in enumerate(self._dumps):
            if dump.iteration is None:
                shown[k] = copy_out(laid.arena, laid.plan, *wanted[k], last)
        if not is_batch:
            outputs = {name: batch[0] for name, batch in outputs.items()}
        return Execution(outputs, [shown[k] for k in range(len(self._dumps))], runner.done - before)


def execute(
    plan: Plan,
    inputs: Mapping[str, np.ndarray],
    *,
    poison: int | None = None,
    dumps: Sequence[Dump] = (),
    threads: int = 1,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Execution:
    """Run a plan's tasks once, in a session of their own."""
    with Session(plan, poison=poison, dumps=dumps, threads=threads, on_compile=on_compile) as session:
        return session.run(inputs, on_progress)


def _wanted(plan: Plan, dump: Dump) -> tuple[int, Symbol]:
    """Return the tensor to dump: (core, symbol)."""
    found = plan.find(dump.symbol)
    if len(found) == 1:
        return found[0]
    several = len(plan.cores) > 1
    prefixed = [f"core{part.number}.{symbol.name}" for part in plan.cores for symbol in part.core.symbols]
    if found:
        meant = ", ".join(f"core{core}.{symbol.name}" for core, symbol in found)
        raise InputError(f"several tensors are called {dump.symbol!r}", f"say which: {meant}")
    names = [symbol.name for part in plan.cores for symbol in part.core.symbols]
    known = f"known tensors: {', '.join(prefixed if several else names) or 'none'}"
    help = did_you_mean(dump.symbol, [*names, *prefixed] if several else names, known)
    raise InputError(f"there is no tensor {dump.symbol!r} to dump", help)


def _moment(plan: Plan, dump: Dump, number: int, symbol: Symbol) -> tuple[int, int] | None:
    """Return the core and the instruction before which a dump is taken, None for the program's end."""
    if dump.iteration is None:
        return None
    part = plan.cores[number]
    writers = _writers(part, symbol, plan.tasks)
    around = [loop for k in writers for loop in part.core.loops if loop.first < k < loop.last]
    if not around:
        of_core = f" of core {number}" if len(plan.cores) > 1 else ""
        what = "is written outside any loop" if writers else f"is not written by any instruction{of_core}"
        raise InputError(
            f"{dump.symbol}@{dump.iteration}: {dump.symbol} {what}",
            f"ask for {dump.symbol} as the program ends, without @",
        )
    loop = around[0]
    if not 0 <= dump.iteration < loop.count:
        raise InputError(
            f"{dump.symbol}@{dump.iteration}: the loop at line {part.line(loop.first).number} has no such iteration",
            f"its iterations are 0 to {loop.count - 1}",
        )
    return number, loop.last


def _writers(part: CorePlan, symbol: Symbol, tasks: int) -> list[int]:
    """Return the instructions of its core that may write to a symbol's bytes in some iteration, in program order."""
    writers: list[int] = []
    for k, (instruction, trips) in enumerate(zip(part.core.code, part.core.trips(tasks), strict=True)):
        for access, operand in instruction.accesses():
            low, high = operand.extent(trips)
            within = operand.core is None and operand.memory == symbol.memory
            within = within and low < symbol.end and symbol.address < high
            if access == "write" and within:
                writers.append(k)
    return writers
