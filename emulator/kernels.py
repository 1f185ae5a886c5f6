"""KERNELS: the compiled form of every instruction that an engine runs, by opcode.

`kernel(arena, row)` reads its operands from the arena, computes, and writes its result there; emulator/plan.py says
what a row holds. Formulas are those of isa.reference, bit for bit; nothing is shared with it but the table.
"""

from collections.abc import Callable, Iterable
from typing import Any

from emulator.jit import KERNEL, compile_all
from emulator.kernels_depthwise import dwconv
from emulator.kernels_eltwise import eltwise
from emulator.kernels_memory import fill, flatten, gather, move, toweight, transpose
from emulator.kernels_pool import avgpool, maxpool
from emulator.kernels_reduce import reduce
from emulator.kernels_sample import resize, roipool, roisample
from emulator.kernels_tensor import conv, matmul
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
SHARED = frozenset(MNEMONICS[name].opcode for name in ("conv", "matmul", "maxpool", "avgpool", "reduce"))


def compile_kernels(opcodes: Iterable[int], on_compile: Callable[[str], None] | None = None) -> None:
    """Load from the cache, or compile, the kernels of these opcodes; those of the sequencer have none.

    `on_compile` is called with what is compiled, as in "the kernel of conv", before it takes up to a few seconds.
    """
    wanted = [opcode for opcode in dict.fromkeys(opcodes) if opcode in KERNELS]
    compile_all(((f"the kernel of {TABLE[k].mnemonic}", KERNELS[k], KERNEL) for k in wanted), on_compile)
