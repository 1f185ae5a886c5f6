"""Kernels of the tensor engine: conv, dwconv, matmul and eltwise.

conv and matmul are one product of packed matrices, acc[p, o] = sum over k of a[p, k] * b[o, k], with k innermost and
contiguous on both sides. Packing widens int8 to int16 and takes the zero point off, so padding is 0 and a pair of
products fits 32 bits: LLVM turns the loop over k into multiply-add of int16 pairs (vpmaddwd, or vpdpwssd).

Loop order: blocks of result rows (packed: PACKED_BYTES, so that they stay in the first-level cache) > tiles of 4
columns of b (streamed from the second-level cache once for each block) > tiles of 2 rows > k. A tile keeps its 8 sums
in registers and loads 6 vectors for 8 multiply-adds. k is padded with zeros to K_STEP, so the vector loop leaves no
remainder. The accumulators of a block go through the chain while they are still in the cache.
Measured on one core of a server with AVX-512 VNNI: see benchmarks.

dwconv has no sum over channels: it runs over channels innermost, one tap at a time, on int32 accumulators.
"""

import numpy as np

from emulator.jit import hot
from emulator.plan import ABSENT, ADDRESS, SHAPE, STRIDE, attribute_slot, operand_slot
from emulator.vector import (
    CHAIN,
    OUT,
    V,
    X,
    finish,
    finish_accumulators,
    load_rows,
    open_chain,
    row_count,
    rows_at_once,
    u64,
)

W, BIAS = operand_slot("conv", "w"), operand_slot("conv", "bias")
CONV_STRIDE, CONV_PAD, CONV_DILATION, CONV_GROUPS, CONV_X_ZERO, CONV_W_ZERO, CONV_CHAIN = (
    attribute_slot("conv", name) for name in ("stride", "pad", "dilation", "groups", "x_zero", "w_zero", "ew2_op")
)
DW_STRIDE, DW_PAD, DW_DILATION, DW_X_ZERO, DW_W_ZERO, DW_CHAIN = (
    attribute_slot("dwconv", name) for name in ("stride", "pad", "dilation", "x_zero", "w_zero", "ew2_op")
)
TRANSPOSE_X, TRANSPOSE_W, MATMUL_X_ZERO, MATMUL_W_ZERO, MATMUL_CHAIN = (
    attribute_slot("matmul", name) for name in ("transpose_x", "transpose_w", "x_zero", "w_zero", "ew2_op")
)
ELTWISE_CHAIN, ELTWISE_X_ZERO = operand_slot("eltwise", "ew1_scale"), attribute_slot("eltwise", "x_zero")
ELTWISE_ATTRIBUTES = attribute_slot("eltwise", "ew2_op")

PACKED_BYTES = 24 * 1024
MOST_ROWS = 256
K_STEP = 32
ROWS, COLUMNS = 2, 4

i32 = np.int32


