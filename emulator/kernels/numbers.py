"""Storage types to the vector format and back: elements in memory, and the float32 buffers that engines compute in.

Every number of a vector format is a float32: a shorter one is rounded to as many bits. The type is switched once for a
run of elements that lie side by side, so the loops are free of branches.
"""

from typing import Any

import numpy as np

from emulator.jit.arrays import Bytes, Floats, Integers, Row
from emulator.jit.compile import inlined, inner
from emulator.jit.intrinsics import viewed
from emulator.plan.row import Field
from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8

f32 = np.float32
i32, i64 = np.int32, np.int64
u32, u64 = np.uint32, np.uint64

# Types as they stand in a row.
I8_CODE, U8_CODE, I16_CODE, I32_CODE = I8.code, U8.code, I16.code, I32.code
F16_CODE, BF16_CODE, F32_CODE = F16.code, BF16.code, F32.code
E4M3_CODE, E5M2_CODE = E4M3.code, E5M2.code

FP32_FRACTION = 23
EXPONENT_FIELD = np.int64(0x7FF0000000000000)
LEAST_NORMAL = np.int64(1023 - 126) << 52
HALF_FRACTION = np.int64(1) << 51


@inner
def padded(size: int, step: int) -> int:
    """Return a size rounded up to a multiple of `step`."""
    return (size + step - 1) // step * step


@inner
def round_bits(v: float, fraction: int) -> Any:
    """Return float64 v rounded to `fraction` bits, half to even, exponents down to -126 as in float32.

    v + m - m rounds v to the last bit of m; m = 1.5 * 2**(e + 52 - fraction), e the exponent of v, has the wanted one.
    Beyond the greatest float32 the result is left as it is: it becomes an infinity when stored as float32. Infinity and
    NaN have an exponent that makes some number of m, which leaves them what they are.
    """
    e = np.float64(v).view(np.int64) & EXPONENT_FIELD
    e = e if e > LEAST_NORMAL else LEAST_NORMAL
    m = np.int64(e + (((np.int64(52) - fraction) << 52) + HALF_FRACTION)).view(np.float64)
    return np.copysign((v + m) - m, v)


@inner
def to_odd(product: float, term: float) -> Any:
    """Return the float64 product + term, or its neighbour whose last bit is 1 where it is inexact and its own is 0.

    The error is exact (two-sum); a NaN, as infinities give, is neither above nor below 0.
    """
    total = product + term
    part = total - product
    error = (product - (total - part)) + (term - part)
    # Nearer to 0 by one where that is where the exact sum lies, then odd.
    bits = np.float64(total).view(np.int64)
    apart = (np.float64(error).view(np.int64) ^ bits) >> 63
    inexact = (error > 0) | (error < 0)
    return np.int64((bits + apart) | 1 if inexact else bits).view(np.float64)


@inlined
def rounding_factor(fraction: int) -> Any:
    """Return f so that m = f * 2**e rounds a float32 v of exponent e: v + m - m has `fraction` bits, half to even.

    m is 1.5 * 2**(e + 23 - fraction).
    """
    return i32(((127 + FP32_FRACTION - fraction) << FP32_FRACTION) | 0x400000).view(np.float32)


@inner
def round_all(v: Floats, fraction: int) -> None:
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
def from_e4m3(byte: int) -> Any:
    """Return the float32 of e4m3's bits: shifted into place, the exponent is 120 short of what it means."""
    magnitude = u32((u32(byte) & u32(0x7F)) << u32(20))
    scaled = magnitude.view(np.float32) * f32(2.0**120)
    value = scaled if magnitude < u32(0x07F00000) else f32(np.nan)
    return np.copysign(value, u32((u32(byte) & u32(0x80)) << u32(24)).view(np.float32))


