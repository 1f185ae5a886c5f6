"""The steps of the chain on buffers of float32, in the engine's vector format: each result rounded once.

In fp32 a step is one float32 operation. In the shorter formats it is done in float64, where a product is exact and a
sum of two has bits to spare, and rounded; a product and a sum as one operation are rounded to odd in between.
"""

from typing import Any

import numpy as np

from emulator.jit.arrays import Floats, Integers, Row
from emulator.jit.compile import inner
from emulator.jit.intrinsics import fused, whole
from emulator.kernels.numbers import (
    FP32_FRACTION,
    f32,
    i32,
    i64,
    round_all,
    round_bits,
    saturated,
    to_odd,
    u32,
    u64,
)
from emulator.kernels.rows import Attribute, float_attribute
from emulator.kernels.special_functions import exp, gelu, sigmoid, silu, tanh, unit
from emulator.plan.row import Call
from isa.rows_tensor import FIXED_POINT
from isa.table import MNEMONICS


def _words(name: str) -> tuple[str, ...]:
    return next(spec.words for spec in MNEMONICS["conv"].choices if spec.name == name)


NO_EW2, ADD, SUB, MUL, MAX, MIN, DIV = (
    whole(_words("ew2_op").index(word)) for word in ("none", "add", "sub", "mul", "max", "min", "div")
)
NO_SF, RELU, CLIP, LEAKY_RELU, SIGMOID, TANH, BY_TABLE = (
    _words("sf").index(word) for word in ("none", "relu", "clip", "leaky_relu", "sigmoid", "tanh", "table")
)
NO_EW3, ROUND_ONCE, ROUND_TWICE, ROUND_AWAY, ZERO_FIRST = (whole(k) for k in range(len(_words("ew3_op"))))
assert _words("ew3_op") == ("none", *FIXED_POINT, "zero_first")
GELU, SILU, EXP, RECIPROCAL, RSQRT, HARD_SIGMOID, HARD_SWISH, SQRT = (
    _words("sf").index(word)
    for word in ("gelu", "silu", "exp", "reciprocal", "rsqrt", "hard_sigmoid", "hard_swish", "sqrt")
)


@inner
def combine(v: Floats, d: Floats, operation: int, fraction: int) -> None:
    """Set v to v operation d, rounded once; with NaN on either side MAX and MIN give d."""
    if operation == MAX:
        for k in range(v.size):
            v[k] = v[k] if v[k] > d[k] else d[k]
    elif operation == MIN:
        for k in range(v.size):
            v[k] = v[k] if v[k] < d[k] else d[k]
    elif fraction == FP32_FRACTION:
        if operation == ADD:
            for k in range(v.size):
                v[k] = v[k] + d[k]
        elif operation == SUB:
            for k in range(v.size):
                v[k] = v[k] - d[k]
        elif operation == DIV:
            for k in range(v.size):
                v[k] = v[k] / d[k]
        else:
            for k in range(v.size):
                v[k] = v[k] * d[k]
    elif operation == MUL:
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]) * np.float64(d[k]), fraction))
    elif operation == DIV:
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]) / np.float64(d[k]), fraction))
    else:
        sign = 1.0 if operation == ADD else -1.0
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]) + sign * np.float64(d[k]), fraction))


@inner
def with_constant(v: Floats, constant: Floats, operation: int, fraction: int) -> None:
    """Set v to v operation a constant, which is repeated."""
    for first in range(0, v.size, constant.size):
        part = v[first : first + constant.size]
        combine(part, constant, operation, fraction)


@inner
def scale_and_add(v: Floats, scale: Floats, bias: Floats, fraction: int) -> None:
    """Set v to v * scale + bias, constants that are repeated, rounded once."""
    for first in range(0, v.size, scale.size):
        part = v[first : first + scale.size]
        if fraction == FP32_FRACTION:
            for k in range(u64(part.size)):
                part[k] = fused(part[k], scale[k], bias[k])
        else:
            for k in range(u64(part.size)):
                total = to_odd(np.float64(part[k]) * np.float64(scale[k]), np.float64(bias[k]))
                part[k] = f32(round_bits(total, fraction))


