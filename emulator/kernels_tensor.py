"""Kernels of the tensor engine that multiply matrices: conv and matmul.

Both are one product of packed matrices, acc[p, o] = sum over k of a[p, k] * b[o, k], with k innermost and
contiguous on both sides. Packing widens 8 bits to int16 and takes the zero point off, so padding is 0 and a pair of
products fits 32 bits: LLVM turns the loop over k into multiply-add of int16 pairs (vpmaddwd, or vpdpwssd). i16 is
packed as it is, padded with its zero point, and multiplied by a plain loop in 64 bits.

Loop order: blocks of result rows (packed: PACKED_BYTES, so that they stay in the first-level cache) > tiles of 4
columns of b (streamed from the second-level cache once for each block) > tiles of 2 rows > k. A tile keeps its 8 sums
in registers and loads 6 vectors for 8 multiply-adds. k is padded with zeros to K_STEP, so the vector loop leaves no
remainder. The accumulators of a block go through the chain while they are still in the cache.
Measured on one core with AVX-512 VNNI: 30 GMAC/s for 3x3 convolutions of 64 channels on 56x56 pixels and for products
of 512x512 matrices, 19 to 27 for 1x1 convolutions; one row times a matrix is bound by packing the matrix (1, or 8 with
transpose_w). The zeros behind k gain 5 % there and 30 % for k = 27, and cost a third for k = 9.
"""

from typing import Any, NamedTuple

import numpy as np

from emulator.jit import hot, inner, whole
from emulator.plan import ABSENT, ADDRESS, DTYPE, SHAPE, STORED, STRIDE, attribute_slot, operand_slot
from emulator.storage import I8_CODE, I16_CODE, Array, padded, u64
from emulator.vector import OUT, X, open_chain, row_count, row_start, run_chain

W, BIAS = whole(operand_slot("conv", "w")), whole(operand_slot("conv", "bias"))
CONV_STRIDE, CONV_PAD, CONV_DILATION, CONV_GROUPS, CONV_X_ZERO, CONV_W_ZERO = (
    attribute_slot("conv", name) for name in ("stride", "pad", "dilation", "groups", "x_zero", "w_zero")
)
TRANSPOSE_X, TRANSPOSE_W, MATMUL_X_ZERO, MATMUL_W_ZERO = (
    attribute_slot("matmul", name) for name in ("transpose_x", "transpose_w", "x_zero", "w_zero")
)
# Where the chain's operands and attributes begin.
ZERO = whole(0)
CHAIN = whole(operand_slot("conv", "ew1_scale"))
CONV_STAGES, MATMUL_STAGES = (whole(attribute_slot(name, "ew2_op")) for name in ("conv", "matmul"))

PACKED_BYTES = 24 * 1024
MOST_ROWS = 256
K_STEP = whole(32)
ROWS, COLUMNS = whole(2), whole(4)
TILE_ROWS, TILE_K = 16, 32

i32, i64 = np.int32, np.int64


class Source(NamedTuple):
    """Elements of a tensor on their way to packed int16, and what a packed row holds where there is no element.

    8-bit elements lose their zero point: (bytes[k] ^ flip) - less, where an i8 with its sign bit turned over is a u8
    128 above it. 16-bit ones (`wide`) stay as they are, words[k], and the products take off `zero`.
    """

    bytes: Array
    words: Array
    first: int
    wide: bool
    flip: int
    less: int
    zero: int
    fill: int


@inner
def source_of(memory: Array, row: Array, slot: int, address: int, zero: int) -> Any:
    """Return the elements of an operand whose first is at byte `address` of a memory."""
    wide, signed = row[slot + DTYPE] == I16_CODE, row[slot + DTYPE] == I8_CODE
    first, fill = (address >> 1, zero) if wide else (address, 0)
    flip, less = (128, zero + 128) if signed else (0, zero)
    return Source(memory, memory.view(np.int16), first, wide, flip, less, zero, fill)


@inner
def weights_of(arena: Array, row: Array, zero: int) -> Any:
    """Return the elements of w, those of a compressed weight expanded."""
    if row[W + STORED] == 0:
        return source_of(arena, row, W, row[W + ADDRESS], zero)
    return source_of(expanded(arena, row), row, W, 0, zero)


