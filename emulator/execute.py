"""Execute: run a plan on inputs, in program order, and give its outputs.

The order between engines does not show in the results of a program that is free of races, so there is none here: each
instruction reads its operands, computes and writes before the next begins.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

import numpy as np

from emulator.inputs import prepare
from emulator.jit import KERNEL
from emulator.kernels import KERNELS, compile_kernels
from emulator.memory import open_arena, tensor
from emulator.plan import Plan, overlap_trap, shares_bytes
from emulator.walk import (
    AT,
    CLOSES,
    COUNTERS,
    DONE,
    ENDED,
    ENDS,
    OPENS,
    PAUSED,
    STOPPED,
    flat_terms,
    nothing,
    quiet,
    signature,
    walk,
)
from isa.errors import InputError
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Symbol
from isa.table import MNEMONICS
from isa.verify import find_loops, trips_at

# Between two looks at the keyboard, and two reports of progress. The first steps may be long ones.
PAUSE_SECONDS = 0.05
FIRST_STEPS, MOST_STEPS = 16, 10_000_000


@dataclass(frozen=True)
class Dump:
    """A tensor to show: as the program ends, or as iteration `iteration` ends.

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
    """Run a plan on inputs by name and return what it left.

    `poison` seeds the noise that unwritten bytes hold instead of 0. `on_compile` is called with a mnemonic before its
    kernel is compiled, `on_progress` with the instructions done and those of the whole run, some times a second.
    Raises InputError for wrong inputs and dumps, Trap when an instruction's result overlaps what it reads.
    """
    core = plan.core
    given = prepare(core, inputs)
    moments = [_moment(plan, dump) for dump in dumps]
    arena = open_arena(plan, poison)
    for name, value in given.items():
        tensor(arena, plan, core.symbol(name))[...] = value

    run = _Walk(plan, arena, stops=[at for at in moments if at is not None], on_compile=on_compile)
    shown: dict[int, np.ndarray] = {}
    total = _dynamic_count(plan)
    steps, why = FIRST_STEPS, PAUSED
    while why != ENDED:
        began = time.perf_counter()
        why = run.go(steps, passing=why == STOPPED)
        if why == STOPPED:
            _check_overlap(plan, run.at, run.counters)
            for k, (dump, at) in enumerate(zip(dumps, moments, strict=True)):
                if at == run.at and run.counters[1] == dump.iteration:
                    shown[k] = tensor(arena, plan, core.symbol(dump.symbol)).copy()
        elif why == PAUSED:
            share = PAUSE_SECONDS / max(time.perf_counter() - began, 1e-6)
            steps = int(min(max(steps * min(share, 8), 1), MOST_STEPS))
            if on_progress:
                on_progress(run.done, total)
    for k, dump in enumerate(dumps):
        if dump.iteration is None:
            shown[k] = tensor(arena, plan, core.symbol(dump.symbol)).copy()
    outputs = {symbol.name: tensor(arena, plan, symbol).copy() for symbol in core.of_kind("output")}
    return Execution(outputs, [shown[k] for k in range(len(dumps))], run.done)


class _Walk:
    """A plan bound to its compiled kernels and to an arena, and how far its run has come."""

    def __init__(
        self, plan: Plan, arena: np.ndarray, stops: Sequence[int], on_compile: Callable[[str], None] | None
    ) -> None:
        used = {int(opcode) for opcode in plan.opcodes}
        compile_kernels(sorted(used), on_compile)
        nothing.compile(KERNEL)
        self._step = walk.compile(signature(len(KERNELS)))
        terms, first_term = flat_terms(plan.terms)
        stop = plan.overlap.copy()
        stop[list(stops)] = True
        self._state = np.zeros(COUNTERS + MAX_LOOP_DEPTH + 1, np.int64)
        self._given = (
            tuple(kernel if opcode in used else nothing for opcode, kernel in KERNELS.items()),
            arena,
            plan.rows,
            plan.rows.copy(),
            terms,
            first_term,
            _kinds(plan),
            plan.loops,
            stop,
            self._state,
        )

    def go(self, steps: int, passing: bool) -> int:
        """Take at most that many steps and return why it stopped; `passing` goes on from where it stopped before."""
        with quiet():
            return int(self._step(*self._given, passing, steps))

    @property
    def at(self) -> int:
        return int(self._state[AT])

    @property
    def done(self) -> int:
        return int(self._state[DONE])

    @property
    def counters(self) -> list[int]:
        return [int(counter) for counter in self._state[COUNTERS:]]


def _dynamic_count(plan: Plan) -> int:
    """Return how many instructions of engines a run executes."""
    trips = trips_at(plan.core.code)
    return sum(prod(trips[k]) for k, opcode in enumerate(plan.opcodes) if int(opcode) in KERNELS)


def _kinds(plan: Plan) -> np.ndarray:
    """Return, for each instruction, the index of its kernel, or what it is to the sequencer."""
    kinds = {opcode: index for index, opcode in enumerate(KERNELS)}
    kinds |= {MNEMONICS["loop"].opcode: OPENS, MNEMONICS["brnz"].opcode: CLOSES, MNEMONICS["end"].opcode: ENDS}
    return np.array([kinds[int(opcode)] for opcode in plan.opcodes], np.int64)


def _check_overlap(plan: Plan, k: int, counters: Sequence[int]) -> None:
    """Raise Trap if the result of instruction k overlaps what it reads in this iteration."""
    if not plan.overlap[k]:
        return
    instruction = plan.core.code[k]
    out = instruction.operand("out")
    assert out is not None
    for access, operand in instruction.accesses():
        if access == "read" and operand.memory == out.memory:
            address = out.address_at(counters)
            if shares_bytes(instruction, out, address, operand, operand.address_at(counters)):
                raise overlap_trap(plan.core, k, address)


def _moment(plan: Plan, dump: Dump) -> int | None:
    """Return the instruction before which a dump is taken, None for the program's end."""
    core = plan.core
    names = [symbol.name for symbol in core.symbols]
    if dump.symbol not in names:
        near = get_close_matches(dump.symbol, names, 1)
        known = f"did you mean {near[0]}?" if near else f"known tensors: {', '.join(names) or 'none'}"
        raise InputError(f"there is no tensor {dump.symbol!r} to dump", known)
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
    for k, (instruction, trips) in enumerate(zip(code, trips_at(code), strict=True)):
        for access, operand in instruction.accesses():
            low, high = operand.extent(trips)
            within = operand.memory == symbol.memory and low < symbol.address + symbol.bytes and symbol.address < high
            if access == "write" and within:
                return k
    return None
