"""Numbers between memory, where they have any type, and the float32 buffers that the pooling engine computes in.

The type is switched once for a run of elements that lie side by side, so the loops are free of branches. Conversions
to the 16-bit types work on the bits of the float32: half to even, every NaN stored as the type's one quiet NaN.
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
    round_all,
    u64,
)

F32_INFINITY, F16_INFINITY, BF16_INFINITY = np.int32(0x7F800000), np.int32(0x7C00), np.int32(0x7F80)
F16_NAN, BF16_NAN = np.int32(0x7E00), np.int32(0x7FC0)
# What the exponent of a binary32 is greater by than that of a binary16, in place.
REBIAS = np.int32((127 - 15) << 23)
LEAST_NORMAL_HALF = np.int32((127 - 14) << 23)
# Outside every type with any zero point, and small enough for an exact sum.
BEYOND = f32(2**20)


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
def half_to_float(bits: Any) -> Any:
    """Return the float32 of binary16 bits, given as int32: exact."""
    magnitude = np.int32(bits & np.int32(0x7FFF))
    value = np.int32(magnitude << np.int32(13)).view(f32) * f32(2.0**112)
    special = np.int32(F32_INFINITY | np.int32(magnitude << np.int32(13))).view(f32)
    value = special if magnitude >= F16_INFINITY else value
    return -value if bits & np.int32(0x8000) else value


@inner
def float_to_half(value: Any) -> Any:
    """Return the binary16 bits, as int32, nearest to a float32."""
    bits = f32(value).view(np.int32)
    magnitude = np.int32(bits & np.int32(0x7FFFFFFF))
    odd = np.int32(np.int32(magnitude >> np.int32(13)) & np.int32(1))
    normal = np.int32(np.int32(np.int32(magnitude - REBIAS) + np.int32(0xFFF) + odd) >> np.int32(13))
    normal = normal if normal < F16_INFINITY else F16_INFINITY
    tiny = magnitude < LEAST_NORMAL_HALF
    # Subnormal halves are multiples of 2**-24.
    subnormal = np.int32(np.rint((np.abs(value) if tiny else f32(0)) * f32(2.0**24)))
    half = subnormal if tiny else normal
    half = np.int32(half | np.int32(np.int32(bits >> np.int32(16)) & np.int32(0x8000)))
    return F16_NAN if magnitude > F32_INFINITY else half


@inner
def float_to_bfloat(value: Any) -> Any:
    """Return the bfloat16 bits, as int32, nearest to a float32."""
    bits = f32(value).view(np.int32)
    magnitude = np.int32(bits & np.int32(0x7FFFFFFF))
    odd = np.int32(np.int32(magnitude >> np.int32(16)) & np.int32(1))
    upper = np.int32(np.int32(magnitude + np.int32(0x7FFF) + odd) >> np.int32(16))
    upper = np.int32(upper | np.int32(np.int32(bits >> np.int32(16)) & np.int32(0x8000)))
    return BF16_NAN if magnitude > F32_INFINITY else upper


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
            v[k] = half_to_float(np.int32(halves[start + k]))
    elif dtype == BF16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            v[k] = np.int32(np.int32(halves[start + k]) << np.int32(16)).view(f32)
    else:
        floats, start = arena.view(np.float32), u64(at >> 2)
        for k in range(n):
            v[k] = floats[start + k]
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
def clamped(v: Any, zero: int, low: int, high: int) -> Any:
    """Return clamp(rne(v) + zero, low, high) as int32; NaN counts as 0."""
    r = np.rint(v if v == v else f32(0))
    r = r if r < BEYOND else BEYOND
    r = r if r > -BEYOND else -BEYOND
    q = np.int32(np.int32(r) + np.int32(zero))
    q = q if q < np.int32(high) else np.int32(high)
    return q if q > np.int32(low) else np.int32(low)


@inner
def store_numbers(arena: Array, dtype: int, at: int, zero: int, v: Array) -> None:
    """Store v from byte `at` on: rounded, clamped and with its zero point as an integer, or rounded as a float."""
    n = u64(v.size)
    if dtype == I8_CODE:
        signed, start = arena.view(np.int8), u64(at)
        for k in range(n):
            signed[start + k] = np.int8(clamped(v[k], zero, -128, 127))
    elif dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            arena[start + k] = np.uint8(clamped(v[k], zero, 0, 255))
    elif dtype == I16_CODE:
        words, start = arena.view(np.int16), u64(at >> 1)
        for k in range(n):
            words[start + k] = np.int16(clamped(v[k], zero, -32768, 32767))
    elif dtype == F16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = np.uint16(float_to_half(v[k]))
    elif dtype == BF16_CODE:
        halves, start = arena.view(np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = np.uint16(float_to_bfloat(v[k]))
    else:
        floats, start = arena.view(np.float32), u64(at >> 2)
        for k in range(n):
            floats[start + k] = v[k] if v[k] == v[k] else f32(np.nan)