@inner
def to_e4m3(v: Any) -> Any:
    """Return the bits of float32 v rounded once to e4m3, half to even; every NaN is 0x7f, and what is beyond 448."""
    bits = f32(v).view(np.uint32)
    magnitude = u32(bits & u32(0x7FFFFFFF))
    # As in `to_f16`: above 2**-6 the exponent 120 less; below, the last bit of 2**14 + |v| weighs 2**-9.
    normal = u32(u32(magnitude - u32(0x3BF80001)) + ((magnitude >> u32(20)) & u32(1))) >> u32(20)
    small = u32(f32(f32(2.0**14) + magnitude.view(np.float32)).view(np.uint32) - u32(0x46800000))
    result = small if magnitude < u32(0x3C800000) else normal
    result = u32(result | ((bits >> u32(24)) & u32(0x80)))
    # 464, halfway to what would be 480, is rounded to 448.
    return np.uint8(u32(0x7F) if magnitude > u32(0x43E80000) else result)


@inner
def from_e5m2(byte: int) -> Any:
    """Return the float32 of e5m2's bits, the upper half of an f16."""
    return from_f16(u32(byte) << u32(8))


@inner
def to_e5m2(v: Any) -> Any:
    """Return the bits of float32 v rounded once to e5m2, half to even; every NaN is 0x7e."""
    bits = f32(v).view(np.uint32)
    magnitude = u32(bits & u32(0x7FFFFFFF))
    # As in `to_f16`: above 2**-14 the exponent 112 less; below, the last bit of 2**7 + |v| weighs 2**-16.
    normal = u32(u32(magnitude - u32(0x37F00001)) + ((magnitude >> u32(21)) & u32(1))) >> u32(21)
    small = u32(f32(f32(2.0**7) + magnitude.view(np.float32)).view(np.uint32) - u32(0x43000000))
    result = small if magnitude < u32(0x38800000) else normal
    result = u32(0x7C) if magnitude >= u32(0x47800000) else result
    result = u32(result | ((bits >> u32(24)) & u32(0x80)))
    return np.uint8(u32(0x7E) if magnitude > u32(0x7F800000) else result)


@inner
def saturated(v: Any, low: Any, high: Any, zero: Any) -> Any:
    """Return rne(clamp(v, low, high)) + zero as int32; NaN counts as 0.

    The bounds are float32 below 2**22, so that the last bits of 1.5 * 2**23 + v are those of the integer.
    """
    r = v if v == v else f32(0)
    r = r if r > low else low
    r = r if r < high else high
    return i32(f32(r + f32(1.5 * 2**23)).view(np.int32) + i32(i32(zero) - i32(0x4B400000)))


@inner
def is_floating(dtype: int) -> bool:
    return dtype in (F16_CODE, BF16_CODE, F32_CODE, E4M3_CODE, E5M2_CODE)


@inner
def element_bytes(dtype: int) -> int:
    if dtype in (I8_CODE, U8_CODE, E4M3_CODE, E5M2_CODE):
        return 1
    return 2 if dtype in (I16_CODE, F16_CODE, BF16_CODE) else 4


@inner
def address(row: Row, slot: int, base: int, offset: int) -> Any:
    """Return the byte that lies `offset` elements of the operand's type behind byte `base`."""
    return base + offset * element_bytes(row[slot + Field.DTYPE])


@inner
def load_numbers(arena: Bytes, dtype: int, at: int, zero: int, fraction: int, v: Floats) -> None:
    """Fill v with elements from byte `at` on, less their zero point, rounded once."""
    # A difference of int32 would be an int64, of which a vector holds half as many.
    n, less = u64(v.size), i32(zero)
    if dtype == I8_CODE:
        signed, start = viewed(arena, np.int8), u64(at)
        for k in range(n):
            v[k] = f32(i32(i32(signed[start + k]) - less))
        return
    if dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = f32(i32(i32(arena[start + k]) - less))
        return
    if dtype == I16_CODE:
        words, start = viewed(arena, np.int16), u64(at >> 1)
        for k in range(n):
            v[k] = f32(i32(i32(words[start + k]) - less))
    elif dtype == F16_CODE:
        halves, start = viewed(arena, np.uint16), u64(at >> 1)
        for k in range(n):
            v[k] = from_f16(halves[start + k])
    elif dtype == BF16_CODE:
        halves, start = viewed(arena, np.uint16), u64(at >> 1)
        for k in range(n):
            v[k] = u32(u32(halves[start + k]) << u32(16)).view(f32)
    elif dtype == E4M3_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = from_e4m3(arena[start + k])
    elif dtype == E5M2_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = from_e5m2(arena[start + k])
    elif dtype == I32_CODE:
        longs, start = viewed(arena, np.int32), u64(at >> 2)
        if fraction == FP32_FRACTION:
            for k in range(n):
                v[k] = f32(longs[start + k])
        else:
            for k in range(n):
                v[k] = f32(round_bits(np.float64(longs[start + k]), fraction))
    else:
        floats, start = viewed(arena, np.float32), u64(at >> 2)
        for k in range(n):
            v[k] = floats[start + k]
    # Every number of the other types is one of each format.
    if dtype in (I16_CODE, F32_CODE):
        round_all(v, fraction)