@inner
def add_scaled(v: Floats, d: Floats, scale: Floats, sign: Any, fraction: int) -> None:
    """Set v to v + sign * d * scale, rounded once; the scale is repeated; the sign is 1 or -1, a float32."""
    for first in range(0, v.size, scale.size):
        part, second = v[first : first + scale.size], d[first : first + scale.size]
        if fraction == FP32_FRACTION:
            for k in range(u64(part.size)):
                part[k] = fused(sign * second[k], scale[k], part[k])
        else:
            for k in range(u64(part.size)):
                product = np.float64(sign * second[k]) * np.float64(scale[k])
                part[k] = f32(round_bits(to_odd(product, np.float64(part[k])), fraction))


@inner
def load_accumulators(acc: Integers, at: int, scale: Floats, v: Floats, fraction: int) -> None:
    """Set v to accumulators of 32 bits, from number `at` on, times a scale if there is one; each step rounded."""
    n, start = u64(v.size), u64(at)
    if fraction == FP32_FRACTION:
        if scale.size:
            for k in range(n):
                v[k] = f32(acc[start + k]) * scale[k]
        else:
            for k in range(n):
                v[k] = f32(acc[start + k])
    elif scale.size:
        for k in range(n):
            a = round_bits(np.float64(acc[start + k]), fraction)
            v[k] = f32(round_bits(a * np.float64(scale[k]), fraction))
    else:
        for k in range(n):
            v[k] = f32(round_bits(np.float64(acc[start + k]), fraction))


@inner
def is_fixed(row: Row, stages: int) -> bool:
    """Return whether EW3 scales and rounds by whole numbers."""
    return row[stages + Attribute.EW3_OP] not in (NO_EW3, ZERO_FIRST)


@inner
def scaled_once(acc: int, m: int, s: int, away: bool) -> Any:
    """Return acc * m / 2**(31 - s), of numbers of 32 bits, rounded to the nearest: half up, or away from 0."""
    last: Any = min(max(s, -31), 30)
    product, half = i64(acc) * i64(m), i64(1) << (30 - last)
    if away and product < 0:
        return -((half - product) >> (31 - last))
    return (product + half) >> (31 - last)


@inner
def scaled_twice(acc: int, m: int, s: int) -> Any:
    """Return acc * 2**max(s, 0), kept within 32 bits, times m / 2**31, rounded, times 2**min(s, 0), rounded again.

    Half goes up first, away from 0 then.
    """
    left: Any = min(max(s, 0), 30)
    right: Any = min(max(-s, 0), 31)
    a: Any = min(max(i64(acc) << left, -(2**31)), 2**31 - 1)
    a = min((a * i64(m) + (1 << 30)) >> 31, 2**31 - 1)
    below = 1 if a < 0 and right > 0 else 0
    return (a + ((i64(1) << right) >> 1) - below) >> right


@inner
def bounds(row: Row, stages: int) -> tuple[Any, Any]:
    """Return between what relu or clip leaves values, both float32."""
    fraction = row[Call.FRACTION]
    if row[stages + Attribute.SF] == RELU:
        return f32(0), f32(np.inf)
    low = f32(round_bits(float_attribute(row, stages + Attribute.CLIP_LOW), fraction))
    return low, f32(round_bits(float_attribute(row, stages + Attribute.CLIP_HIGH), fraction))