@inner
def expanded(arena: Array, row: Array) -> Array:
    """Return the bytes of the dense form of a compressed w: mask, values; what is beyond its stored bytes counts as 0.

    Each bit of the mask takes a value or leaves the element 0, one after the other.
    """
    elements = row[W + SHAPE] * row[W + SHAPE + 1] * row[W + SHAPE + 2] * row[W + SHAPE + 3]
    size = 2 if row[W + DTYPE] == I16_CODE else 1
    mask, end = row[W + ADDRESS], row[W + ADDRESS] + row[W + STORED]
    value = mask + padded(padded(elements, 8) // 8, size)
    dense = np.zeros(padded(elements * size, 2), np.uint8)
    for k in range(elements):
        if arena[mask + k // 8] >> (k % 8) & 1 and value + size <= end:
            for b in range(size):
                dense[k * size + b] = arena[value + b]
            value += size
    return dense


@inner
def block_rows(k: int, rows: int) -> int:
    """Return how many rows of the result are packed at once, a multiple of ROWS."""
    fits = min(max(PACKED_BYTES // (2 * k), 4 * ROWS), MOST_ROWS, rows)
    return (fits + ROWS - 1) // ROWS * ROWS


@inner
def multiply_packed(
    a: Array, a_first: int, b: Array, b_first: int, rows: int, columns: int, acc: Array, column: int
) -> None:
    """Set acc[p, column + o] to the products of rows a_first + p of a and b_first + o of b, wrapped to 32 bits.

    Whole tiles are computed: up to ROWS - 1 rows and COLUMNS - 1 columns beyond those asked for are overwritten.
    """
    k = u64(a.shape[1])
    for o in range(0, columns, COLUMNS):
        y = b_first + o
        at = column + o
        for p in range(0, rows, ROWS):
            x = a_first + p
            s00, s01, s02, s03 = i32(0), i32(0), i32(0), i32(0)
            s10, s11, s12, s13 = i32(0), i32(0), i32(0), i32(0)
            for i in range(k):
                a0, a1 = i32(a[x, i]), i32(a[x + 1, i])
                b0, b1, b2, b3 = i32(b[y, i]), i32(b[y + 1, i]), i32(b[y + 2, i]), i32(b[y + 3, i])
                # Without the cast numba would add in 64 bits.
                s00, s01, s02, s03 = i32(s00 + a0 * b0), i32(s01 + a0 * b1), i32(s02 + a0 * b2), i32(s03 + a0 * b3)
                s10, s11, s12, s13 = i32(s10 + a1 * b0), i32(s11 + a1 * b1), i32(s12 + a1 * b2), i32(s13 + a1 * b3)
            acc[p, at], acc[p, at + 1], acc[p, at + 2], acc[p, at + 3] = s00, s01, s02, s03
            acc[p + 1, at], acc[p + 1, at + 1], acc[p + 1, at + 2], acc[p + 1, at + 3] = s10, s11, s12, s13


@inner
def multiply_wide(
    a: Array, a_first: int, a_zero: int, b: Array, b_first: int, b_zero: int, size: tuple, sums: Array, column: int
) -> None:
    """Set sums[p, column + o] to the products of rows of a and b, each element less its zero point, in 64 bits.

    `size` is (rows, columns). No sum of so many products as a tensor has elements passes 64 bits.
    """
    for p in range(size[0]):
        for o in range(size[1]):
            total = i64(0)
            for i in range(u64(a.shape[1])):
                total += (i64(a[a_first + p, i]) - a_zero) * (i64(b[b_first + o, i]) - b_zero)
            sums[p, column + o] = total


@inner
def accumulators(rows: int, columns: int, wide: bool) -> tuple[Array, Array]:
    """Return those of 32 bits and those of 64; the ones that are not used have no rows."""
    narrow_rows, wide_rows = (0, rows) if wide else (rows, 0)
    return np.empty((narrow_rows, columns), np.int32), np.empty((wide_rows, columns), np.int64)


@inner
def add_bias(arena: Array, row: Array, acc: Array, count: int) -> None:
    """Add the bias to rows of accumulators, wrapping; none where these are not the ones in use."""
    if row[BIAS + ADDRESS] == ABSENT:
        return
    words = arena.view(np.int32)
    start = u64(row[BIAS + ADDRESS] >> 2)
    step = u64(1) if row[BIAS + SHAPE + 3] > 1 else u64(0)
    for r in range(min(count, acc.shape[0])):
        for k in range(u64(row[OUT + SHAPE + 3])):
            # Stored in 32 bits, the sum wraps.
            acc[r, k] += words[start + k * step]


@inner
def widen(source: Source, start: int, length: int, packed: Array, r: int, to: int) -> None:
    """Copy contiguous elements, from `start` on, to packed[r, to:]."""
    if source.wide:
        for k in range(u64(length)):
            packed[r, u64(to) + k] = source.words[u64(start) + k]
    else:
        flip, less = source.flip, source.less
        for k in range(u64(length)):
            packed[r, u64(to) + k] = np.int16((np.int16(source.bytes[u64(start) + k]) ^ flip) - less)


@inner
def clear(source: Source, packed: Array, r: int, to: int, length: int) -> None:
    for k in range(u64(length)):
        packed[r, u64(to) + k] = np.int16(source.fill)


@inner
def unpacked(source: Source, rows: int, columns: int) -> Array:
    """Return room for packed rows that hold no element yet."""
    return np.full((rows, columns), source.fill, np.int16)


@inner
def pack_filters(source: Source, row: Array, packed: Array, of_group: int) -> None:
    """Pack the filters as rows of int16, OHWI flattened; those of each group begin at a whole tile."""
    height, width, depth = row[W + SHAPE + 1], row[W + SHAPE + 2], row[W + SHAPE + 3]
    for o in range(row[W + SHAPE]):
        r = o // of_group * padded(of_group, COLUMNS) + o % of_group
        for i in range(height):
            for j in range(width):
                start = source.first + o * row[W + STRIDE] + i * row[W + STRIDE + 1] + j * row[W + STRIDE + 2]
                widen(source, start, depth, packed, r, (i * width + j) * depth)


@inner
def pack_patches(source: Source, row: Array, first: int, count: int, packed: Array, block: int) -> None:
    """Fill packed[g * block + p, (kh * width + kw) * depth + c] with what result pixel `first` + p sees of x."""
    height, width, depth = row[W + SHAPE + 1], row[W + SHAPE + 2], row[W + SHAPE + 3]
    rows, columns, channels = row[X + SHAPE + 1], row[X + SHAPE + 2], row[X + SHAPE + 3]
    down, across = row[OUT + SHAPE + 1], row[OUT + SHAPE + 2]
    groups = row[CONV_GROUPS]
    # Neighbouring taps are neighbours in memory: a row of the window is one run.
    joined = groups == 1 and row[CONV_DILATION + 1] == 1 and row[X + STRIDE + 2] == channels
    for p in range(count):
        index = first + p
        image = source.first + index // (down * across) * row[X + STRIDE]
        top = index // across % down * row[CONV_STRIDE] - row[CONV_PAD]
        left = index % across * row[CONV_STRIDE + 1] - row[CONV_PAD + 1]
        for i in range(height):
            y = top + i * row[CONV_DILATION]
            line = image + y * row[X + STRIDE + 1]
            at = i * width * depth
            if joined:
                before = min(max(-left, 0), width)
                inside = max(min(columns - left, width) - before, 0) if 0 <= y < rows else 0
                clear(source, packed, p, at, before * depth)
                widen(source, line + (left + before) * channels, inside * depth, packed, p, at + before * depth)
                clear(source, packed, p, at + (before + inside) * depth, (width - before - inside) * depth)
                continue
            for j in range(width):
                x = left + j * row[CONV_DILATION + 1]
                start = line + x * row[X + STRIDE + 2]
                inside = depth if 0 <= y < rows and 0 <= x < columns else 0
                to = at + j * depth
                for g in range(groups):
                    widen(source, start + g * depth, inside, packed, g * block + p, to)
                    clear(source, packed, g * block + p, to + inside, depth - inside)


@hot
def conv(arena: Array, row: Array) -> None:
    """acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x - x_zero) * (w - w_zero), then the chain."""
    filters, groups, pixels = row[W + SHAPE], row[CONV_GROUPS], row_count(row)
    of_group = filters // groups
    k = padded(row[W + SHAPE + 1] * row[W + SHAPE + 2] * row[W + SHAPE + 3], K_STEP)
    x = source_of(arena, row, X, row[X + ADDRESS], row[CONV_X_ZERO])
    w = weights_of(arena, row, row[CONV_W_ZERO])
    weights = unpacked(w, groups * padded(of_group, COLUMNS), k)
    pack_filters(w, row, weights, of_group)
    block = block_rows(k * groups, pixels)
    patches = unpacked(x, groups * block, k)
    acc, sums = accumulators(block, filters + COLUMNS, x.wide)
    chain = open_chain(arena, row, CHAIN, CONV_STAGES)
    for first in range(0, pixels, block):
        count = min(block, pixels - first)
        pack_patches(x, row, first, count, patches, block)
        # In this order the next group overwrites what the tiles of a group have too many; the last ones are surplus.
        for g in range(groups):
            of_weights = g * padded(of_group, COLUMNS)
            if x.wide:
                size = (count, of_group)
                multiply_wide(patches, g * block, x.zero, weights, of_weights, w.zero, size, sums, g * of_group)
            else:
                multiply_packed(patches, g * block, weights, of_weights, count, of_group, acc, g * of_group)
        add_bias(arena, row, acc, count)
        add_bias(arena, row, sums, count)
        run_chain(arena, row, chain, acc, sums, first, count, ZERO, filters)


@inner
def pack_matrix(source: Source, start: int, row_step: int, k_step: int, count: int, k: int, packed: Array) -> None:
    """Fill packed[r, i] with the element at start + r * row_step + i * k_step, for `count` rows of k."""
    if k_step == 1:
        for r in range(count):
            widen(source, start + r * row_step, k, packed, r, ZERO)
        return
    # Where it is the rows that lie side by side: tiles whose lines all stay in the first-level cache, on both sides.
    for r0 in range(0, count, TILE_ROWS):
        for i0 in range(0, k, TILE_K):
            for r in range(r0, min(r0 + TILE_ROWS, count)):
                if source.wide:
                    for i in range(i0, min(i0 + TILE_K, k)):
                        packed[r, i] = source.words[u64(start + r * row_step + i * k_step)]
                else:
                    flip, less = source.flip, source.less
                    for i in range(i0, min(i0 + TILE_K, k)):
                        element = np.int16(source.bytes[u64(start + r * row_step + i * k_step)])
                        packed[r, i] = np.int16((element ^ flip) - less)


@inner
def step_of(row: Array, slot: int, dimension: int) -> int:
    """Return the stride of a dimension; 1 where it has one element, so that nothing depends on it."""
    return row[slot + STRIDE + dimension] if row[slot + SHAPE + dimension] > 1 else 1


@hot
def matmul(arena: Array, row: Array) -> None:
    """acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero), then the chain."""
    rows, columns = row[OUT + SHAPE + 2], row[OUT + SHAPE + 3]
    x_row, x_k = (3, 2) if row[TRANSPOSE_X] else (2, 3)
    w_column, w_k = (2, 3) if row[TRANSPOSE_W] else (3, 2)
    k = row[X + SHAPE + x_k]
    x_row, x_k = step_of(row, X, x_row), step_of(row, X, x_k)
    w_column, w_k = step_of(row, W, w_column), step_of(row, W, w_k)
    x = source_of(arena, row, X, row[X + ADDRESS], row[MATMUL_X_ZERO])
    w = weights_of(arena, row, row[MATMUL_W_ZERO])
    weights = unpacked(w, padded(columns, COLUMNS), padded(k, K_STEP))
    block = block_rows(weights.shape[1], rows)
    left = unpacked(x, block, weights.shape[1])
    acc, sums = accumulators(block, columns + COLUMNS, x.wide)
    chain = open_chain(arena, row, CHAIN, MATMUL_STAGES)
    held = i64(-1)
    for batch in range(row[OUT + SHAPE] * row[OUT + SHAPE + 1]):
        # The first row of each matrix of the batch; w stays packed while it is the same.
        start = w.first + row_start(row, W, batch * rows)
        if start != held:
            pack_matrix(w, start, w_column, w_k, columns, k, weights)
            held = start
        start = x.first + row_start(row, X, batch * rows)
        for first in range(0, rows, block):
            count = min(block, rows - first)
            pack_matrix(x, start + first * x_row, x_row, x_k, count, k, left)
            if x.wide:
                multiply_wide(left, ZERO, x.zero, weights, ZERO, w.zero, (count, columns), sums, ZERO)
            else:
                multiply_packed(left, ZERO, weights, ZERO, count, columns, acc, ZERO)
            add_bias(arena, row, acc, count)
            add_bias(arena, row, sums, count)
            run_chain(arena, row, chain, acc, sums, batch * rows + first, count, ZERO, columns)
