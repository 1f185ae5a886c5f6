"""KERNELS: the compiled form of every instruction that an engine runs, by opcode.

`kernel(arena, row)` reads its operands from the arena, computes, and writes its result there; emulator/plan/row.py
says what a row holds. Formulas are those of isa.reference, bit for bit; nothing is shared with it but the table.
"""

from collections.abc import Iterable
from typing import Any

from emulator.jit.compile import KERNEL, types
from emulator.jit.jobs import Job
from emulator.kernels.chain import Chain, open_chain, run_chain
from emulator.kernels.depthwise import dwconv
from emulator.kernels.eltwise import eltwise
from emulator.kernels.memory import fill, flatten, gather, move, toweight, transpose
from emulator.kernels.microkernel import multiply, multiply_wide
from emulator.kernels.packing import open_panels
from emulator.kernels.pool import avgpool, maxpool
from emulator.kernels.reduce import reduce
from emulator.kernels.sample import resize, roipool, roisample
from emulator.kernels.tensor import conv, matmul, narrowed
from isa.row import ENGINES
from isa.table import MNEMONICS, TABLE, by_opcode

KERNELS: dict[int, Any] = by_opcode(
    "KERNELS",
    {
        "conv": conv,
        "dwconv": dwconv,
        "matmul": matmul,
        "eltwise": eltwise,
        "maxpool": maxpool,
        "avgpool": avgpool,
        "reduce": reduce,
        "resize": resize,
        "roisample": roisample,
        "roipool": roipool,
        "load": move,
        "store": move,
        "copy": move,
        "fill": fill,
        "transpose": transpose,
        "gather": gather,
        "flatten": flatten,
        "toweight": toweight,
    },
    ENGINES,
)

# Those that compute no more than their share of the result.
_SHARED = "conv dwconv matmul eltwise maxpool avgpool reduce resize load store copy transpose gather flatten toweight"
SHARED = frozenset(MNEMONICS[name].opcode for name in _SHARED.split())


def kernel_jobs(opcodes: Iterable[int]) -> list[Job]:
    """Return what is to be compiled for these opcodes; those of the sequencer have no kernel."""
    wanted = [opcode for opcode in dict.fromkeys(opcodes) if opcode in KERNELS]
    return [Job(f"the kernel of {TABLE[k].mnemonic}", KERNELS[k], KERNEL) for k in wanted]


def _chain_type() -> Any:
    places = [types.int64] * 3, [types.int64] * 4
    return types.NamedTuple([types.uint8[::1], types.float32[::1], *places[0], types.boolean, *places[1]], Chain)


# What kernels have in common and takes long, by the types that they ask for it by: to be compiled before them.
BYTES, ROW = KERNEL.args
WHOLE = types.int64
LINES = BYTES, WHOLE, WHOLE
SUMS = types.int32[::1], types.int64[::1]
RUN_CHAIN = Job("the chain", run_chain, types.void(BYTES, ROW, _chain_type(), *SUMS, *[WHOLE] * 3))
# What conv and matmul have in common besides: each of two processes that compile one of them would compile it too.
PRODUCTS = (
    Job("products of 8 bits", multiply, types.void(*LINES, BYTES, WHOLE, WHOLE, BYTES, SUMS[0], *[WHOLE] * 3)),
    Job("products of 16 bits", multiply_wide, types.void(*LINES, BYTES, WHOLE, WHOLE, BYTES, SUMS[1], *[WHOLE] * 3)),
    Job("the panels of products", open_panels, types.void(BYTES, ROW, BYTES, *[WHOLE] * 5, BYTES)),
    Job("shares of products", narrowed, types.void(BYTES, ROW, *[WHOLE] * 3)),
    Job("the beginning of the chain", open_chain, types.void(BYTES, ROW, *[WHOLE] * 2)),
)