@inner
def load_integers(arena: Bytes, dtype: int, at: int, v: Integers) -> None:
    """Fill an int32 buffer with integers from byte `at` on."""
    n = u64(v.size)
    if dtype == I8_CODE:
        signed, start = viewed(arena, np.int8), u64(at)
        for k in range(n):
            v[k] = np.int32(signed[start + k])
    elif dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            v[k] = np.int32(arena[start + k])
    elif dtype == I16_CODE:
        words, start = viewed(arena, np.int16), u64(at >> 1)
        for k in range(n):
            v[k] = np.int32(words[start + k])
    else:
        longs, start = viewed(arena, np.int32), u64(at >> 2)
        for k in range(n):
            v[k] = longs[start + k]


@inner
def store_integers(arena: Bytes, dtype: int, at: int, v: Integers) -> None:
    """Store int32 that the type holds, from byte `at` on."""
    n = u64(v.size)
    if dtype in (I8_CODE, U8_CODE):
        start = u64(at)
        for k in range(n):
            arena[start + k] = np.uint8(v[k])
    elif dtype == I16_CODE:
        words, start = viewed(arena, np.int16), u64(at >> 1)
        for k in range(n):
            words[start + k] = np.int16(v[k])
    else:
        longs, start = viewed(arena, np.int32), u64(at >> 2)
        for k in range(n):
            longs[start + k] = v[k]


@inner
def integer_range(dtype: int) -> tuple[int, int]:
    """Return the least and the greatest value of an integer type of 8 or 16 bits."""
    if dtype == I8_CODE:
        return -128, 127
    return (0, 255) if dtype == U8_CODE else (-32768, 32767)


@inner
def store_numbers(arena: Bytes, dtype: int, at: int, zero: int, v: Floats) -> None:
    """Store v from byte `at` on: rounded, clamped and with its zero point as an integer, or rounded as a float."""
    store_between(arena, dtype, at, zero, v, f32(-np.inf), f32(np.inf))


@inner
def store_between(arena: Bytes, dtype: int, at: int, zero: int, v: Floats, least: Any, greatest: Any) -> None:
    """Store v as `store_numbers` does, integers clamped to [least, greatest] too: float32, which 0 is between."""
    n = u64(v.size)
    first, last = integer_range(dtype)
    low, high = max(least, f32(first - zero)), min(greatest, f32(last - zero))
    if dtype == I8_CODE:
        signed, start = viewed(arena, np.int8), u64(at)
        for k in range(n):
            signed[start + k] = np.int8(saturated(v[k], low, high, zero))
    elif dtype == U8_CODE:
        start = u64(at)
        for k in range(n):
            arena[start + k] = np.uint8(saturated(v[k], low, high, zero))
    elif dtype == I16_CODE:
        words, start = viewed(arena, np.int16), u64(at >> 1)
        for k in range(n):
            words[start + k] = np.int16(saturated(v[k], low, high, zero))
    elif dtype == F16_CODE:
        halves, start = viewed(arena, np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = to_f16(v[k])
    elif dtype == BF16_CODE:
        halves, start = viewed(arena, np.uint16), u64(at >> 1)
        for k in range(n):
            halves[start + k] = to_bf16(v[k])
    elif dtype == E4M3_CODE:
        start = u64(at)
        for k in range(n):
            arena[start + k] = to_e4m3(v[k])
    elif dtype == E5M2_CODE:
        start = u64(at)
        for k in range(n):
            arena[start + k] = to_e5m2(v[k])
    else:
        floats, start = viewed(arena, np.float32), u64(at >> 2)
        for k in range(n):
            floats[start + k] = v[k] if v[k] == v[k] else f32(np.nan)
