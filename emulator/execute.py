"""Execute: run a plan on inputs, task after task, each in program order, and give its outputs.

Before each task its inputs are copied into their buffers, after it its outputs are copied from theirs; all else stays
as the task before left it. The order between engines does not show in the results of a program that is free of races,
so there is none here: each instruction reads its operands, computes and writes before the next begins.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from emulator.inputs import prepare
from emulator.jit import KERNEL, compile_all, quiet
from emulator.kernels import KERNELS, compile_kernels
from emulator.memory import copy_out, enough_memory, open_arena, tensor
from emulator.pace import PAUSE_SECONDS, next_budget
from emulator.plan import STATUS, Plan, overlap_trap, shares_bytes, wrong_index
from emulator.walk import (
    ABOVE,
    AT,
    BELOW,
    CLOSES,
    COUNTERS,
    DONE,
    DOUBTED,
    ENDED,
    ENDS,
    FIRST_WATCH,
    KNOWN,
    NO_DISTANCE,
    OPENS,
    PAUSED,
    STOPPED,
    TRAPPED,
    flat,
    nothing,
    signature,
    walk,
    watched,
)
from isa.errors import InputError, Trap
from isa.loops import executions, find_loops, trips_at
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER
from isa.program import Symbol
from isa.suggest import did_you_mean
from isa.table import MNEMONICS

# The first instruction may be a long one.
FIRST_BUDGET, MOST_BUDGET = 1, 10_000_000
KINDS = {opcode: index for index, opcode in enumerate(KERNELS)} | {
    MNEMONICS["loop"].opcode: OPENS,
    MNEMONICS["brnz"].opcode: CLOSES,
    MNEMONICS["end"].opcode: ENDS,
}


@dataclass(frozen=True)
class Dump:
    """A tensor to show: as the last task ends, or as its iteration `iteration` ends.

    The iteration is one of the outermost loop around the first instruction that writes the tensor.
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
    index is out of range, or there is not the memory.
    """
    core, last = plan.core, plan.tasks - 1
    arena = open_arena(plan, poison)
    moments = [_moment(plan, dump) for dump in dumps]
    with enough_memory(plan):
        prepared = prepare(core, inputs, plan.tasks)
        outputs = {s.name: np.empty((plan.tasks, *s.shape), s.dtype.numpy) for s in core.of_kind("output")}
    is_batch = plan.tasks > 1 or any(value.ndim > len(core.symbol(name).shape) for name, value in prepared.items())
    batches = {name: np.broadcast_to(value, (plan.tasks, *core.symbol(name).shape)) for name, value in prepared.items()}

    run = _Walk(plan, arena, stops=[at for at in moments if at is not None], on_compile=on_compile)
    shown: dict[int, np.ndarray] = {}

    def show(task: int) -> None:
        for k, (dump, at) in enumerate(zip(dumps, moments, strict=True)):
            if task == last and at == run.at and run.counters[1] == dump.iteration:
                shown[k] = copy_out(arena, plan, dump.symbol, task)

    total = executions(core.code) * plan.tasks
    progress = _Progress(lambda: on_progress(run.done, total)) if on_progress else None
    for task in range(plan.tasks):
        for name, batch in batches.items():
            tensor(arena, plan, core.symbol(name), task)[...] = batch[task]
        run.compute(task, partial(show, task), progress)
        for name, batch in outputs.items():
            batch[task] = tensor(arena, plan, core.symbol(name), task)
    for k, dump in enumerate(dumps):
        if dump.iteration is None:
            shown[k] = copy_out(arena, plan, dump.symbol, last)
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
        self, plan: Plan, arena: np.ndarray, stops: Sequence[int], on_compile: Callable[[str], None] | None
    ) -> None:
        used = {int(opcode) for opcode in plan.opcodes}
        compile_kernels(sorted(used), on_compile)
        nothing.compile(KERNEL)
        (self._walk,) = compile_all([("the loop over instructions", walk, signature(len(KERNELS)))], on_compile)
        self._plan, self._arena = plan, arena
        self._code, terms, self._watches = flat(plan, KINDS, stops)
        self._rows = plan.rows.copy()
        self._known = np.full((len(self._watches), KNOWN), NO_DISTANCE)
        self._state = np.zeros(COUNTERS + MAX_LOOP_DEPTH + 1, np.int64)
        self._budget = FIRST_BUDGET
        self._given = (
            tuple(kernel if opcode in used else nothing for opcode, kernel in KERNELS.items()),
            arena,
            plan.rows,
            self._rows,
            self._code,
            terms,
            self._watches,
            self._known,
            self._state,
        )

    def compute(self, task: int, on_stop: Callable[[], None], progress: _Progress | None) -> None:
        """Run the code of one task to its end; `on_stop` is called at each stop."""
        # Whatever ran before has closed its loops: their counters are 0.
        self._state[AT], self._state[COUNTERS + TASK_COUNTER] = 0, task
        why = PAUSED
        while why != ENDED:
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

    def go(self, budget: int, passing: bool) -> int:
        """Use up a budget and return why it stopped; `passing` goes on from where it stopped before."""
        try:
            with quiet():
                return int(self._walk(*self._given, passing, budget))
        except MemoryError as error:
            line = self._plan.line(self.at)
            raise Trap(
                f"{line.file}:{line.number}: {self._plan.core.code[self.at].row.mnemonic}: this computer cannot give "
                f"the memory to rearrange the instruction's tensors; the program holds {self._plan.arena_bytes} bytes",
                "split the instruction",
                instruction=self.at,
                line=line.number,
            ) from error

    def decide(self) -> None:
        """Raise Trap if the next instruction's result overlaps what it reads; else keep in mind that it does not.

        Whether two tensors overlap depends on their distance only.
        """
        plan, k, counters = self._plan, self.at, self.counters
        instruction = plan.core.code[k]
        out = instruction.operand("out")
        assert out is not None
        for w, slot in enumerate(watched(plan, k), self._code[k, FIRST_WATCH]):
            operand = instruction.operands[slot]
            assert operand is not None
            to, address = out.address_at(counters), operand.address_at(counters)
            if shares_bytes(instruction, out, to, operand, address):
                raise overlap_trap(plan.core, k, to)
            if self._watches[w, ABOVE] < address - to < self._watches[w, BELOW]:
                self._known[w] = [address - to, *self._known[w, :-1]]

    @property
    def at(self) -> int:
        return int(self._state[AT])

    def trap(self) -> Trap:
        """Return what the kernel of the present instruction found wrong."""
        place = int(self._rows[self.at, STATUS]) - 1
        return wrong_index(self._plan, self.at, place, self.counters, self._arena)

    @property
    def done(self) -> int:
        return int(self._state[DONE])

    @property
    def counters(self) -> list[int]:
        return [int(counter) for counter in self._state[COUNTERS:]]


def _moment(plan: Plan, dump: Dump) -> int | None:
    """Return the instruction before which a dump is taken, None for the program's end."""
    core = plan.core
    names = [symbol.name for symbol in core.symbols]
    if dump.symbol not in names:
        known = f"known tensors: {', '.join(names) or 'none'}"
        raise InputError(f"there is no tensor {dump.symbol!r} to dump", did_you_mean(dump.symbol, names, known))
    if dump.iteration is None:
        return None
    writer = _first_writer(plan, core.symbol(dump.symbol))
    around = [loop for loop in find_loops(core.code) if writer is not None and loop.first < writer < loop.last]
    if writer is None or not around:
        what = "is not written by any instruction" if writer is None else "is written outside any loop"
        raise InputError(
            f"{dump.symbol}@{dump.iteration}: {dump.symbol} {what}",
            f"ask for {dump.symbol} as the program ends, without @",
        )
    loop = around[0]
    if not 0 <= dump.iteration < loop.count:
        raise InputError(
            f"{dump.symbol}@{dump.iteration}: the loop at line {plan.line(loop.first).number} has no such iteration",
            f"its iterations are 0 to {loop.count - 1}",
        )
    return loop.last


def _first_writer(plan: Plan, symbol: Symbol) -> int | None:
    """Return the first instruction that may write to a symbol's bytes in some iteration."""
    code = plan.core.code
    for k, (instruction, trips) in enumerate(zip(code, trips_at(code, plan.tasks), strict=True)):
        for access, operand in instruction.accesses():
            low, high = operand.extent(trips)
            within = operand.memory == symbol.memory and low < symbol.end and symbol.address < high
            if access == "write" and within:
                return k
    return None
