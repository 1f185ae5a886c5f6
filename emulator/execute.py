"""Execute: run a plan on inputs, task after task, each core in program order, and give its outputs.

Before each task its inputs are copied into their buffers, after it its outputs are copied from theirs; all else stays
as the task before left it, but signals and arrivals at barriers, which each task counts anew. The order between engines
does not show in the results of a program that is free of races, so there is none here: each instruction reads its
operands, computes and writes before the next of its core begins. Cores take turns, where one has to wait for another; a
program whose waits cannot be met so is a deadlock, whatever its queues might hold.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from emulator.deadlock import deadlock_trap
from emulator.inputs import prepare
from emulator.jit import KERNEL, compile_all, quiet, table_of
from emulator.kernels import KERNELS, compile_kernels
from emulator.memory import copy_out, enough_memory, open_arena, tensor
from emulator.pace import PAUSE_SECONDS, next_budget
from emulator.plan import STATUS, CorePlan, Plan, in_task, overlap_trap, shares_bytes, starts, wrong_index
from emulator.walk import (
    ABOVE,
    AT,
    BELOW,
    CLOSES,
    COUNTERS,
    DONE,
    DOUBTED,
    ENDS,
    FIRST_WATCH,
    KIND,
    KNOWN,
    MEETS,
    NO_DISTANCE,
    OPENS,
    PAUSED,
    PROGRESS,
    SIGNALS,
    STOPPED,
    STUCK,
    TRAPPED,
    TURN,
    WAITS,
    flat,
    nothing,
    signature,
    walk,
    watched,
)
from emulator.weights import ConstantWeight, constant_weights, pack_weights
from isa.errors import InputError, Trap
from isa.loops import executions, find_loops, trips_at
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER
from isa.program import Symbol
from isa.suggest import did_you_mean
from isa.synchronisation import uses
from isa.table import MNEMONICS

# The first instruction may be a long one.
FIRST_BUDGET, MOST_BUDGET = 1, 10_000_000
KINDS = {opcode: index for index, opcode in enumerate(KERNELS)} | {
    MNEMONICS["loop"].opcode: OPENS,
    MNEMONICS["brnz"].opcode: CLOSES,
    MNEMONICS["end"].opcode: ENDS,
    MNEMONICS["signal"].opcode: SIGNALS,
    MNEMONICS["wait"].opcode: WAITS,
    MNEMONICS["barrier"].opcode: MEETS,
}


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


def execute(
    plan: Plan,
    inputs: Mapping[str, np.ndarray],
    *,
    poison: int | None = None,
    dumps: Sequence[Dump] = (),
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Execution:
    """Run a plan's tasks on inputs by name and return what they left.

    An input is one tensor for all tasks, or a batch [tasks, *shape]. Outputs are batches where there are several tasks,
    or where an input is one.
    `poison` seeds the noise that unwritten bytes hold instead of 0. `on_compile` is called with what is compiled, as in
    "the kernel of conv", before it is, `on_progress` with the instructions done and those of the whole run, some times
    a second.
    Raises InputError for wrong inputs, dumps and seeds, Trap when an instruction's result overlaps what it reads, an
    index is out of range, no core can go on, or there is not the memory.
    """
    program, last = plan.program, plan.tasks - 1
    weights, arena_bytes = constant_weights(plan)
    arena = open_arena(plan, poison, arena_bytes)
    wanted = [_wanted(plan, dump) for dump in dumps]
    moments = [_moment(plan, dump, *place) for dump, place in zip(dumps, wanted, strict=True)]
    with enough_memory(plan):
        prepared = prepare(program, inputs, plan.tasks)
        outputs = {s.name: np.empty((plan.tasks, *s.shape), s.dtype.numpy) for _, s in program.of_kind("output")}
    shapes = {symbol.name: symbol.shape for _, symbol in program.of_kind("input")}
    is_batch = plan.tasks > 1 or any(value.ndim > len(shapes[name]) for name, value in prepared.items())
    batches = {name: np.broadcast_to(value, (plan.tasks, *shapes[name])) for name, value in prepared.items()}

    run = _Walk(plan, arena, weights, stops=[at for at in moments if at is not None], on_compile=on_compile)
    shown: dict[int, np.ndarray] = {}

    def show(task: int) -> None:
        for k, (dump, at) in enumerate(zip(dumps, moments, strict=True)):
            if task == last and at == run.at and run.counters[1] == dump.iteration:
                shown[k] = copy_out(arena, plan, *wanted[k], task)

    total = sum(executions(part.core.code) for part in plan.cores) * plan.tasks
    progress = _Progress(lambda: on_progress(run.done, total)) if on_progress else None
    for task in range(plan.tasks):
        for core, symbol in program.of_kind("input"):
            tensor(arena, plan, core, symbol, task)[...] = batches[symbol.name][task]
        run.compute(task, partial(show, task), progress)
        for core, symbol in program.of_kind("output"):
            outputs[symbol.name][task] = tensor(arena, plan, core, symbol, task)
    for k, dump in enumerate(dumps):
        if dump.iteration is None:
            shown[k] = copy_out(arena, plan, *wanted[k], last)
    if not is_batch:
        outputs = {name: batch[0] for name, batch in outputs.items()}
    return Execution(outputs, [shown[k] for k in range(len(dumps))], run.done)


class _Progress:
    """Calls `report` some times a second, however often it is asked."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report, self._reported = report, 0.0

    def look(self, now: float) -> None:
        if now - self._reported >= PAUSE_SECONDS:
            self._report()
            self._reported = now


