"""Operands of products as they lie in memory: their elements, those of a compressed w expanded; and accumulators."""

from typing import Any, NamedTuple

import numpy as np

from emulator.jit.arrays import Bytes, Integers, Row, Words
from emulator.jit.compile import inlined, inner
from emulator.jit.intrinsics import whole
from emulator.kernels.numbers import I8_CODE, I16_CODE, padded
from emulator.plan.row import Field, operand_slot

ZERO = whole(0)
W, BIAS = whole(operand_slot("conv", "w")), whole(operand_slot("conv", "bias"))
# Where the operands of the chain begin behind a product.
PRODUCT_CHAIN = whole(operand_slot("conv", "ew1_scale"))


class Elements(NamedTuple):
    """Elements of a tensor of 8 bits, or of 16 if it is `wide`, from number `first` on.

    An element less its zero point is (byte ^ flip) - less, or word - less: an i8 with its sign bit turned over is a u8
    128 above it. `zero` is what stands for 0 then: packing may keep an element's zero point (`to_pack`).
    """

    bytes: Bytes
    first: int
    wide: bool
    flip: int
    less: int
    zero: int


@inlined
def elements_of(memory: Bytes, row: Row, slot: int, address: int, zero: int) -> Any:
    """Return the elements of an operand whose first is at byte `address` of a memory."""
    wide, signed = row[slot + Field.DTYPE] == I16_CODE, row[slot + Field.DTYPE] == I8_CODE
    first = address >> 1 if wide else address
    flip, less = (128, zero + 128) if signed else (0, zero)
    return Elements(memory, first, wide, flip, less, ZERO)


@inner
def weights_of(arena: Bytes, row: Row, zero: int) -> Any:
    """Return the elements of w, those of a compressed weight expanded."""
    if row[W + Field.STORED] == 0:
        return elements_of(arena, row, W, row[W + Field.ADDRESS], zero)
    return elements_of(expanded(arena, row), row, W, 0, zero)


@inner
def expanded(arena: Bytes, row: Row) -> Bytes:
    """Return the bytes of the dense form of a compressed w: mask, values; what is beyond its stored bytes counts as 0.

    Each bit of the mask takes a value or leaves the element 0, one after the other.
    """
    elements = row[W + Field.SHAPE] * row[W + Field.SHAPE + 1] * row[W + Field.SHAPE + 2] * row[W + Field.SHAPE + 3]
    size = 2 if row[W + Field.DTYPE] == I16_CODE else 1
    mask, end = row[W + Field.ADDRESS], row[W + Field.ADDRESS] + row[W + Field.STORED]
    value = mask + padded(padded(elements, 8) // 8, size)
    dense = np.zeros(padded(elements * size, 2), np.uint8)
    for k in range(elements):
        if arena[mask + k // 8] >> (k % 8) & 1 and value + size <= end:
            for b in range(size):
                dense[k * size + b] = arena[value + b]
            value += size
    return dense


@inner
def accumulators(rows: int, columns: int, wide: bool) -> tuple[Integers, Words]:
    """Return those of 32 bits and those of 64; row after row; there are none of those not used."""
    narrow, longs = (0, rows * columns) if wide else (rows * columns, 0)
    return np.empty(narrow, np.int32), np.empty(longs, np.int64)
