"""Constant weights: packed once, before a run, as the products of conv and matmul take them.

They lie in the arena behind all memories; the rows of the instructions that use them say where. A weight is constant if
its address follows no counter, no instruction of any core writes to its bytes, and no input is moved there. Those that
much memory would be needed for are left to the instruction itself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from emulator.execute.arena import ALIGNMENT
from emulator.jit.jobs import Job, compile_all
from emulator.kernels.depthwise import pack_taps, pixels_of_run, taps_bytes
from emulator.kernels.packing import pack_filters, pack_right, packed_bytes
from emulator.plan.plan import Plan
from emulator.plan.row import Call
from emulator.plan.scratch import MOST_SCRATCH, scratch_bytes, width_of
from isa.dtypes import I8, I16
from isa.instruction import Instruction
from isa.operand import Operand, region
from isa.table import MNEMONICS

BYTES, ROW, PLACE = "uint8[::1]", "int64[::1]", "int64"
# What packs the weights of each instruction; and which attributes change the packed form.
PACKERS = {
    "conv": (pack_filters, f"void({BYTES}, {ROW}, {BYTES}, {PLACE})", ("groups", "w_zero")),
    "dwconv": (pack_taps, f"void({BYTES}, {ROW}, {BYTES}, {PLACE})", ("stride", "w_zero")),
    "matmul": (pack_right, f"void({BYTES}, {ROW}, {PLACE}, {BYTES}, {PLACE})", ("transpose_w", "w_zero")),
}


@dataclass(frozen=True)
class ConstantWeight:
    """A weight of which byte `at` of the arena is the first of its packed form; users are (core, index in its code)."""

    mnemonic: str
    at: int
    users: list[tuple[int, int]] = field(default_factory=list)


def constant_weights(plan: Plan) -> tuple[list[ConstantWeight], int]:
    """Return the constant weights of a plan, and the size of an arena that has room for their packed forms."""
    found: dict[tuple[object, ...], ConstantWeight] = {}
    end = -(-plan.arena_bytes // ALIGNMENT) * ALIGNMENT
    written = _written(plan)
    for core, part in enumerate(plan.cores):
        for k, instruction in enumerate(part.core.code):
            mnemonic = instruction.row.mnemonic
            w = instruction.operand("w") if mnemonic in PACKERS else None
            if w is None or w.terms or _touched(w, written[region(core, w.memory)]):
                continue
            if _many(mnemonic, w) or scratch_bytes(instruction, True, width_of(instruction)) > MOST_SCRATCH:
                continue
            key = (core, w, mnemonic, *(instruction.attribute(name) for name in PACKERS[mnemonic][2]))
            if key not in found:
                found[key] = ConstantWeight(mnemonic, end)
                end += -(-_packed_bytes(instruction, w) // ALIGNMENT) * ALIGNMENT
            found[key].users.append((core, k))
    return list(found.values()), end


def pack_weights(
    weights: Iterable[ConstantWeight],
    arena: np.ndarray,
    row_of: Callable[[int, int], np.ndarray],
    on_compile: Callable[[str], None] | None = None,
) -> None:
    """Pack weights into the arena, and say so in the rows of those who use them; row_of(core, index) is one."""
    for weight in weights:
        packer = PACKERS[weight.mnemonic][0]
        compile_all([_packing_job(weight.mnemonic)], on_compile)
        first = row_of(*weight.users[0])
        if weight.mnemonic == "matmul":
            packer(arena, first, 0, arena, weight.at)
        else:
            packer(arena, first, arena, weight.at)
        for user in weight.users:
            row_of(*user)[Call.PACKED_W] = weight.at


def packing_jobs(opcodes: Iterable[int]) -> list[Job]:
    """Return what packs weights for these opcodes."""
    return [_packing_job(name) for name in PACKERS if MNEMONICS[name].opcode in opcodes]


def _packing_job(mnemonic: str) -> Job:
    packer, signature, _ = PACKERS[mnemonic]
    return Job(f"the packing of {mnemonic}'s weights", packer, signature)


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
    return int(packed_bytes.py_func(columns, k, groups, w.dtype == I16))


def _many(mnemonic: str, w: Operand) -> bool:
    """Return whether a weight has no packed form, or one of far more memory: a batch of matrices, repeated elements."""
    first, last = w.span()
    if mnemonic == "dwconv" and w.dtype == I16:
        return True
    repeated = not w.stored and w.elements * w.dtype.bytes > last - first
    return repeated or (mnemonic == "matmul" and w.elements != w.shape[-1] * w.shape[-2])


def _written(plan: Plan) -> dict[tuple[int, str], np.ndarray]:
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
