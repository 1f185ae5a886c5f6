"""Weights in groups: their elements, and panels that keep them so (isa/grouped.py has the forms).

    w = round16(fma(q, scale, min))       binary32 in between; without a minimum, min is -0, which changes no bit

Whole numbers whose groups lie along K are never packed: what a product reads of the memory are groups. It takes a group
of COLUMNS columns, transposes it into lines, which is one shuffle for 8 numbers of 4 bits, and expands them in vectors
(group_lines.py): for one row into its products, for several into a panel of 16 bits in the first-level cache. The mx
forms, and groups along n, become panels of the dense form (floats.py), before the run where they can.
"""

from typing import Any

import numpy as np

from emulator.jit.arrays import Bytes, Integers, Row
from emulator.jit.compile import inner
from emulator.jit.intrinsics import fused, viewed, whole
from emulator.kernels.elements import W
from emulator.kernels.group_lines import expand_lines, multiply_lines, prefetch
from emulator.kernels.microkernel import HALF_BYTES, SQUARE, transpose_square
from emulator.kernels.numbers import F16_CODE, f32, from_e4m3, from_f16, i64, u32, u64
from emulator.kernels.packing import Matmul, step_of
from emulator.kernels.rows import X
from emulator.plan.blocks import CACHE_LINE, COLUMNS, STEP
from emulator.plan.row import Field
from isa.grouped import FORMS, KINDS

# A form's code is 8 times its kind, and the logarithm of its group.
Q8, Q8M, Q4, Q4M, MXFP8, MXFP4 = (
    whole(next(form.code >> 3 for form in FORMS.values() if form.kind == kind)) for kind in KINDS
)

# f16's, which stands for no minimum.
MINUS_ZERO = np.uint16(0x8000)


@inner
def kind_of(row: Row) -> int:
    return row[W + Field.FORM] >> 3


@inner
def group_of(row: Row) -> int:
    """Return the elements of a group."""
    return 1 << (row[W + Field.FORM] & 7)


@inner
def has_halves(kind: int) -> bool:
    """Return whether elements have 4 bits."""
    return kind in (Q4, Q4M, MXFP4)


@inner
def place_of(row: Row, element: int) -> tuple[int, int, int]:
    """Return the byte of the arena where the block of an element of w begins, where its numbers do, and its number."""
    kind, group = kind_of(row), group_of(row)
    head = 1 if kind in (MXFP8, MXFP4) else 4 if kind in (Q8M, Q4M) else 2
    size = head + (group >> 1 if has_halves(kind) else group)
    block = row[W + Field.ADDRESS] + element // group * size
    return block, block + head, element % group


@inner
def stored_number(arena: Bytes, row: Row, numbers: int, k: int) -> Any:
    """Return number k of a block, as its bits are."""
    if has_halves(kind_of(row)):
        return i64(arena[numbers + (k >> 1)] >> (4 * (k & 1)) & 15)
    return i64(arena[numbers + k])


@inner
def factors_of(arena: Bytes, row: Row, block: int) -> tuple[Any, Any]:
    """Return scale and minimum of a block, as float32; -0 without a minimum."""
    kind = kind_of(row)
    if kind in (MXFP8, MXFP4):
        exponent = u32(arena[block])
        # The least is subnormal, 2**-127; the greatest exponent stands for NaN.
        bits = exponent << u32(23) if exponent > 0 else u32(1 << 22)
        return u32(bits if exponent < 255 else u32(0x7FC00000)).view(np.float32), f32(-0.0)
    scale = from_f16(arena[block] | np.int64(arena[block + 1]) << 8)
    if kind in (Q8M, Q4M):
        return scale, from_f16(arena[block + 2] | np.int64(arena[block + 3]) << 8)
    return scale, f32(-0.0)


@inner
def number_of(row: Row, bits: int) -> Any:
    """Return what the bits of a number of w stand for, as float32."""
    kind = kind_of(row)
    if kind == Q8:
        return f32(bits - 256 if bits >= 128 else bits)
    if kind == Q4:
        return f32(bits - 8)
    if kind == MXFP8:
        return from_e4m3(bits)
    if kind == MXFP4:
        # The exponent, 1 more than it means, becomes one that is 127 more: a product, exact for subnormal numbers too.
        size = f32(u32((bits & 7) << 22).view(np.float32) * f32(2.0**126))
        return -size if bits & 8 else size
    return f32(bits)