class _Walk:
    """A plan bound to its compiled kernels and to an arena, and how far its run has come."""

    def __init__(
        self,
        plan: Plan,
        arena: np.ndarray,
        weights: Sequence[ConstantWeight],
        stops: Sequence[tuple[int, int]],
        on_compile: Callable[[str], None] | None,
    ) -> None:
        used = {int(opcode) for part in plan.cores for opcode in part.opcodes}
        compile_kernels(sorted(used), on_compile)
        nothing.compile(KERNEL)
        (self._walk,) = compile_all([("the loop over instructions", walk, signature(len(KERNELS)))], on_compile)
        self._plan, self._arena = plan, arena
        self._code, terms, self._watches = flat(plan, KINDS, stops)
        rows = np.concatenate([part.rows for part in plan.cores])
        self._starts = starts(len(part.rows) for part in plan.cores)
        with enough_memory(plan):
            pack_weights(weights, arena, lambda core, k: rows[self._starts[core] + k], on_compile)
        self._rows = rows.copy()
        self._known = np.full((len(self._watches), KNOWN), NO_DISTANCE)
        self._states = np.zeros((len(plan.cores), COUNTERS + MAX_LOOP_DEPTH + 1), np.int64)
        self._progress = np.zeros(PROGRESS, np.int64)
        self._budget = FIRST_BUDGET
        users = np.zeros((len(plan.cores), len(plan.program.barriers)), np.int64)
        for (mnemonic, number), found in uses([part.core.code for part in plan.cores]).items():
            if mnemonic == "barrier":
                users[[use.core for use in found], number] = 1
        self._arrivals = np.zeros_like(users)
        self._signals = np.zeros(len(plan.program.semaphores), np.int64)
        self._given = (
            table_of(kernel if opcode in used else nothing for opcode, kernel in KERNELS.items()),
            arena,
            rows,
            self._rows,
            self._code,
            terms,
            self._watches,
            self._known,
            self._states,
            self._arrivals,
            users,
            self._signals,
            self._progress,
        )

    def compute(self, task: int, on_stop: Callable[[], None], progress: _Progress | None) -> None:
        """Run the code of one task to its end on every core; `on_stop` is called at each stop."""
        # Whatever ran before has closed its loops and passed its barriers: their counters are 0.
        self._states[:, AT], self._states[:, COUNTERS + TASK_COUNTER] = self._starts, task
        self._arrivals[...], self._signals[...], self._progress[TURN] = 0, 0, 0
        why = PAUSED
        while why != STUCK:
            began = time.perf_counter()
            why = self.go(self._budget, passing=why == STOPPED)
            now = time.perf_counter()
            if why == STOPPED:
                on_stop()
            elif why == DOUBTED:
                self.decide()
            elif why == TRAPPED:
                raise self.trap()
            elif why == PAUSED:
                self._budget = next_budget(self._budget, now - began, MOST_BUDGET)
            if progress:
                progress.look(now)
        self._check_ended()

    def go(self, budget: int, passing: bool) -> int:
        """Use up a budget and return why it stopped; `passing` goes on from where it stopped before."""
        try:
            with quiet():
                return int(self._walk(*self._given, passing, budget))
        except MemoryError as error:
            core, at = self.at
            line = self._plan.cores[core].line(at)
            raise Trap(
                f"{line.file}:{line.number}: {self._plan.cores[core].core.code[at].row.mnemonic}: this computer cannot "
                "give the memory to rearrange the instruction's tensors; the program holds "
                f"{self._plan.arena_bytes} bytes",
                "split the instruction",
                core=core,
                instruction=at,
                line=line.number,
            ) from error

    def _check_ended(self) -> None:
        """Raise Trap if the cores that cannot go on have not all ended."""
        if any(self._code[at, KIND] != ENDS for at in self._states[:, AT]):
            raise deadlock_trap(self._plan, (self._states[:, AT] - self._starts).tolist())

    def decide(self) -> None:
        """Raise Trap if the next instruction's result overlaps what it reads; else keep in mind that it does not.

        Whether two tensors overlap depends on their distance only.
        """
        (core, k), counters = self.at, self.counters
        part = self._plan.cores[core]
        instruction = part.core.code[k]
        out = instruction.operand("out")
        assert out is not None
        for w, slot in enumerate(watched(part, k), self._code[self._starts[core] + k, FIRST_WATCH]):
            operand = instruction.operands[slot]
            assert operand is not None
            to, address = out.address_at(counters), operand.address_at(counters)
            if shares_bytes(instruction, out, to, operand, address):
                raise overlap_trap(part.core, k, to, in_task(self._plan, counters))
            if self._watches[w, ABOVE] < address - to < self._watches[w, BELOW]:
                self._known[w] = [address - to, *self._known[w, :-1]]

    @property
    def at(self) -> tuple[int, int]:
        """The core whose turn it is, and the index of its next instruction."""
        core = int(self._progress[TURN])
        return core, int(self._states[core, AT]) - self._starts[core]

    def trap(self) -> Trap:
        """Return what the kernel of the present instruction found wrong."""
        core, at = self.at
        place = int(self._rows[self._starts[core] + at, STATUS]) - 1
        return wrong_index(self._plan, core, at, place, self.counters, self._arena)

    @property
    def done(self) -> int:
        return int(self._progress[DONE])

    @property
    def counters(self) -> list[int]:
        return [int(counter) for counter in self._states[self._progress[TURN], COUNTERS:]]


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
    writer = _first_writer(part, symbol, plan.tasks)
    around = [loop for loop in find_loops(part.core.code) if writer is not None and loop.first < writer < loop.last]
    if writer is None or not around:
        of_core = f" of core {number}" if len(plan.cores) > 1 else ""
        what = f"is not written by any instruction{of_core}" if writer is None else "is written outside any loop"
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


def _first_writer(part: CorePlan, symbol: Symbol, tasks: int) -> int | None:
    """Return the first instruction of its core that may write to a symbol's bytes in some iteration."""
    code = part.core.code
    for k, (instruction, trips) in enumerate(zip(code, trips_at(code, tasks), strict=True)):
        for access, operand in instruction.accesses():
            low, high = operand.extent(trips)
            within = operand.core is None and operand.memory == symbol.memory
            within = within and low < symbol.end and symbol.address < high
            if access == "write" and within:
                return k
    return None
