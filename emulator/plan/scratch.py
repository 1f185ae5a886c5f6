"""Scratch memory: how much a kernel takes beside the arena, and of which instructions that is too much.

Kernels hold whole rows of the result: of the chain, of a pixel, panels of all columns of w. So what they take grows
with the columns. Where that is more than MOST_SCRATCH the result is computed a `stripe` of its columns at a time
(emulator/kernels/stripes.py). What is left is in `scratch_bytes`, for those who add up what a program takes: lines of x
in a product without end, or the lines that a tall window sees. A test holds it against what each kernel takes.
"""

from emulator.plan.blocks import (
    BLOCK_BYTES,
    CACHE_LINE,
    COLUMNS,
    CONSTANTS,
    CUT_BITS,
    ELEMENT,
    LANES,
    LINE,
    ROWS,
    STEP,
    TABLE_ELEMENTS,
    TILE,
)
from emulator.plan.row import ATTRIBUTES, FIELDS
from isa.dtypes import I8, I16
from isa.grouped import FORMS
from isa.instruction import Instruction, products_of_sum
from isa.operand import MAX_RANK, Operand

# What a call of a kernel may take beside the arena, as far as stripes can see to it.
MOST_SCRATCH = 2**25
# What is cut of each instruction whose memory grows with its columns: operands whose last dimension runs with them,
# those that all have and its own.
_ALL = ("out", "bias", "ew1_scale", "ew1_bias", "ew2", "ew2_scale", "ew3_scale")
_BY_COLUMNS = {
    "eltwise": ("x",),
    "dwconv": ("x", "w"),
    "conv": (),
    "matmul": (),
    "maxpool": ("x",),
    "avgpool": ("x",),
    "roipool": ("x",),
}


def width_of(instruction: Instruction) -> int:
    """Return how many columns an instruction's result has; 0 where it has none."""
    out = instruction.operands[0] if instruction.operands else None
    return 0 if out is None else out.shape[-1]