@hot
def block_rows(k, rows):
    """Return how many rows of the result are packed at once, a multiple of ROWS."""
    fits = min(max(PACKED_BYTES // (2 * k), 4 * ROWS), MOST_ROWS, rows)
    return (fits + ROWS - 1) // ROWS * ROWS


@hot
def padded(k, step):
    return (k + step - 1) // step * step


@hot
def multiply_packed(a, b, rows, columns, acc, column):
    """Set acc[p, column + o] to the products of rows of a and of b, wrapped to 32 bits.

    Whole tiles are computed: up to ROWS - 1 rows and COLUMNS - 1 columns beyond those asked for are overwritten.
    """
    k = u64(a.shape[1])
    for o in range(0, columns, COLUMNS):
        for p in range(0, rows, ROWS):
            s00, s01, s02, s03 = i32(0), i32(0), i32(0), i32(0)
            s10, s11, s12, s13 = i32(0), i32(0), i32(0), i32(0)
            for i in range(k):
                a0, a1 = i32(a[p, i]), i32(a[p + 1, i])
                b0, b1, b2, b3 = i32(b[o, i]), i32(b[o + 1, i]), i32(b[o + 2, i]), i32(b[o + 3, i])
                # Without the cast numba would add in 64 bits.
                s00, s01, s02, s03 = i32(s00 + a0 * b0), i32(s01 + a0 * b1), i32(s02 + a0 * b2), i32(s03 + a0 * b3)
                s10, s11, s12, s13 = i32(s10 + a1 * b0), i32(s11 + a1 * b1), i32(s12 + a1 * b2), i32(s13 + a1 * b3)
            at = column + o
            acc[p, at], acc[p, at + 1], acc[p, at + 2], acc[p, at + 3] = s00, s01, s02, s03
            acc[p + 1, at], acc[p + 1, at + 1], acc[p + 1, at + 2], acc[p + 1, at + 3] = s10, s11, s12, s13


@hot
def add_bias(arena, row, acc, count):
    """Add the bias to rows of accumulators, wrapping."""
    if row[BIAS + ADDRESS] == ABSENT:
        return
    words = arena.view(np.int32)
    start = u64(row[BIAS + ADDRESS] >> 2)
    step = u64(1) if row[BIAS + SHAPE + 3] > 1 else u64(0)
    for r in range(count):
        for k in range(u64(row[OUT + SHAPE + 3])):
            acc[r, k] = i32(acc[r, k] + words[start + k * step])


@hot
def widen(source, start, length, zero, target, to):
    """Copy contiguous int8 to int16, less the zero point."""
    start, to = u64(start), u64(to)
    for k in range(u64(length)):
        target[to + k] = np.int16(source[start + k] - zero)


@hot
def clear(target, to, length):
    to = u64(to)
    for k in range(u64(length)):
        target[to + k] = np.int16(0)


@hot
def pack_filters(arena, row, zero):
    """Return the filters as rows of int16, OHWI flattened, each group's padded to whole tiles."""
    filters, height, width, depth = row[W + SHAPE], row[W + SHAPE + 1], row[W + SHAPE + 2], row[W + SHAPE + 3]
    groups = row[CONV_GROUPS]
    of_group = filters // groups
    packed = np.zeros((groups, padded(of_group, COLUMNS), padded(height * width * depth, K_STEP)), np.int16)
    source = arena.view(np.int8)
    for o in range(filters):
        target = packed[o // of_group, o % of_group]
        for i in range(height):
            for j in range(width):
                start = row[W + ADDRESS] + o * row[W + STRIDE] + i * row[W + STRIDE + 1] + j * row[W + STRIDE + 2]
                widen(source, start, depth, zero, target, (i * width + j) * depth)
    return packed


@hot
def pack_patches(arena, row, first, count, patches):
    """Fill patches[g, p, (kh * width + kw) * depth + c] with what result pixel `first` + p sees of the input."""
    height, width, depth = row[W + SHAPE + 1], row[W + SHAPE + 2], row[W + SHAPE + 3]
    rows, columns, channels = row[X + SHAPE + 1], row[X + SHAPE + 2], row[X + SHAPE + 3]
    down, across = row[OUT + SHAPE + 1], row[OUT + SHAPE + 2]
    groups, zero = row[CONV_GROUPS], row[CONV_X_ZERO]
    source = arena.view(np.int8)
    # Neighbouring taps are neighbours in memory: a row of the window is one run.
    joined = groups == 1 and row[CONV_DILATION + 1] == 1 and row[X + STRIDE + 2] == channels
    for p in range(count):
        index = first + p
        image = row[X + ADDRESS] + index // (down * across) * row[X + STRIDE]
        top = index // across % down * row[CONV_STRIDE] - row[CONV_PAD]
        left = index % across * row[CONV_STRIDE + 1] - row[CONV_PAD + 1]
        for i in range(height):
            y = top + i * row[CONV_DILATION]
            line = image + y * row[X + STRIDE + 1]
            at = i * width * depth
            if joined:
                before = min(max(-left, 0), width)
                inside = max(min(columns - left, width) - before, 0) if 0 <= y < rows else 0
                target = patches[0, p]
                clear(target, at, before * depth)
                widen(source, line + (left + before) * channels, inside * depth, zero, target, at + before * depth)
                clear(target, at + (before + inside) * depth, (width - before - inside) * depth)
                continue
            for j in range(width):
                x = left + j * row[CONV_DILATION + 1]
                start = line + x * row[X + STRIDE + 2]
                inside = depth if 0 <= y < rows and 0 <= x < columns else 0
                for g in range(groups):
                    target = patches[g, p]
                    widen(source, start + g * depth, inside, zero, target, at + j * depth)
                    clear(target, at + j * depth + inside, depth - inside)


@hot
def conv(arena, row):
    """acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x - x_zero) * (w - w_zero), then the chain."""
    filters, groups, pixels = row[W + SHAPE], row[CONV_GROUPS], row_count(row)
    of_group = filters // groups
    weights = pack_filters(arena, row, row[CONV_W_ZERO])
    k = weights.shape[2]
    block = block_rows(k * groups, pixels)
    patches = np.zeros((groups, block, k), np.int16)
    acc = np.empty((block, filters + COLUMNS - 1), np.int32)
    work, table = open_chain(arena, row, CHAIN, CONV_CHAIN)
    for first in range(0, pixels, block):
        count = min(block, pixels - first)
        pack_patches(arena, row, first, count, patches)
        # In this order the next group overwrites what the tiles of a group have too many; the last ones are surplus.
        for g in range(groups):
            multiply_packed(patches[g], weights[g], count, of_group, acc, g * of_group)
        add_bias(arena, row, acc, count)
        finish_accumulators(arena, row, CHAIN, CONV_CHAIN, acc, first, count, work, table)


@hot
def pack_matrix(source, start, row_step, k_step, first, count, k, zero, packed):
    """Fill packed[r, i] with source[start + (first + r) * row_step + i * k_step] - zero for `count` rows of k."""
    if k_step == 1:
        for r in range(count):
            widen(source, start + (first + r) * row_step, k, zero, packed[r], 0)
        return
    # Rows are contiguous in the source: a group of them at once, so that each cache line is read once.
    for group in range(0, count, 64):
        most = u64(min(count, group + 64))
        for i in range(k):
            at = u64(start + first * row_step + i * k_step)
            for r in range(u64(group), most):
                packed[r, i] = np.int16(source[at + r * u64(row_step)] - zero)


@hot
def matmul(arena, row):
    """acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero), then the chain."""
    rows, columns = row[OUT + SHAPE + 2], row[OUT + SHAPE + 3]
    x_rows, x_k = (3, 2) if row[TRANSPOSE_X] else (2, 3)
    w_columns, w_k = (2, 3) if row[TRANSPOSE_W] else (3, 2)
    k = row[X + SHAPE + x_k]
    source = arena.view(np.int8)
    weights = np.zeros((padded(columns, COLUMNS), padded(k, K_STEP)), np.int16)
    block = block_rows(weights.shape[1], rows)
    left = np.zeros((block, weights.shape[1]), np.int16)
    acc = np.empty((block, columns + COLUMNS - 1), np.int32)
    work, table = open_chain(arena, row, CHAIN, MATMUL_CHAIN)
    shared = row[W + SHAPE] == 1 and row[W + SHAPE + 1] == 1
    for batch in range(row[OUT + SHAPE] * row[OUT + SHAPE + 1]):
        outer, inner = batch // row[OUT + SHAPE + 1], batch % row[OUT + SHAPE + 1]
        if batch == 0 or not shared:
            start = row[W + ADDRESS]
            if not shared:
                start += outer * row[W + STRIDE] + inner * row[W + STRIDE + 1]
            pack_matrix(
                source,
                start,
                step_of(row, W, w_columns),
                step_of(row, W, w_k),
                0,
                columns,
                k,
                row[MATMUL_W_ZERO],
                weights,
            )
        start = row[X + ADDRESS] + outer * row[X + STRIDE] + inner * row[X + STRIDE + 1]
        for first in range(0, rows, block):
            count = min(block, rows - first)
            pack_matrix(
                source,
                start,
                step_of(row, X, x_rows),
                step_of(row, X, x_k),
                first,
                count,
                k,
                row[MATMUL_X_ZERO],
                left,
            )
            multiply_packed(left, weights, count, columns, acc, 0)
            add_bias(arena, row, acc, count)
            at = batch * rows + first
            finish_accumulators(arena, row, CHAIN, MATMUL_CHAIN, acc, at, count, work, table)


@hot
def step_of(row, slot, dimension):
    """Return the stride of a dimension; 1 where it has one element, so that nothing depends on it."""
    return row[slot + STRIDE + dimension] if row[slot + SHAPE + dimension] > 1 else 1


@hot
def dwconv(arena, row):
    """acc[n,oh,ow,c] = bias[c] + sum over kh, kw of (x - x_zero) * (w - w_zero), then the chain."""
    height, width, channels = row[W + SHAPE + 1], row[W + SHAPE + 2], row[W + SHAPE + 3]
    rows, columns = row[X + SHAPE + 1], row[X + SHAPE + 2]
    down, across = row[OUT + SHAPE + 1], row[OUT + SHAPE + 2]
    source, zero = arena.view(np.int8), i32(row[DW_X_ZERO])
    weights = np.empty((height * width, channels), np.int16)
    for tap in range(height * width):
        start = row[W + ADDRESS] + tap // width * row[W + STRIDE + 1] + tap % width * row[W + STRIDE + 2]
        widen(source, start, channels, row[DW_W_ZERO], weights[tap], 0)
    pixels = row_count(row)
    block = min(rows_at_once(row), pixels)
    acc = np.empty((block, channels), np.int32)
    work, table = open_chain(arena, row, CHAIN, DW_CHAIN)
    for first in range(0, pixels, block):
        count = min(block, pixels - first)
        for p in range(count):
            index = first + p
            image = row[X + ADDRESS] + index // (down * across) * row[X + STRIDE]
            top = index // across % down * row[DW_STRIDE] - row[DW_PAD]
            left = index % across * row[DW_STRIDE + 1] - row[DW_PAD + 1]
            sums = acc[p]
            sums[:] = 0
            for i in range(height):
                y = top + i * row[DW_DILATION]
                if not 0 <= y < rows:
                    continue
                for j in range(width):
                    x = left + j * row[DW_DILATION + 1]
                    if 0 <= x < columns:
                        start = u64(image + y * row[X + STRIDE + 1] + x * row[X + STRIDE + 2])
                        taps = weights[i * width + j]
                        for c in range(u64(channels)):
                            sums[c] = i32(sums[c] + i32(i32(source[start + c]) - zero) * i32(taps[c]))
        add_bias(arena, row, acc, count)
        finish_accumulators(arena, row, CHAIN, DW_CHAIN, acc, first, count, work, table)


@hot
def eltwise(arena, row):
    """acc = x - x_zero, then the chain."""
    rows = row_count(row)
    work, table = open_chain(arena, row, ELTWISE_CHAIN, ELTWISE_ATTRIBUTES)
    block = work.shape[1] // row[OUT + SHAPE + 3]
    for first in range(0, rows, block):
        count = min(block, rows - first)
        load_rows(arena, row, X, row[ELTWISE_X_ZERO], first, count, work[V, : count * row[OUT + SHAPE + 3]])
        finish(arena, row, ELTWISE_CHAIN, ELTWISE_ATTRIBUTES, first, count, work, table)
