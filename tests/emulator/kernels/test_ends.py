"""Kernels that are told to end, and results that are computed in stripes."""

import numpy as np
import pytest

from emulator.execute.session import execute
from emulator.jit.compile import KERNEL
from emulator.jit.jobs import addresses_of, compile_all
from emulator.kernels.chain import by_stages
from emulator.kernels.stripes import in_stripes
from emulator.kernels.table import BY_STAGES, KERNELS, kernel_jobs
from emulator.plan.load import load
from emulator.plan.row import Call
from emulator.plan.scratch import MOST_SCRATCH, cuts, scratch_bytes, stripe, width_of
from isa.chip import load_chip
from isa.dtypes import F32, I8
from isa.instruction import Instruction, build
from isa.operand import MEMORIES, dense
from isa.table import MNEMONICS, TABLE
from ratel import assemble
from tests.emulator.kernels.linked import linked_row
from tests.isa.bad_inputs import GOOD

WIDE = ("eltwise", "dwconv", "conv", "matmul", "maxpool", "avgpool", "roipool")
PLACES = {memory: k * 2**16 for k, memory in enumerate(MEMORIES)}
END = len(MEMORIES) * 2**16


def ready(instruction: Instruction) -> tuple[np.ndarray, np.ndarray]:
    """Return an arena of numbers, indices being 0, and the row of an instruction in it, its kernel compiled."""
    compile_all(kernel_jobs([instruction.opcode]))
    arena = np.random.default_rng(1).integers(0, 60, END + 64, np.uint8)
    arena[END:] = 0
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if operand is not None and spec.name == "index":
            low, high = operand.extent([1] * 8)
            arena[PLACES[operand.memory] + low : PLACES[operand.memory] + high] = 0
    row = linked_row(instruction, lambda operand: PLACES[operand.memory])
    return arena, row


@pytest.mark.parametrize("opcode", sorted(KERNELS), ids=lambda opcode: TABLE[opcode].mnemonic)
def test_a_kernel_looks_whether_to_end(opcode: int) -> None:
    arena, row = ready(GOOD[opcode])
    before = arena.copy()
    row[Call.END_WORD] = END
    arena[END] = 1
    KERNELS[opcode](arena, row)
    np.testing.assert_array_equal(arena[:END], before[:END])
    arena[END] = 0
    KERNELS[opcode](arena, row)
    assert (arena != before).any()


@pytest.mark.parametrize("mnemonic", WIDE)
def test_stripes_change_no_bit(mnemonic: str) -> None:
    instruction = GOOD[MNEMONICS[mnemonic].opcode]
    whole, row = ready(instruction)
    striped = whole.copy()
    KERNELS[instruction.opcode](whole, row)
    in_stripes.compile(KERNEL)
    row[[Call.CUT, Call.INNER]] = cuts(instruction), addresses_of([KERNELS[instruction.opcode]])[0]
    for width in range(1, width_of(instruction) + 1):
        row[Call.STRIPE] = width
        own = striped.copy()
        in_stripes(own, row)
        np.testing.assert_array_equal(own, whole, err_msg=f"{width} columns at a time")
    row[Call.END_WORD], striped[END] = END, 1
    own = striped.copy()
    in_stripes(own, row)
    np.testing.assert_array_equal(own, striped)


def test_scratch_does_not_grow_with_the_columns() -> None:
    def lm(*shape: int, dtype=I8):
        return dense("lm", 0, dtype, shape)

    wide = 10**9
    for instruction in (
        build("eltwise", out=lm(1, wide), x=lm(1, wide)),
        build("maxpool", out=lm(1, 1, 1, wide), x=lm(1, 2, 2, wide), window=2, stride=2),
        build("avgpool", out=lm(1, 1, 1, wide), x=lm(1, 2, 2, wide), window=2, stride=2),
        build("matmul", out=lm(1, wide), x=lm(1, 4), w=lm(4, wide)),
        build("conv", out=lm(1, 1, 1, wide), x=lm(1, 1, 1, 4), w=lm(wide, 1, 1, 4)),
        build("dwconv", out=lm(1, 1, 1, wide), x=lm(1, 1, 1, wide), w=lm(1, 1, 1, wide)),
    ):
        columns = stripe(instruction, packed=False)
        assert columns < wide and scratch_bytes(instruction, False, columns) <= MOST_SCRATCH, instruction.row.mnemonic
        assert scratch_bytes(instruction, False, wide) > 10 * MOST_SCRATCH
    narrow = build("eltwise", out=lm(4096, 4096), x=lm(4096, 4096), ew1_scale=dense("cb", 0, F32, (1,)))
    assert stripe(narrow, packed=False) == 4096


IN_PLACE = """.chip zhenwu810e
.input x i8[1, 9000]
.input w i8[9000, 4096]
.input y i8[1, 4096]
.input given f32[4096]
.local scale f32[4096] in cb
.output z i8[1, 4096]
copy scale, given
matmul y, x, w, add=y, ew1_scale=scale
copy z, y
end
"""


def test_stripes_are_not_begun_without_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place the first would be added twice, were the last one to find that it needs what is not compiled."""
    compile_all([BY_STAGES])
    monkeypatch.setattr(by_stages, "entry", None)
    monkeypatch.setattr(by_stages, "code", lambda types: None)
    plan = load(assemble(IN_PLACE), load_chip("zhenwu810e"))
    x, w, y = np.eye(1, 9000, dtype=np.int8), np.ones((9000, 4096), np.int8), np.full((1, 4096), 10, np.int8)
    scale = np.ones(4096, np.float32)
    scale[-1] = 1e-30
    z = execute(plan, {"x": x, "w": w, "y": y, "given": scale}).outputs["z"]
    assert (z[0, :-1] == 11).all() and z[0, -1] == 10
