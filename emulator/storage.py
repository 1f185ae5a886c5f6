"""Numbers between memory, where they have any type, and the float32 buffers that engines compute in.

Every number of a vector format is a float32: a shorter one is rounded to as many bits. The type is switched once for a
run of elements that lie side by side, so the loops are free of branches.
"""

from typing import Any

import numpy as np

from emulator.jit import inner
from emulator.plan import DTYPE
from isa.dtypes import BF16, F16, F32, I8, I16, I32, U8

Array = np.ndarray
f32 = np.float32
i32, i64 = np.int32, np.int64
u32, u64 = np.uint32, np.uint64

# Types as they stand in a row.
I8_CODE, U8_CODE, I16_CODE, I32_CODE = I8.code, U8.code, I16.code, I32.code
F16_CODE, BF16_CODE, F32_CODE = F16.code, BF16.code, F32.code

FP32_FRACTION = 23
EXPONENT_FIELD = np.int64(0x7FF0000000000000)
LEAST_NORMAL = np.int64(1023 - 126) << 52
# Above every sum and product of two float32, below float64's infinity by enough.
GREATEST = np.int64(1023 + 300) << 52
HALF_FRACTION = np.int64(1) << 51


@inner
def round_bits(v: float, fraction: int) -> Any:
    """Return float64 v rounded to `fraction` bits, half to even, exponents down to -126 as in float32.

    v + m - m rounds v to the last bit of m; m = 1.5 * 2**(e + 52 - fraction), e the exponent of v, has the wanted one.
    Beyond the greatest float32 the result is left as it is: it becomes an infinity when stored as float32.
    """
    e = np.float64(v).view(np.int64) & EXPONENT_FIELD
    e = e if e > LEAST_NORMAL else LEAST_NORMAL
    e = e if e < GREATEST else GREATEST
    m = np.int64(e + ((np.int64(52) - fraction) << 52) | HALF_FRACTION).view(np.float64)
    return np.copysign((v + m) - m, v)


@inner
def to_odd(product: float, term: float) -> Any:
    """Return the float64 product + term, or its neighbour whose last bit is 1 where it is inexact and its own is 0.

    The error is exact (two-sum); a NaN, as infinities give, is neither above nor below 0.
    """
    total = product + term
    part = total - product
    error = (product - (total - part)) + (term - part)
    bits = np.float64(total).view(np.int64)
    outwards = (error > 0) == (total > 0)
    step = np.int64(1) if outwards else np.int64(-1)
    inexact = (error > 0) | (error < 0)
    step = step if inexact & ((bits & 1) == 0) else np.int64(0)
    return np.int64(bits + step).view(np.float64)


@inner
def round_all(v: Array, fraction: int) -> None:
    if fraction != FP32_FRACTION:
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]), fraction))


@inner
def from_f16(half: int) -> Any:
    """Return the float32 of binary16's bits: shifted into place, the exponent is 112 short of what it means."""
    magnitude = u32((u32(half) & u32(0x7FFF)) << u32(13))
    scaled = magnitude.view(np.float32) * f32(2.0**112)
    # Infinity and NaN have the greatest exponent in both.
    special = u32(magnitude | u32(0x7F800000)).view(np.float32)
    value = special if magnitude >= u32(0x0F800000) else scaled
    return np.copysign(value, u32((u32(half) & u32(0x8000)) << u32(16)).view(np.float32))


@inner
def to_f16(v: Any) -> Any:
    """Return the bits of float32 v rounded once to binary16, half to even; every NaN is 0x7e00."""
    bits = f32(v).view(np.uint32)
    magnitude = u32(bits & u32(0x7FFFFFFF))
    # Above 2**-14: the exponent 112 less, and the last 13 bits rounded off; the carry may make it infinite.
    normal = u32(u32(magnitude - u32(0x37FFF001)) + ((magnitude >> u32(13)) & u32(1))) >> u32(13)
    # Below, the last bit of 0.5 + |v| weighs as much as the least subnormal number.
    small = u32(f32(f32(0.5) + magnitude.view(np.float32)).view(np.uint32) - u32(0x3F000000))
    result = small if magnitude < u32(0x38800000) else normal
    result = u32(0x7C00) if magnitude >= u32(0x47800000) else result
    result = u32(result | ((bits >> u32(16)) & u32(0x8000)))
    return np.uint16(u32(0x7E00) if magnitude > u32(0x7F800000) else result)


@inner
def to_bf16(v: Any) -> Any:
    """Return the upper 16 bits of float32 v, rounded half to even; every NaN is 0x7fc0."""
    bits = f32(v).view(np.uint32)
    rounded = u32(u32(bits + u32(0x7FFF)) + ((bits >> u32(16)) & u32(1))) >> u32(16)
    return np.uint16(u32(rounded) if v == v else u32(0x7FC0))


@inner
def saturated(v: Any, zero: int, low: int, high: int) -> Any:
    """Return clamp(rne(v) + zero, low, high) as int32, for types of 8 and 16 bits; NaN counts as 0."""
    r = np.rint(v if v == v else f32(0))
    # Far outside those types with any zero point, and small enough for an exact sum.
    r = r if r < f32(2**18) else f32(2**18)
    r = r if r > f32(-(2**18)) else f32(-(2**18))
    q = np.int32(np.int32(r) + np.int32(zero))
    q = q if q < np.int32(high) else np.int32(high)
    return q if q > np.int32(low) else np.int32(low)


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
    elif dtype == I32_CODE:
        longs, start = arena.view(np.int32), u64(at >> 2)
        for k in range(n):
            v[k] = f32(round_bits(np.float64(longs[start + k]), fraction))
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