@inner
def grouped_element(arena: Bytes, row: Row, element: int) -> Any:
    """Return an element of w as float32, before it is rounded to 16 bits."""
    block, numbers, k = place_of(row, element)
    scale, least = factors_of(arena, row, block)
    return fused(number_of(row, stored_number(arena, row, numbers, k)), scale, least)


@inner
def stays_in_groups(row: Row) -> bool:
    """Return whether products read w in groups: whole numbers along K."""
    return row[W + Field.FORM] != 0 and kind_of(row) < MXFP8 and row[Matmul.TRANSPOSE_W] != 0


@inner
def group_bytes(row: Row) -> int:
    """Return the bytes of a group of COLUMNS columns, line by line, behind their scales and minima."""
    lines = group_of(row) * COLUMNS
    return 2 * HALF_BYTES * COLUMNS + (lines >> 1 if has_halves(kind_of(row)) else lines)


@inner
def gather_group(arena: Bytes, row: Row, start: int, columns: int, lines: Bytes) -> None:
    """Gather a group of columns of w, the first from element `start` on, as lines; columns that are lacking are noise.

    Of 16 columns 16 bytes each are transposed in registers.
    """
    kind, pitch = kind_of(row), step_of(row, W, 2)
    block, numbers, _ = place_of(row, start)
    apart = place_of(row, start + pitch)[0] - block
    halves, has_min, head = viewed(lines, np.uint16), kind in (Q8M, Q4M), 2 * HALF_BYTES * COLUMNS
    size = group_of(row) >> 1 if has_halves(kind) else group_of(row)
    stored, first, step = viewed(arena, np.uint16), u64(block >> 1), u64(apart >> 1)
    for o in range(u64(columns)):
        halves[o] = stored[first + o * step]
    for o in range(u64(columns)):
        halves[u64(COLUMNS) + o] = stored[first + o * step + u64(1)] if has_min else MINUS_ZERO
    # As much of the columns behind these: no host foresees so many streams.
    each = numbers - block + size
    ahead = block + COLUMNS * apart + start % pitch // group_of(row) * (COLUMNS - 1) * each
    for line in range(0, COLUMNS * each, CACHE_LINE):
        prefetch(arena, ahead + line)
    whole_squares = columns // SQUARE * SQUARE
    for o in range(0, whole_squares, SQUARE):
        for i in range(0, size, SQUARE):
            transpose_square(arena, numbers + o * apart + i, apart, lines, head + i * COLUMNS + o, COLUMNS)
    for o in range(whole_squares, columns):
        for i in range(size):
            lines[u64(head + i * COLUMNS + o)] = arena[u64(numbers + o * apart + i)]


@inner
def less_of(row: Row) -> int:
    """Return what is to be taken off the numbers of w as they lie."""
    return 128 if kind_of(row) == Q8 else 8 if kind_of(row) == Q4 else 0


@inner
def expand_panel(arena: Bytes, row: Row, start: int, columns: int, k: int, lines: Bytes, dense: Bytes) -> None:
    """Expand columns of w, the first from element `start` on, into a panel of K lines of 16 bits.

    `lines` has room for a group.
    """
    group, is_f16, head = group_of(row), row[X + Field.DTYPE] == F16_CODE, 2 * HALF_BYTES * COLUMNS
    small, less = has_halves(kind_of(row)), less_of(row)
    for first in range(0, k, group):
        gather_group(arena, row, start + first, columns, lines)
        to = first * COLUMNS * HALF_BYTES
        expand_lines(lines, 0, HALF_BYTES * COLUMNS, head, group, small, less, dense, to, is_f16)


@inner
def multiply_one_row(
    arena: Bytes, row: Row, start: int, columns: int, k: int, lines: Bytes, x: Bytes, acc: Integers, at: int
) -> None:
    """Add to sums, from number `at` of acc on, the products of a line of x with columns of w, as `expand_panel`."""
    group, is_f16, head = group_of(row), row[X + Field.DTYPE] == F16_CODE, 2 * HALF_BYTES * COLUMNS
    small, less = has_halves(kind_of(row)), less_of(row)
    for first in range(0, k, group):
        gather_group(arena, row, start + first, columns, lines)
        multiply_lines(lines, 0, HALF_BYTES * COLUMNS, head, group, small, less, x, STEP * first, acc, at, is_f16)
