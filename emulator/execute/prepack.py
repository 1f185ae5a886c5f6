"""Constants, packed once, before a run: weights as products take them, and what small results go through.

They lie in the arena behind all memories; the rows of the instructions that use them say where. A tensor is constant if
its address follows no counter, no instruction of any core writes to its bytes, and no input is moved there. Weights
that much memory would be needed for are left to the instruction itself; so are constants of chains that take more than
one pass, or whose result is so large that to look at them takes no time beside it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from emulator.execute.arena import ALIGNMENT
from emulator.jit.jobs import Job, compile_all
from emulator.kernels.arithmetic import LEAST_MODERATE, MOST_MODERATE
from emulator.kernels.chain import CONSTANT_SLOTS, is_at_once, line_of
from emulator.kernels.depthwise import pack_taps, pixels_of_run, taps_bytes
from emulator.kernels.floats import float_panels_bytes, pack_float_filters, pack_float_right
from emulator.kernels.numbers import padded
from emulator.kernels.packing import pack_filters, pack_right, packed_bytes
from emulator.kernels.table import CHAINS, FLOAT, key_of, name_of
from emulator.plan.plan import Plan
from emulator.plan.row import ABSENT, FIELDS, Call, Field
from emulator.plan.scratch import MOST_SCRATCH, reads_groups, scratch_bytes, width_of
from isa.dtypes import I8, I16
from isa.formats import round_to
from isa.instruction import Instruction
from isa.operand import Operand, region
from isa.table import MNEMONICS

# The row of an instruction, by its core and its index.
RowOf = Callable[[int, int], np.ndarray]
# By core and memory, the byte intervals [low, high) that may be written to.
Written = Mapping[tuple[int, str], np.ndarray]
# Elements of a result beside which a look at constants takes no time.
MOST_RESULTS = 16384
BYTES, ROW, PLACE = "uint8[::1]", "int64[::1]", "int64"
_ROOM, _FROM = f"void({BYTES}, {ROW}, {BYTES}, {PLACE})", f"void({BYTES}, {ROW}, {PLACE}, {BYTES}, {PLACE})"
CONV, DWCONV, MATMUL = (MNEMONICS[name].opcode for name in ("conv", "dwconv", "matmul"))
# What packs the weights of each kernel, by its key; and which attributes change the packed form.
PACKERS = {
    CONV: (pack_filters, _ROOM, ("groups", "w_zero")),
    DWCONV: (pack_taps, _ROOM, ("stride", "w_zero")),
    MATMUL: (pack_right, _FROM, ("transpose_w", "w_zero")),
    CONV | FLOAT: (pack_float_filters, _ROOM, ("groups",)),
    MATMUL | FLOAT: (pack_float_right, _FROM, ("transpose_w",)),
}


@dataclass(frozen=True)
class ConstantWeight:
    """A weight of which byte `at` of the arena is the first of its packed form; users are (core, index in its code)."""

    key: int
    at: int
    users: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class ConstantChain:
    """Constants of a chain, from byte `at` of the arena on, repeated up to `line` elements; users as above."""

    at: int
    line: int
    users: list[tuple[int, int]] = field(default_factory=list)


class Constants(NamedTuple):
    """The constants of a plan that are packed, and the size of an arena that has room for their packed forms."""

    weights: list[ConstantWeight]
    chains: list[ConstantChain]
    arena_bytes: int


def constants_of(plan: Plan) -> Constants:
    """Return the constants of a plan."""
    written = _written(plan)
    weights, end = _constant_weights(plan, written)
    return Constants(weights, *_constant_chains(plan, written, end))


def _constant_chains(plan: Plan, written: Written, end: int) -> tuple[list[ConstantChain], int]:
    found: dict[tuple[object, ...], ConstantChain | None] = {}
    for core, part in enumerate(plan.cores):
        for k, instruction in enumerate(part.core.code):
            grows = plan.program.cores[core].code[k].grows
            out = instruction.operands[0] if instruction.opcode in CHAINS and not grows else None
            if out is None or out.elements > MOST_RESULTS:
                continue
            operands, stages = CHAINS[instruction.opcode]
            if not is_at_once.py_func(part.rows[k], operands, stages):
                continue
            constants = [instruction.operands[(operands + slot) // FIELDS] for slot, _ in CONSTANT_SLOTS]
            line = int(line_of.py_func(out.shape[-1], out.elements // out.shape[-1]))
            key = core, line, *constants
            if key not in found:
                found[key] = None
                held = [constant for constant in constants if constant]
                if not any(one.terms or _touched(one, written[region(core, one.memory)]) for one in held):
                    found[key] = ConstantChain(end, line)
                    end += -(-_chain_bytes(line) // ALIGNMENT) * ALIGNMENT
            chain = found[key]
            if chain:
                chain.users.append((core, k))
    return [chain for chain in found.values() if chain], end


def _chain_bytes(line: int) -> int:
    return 4 * len(CONSTANT_SLOTS) * int(padded.py_func(line, 16))


def pack_chains(plan: Plan, chains: Iterable[ConstantChain], arena: np.ndarray, row_of: RowOf) -> None:
    """Put constants of chains into the arena, and say so in the rows of those that are done in one pass."""
    floats = arena[: len(arena) // 4 * 4].view(np.float32)
    for chain in chains:
        core, k = chain.users[0]
        operands, _ = CHAINS[plan.cores[core].core.code[k].opcode]
        values = arena[chain.at : chain.at + _chain_bytes(chain.line)].view(np.float32)
        values = values.reshape(len(CONSTANT_SLOTS), -1)[:, : chain.line]
        for line, (slot, neutral) in zip(values, CONSTANT_SLOTS, strict=True):
            fields = row_of(core, k)[operands + slot :]
            line[:] = neutral
            if fields[Field.ADDRESS] != ABSENT:
                first = int(fields[Field.ADDRESS]) // 4
                # Bytes that nothing has written may be any NaN.
                with np.errstate(invalid="ignore"):
                    held = floats[first : first + int(fields[Field.SHAPE + 3])].astype(np.float64)
                    held = round_to(held, plan.chip.formats["te"]).astype(np.float32)
                line.reshape(-1, len(held) if len(held) > 1 else 1)[:] = held
        sizes = np.abs(values)
        if np.all((sizes == 0) | ((sizes >= LEAST_MODERATE) & (sizes <= MOST_MODERATE))):
            for user in chain.users:
                row_of(*user)[Call.CONSTANTS] = chain.at


def _constant_weights(plan: Plan, written: Written) -> tuple[list[ConstantWeight], int]:
    found: dict[tuple[object, ...], ConstantWeight] = {}
    end = -(-plan.arena_bytes // ALIGNMENT) * ALIGNMENT
    for core, part in enumerate(plan.cores):
        for k, instruction in enumerate(part.core.code):
            kernel = key_of(instruction)
            grows = plan.program.cores[core].code[k].grows
            w = instruction.operand("w") if kernel in PACKERS and not grows else None
            # Groups along K are read as they lie, in far fewer bytes.
            if (
                w is None
                or (w.form and reads_groups(instruction))
                or w.terms
                or _touched(w, written[region(core, w.memory)])
            ):
                continue
            if _many(kernel, w) or scratch_bytes(instruction, True, width_of(instruction)) > MOST_SCRATCH:
                continue
            # Panels of floats are of x's type, whatever w has.
            x = instruction.operand("x")
            kind = x.dtype if x is not None and kernel & FLOAT else None
            key = (core, w, kernel, kind, *(instruction.attribute(name) for name in PACKERS[kernel][2]))
            if key not in found:
                found[key] = ConstantWeight(kernel, end)
                end += -(-_packed_bytes(instruction, w) // ALIGNMENT) * ALIGNMENT
            found[key].users.append((core, k))
    return list(found.values()), end


def pack_weights(
    weights: Iterable[ConstantWeight],
    arena: np.ndarray,
    row_of: RowOf,
    on_compile: Callable[[str], None] | None = None,
) -> None:
    """Pack weights into the arena, and say so in the rows of those who use them; row_of(core, index) is one."""
    for weight in weights:
        packer, signature, _ = PACKERS[weight.key]
        compile_all([_packing_job(weight.key)], on_compile)
        first = row_of(*weight.users[0])
        if signature == _FROM:
            packer(arena, first, 0, arena, weight.at)
        else:
            packer(arena, first, arena, weight.at)
        for user in weight.users:
            row_of(*user)[Call.PACKED_W] = weight.at


def packing_jobs(keys: Iterable[int]) -> list[Job]:
    """Return what packs weights for kernels by these keys."""
    return [_packing_job(key) for key in PACKERS if key in keys]


def _packing_job(key: int) -> Job:
    packer, signature, _ = PACKERS[key]
    return Job(f"the packing of weights for {name_of(key)}", packer, signature)


def _packed_bytes(instruction: Instruction, w: Operand) -> int:
    groups = 1
    if instruction.row.mnemonic == "dwconv":
        height, width, channels = w.shape[-3:]
        run = pixels_of_run.py_func(channels, instruction.attribute("stride")[1])
        single = w.dtype == I8 and instruction.attribute("w_zero")[0] == 0
        return int(taps_bytes.py_func(height, width, run * channels, single))
    if instruction.row.mnemonic == "conv":
        groups = int(instruction.attribute("groups")[0])
        columns, k = w.shape[0] // groups, w.elements // w.shape[0]
    elif instruction.attribute("transpose_w")[0]:
        columns, k = w.shape[-2:]
    else:
        k, columns = w.shape[-2:]
    if key_of(instruction) & FLOAT:
        return int(float_panels_bytes.py_func(columns, k, groups))
    return int(packed_bytes.py_func(columns, k, groups, w.dtype == I16))


def _many(kernel: int, w: Operand) -> bool:
    """Return whether a weight has no packed form, or one of far more memory: a batch of matrices, repeated elements."""
    first, last = w.span()
    if kernel == DWCONV and w.dtype == I16:
        return True
    repeated = not w.stored and w.elements * w.dtype.bytes > last - first
    return repeated or (PACKERS[kernel][1] == _FROM and w.elements != w.shape[-1] * w.shape[-2])


def _written(plan: Plan) -> Written:
    """Return the byte intervals [low, high) of each memory that the program may write to, as rows."""
    intervals: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for core, part in enumerate(plan.cores):
        for instruction, trips in zip(part.core.code, part.core.trips(plan.tasks), strict=True):
            for access, operand in instruction.accesses():
                if access == "write":
                    home = core if operand.core is None else operand.core
                    intervals[region(home, operand.memory)].append(operand.extent(trips))
        for symbol in part.core.of_kind("input"):
            intervals[region(core, symbol.memory)].append((symbol.address, symbol.end))
    return defaultdict(
        lambda: np.zeros((0, 2), np.int64), {place: np.array(held, np.int64) for place, held in intervals.items()}
    )


def _touched(w: Operand, written: np.ndarray) -> bool:
    """Return whether some interval has a byte of a weight."""
    first, last = w.span()
    return bool(np.any((written[:, 0] < w.address + last) & (w.address + first < written[:, 1])))
