"""Kernel of the tensor engine: rotate.

A row of the result is a row of x, a block of its pairs at a time: both are loaded before either is stored, so x may be
the result itself.
"""

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Floats, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import whole
from emulator.kernels.numbers import FP32_FRACTION, address, f32, load_numbers, round_bits, store_numbers, u64
from emulator.kernels.rows import OUT, X, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Call, Field, attribute_slot, operand_slot
from isa.table import MNEMONICS

COS, SIN = whole(operand_slot("rotate", "cos")), whole(operand_slot("rotate", "sin"))
assert (operand_slot("rotate", "out"), operand_slot("rotate", "x")) == (OUT, X)
INTERLEAVED = whole(MNEMONICS["rotate"].choices[0].words.index("interleaved"))


class Rotate(Columns):
    """The column of a rotate's attribute."""

    PAIRS = attribute_slot("rotate", "pairs")


@inner
def turn(a: Floats, b: Floats, cos: Floats, sin: Floats, fraction: int) -> None:
    """Set a, b to a * cos - b * sin, b * cos + a * sin, each operation rounded."""
    if fraction == FP32_FRACTION:
        for k in range(u64(a.size)):
            c, s, p, q = cos[k], sin[k], a[k], b[k]
            a[k], b[k] = p * c - q * s, q * c + p * s
    else:
        for k in range(u64(a.size)):
            c, s, p, q = np.float64(cos[k]), np.float64(sin[k]), np.float64(a[k]), np.float64(b[k])
            pc, qs = np.float64(f32(round_bits(p * c, fraction))), np.float64(f32(round_bits(q * s, fraction)))
            qc, ps = np.float64(f32(round_bits(q * c, fraction))), np.float64(f32(round_bits(p * s, fraction)))
            a[k], b[k] = f32(round_bits(pc - qs, fraction)), f32(round_bits(qc + ps, fraction))


@inner
def place(row: Row, slot: int, index: int, column: int) -> int:
    """Return the byte where a column of the row lies that belongs to the result's row `index`."""
    return address(row, slot, row[slot + Field.ADDRESS], row_start(row, slot, index) + column)


@inner
def load(arena: Bytes, row: Row, slot: int, index: int, column: int, v: Floats) -> None:
    load_numbers(arena, row[slot + Field.DTYPE], place(row, slot, index, column), 0, row[Call.FRACTION], v)


@hot
def rotate(arena: Bytes, row: Row) -> None:
    """out = a * cos - b * sin and b * cos + a * sin, for the pairs a, b of each row of x"""
    pairs, dtype, fraction = row[OUT + Field.SHAPE + 3] // 2, row[OUT + Field.DTYPE], row[Call.FRACTION]
    interleaved = row[Rotate.PAIRS] == INTERLEAVED
    size = min(pairs, LANES)
    both, cos, sin = np.empty(2 * size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    a, b = np.empty(size, np.float32), np.empty(size, np.float32)
    begin, end = share(row, row_count(row))
    for index in range(begin, end):
        for first in range(0, pairs, LANES):
            if is_ended(arena, row):
                return
            n = min(LANES, pairs - first)
            load(arena, row, COS, index, first, cos[:n])
            load(arena, row, SIN, index, first, sin[:n])
            if interleaved:
                load(arena, row, X, index, 2 * first, both[: 2 * n])
                for k in range(u64(n)):
                    a[k], b[k] = both[2 * k], both[2 * k + 1]
            else:
                load(arena, row, X, index, first, a[:n])
                load(arena, row, X, index, pairs + first, b[:n])
            turn(a[:n], b[:n], cos[:n], sin[:n], fraction)
            if interleaved:
                for k in range(u64(n)):
                    both[2 * k], both[2 * k + 1] = a[k], b[k]
                store_numbers(arena, dtype, place(row, OUT, index, 2 * first), 0, both[: 2 * n])
            else:
                store_numbers(arena, dtype, place(row, OUT, index, first), 0, a[:n])
                store_numbers(arena, dtype, place(row, OUT, index, pairs + first), 0, b[:n])
