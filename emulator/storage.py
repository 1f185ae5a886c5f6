"""Numbers between memory, where they have any type, and the float32 buffers that the pooling engine computes in.

The type is switched once for a run of elements that lie side by side, so the loops are free of branches.
"""

from typing import Any

import numpy as np

from emulator.jit import inner
from emulator.plan import DTYPE
from emulator.vector import (
    BF16_CODE,
    F16_CODE,
    F32_CODE,
    I8_CODE,
    I16_CODE,
    U8_CODE,
    Array,
    f32,
    from_f16,
    round_all,
    saturated,
    to_bf16,
    to_f16,
    u32,
    u64,
)


@inner
def is_floating(dtype: int) -> bool:
    return dtype in (F16_CODE, BF16_CODE, F32_CODE)


@inner
def element_bytes(dtype: int) -> int:
    if dtype in (I8_CODE, U8_CODE):
        return 1
    return 2 if dtype in (I16_CODE, F16_CODE, BF16_CODE) else 4


@inner
def address(row: Array, slot: int, base: int, offset: int) -> Any:
    """Return the byte that lies `offset` elements of the operand's type behind byte `base`."""
    return base + offset * element_bytes(row[slot + DTYPE])


@inner
def load_numbers(arena: Array, dtype: int, at: int, zero: int, fraction: int, v: Array) -> None:
    """Fill v with elements from byte `at` on, less their zero point, rounded once."""
    n, less = u64(v.size), np.int32(zero)
    if dtype == I8_CODE:
        signed, start = arena.view(np.int8), u64(at)
        for k in range(n):
            v[k] = f32(np.int32(signed[start + k]) - less)
        return
    if dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = f32(np.int32(arena[start + k]) - less)
        return
    if dtype == I16_CODE:
        words, start = arena.view(np.int16), u64(at >> 1)
        for k in range(n):
            v[k] = f32(np.int32(words[start + k]) - less)
    elif dtype == F16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            v[k] = from_f16(halves[start + k])
    elif dtype == BF16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            v[k] = u32(u32(halves[start + k]) << u32(16)).view(f32)
    else:
        floats, start = arena.view(np.float32), u64(at >> 2)
        for k in range(n):
            v[k] = floats[start + k]
    # Every number of the other types is one of each format.
    if dtype in (I16_CODE, F32_CODE):
        round_all(v, fraction)


@inner
def load_integers(arena: Array, dtype: int, at: int, v: Array) -> None:
    """Fill an int32 buffer with integers from byte `at` on."""
    n = u64(v.size)
    if dtype == I8_CODE:
        signed, start = arena.view(np.int8), u64(at)
        for k in range(n):
            v[k] = np.int32(signed[start + k])
    elif dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = np.int32(arena[start + k])
    elif dtype == I16_CODE:
        words, start = arena.view(np.int16), u64(at >> 1)
        for k in range(n):
            v[k] = np.int32(words[start + k])
    else:
        longs, start = arena.view(np.int32), u64(at >> 2)
        for k in range(n):
            v[k] = longs[start + k]


@inner
def store_integers(arena: Array, dtype: int, at: int, v: Array) -> None:
    """Store int32 that the type holds, from byte `at` on."""
    n = u64(v.size)
    if dtype in (I8_CODE, U8_CODE):
        start = u64(at)
        for k in range(n):
            arena[start + k] = np.uint8(v[k])
    elif dtype == I16_CODE:
        words, start = arena.view(np.int16), u64(at >> 1)
        for k in range(n):
            words[start + k] = np.int16(v[k])
    else:
        longs, start = arena.view(np.int32), u64(at >> 2)
        for k in range(n):
            longs[start + k] = v[k]


@inner
def store_numbers(arena: Array, dtype: int, at: int, zero: int, v: Array) -> None:
    """Store v from byte `at` on: rounded, clamped and with its zero point as an integer, or rounded as a float."""
    n = u64(v.size)
    if dtype == I8_CODE:
        signed, start = arena.view(np.int8), u64(at)
        for k in range(n):
            signed[start + k] = np.int8(saturated(v[k], zero, -128, 127))
    elif dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            arena[start + k] = np.uint8(saturated(v[k], zero, 0, 255))
    elif dtype == I16_CODE:
        words, start = arena.view(np.int16), u64(at >> 1)
        for k in range(n):
            words[start + k] = np.int16(saturated(v[k], zero, -32768, 32767))
    elif dtype == F16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = to_f16(v[k])
    elif dtype == BF16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = to_bf16(v[k])
    else:
        floats, start = arena.view(np.float32), u64(at >> 2)
        for k in range(n):
            floats[start + k] = v[k] if v[k] == v[k] else f32(np.nan)
