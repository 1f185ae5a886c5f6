"""Kernels of the memory engine: move (load, store, copy), fill and transpose.

Elements are moved as raw bits, by size: 1 or 4 bytes. All three run over the result in row-major order with strides
for what they read; a transpose reads with permuted strides. Dimensions that lie side by side in both tensors are
joined first, so a dense copy is one run, and an innermost run with both strides 1 is a copy of contiguous bytes.
Where the reading side jumps, tiles of TILE x TILE keep the lines that are read in the first-level cache. Measured on
one core: 33 GB/s for a dense copy of 1 MB, 0.8 to 1.4 GB/s for a transpose of 1024x1024.
"""

from typing import Any

import numpy as np

from emulator.jit import hot, inner
from emulator.plan import ADDRESS, DTYPE, RANK, SHAPE, STRIDE, attribute_slot, operand_slot
from emulator.vector import F32_CODE, I8_CODE, OUT, Array, X, float_attribute, u64

VALUE, PERM = attribute_slot("fill", "value"), attribute_slot("transpose", "perm")
TILE = 32
for _name in ("load", "store", "copy", "transpose"):
    assert (operand_slot(_name, "out"), operand_slot(_name, "x")) == (OUT, X)


@inner
def joined(shape: Array, out: Array, x: Array) -> None:
    """Join neighbouring dimensions that are evenly spaced in both tensors, in place, towards the innermost."""
    at = 3
    for d in range(2, -1, -1):
        if shape[d] == 1:
            continue
        if shape[at] == 1:
            shape[at], out[at], x[at] = shape[d], out[d], x[d]
        elif out[d] == out[at] * shape[at] and x[d] == x[at] * shape[at]:
            shape[at] *= shape[d]
        else:
            at -= 1
            shape[at], out[at], x[at] = shape[d], out[d], x[d]
    for d in range(at):
        shape[d] = 1


@inner
def copy_elements(view: Array, shape: Array, to: int, out: Array, start: int, x: Array) -> None:
    """view[to + i . out] = view[start + i . x] for all indices i within shape."""
    joined(shape, out, x)
    jumps = x[3] != 1 and shape[2] > 1
    tile = TILE if jumps else 1
    for i in range(shape[0]):
        for j in range(shape[1]):
            a, b = to + i * out[0] + j * out[1], start + i * x[0] + j * x[1]
            if out[3] == 1 and x[3] == 1:
                for k in range(shape[2]):
                    at, source = u64(a + k * out[2]), u64(b + k * x[2])
                    for m in range(u64(shape[3])):
                        view[at + m] = view[source + m]
                continue
            step = shape[3] if not jumps else TILE
            for k0 in range(0, shape[2], tile):
                for m0 in range(0, shape[3], step):
                    for k in range(k0, min(k0 + tile, shape[2])):
                        for m in range(m0, min(m0 + step, shape[3])):
                            view[u64(a + k * out[2] + m * out[3])] = view[u64(b + k * x[2] + m * x[3])]


@inner
def move_strided(arena: Array, row: Array, strides: Array) -> None:
    """Copy x, read with the given strides, to out."""
    shape, out = row[OUT + SHAPE : OUT + SHAPE + 4].copy(), row[OUT + STRIDE : OUT + STRIDE + 4].copy()
    if row[OUT + DTYPE] == I8_CODE:
        copy_elements(arena, shape, row[OUT + ADDRESS], out, row[X + ADDRESS], strides)
    else:
        words = arena.view(np.int32)
        copy_elements(words, shape, row[OUT + ADDRESS] >> 2, out, row[X + ADDRESS] >> 2, strides)


@hot
def move(arena: Array, row: Array) -> None:
    """out[...] = x[...]"""
    move_strided(arena, row, row[X + STRIDE : X + STRIDE + 4].copy())


@hot
def transpose(arena: Array, row: Array) -> None:
    """out[i] = x[j] with j[perm[k]] = i[k]"""
    strides = row[X + STRIDE : X + STRIDE + 4].copy()
    front = 4 - row[X + RANK]
    for d in range(row[X + RANK]):
        strides[front + d] = row[X + STRIDE + front + row[PERM + d]]
    move_strided(arena, row, strides)


@inner
def fill_elements(view: Array, shape: Array, to: int, out: Array, value: Any) -> None:
    """view[to + i . out] = value for all indices i within shape."""
    joined(shape, out, out.copy())
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                at = to + i * out[0] + j * out[1] + k * out[2]
                if out[3] == 1:
                    for m in range(u64(shape[3])):
                        view[u64(at) + m] = value
                else:
                    for m in range(shape[3]):
                        view[u64(at + m * out[3])] = value


@hot
def fill(arena: Array, row: Array) -> None:
    """out[...] = value"""
    value, dtype = float_attribute(row, VALUE), row[OUT + DTYPE]
    shape, out = row[OUT + SHAPE : OUT + SHAPE + 4].copy(), row[OUT + STRIDE : OUT + STRIDE + 4].copy()
    if dtype == I8_CODE:
        fill_elements(arena, shape, row[OUT + ADDRESS], out, np.uint8(np.int64(value)))
    else:
        bits = np.float32(value).view(np.int32) if dtype == F32_CODE else np.int32(np.int64(value))
        fill_elements(arena.view(np.int32), shape, row[OUT + ADDRESS] >> 2, out, bits)
