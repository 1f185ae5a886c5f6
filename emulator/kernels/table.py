"""KERNELS: the compiled form of every instruction that an engine runs, by opcode.

`kernel(arena, row)` reads its operands from the arena, computes, and writes its result there; emulator/plan/row.py
says what a row holds. Formulas are those of isa.reference, bit for bit; nothing is shared with it but the table.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from emulator.jit.compile import KERNEL
from emulator.jit.forms import has_dot
from emulator.jit.jobs import Job
from emulator.kernels.chain import by_stages, is_at_once, one_pass, open_chain, types_of_chain
from emulator.kernels.depthwise import dwconv
from emulator.kernels.eltwise import eltwise
from emulator.kernels.floats import dwconv_of_floats
from emulator.kernels.memory import fill, flatten, gather, move, scatter, toweight, transpose
from emulator.kernels.microkernel import multiply, multiply_wide
from emulator.kernels.packing import open_panels
from emulator.kernels.pool import avgpool, maxpool
from emulator.kernels.reduce import reduce
from emulator.kernels.rotate import rotate
from emulator.kernels.sample import resize, roipool, roisample
from emulator.kernels.tensor import conv, conv_of_floats, matmul, matmul_of_floats, narrowed
from emulator.kernels.topk import topk
from emulator.plan.row import Call, attribute_slot, operand_slot
from isa.instruction import Instruction
from isa.row import ENGINES
from isa.table import MNEMONICS, TABLE, by_opcode

KERNELS: dict[int, Any] = by_opcode(
    "KERNELS",
    {
        "conv": conv,
        "dwconv": dwconv,
        "matmul": matmul,
        "eltwise": eltwise,
        "rotate": rotate,
        "maxpool": maxpool,
        "avgpool": avgpool,
        "reduce": reduce,
        "topk": topk,
        "resize": resize,
        "roisample": roisample,
        "roipool": roipool,
        "load": move,
        "store": move,
        "copy": move,
        "fill": fill,
        "transpose": transpose,
        "gather": gather,
        "scatter": scatter,
        "flatten": flatten,
        "toweight": toweight,
    },
    ENGINES,
)

# Of the opcode of what multiplies floats, in the keys of kernels.
FLOAT = 0x100
FLOAT_KERNELS: dict[int, Any] = {
    MNEMONICS[name].opcode | FLOAT: kernel
    for name, kernel in (("conv", conv_of_floats), ("dwconv", dwconv_of_floats), ("matmul", matmul_of_floats))
}


def key_of(instruction: Instruction) -> int:
    """Return the key of an instruction's kernel: its opcode, with FLOAT where it multiplies floats."""
    x = instruction.operand("x") if instruction.opcode | FLOAT in FLOAT_KERNELS else None
    return instruction.opcode | FLOAT if x is not None and x.dtype.is_float else instruction.opcode


def kernel_of(instruction: Instruction) -> Any:
    """Return the kernel of an instruction that an engine runs."""
    return ALL_KERNELS[key_of(instruction)]


ALL_KERNELS = KERNELS | FLOAT_KERNELS

# Those that compute no more than their share of the result.
_SHARED = (
    "conv dwconv matmul eltwise rotate maxpool avgpool reduce topk resize load store copy transpose gather flatten "
    "toweight"
)
SHARED = frozenset(MNEMONICS[name].opcode for name in _SHARED.split())


# Where the chain of each kernel that has one begins in its row: operands, attributes. And its parts.
CHAINS = {
    MNEMONICS[name].opcode: (operand_slot(name, "ew1_scale"), attribute_slot(name, "ew2_op"))
    for name in ("conv", "dwconv", "matmul", "eltwise")
}
ONE_PASS = Job("the chain in one pass", one_pass, types_of_chain)
BY_STAGES = Job("the chain by stages", by_stages, types_of_chain)


def kernel_jobs(keys: Iterable[int], stages: bool = True) -> list[Job]:
    """Return what is to be compiled for kernels by these keys; there are none of opcodes of the sequencer.

    `stages` says whether the chains of those that have one may need them.
    """
    wanted = [key for key in dict.fromkeys(keys) if key in ALL_KERNELS]
    of_chains = {key & ~FLOAT for key in wanted} & CHAINS.keys()
    parts = [BY_STAGES] if of_chains and stages else []
    # Nothing of floats is done in one pass.
    parts += [] if CHAINS.keys().isdisjoint(wanted) else [ONE_PASS]
    return parts + [Job(f"the kernel of {name_of(key)}", ALL_KERNELS[key], KERNEL) for key in wanted]


def name_of(key: int) -> str:
    """Return what the kernel of a key computes, for people."""
    return TABLE[key & ~FLOAT].mnemonic + (" of floats" if key & FLOAT else "")


def takes_stages(opcodes: Iterable[int], rows: Iterable[np.ndarray]) -> bool:
    """Return whether a chain of these instructions takes more than one pass, even if its constants are moderate."""
    of_chains = ((row, *CHAINS[opcode]) for opcode, row in zip(opcodes, rows, strict=True) if opcode in CHAINS)
    return any(not is_at_once.py_func(*of_chain) for of_chain in of_chains)


def link(rows: np.ndarray) -> None:
    """Let rows [..., ROW] say where the parts of the chain lie that have been compiled, and what the host has."""
    rows[..., Call.HAS_DOT] = has_dot()
    for column, part in ((Call.ONE_PASS, ONE_PASS), (Call.BY_STAGES, BY_STAGES)):
        rows[..., column] = part.function.entry.address if part.function.entry else 0


BYTES, ROW, WHOLE, SUMS, WIDE_SUMS = "uint8[::1]", "int64[::1]", "int64", "int32[::1]", "int64[::1]"


def _void(*arguments: str) -> str:
    return f"void({', '.join(arguments)})"


# What conv and matmul have in common, by the types that they ask for it by: each of two processes that compile one of
# them would compile it too.
_FACTORS = BYTES, WHOLE, WHOLE, BYTES, WHOLE, WHOLE, BYTES
PRODUCTS = (
    Job("products of 8 bits", multiply, _void(*_FACTORS, SUMS, *[WHOLE] * 3)),
    Job("products of 16 bits", multiply_wide, _void(*_FACTORS, WIDE_SUMS, *[WHOLE] * 3)),
    Job("the panels of products", open_panels, _void(BYTES, ROW, BYTES, *[WHOLE] * 5, BYTES)),
    Job("shares of products", narrowed, _void(BYTES, ROW, *[WHOLE] * 3)),
    Job("the beginning of the chain", open_chain, _void(BYTES, ROW, *[WHOLE] * 2)),
)
