"""Places in a row of a plan that kernels share, and rows of tensors between memory and float32 buffers.

A row of a tensor is its innermost dimension; those of a tensor that is broadcast to the result are numbered as the
result's are.
"""

from typing import Any

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Floats, Row
from emulator.jit.compile import inlined, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.numbers import address, f32, load_numbers, round_bits, store_between, u64
from emulator.plan.row import ABSENT, FIELDS, Call, Field, attribute_slot, operand_slot

# Every kernel that has a result and a first tensor has them in front.
OUT, X = whole(0), whole(FIELDS)
# Where the chain begins in the row of a conv; its parts are as far apart in each row.
_OPERANDS, _ATTRIBUTES = operand_slot("conv", "ew1_scale"), attribute_slot("conv", "ew2_op")


class Slot(Columns):
    """The slots of the chain's operands, counted from the first of them."""

    EW1_SCALE = 0
    EW1_BIAS = operand_slot("conv", "ew1_bias") - _OPERANDS
    EW2 = operand_slot("conv", "ew2") - _OPERANDS
    EW2_SCALE = operand_slot("conv", "ew2_scale") - _OPERANDS
    TABLE = operand_slot("conv", "table") - _OPERANDS
    EW3_SCALE = operand_slot("conv", "ew3_scale") - _OPERANDS


class Attribute(Columns):
    """The columns of the chain's attributes, counted from the first of them."""

    EW2_OP = 0
    SF = attribute_slot("conv", "sf") - _ATTRIBUTES
    CLIP_LOW = attribute_slot("conv", "clip_low") - _ATTRIBUTES
    CLIP_HIGH = attribute_slot("conv", "clip_high") - _ATTRIBUTES
    SLOPE = attribute_slot("conv", "slope") - _ATTRIBUTES
    OFFSET = attribute_slot("conv", "offset") - _ATTRIBUTES
    TABLE_OFFSET = attribute_slot("conv", "table_offset") - _ATTRIBUTES
    EW2_ZERO = attribute_slot("conv", "ew2_zero") - _ATTRIBUTES
    OUT_ZERO = attribute_slot("conv", "out_zero") - _ATTRIBUTES
    EW3_OP = attribute_slot("conv", "ew3_op") - _ATTRIBUTES


for _name in ("conv", "dwconv", "matmul", "eltwise"):
    assert (operand_slot(_name, "out"), operand_slot(_name, "x")) == (OUT, X), _name
    assert operand_slot(_name, "ew3_scale") - operand_slot(_name, "ew1_scale") == Slot.EW3_SCALE, _name
    assert attribute_slot(_name, "ew3_op") - attribute_slot(_name, "ew2_op") == Attribute.EW3_OP, _name


@inner
def float_attribute(row: Row, at: int) -> Any:
    """Return a floating attribute of a row, as float64."""
    return np.int64(row[at]).view(np.float64)


@inner
def load_multiplier(arena: Bytes, row: Row, slot: int) -> Any:
    """Return a multiplier of one element, rounded as it is loaded, as float64; 1 where absent."""
    if row[slot + Field.ADDRESS] == ABSENT:
        return np.float64(1)
    # By way of float32, where what rounding carries beyond it is an infinity.
    multiplier = np.float64(viewed(arena, np.float32)[row[slot + Field.ADDRESS] >> 2])
    return np.float64(f32(round_bits(multiplier, row[Call.FRACTION])))


@inner
def row_count(row: Row) -> Any:
    """Return the number of rows of the result."""
    return row[OUT + Field.SHAPE] * row[OUT + Field.SHAPE + 1] * row[OUT + Field.SHAPE + 2]


@inner
def rows_in_run(row: Row, slot: int) -> int:
    """Return how many rows of a tensor, counted from a multiple of that number, follow each other in memory."""
    channels = row[OUT + Field.SHAPE + 3]
    run = 1
    if row[slot + Field.SHAPE + 3] == channels:
        for d in range(2, -1, -1):
            size = row[OUT + Field.SHAPE + d]
            if row[slot + Field.SHAPE + d] != size or (size > 1 and row[slot + Field.STRIDE + d] != run * channels):
                break
            run *= size
    return run


@inlined
def row_start(row: Row, slot: int, index: int) -> Any:
    """Return the element, from the tensor's first, where the row that belongs to the result's row `index` begins."""
    if index == 0:  # a small result has one block: it is spared the divisions
        return 0
    across = row[OUT + Field.SHAPE + 2]
    down = row[OUT + Field.SHAPE + 1]
    start = 0
    if row[slot + Field.SHAPE + 2] > 1:
        start += index % across * row[slot + Field.STRIDE + 2]
    if row[slot + Field.SHAPE + 1] > 1:
        start += index // across % down * row[slot + Field.STRIDE + 1]
    if row[slot + Field.SHAPE] > 1:
        start += index // (across * down) * row[slot + Field.STRIDE]
    return start


@inner
def load_rows(arena: Bytes, row: Row, slot: int, zero: int, first: int, v: Floats) -> None:
    """Fill v with rows, from number `first` on, of a tensor of any type, less its zero point, rounded once.

    The tensor is broadcast to the result.
    """
    fraction, dtype, channels = row[Call.FRACTION], row[slot + Field.DTYPE], row[OUT + Field.SHAPE + 3]
    count = v.size // channels
    run = rows_in_run(row, slot)
    spread = row[slot + Field.SHAPE + 3] != channels
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        at = address(row, slot, row[slot + Field.ADDRESS], row_start(row, slot, first + done))
        to = done * channels
        if spread:
            one = v[to : to + 1]
            load_numbers(arena, dtype, at, zero, fraction, one)
            value = one[0]
            for k in range(u64(to), u64(to + channels)):
                v[k] = value
        else:
            load_numbers(arena, dtype, at, zero, fraction, v[to : to + rows * channels])
        done += rows


@inner
def store_rows(arena: Bytes, row: Row, zero: int, first: int, v: Floats, low: Any, high: Any) -> None:
    """Store rows, from number `first` on: integers rounded and clamped, floats rounded to their type, one quiet NaN.

    low and high are those of `store_between`.
    """
    channels = row[OUT + Field.SHAPE + 3]
    count = v.size // channels
    run = rows_in_run(row, OUT)
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        at = address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, first + done))
        store_between(arena, row[OUT + Field.DTYPE], at, zero, v[done * channels : (done + rows) * channels], low, high)
        done += rows