@inner
def special_function(row: Row, stages: int, v: Floats, table: Floats) -> None:
    """SF: v through the chosen function; each result is rounded to the format."""
    word, fraction = row[stages + Attribute.SF], row[Call.FRACTION]
    if word == RELU:
        for k in range(v.size):
            v[k] = v[k] if v[k] > f32(0) else f32(0)
    elif word == CLIP:
        low, high = bounds(row, stages)
        for k in range(v.size):
            a = low if v[k] < low else v[k]
            v[k] = high if a > high else a
    elif word == LEAKY_RELU:
        slope = f32(round_bits(float_attribute(row, stages + Attribute.SLOPE), fraction))
        if fraction == FP32_FRACTION:
            for k in range(v.size):
                v[k] = v[k] * slope if v[k] < f32(0) else v[k]
        else:
            for k in range(v.size):
                a = f32(round_bits(np.float64(v[k]) * np.float64(slope), fraction))
                v[k] = a if v[k] < f32(0) else v[k]
    elif word == SIGMOID:
        for k in range(v.size):
            v[k] = sigmoid(v[k])
        round_all(v, fraction)
    elif word == TANH:
        for k in range(v.size):
            v[k] = tanh(v[k])
        round_all(v, fraction)
    elif word == GELU:
        for k in range(v.size):
            v[k] = gelu(v[k])
        round_all(v, fraction)
    elif word == SILU:
        for k in range(v.size):
            v[k] = silu(v[k])
        round_all(v, fraction)
    elif word == EXP:
        for k in range(v.size):
            v[k] = exp(v[k])
        round_all(v, fraction)
    elif word == RECIPROCAL:
        for k in range(v.size):
            v[k] = f32(1) / v[k]
        round_all(v, fraction)
    elif word == RSQRT:
        for k in range(v.size):
            v[k] = f32(1 / np.sqrt(np.float64(v[k])))
        round_all(v, fraction)
    elif word == SQRT:
        for k in range(v.size):
            # One rounding is left of both: float64 has bits to spare.
            v[k] = f32(round_bits(np.sqrt(np.float64(v[k])), fraction))
    elif word == HARD_SIGMOID:
        factor = np.float64(f32(round_bits(float_attribute(row, stages + Attribute.SLOPE), fraction)))
        offset = np.float64(f32(round_bits(float_attribute(row, stages + Attribute.OFFSET), fraction)))
        for k in range(v.size):
            # In every format, fp32 too: a sum or product in float64 and one rounding are the same.
            a = f32(round_bits(np.float64(v[k]) * factor, fraction))
            v[k] = unit(f32(round_bits(np.float64(a) + offset, fraction)))
    elif word == HARD_SWISH:
        for k in range(v.size):
            a = f32(round_bits(np.float64(v[k]) / 6.0, fraction))
            a = unit(f32(round_bits(np.float64(a) + 0.5, fraction)))
            v[k] = f32(round_bits(np.float64(v[k]) * np.float64(a), fraction))
    elif word == BY_TABLE:
        shift = i32(row[stages + Attribute.TABLE_OFFSET])
        first, last = f32(-128 - shift), f32(127 - shift)
        for k in range(v.size):
            v[k] = table[u64(saturated(v[k], first, last, shift) + 128)]


# Between which magnitudes a constant is moderate; as the bits of float32, the least and how many more.
LEAST_MODERATE, MOST_MODERATE = 2.0**-40, 2.0**40
LEAST_BITS, RANGE_BITS = u32((127 - 40) << 23), u32(80 << 23)


@inner
def are_moderate(values: Floats) -> bool:
    """Return whether float32 are 0 or of magnitudes from 2**-40 to 2**40.

    Then no number that `all_at_once` computes from integers is a NaN or infinite. In the shorter formats, errors too,
    each is 0 or between 2**-95 and 2**112 in magnitude: times EW1's scale, from 2**-40 to 2**71 in multiples of 2**-55
    at least; with EW2, below FAR in such multiples; times EW3's, below 2**112.
    """
    bits, far = values.view(np.uint32), u32(0)
    for k in range(u64(values.size)):
        magnitude = u32(bits[k] & u32(0x7FFFFFFF))
        # A vector holds twice as many as of what the sum of two of 32 bits is.
        far = u32(far | u32((magnitude != u32(0)) & (u32(magnitude - LEAST_BITS) > RANGE_BITS)))
    return far == u32(0)