def stripe(instruction: Instruction, packed: bool) -> int:
    """Return how many columns of the result to compute at a time; all of them where that takes little.

    `packed` says whether w has been packed before the run.
    """
    width = columns = width_of(instruction)
    if instruction.row.mnemonic not in _BY_COLUMNS:
        return columns
    w = instruction.operand("w") if any(spec.name == "w" for spec in instruction.row.operands) else None
    grouped = instruction.row.mnemonic == "conv" and instruction.attribute("groups")[0] > 1
    if grouped or packed or (w is not None and w.stored):
        return columns
    while width > COLUMNS and scratch_bytes(instruction, packed, width) > MOST_SCRATCH:
        width = -(-(width // 2) // int(COLUMNS)) * int(COLUMNS)
    return min(width, columns)


def cuts(instruction: Instruction) -> int:
    """Return which dimension of each operand the columns of the result are, as CUT has it."""
    mnemonic, found = instruction.row.mnemonic, 0
    for slot, spec in enumerate(instruction.row.operands):
        dimension = 3 if spec.name in _ALL + _BY_COLUMNS[mnemonic] else -1
        if spec.name == "w" and mnemonic == "conv":
            dimension = 0
        elif spec.name == "w" and mnemonic == "matmul":
            dimension = 2 if instruction.attribute("transpose_w")[0] else 3
        found |= (dimension + 1) << slot * int(CUT_BITS)
    return found


def scratch_bytes(instruction: Instruction, packed: bool, columns: int) -> int:
    """Return about how many bytes a kernel takes beside the arena, at most, for so many columns of the result."""
    mnemonic = instruction.row.mnemonic
    if mnemonic not in _BY_COLUMNS and mnemonic != "topk":
        return 0
    out, x = instruction.operand("out"), instruction.operand("x")
    assert out is not None and x is not None
    if mnemonic == "topk":
        # A key for each column of the result; numbers, ranks and places of a block of x.
        return 8 * columns + 12 * min(x.shape[-1], LANES)
    if mnemonic == "maxpool":
        taps, stride = (int(instruction.attribute(name)[-1]) for name in ("window", "stride"))
        left = int(instruction.attribute("pad")[1])
        pitch = max((out.shape[2] - 1) * stride + taps, left + x.shape[2])
        return (8 if x.dtype.is_float else max(8, pitch * x.dtype.bytes)) * columns
    if mnemonic in ("avgpool", "roipool"):
        return (24 if mnemonic == "avgpool" else 8) * columns
    rows = out.elements // out.shape[-1]
    block, line = (columns * max(1, min(most // columns, rows)) for most in (LANES, LINE))
    chain = 4 * (2 * block + int(CONSTANTS) * line + int(TABLE_ELEMENTS))
    if mnemonic == "eltwise":
        return chain + 4 * block
    w = instruction.operand("w")
    assert w is not None
    if x.dtype.is_float and mnemonic == "dwconv":
        return chain + 4 * columns * (w.elements // columns + 4)
    size = 2 if x.dtype == I16 else 1
    dense = 2 * w.elements * w.dtype.bytes if w.stored and not w.form else 0
    if mnemonic == "dwconv":
        sums = min(max(2 * LANES, columns), rows * columns)
        return chain + dense + _ring_bytes(instruction, x, w, columns) + 4 * size * sums
    k = products_of_sum(instruction)
    wide = int(STEP) if x.dtype == I16 or x.dtype.is_float else int(ELEMENT)
    stride = -(-k * wide // CACHE_LINE) * CACHE_LINE + CACHE_LINE
    tile = min(int(ROWS), rows)
    lines = max(min(BLOCK_BYTES, rows * stride), tile * stride)
    sums = max(min(BLOCK_BYTES, 4 * size * rows * columns), 4 * size * tile * (columns + 2 * int(COLUMNS)))
    # Each group begins a panel.
    groups = int(instruction.attribute("groups")[0]) if mnemonic == "conv" else 1
    padded = groups * -(-columns // groups // int(COLUMNS)) * int(COLUMNS)
    own = 0 if packed else padded * (k * wide + 2 * int(STEP)) + int(COLUMNS) * stride
    if w.form and reads_groups(instruction):
        # A panel at a time, at most.
        own = int(COLUMNS) * (2 * k + CACHE_LINE)
    return chain + dense + lines + sums + 8 * padded + own


def reads_groups(matmul: Instruction) -> bool:
    """Return whether a product reads w in groups as it lies: whole numbers along K (emulator/kernels/groups.py)."""
    w = matmul.operand("w")
    return bool(w and w.form and not FORMS[w.form].is_mx and matmul.attribute("transpose_w")[0])


def _ring_bytes(instruction: Instruction, x: Operand, w: Operand, columns: int) -> int:
    """Return what dwconv holds of x and w: the lines that a window sees, and the weights repeated for a run."""
    height, width = w.shape[-3:-1]
    stride, pad, dilation = (instruction.attribute(name) for name in ("stride", "pad", "dilation"))
    out = instruction.operand("out")
    assert out is not None
    pitch = int(pad[1]) + x.shape[2] + int(pad[3])
    span = (height - 1) * int(dilation[0]) + 1
    vector = int(TILE.lanes)
    # As many pixels as make whole vectors, where that is no more than a quarter of LANES.
    run = max(1, min(vector, LANES // 4 // columns)) if stride[1] == 1 else 1
    # Up to three pieces of each weight, one where it loses no zero point; and the woven lines.
    pieces = 1 if w.dtype == I8 and instruction.attribute("w_zero")[0] == 0 else 3
    groups = -(-height // (int(STEP) // int(ELEMENT)))
    steps = 0 if x.dtype == I16 else 4 * (pieces * groups * width * (run * columns + vector) + groups * pitch * columns)
    # Beside the weights their sums, what sums begin with, and what the last run has behind the lines and the sums.
    weights = 4 * (height * width + 5) * (run * columns + vector)
    return span * pitch * columns * x.dtype.bytes + weights + steps


assert ATTRIBUTES // FIELDS * int(CUT_BITS) < 64 and 1 << int(CUT_BITS) > MAX_RANK
