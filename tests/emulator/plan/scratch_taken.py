"""What kernels take beside the arena, measured: a process of its own, whose compiled code allocates as Python does."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
from numba.core.registry import cpu_target
from numba.core.runtime import _nrt_python
from numba.core.runtime.nrt import rtsys

from emulator.jit.jobs import compile_all
from emulator.kernels.table import KERNELS, kernel_jobs
from emulator.plan.row import Call
from emulator.plan.scratch import scratch_bytes, width_of
from isa.dtypes import F32, I8, I16, I32
from isa.instruction import Instruction, build
from isa.operand import MEMORIES, Operand, dense
from tests.emulator.kernels.linked import linked_row
from tests.isa.bad_inputs import GOOD

WIDE = 20_000
# The arena: each memory's bytes.
MEMORY = 2**24


def lm(*shape: int, dtype=I8) -> Operand:
    return dense("lm", 0, dtype, shape)


def wide() -> list[Instruction]:
    """Return instructions with many columns, of types that take most of it, and of none that reads an odd index."""
    pixel, image = lm(1, 1, 1, WIDE, dtype=F32), lm(1, 2, 2, WIDE, dtype=F32)
    scales = dense("cb", 0, I32, (2, 1))
    regions = {"rois": lm(1, 4, dtype=F32), "index": lm(1, dtype=I32)}
    found = [
        build("eltwise", out=lm(3, WIDE), x=lm(3, WIDE)),
        build("eltwise", out=lm(3, WIDE, dtype=I16), x=lm(3, WIDE, dtype=I32), ew3_op="round_away", ew3_scale=scales),
        build("maxpool", out=pixel, x=image, window=2, stride=2),
        build("avgpool", out=pixel, x=image, window=2, stride=2),
        build("reduce", out=lm(1, WIDE, dtype=F32), x=lm(4, WIDE, dtype=F32), op="mean"),
        build(
            "rotate",
            out=lm(2, WIDE, dtype=F32),
            x=lm(2, WIDE, dtype=F32),
            cos=lm(WIDE // 2, dtype=F32),
            sin=lm(WIDE // 2, dtype=F32),
            pairs="interleaved",
        ),
        build("topk", out=lm(1, WIDE), places=lm(1, WIDE, dtype=I32), x=lm(1, WIDE)),
        build("resize", out=image, x=pixel, mode="linear"),
        build("roisample", out=image, x=image, ratio=1, **regions),
        build("roipool", out=image, x=image, **regions),
        build("load", out=lm(4, WIDE), x=dense("host", 0, I8, (4, WIDE))),
        build("store", out=dense("dev", 0, I8, (4, WIDE)), x=lm(4, WIDE)),
        build("copy", out=lm(4, WIDE), x=lm(4, WIDE)),
        build("fill", out=lm(4, WIDE)),
        build("transpose", out=lm(WIDE, 4), x=lm(4, WIDE), perm=(1, 0, 2, 3)),
        build("gather", out=lm(1, WIDE), x=lm(4, WIDE), index=lm(1, dtype=I32)),
        build("scatter", out=lm(4, WIDE), x=lm(1, WIDE), index=lm(1, dtype=I32)),
        build("flatten", out=lm(1, 1, 1, 4 * WIDE), x=lm(1, 2, 2, WIDE), window=2, stride=2),
        build("toweight", out=lm(WIDE, 1, 1, 4), x=lm(4, WIDE)),
    ]
    for dtype in (I8, I16):
        x, out = lm(1, 2, 2, WIDE, dtype=dtype), lm(1, 2, 2, WIDE)
        w = lm(1, 1, 1, WIDE, dtype=dtype)
        found += [
            build("dwconv", out=out, x=x, w=w),
            build("dwconv", out=pixel, x=lm(1, 9, 9, WIDE, dtype=dtype), w=lm(1, 9, 9, WIDE)),
            build("conv", out=out, x=lm(1, 2, 2, 8, dtype=dtype), w=lm(WIDE, 1, 1, 8, dtype=dtype)),
            build("conv", out=out, x=lm(1, 2, 2, 8, dtype=dtype), w=lm(WIDE, 1, 1, 1, dtype=dtype), groups=8),
            build("dwconv", out=out, x=x, w=replace(w, stored=WIDE)),
            build("conv", out=out, x=x, w=replace(lm(WIDE, 1, 1, 1, dtype=dtype), stored=WIDE), groups=WIDE),
        ]
        for transpose in (0, 1):
            w = lm(WIDE, 9, dtype=dtype) if transpose else lm(9, WIDE, dtype=dtype)
            found.append(build("matmul", out=lm(40, WIDE), x=lm(40, 9, dtype=dtype), w=w, transpose_w=transpose))
    return found


def measured(instruction: Instruction) -> tuple[str, int, int]:
    """Return the mnemonic, the bytes that its kernel takes at most at a time, and those that are planned."""
    places = {memory: k * MEMORY for k, memory in enumerate(MEMORIES)}
    arena = np.zeros(len(MEMORIES) * MEMORY, np.uint8)
    row = linked_row(instruction, lambda operand: places[operand.memory])
    compile_all(kernel_jobs([instruction.opcode]))
    # Without scratch memory in the arena, a kernel allocates all of it.
    KERNELS[instruction.opcode](arena, row)
    assert row[Call.STATUS] == 0, instruction.row.mnemonic
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    KERNELS[instruction.opcode](arena, row)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return instruction.row.mnemonic, peak - before, scratch_bytes(instruction, False, width_of(instruction))


if __name__ == "__main__":
    rtsys.initialize(cpu_target.target_context)
    _nrt_python.memsys_use_cpython_allocator()
    few = [measured(instruction) for opcode, instruction in GOOD.items() if opcode in KERNELS]
    print(json.dumps({"few": few, "wide": [measured(instruction) for instruction in wide()]}))
