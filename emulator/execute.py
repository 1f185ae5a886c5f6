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
from emulator.kernels import KERNELS, compile_kernels
from emulator.memory import open_arena, tensor
from emulator.plan import Plan, overlap_trap, shares_bytes
from emulator.walk import AT, CLOSES, COUNTERS, DONE, ENDED, ENDS, KERNEL, OPENS, PAUSED, flat_terms, nothing
from emulator.walk import quiet, signature, walk
from isa.errors import InputError
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Symbol
from isa.table import MNEMONICS
from isa.verify import find_loops, trips_at

# Between two looks at the keyboard, and two reports of progress.
PAUSE_SECONDS = 0.05
MOST_STEPS = 10_000_000


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
    ends = [_dump_at(plan, dump) for dump in dumps]
    arena = open_arena(plan, poison)
    for name, value in given.items():
        tensor(arena, plan, core.symbol(name))[...] = value

    kernels, step = _kernels(plan, on_compile), walk.compile(signature(len(KERNELS)))
    rows = plan.rows.copy()
    terms, first_term = flat_terms(plan.terms)
    stops = plan.overlap.copy()
    stops[[at for at in ends if at is not None]] = True
    state = np.zeros(COUNTERS + MAX_LOOP_DEPTH + 1, np.int64)
    total = sum(prod(trips) for trips, opcode in zip(trips_at(core.code), plan.opcodes, strict=True) if opcode in KERNELS)
    shown: dict[int, np.ndarray] = {}
    steps, why = 16, PAUSED
    while why != ENDED:
        resumed, began = why != PAUSED, time.perf_counter()
        with quiet():
            why = step(
                kernels, arena, plan.rows, rows, terms, first_term, _kinds(plan), plan.loops, stops, state, resumed, steps
            )
        if why == PAUSED:
            # From few steps, lest they be long ones, to as many as fill a pause.
            share = PAUSE_SECONDS / max(time.perf_counter() - began, 1e-6)
            steps = int(min(max(steps * min(share, 8), 1), MOST_STEPS))
            if on_progress:
                on_progress(int(state[DONE]), total)
        elif why != ENDED:
            _check_overlap(plan, int(state[AT]), state[COUNTERS:])
            for k, (dump, at) in enumerate(zip(dumps, ends, strict=True)):
                if at == state[AT] and state[COUNTERS + 1] == dump.iteration:
                    shown[k] = tensor(arena, plan, core.symbol(dump.symbol)).copy()
    for k, dump in enumerate(dumps):
        if dump.iteration is None:
            shown[k] = tensor(arena, plan, core.symbol(dump.symbol)).copy()
    outputs = {symbol.name: tensor(arena, plan, symbol).copy() for symbol in core.of_kind("output")}
    return Execution(outputs, [shown[k] for k in range(len(dumps))], int(state[DONE]))


def _kernels(plan: Plan, on_compile: Callable[[str], None] | None) -> tuple:
    """Return the compiled kernels in the table's order, with an empty one for opcodes that the plan does not use."""
    used = {int(opcode) for opcode in plan.opcodes}
    compile_kernels(sorted(used), on_compile)
    nothing.compile(KERNEL)
    return tuple(kernel if opcode in used else nothing for opcode, kernel in KERNELS.items())


def _kinds(plan: Plan) -> np.ndarray:
    """Return, for each instruction, the index of its kernel, or what it is to the sequencer."""
    kinds = {opcode: index for index, opcode in enumerate(KERNELS)}
    kinds |= {MNEMONICS["loop"].opcode: OPENS, MNEMONICS["brnz"].opcode: CLOSES, MNEMONICS["end"].opcode: ENDS}
    return np.array([kinds[int(opcode)] for opcode in plan.opcodes], np.int64)


def _check_overlap(plan: Plan, k: int, counters: np.ndarray) -> None:
    """Raise Trap if the result of instruction k overlaps what it reads in this iteration."""
    if not plan.overlap[k]:
        return
    instruction = plan.core.code[k]
    out = instruction.operand("out")
    assert out is not None
    now = [int(counter) for counter in counters]
    for access, operand in instruction.accesses():
        if access == "read" and operand.memory == out.memory:
            address = out.address_at(now)
            if shares_bytes(instruction, out, address, operand, operand.address_at(now)):
                raise overlap_trap(plan.core, k, address)


def _dump_at(plan: Plan, dump: Dump) -> int | None:
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
            f"{dump.symbol}@{dump.iteration}: {dump.symbol} {what}", f"ask for {dump.symbol} as the program ends, without @"
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
