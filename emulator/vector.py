"""The chain EW1 -> EW2 -> SF -> EW3 on blocks of rows, in the engine's vector format.

A row is the innermost dimension of the result, a block several rows side by side in a float32 buffer (every format's
numbers are float32 numbers). Each stage runs over the whole block before the next begins: the choice of stage, type
and format is made once for a block, so the loops are free of branches and LLVM vectorises them, and the number of
loops compiled is the sum of the choices, not their product. A block of LANES elements and its constants, repeated for
each of its rows, stay in the first-level cache (6 buffers of 8 KB).

In fp32 a stage is one float32 operation. In the shorter formats it is done in float64, where a product is exact and a
sum of two has bits to spare, and rounded once. Measured on one core with AVX-512: 0.05 ns for an element's sum or
product in fp32, 0.35 ns in fp24; 0.5 ns for a sigmoid, 0.7 ns for a tanh.
"""

from typing import Any

import numpy as np

from emulator.jit import inner, whole
from emulator.plan import ABSENT, ADDRESS, DTYPE, FIELDS, FRACTION, SHAPE, STRIDE, attribute_slot, operand_slot
from isa.dtypes import BF16, F16, F32, I8, I16, I32, U8
from isa.table import MNEMONICS

LANES = 2048

# Types as they stand in a row.
I8_CODE, U8_CODE, I16_CODE, I32_CODE = I8.code, U8.code, I16.code, I32.code
F16_CODE, BF16_CODE, F32_CODE = F16.code, BF16.code, F32.code
# Every tensor instruction has its result and its first tensor in front; the stages' fields follow at these distances.
OUT, X = whole(0), whole(FIELDS)
CHAIN = operand_slot("conv", "ew1_scale")
EW1_SCALE, EW1_BIAS, EW2, EW2_SCALE, TABLE, EW3_SCALE = (
    operand_slot("conv", name) - CHAIN for name in ("ew1_scale", "ew1_bias", "ew2", "ew2_scale", "table", "ew3_scale")
)
CHAIN_ATTRIBUTES = attribute_slot("conv", "ew2_op")
EW2_OP, SF, CLIP_LOW, CLIP_HIGH, SLOPE, OFFSET, EW2_ZERO, OUT_ZERO = (
    attribute_slot("conv", name) - CHAIN_ATTRIBUTES
    for name in ("ew2_op", "sf", "clip_low", "clip_high", "slope", "offset", "ew2_zero", "out_zero")
)
for _name in ("conv", "dwconv", "matmul", "eltwise"):
    assert (operand_slot(_name, "out"), operand_slot(_name, "x")) == (OUT, X), _name
    _operands, _attributes = operand_slot(_name, "ew1_scale"), attribute_slot(_name, "ew2_op")
    assert operand_slot(_name, "ew3_scale") - _operands == EW3_SCALE, _name
    assert attribute_slot(_name, "out_zero") - _attributes == OUT_ZERO, _name


def _words(name: str) -> tuple[str, ...]:
    return next(spec.words for spec in MNEMONICS["conv"].choices if spec.name == name)


NO_EW2, ADD, SUB, MUL, MAX, MIN = (
    whole(_words("ew2_op").index(word)) for word in ("none", "add", "sub", "mul", "max", "min")
)
RELU, CLIP, LEAKY_RELU, SIGMOID, TANH, BY_TABLE = (
    _words("sf").index(word) for word in ("relu", "clip", "leaky_relu", "sigmoid", "tanh", "table")
)
GELU, SILU, EXP, RECIPROCAL, RSQRT, HARD_SIGMOID, HARD_SWISH = (
    _words("sf").index(word) for word in ("gelu", "silu", "exp", "reciprocal", "rsqrt", "hard_sigmoid", "hard_swish")
)

# Buffers of a block, by their row in `work`.
V, D, S1, B1, S2, S3 = range(6)
BUFFERS = 6

FP32_FRACTION = 23
EXPONENT_FIELD = np.int64(0x7FF0000000000000)
LEAST_NORMAL = np.int64(1023 - 126) << 52
# Above every sum and product of two float32, below float64's infinity by enough.
GREATEST = np.int64(1023 + 300) << 52
HALF_FRACTION = np.int64(1) << 51

Array = np.ndarray
f32 = np.float32
u32, u64 = np.uint32, np.uint64


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
def float_attribute(row: Array, at: int) -> Any:
    """Return a floating attribute of a row, as float64."""
    return np.int64(row[at]).view(np.float64)


@inner
def row_count(row: Array) -> Any:
    """Return the number of rows of the result."""
    return row[OUT + SHAPE] * row[OUT + SHAPE + 1] * row[OUT + SHAPE + 2]


@inner
def rows_in_run(row: Array, slot: int) -> int:
    """Return how many rows of a tensor, counted from a multiple of that number, follow each other in memory."""
    channels = row[OUT + SHAPE + 3]
    run = 1
    if row[slot + SHAPE + 3] == channels:
        for d in range(2, -1, -1):
            size = row[OUT + SHAPE + d]
            if row[slot + SHAPE + d] != size or (size > 1 and row[slot + STRIDE + d] != run * channels):
                break
            run *= size
    return run


@inner
def row_start(row: Array, slot: int, index: int) -> Any:
    """Return the element, from the tensor's first, where the row that belongs to the result's row `index` begins."""
    across = row[OUT + SHAPE + 2]
    down = row[OUT + SHAPE + 1]
    start = 0
    if row[slot + SHAPE + 2] > 1:
        start += index % across * row[slot + STRIDE + 2]
    if row[slot + SHAPE + 1] > 1:
        start += index // across % down * row[slot + STRIDE + 1]
    if row[slot + SHAPE] > 1:
        start += index // (across * down) * row[slot + STRIDE]
    return start


@inner
def combine(v: Array, d: Array, operation: int, fraction: int) -> None:
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
        else:
            for k in range(v.size):
                v[k] = v[k] * d[k]
    elif operation == MUL:
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]) * np.float64(d[k]), fraction))
    else:
        sign = 1.0 if operation == ADD else -1.0
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]) + sign * np.float64(d[k]), fraction))


@inner
def round_all(v: Array, fraction: int) -> None:
    if fraction != FP32_FRACTION:
        for k in range(v.size):
            v[k] = f32(round_bits(np.float64(v[k]), fraction))


@inner
def load_constant(floats: Array, row: Array, slot: int, channels: int, buffer: Array) -> None:
    """Fill a buffer with a vector of the constant buffer, rounded as it is loaded, repeated for each row."""
    if row[slot + ADDRESS] == ABSENT:
        return
    start = row[slot + ADDRESS] >> 2
    step = 1 if row[slot + SHAPE + 3] > 1 else 0
    for k in range(buffer.size):
        buffer[k] = floats[start + k * step] if k < channels else buffer[k - channels]
    round_all(buffer, row[FRACTION])


@inner
def load_multiplier(arena: Array, row: Array, slot: int) -> Any:
    """Return the one element of a multiplier in the constant buffer, rounded as it is loaded; 1 where absent."""
    if row[slot + ADDRESS] == ABSENT:
        return np.float64(1)
    return round_bits(np.float64(arena.view(np.float32)[row[slot + ADDRESS] >> 2]), row[FRACTION])


@inner
def open_chain(arena: Array, row: Array, operands: int) -> tuple[Array, Array]:
    """Return (buffers of a block, its constants loaded; the table of SF).

    `operands` says where in the row the chain's operands begin.
    """
    channels = row[OUT + SHAPE + 3]
    floats = arena.view(np.float32)
    work = np.empty((BUFFERS, channels * min(max(1, LANES // channels), row_count(row))), np.float32)
    load_constant(floats, row, operands + EW1_SCALE, channels, work[S1])
    load_constant(floats, row, operands + EW1_BIAS, channels, work[B1])
    load_constant(floats, row, operands + EW2_SCALE, channels, work[S2])
    load_constant(floats, row, operands + EW3_SCALE, channels, work[S3])
    table = np.empty(256, np.float32)
    load_constant(floats, row, operands + TABLE, table.size, table)
    return work, table


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
def load_rows(arena: Array, row: Array, slot: int, zero: int, first: int, v: Array) -> None:
    """Fill v with rows of a tensor of any type, broadcast to the result, less its zero point, rounded once."""
    channels, fraction, dtype = row[OUT + SHAPE + 3], row[FRACTION], row[slot + DTYPE]
    count = v.size // channels
    step = u64(1) if row[slot + SHAPE + 3] == channels else u64(0)
    run = rows_in_run(row, slot)
    halves, words, floats = arena.view(np.uint16), arena.view(np.int32), arena.view(np.float32)
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        start = row_start(row, slot, first + done)
        to, n = u64(done * channels), u64(rows * channels)
        if dtype in (I8_CODE, U8_CODE):
            # An i8 with its sign bit turned over is a u8 128 above it.
            flip, less = (128, zero + 128) if dtype == I8_CODE else (0, zero)
            at = u64(row[slot + ADDRESS] + start)
            for k in range(n):
                v[to + k] = f32((np.int32(arena[at + k * step]) ^ flip) - less)
        elif dtype in (I32_CODE, F32_CODE):
            at = u64((row[slot + ADDRESS] >> 2) + start)
            if dtype == I32_CODE:
                for k in range(n):
                    v[to + k] = f32(round_bits(np.float64(words[at + k * step]), fraction))
            else:
                for k in range(n):
                    v[to + k] = floats[at + k * step]
        else:
            at = u64((row[slot + ADDRESS] >> 1) + start)
            if dtype == I16_CODE:
                for k in range(n):
                    v[to + k] = f32(np.int32(np.int16(halves[at + k * step])) - zero)
            elif dtype == F16_CODE:
                for k in range(n):
                    v[to + k] = from_f16(halves[at + k * step])
            else:
                for k in range(n):
                    v[to + k] = u32(u32(halves[at + k * step]) << u32(16)).view(np.float32)
        done += rows
    # Every number of the other types is one of each format.
    if dtype in (F32_CODE, I16_CODE):
        round_all(v, fraction)


@inner
def exp_factors(x: Any, rest: Any) -> tuple[Any, Any]:
    """Return two factors of e**(x + rest) in float32: x = n ln 2 + r, 2**n times a polynomial of r + rest."""
    x = f32(-120.0) if x < f32(-120.0) else x
    x = f32(89.0) if x > f32(89.0) else x
    n = np.rint((x if x == x else f32(0)) * f32(1.4426950408889634))
    r = ((x - n * f32(0.693359375)) - n * f32(-2.12194440054690583e-4)) + rest
    p = f32(1 / 5040)
    p = p * r + f32(1 / 720)
    p = p * r + f32(1 / 120)
    p = p * r + f32(1 / 24)
    p = p * r + f32(1 / 6)
    p = p * r + f32(1 / 2)
    p = p * r + f32(1)
    p = p * r + f32(1)
    half = np.floor(n * f32(0.5))
    low = np.int32((np.int32(half) + np.int32(127)) << np.int32(23)).view(np.float32)
    high = np.int32((np.int32(n - half) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * low, high


@inner
def exp(x: Any) -> Any:
    """Return e**x in float32."""
    value, scale = exp_factors(x, f32(0))
    return value * scale


@inner
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e**-x) in float32, by way of e**-|x|."""
    e = exp(-np.abs(x))
    return (e if x < f32(0) else f32(1)) / (f32(1) + e)


@inner
def tanh(x: Any) -> Any:
    """Return tanh x in float32: a polynomial where x is small, else 1 - 2 / (e**2|x| + 1) with the sign of x."""
    z = x * x
    p = f32(-1382 / 155925)
    p = p * z + f32(62 / 2835)
    p = p * z + f32(-17 / 315)
    p = p * z + f32(2 / 15)
    p = p * z + f32(-1 / 3)
    small = x + x * (z * p)
    a = np.abs(x)
    large = np.copysign(f32(1) - f32(2) / (exp(a + a) + f32(1)), x)
    return small if a < f32(0.35) else large


@inner
def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) in float32, as x e**-|x| / (1 + e**-|x|) below 0."""
    value, scale = exp_factors(-np.abs(x), f32(0))
    below = (value * (f32(-120.0) if x < f32(-120.0) else x)) * scale
    return (below if x < f32(0) else x) / (f32(1) + value * scale)


@inner
def gelu(x: Any) -> Any:
    """Return x (1 + erf(x / sqrt 2)) / 2 in float32, by way of the share of the normal distribution beyond |x|."""
    a = np.abs(x)
    a = f32(15) if a > f32(15) else a
    t = f32(1) / (f32(1) + f32(0.3) * a)
    tail = f32(-0.020628888)
    tail = tail * t + f32(0.11246602)
    tail = tail * t + f32(-0.22828767)
    tail = tail * t + f32(0.1918871)
    tail = tail * t + f32(-0.0795123)
    tail = tail * t + f32(0.09620658)
    tail = tail * t + f32(0.07837166)
    tail = tail * t + f32(0.11023946)
    tail = tail * t + f32(0.119571306)
    tail = tail * t + f32(0.119686715)
    tail = tail * t
    upper = u32(f32(a).view(np.uint32) & u32(0xFFFFF000)).view(np.float32)
    value, scale = exp_factors(-(upper * upper) * f32(0.5), -((a - upper) * (a + upper)) * f32(0.5))
    below = (value * (tail * (f32(-15) if x < f32(-15) else x))) * scale
    return below if x < f32(0) else x * (f32(1) - (value * tail) * scale)


@inner
def unit(a: Any) -> Any:
    """Return a held between 0 and 1; NaN stays."""
    a = f32(0) if a < f32(0) else a
    return f32(1) if a > f32(1) else a


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
def special_function(row: Array, stages: int, v: Array, table: Array) -> None:
    """SF: v through the chosen function; each result is rounded to the format."""
    word, fraction = row[stages + SF], row[FRACTION]
    if word == RELU:
        for k in range(v.size):
            v[k] = v[k] if v[k] > f32(0) else f32(0)
    elif word == CLIP:
        low = f32(round_bits(float_attribute(row, stages + CLIP_LOW), fraction))
        high = f32(round_bits(float_attribute(row, stages + CLIP_HIGH), fraction))
        for k in range(v.size):
            a = low if v[k] < low else v[k]
            v[k] = high if a > high else a
    elif word == LEAKY_RELU:
        slope = f32(round_bits(float_attribute(row, stages + SLOPE), fraction))
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
    elif word == HARD_SIGMOID:
        factor = np.float64(f32(round_bits(float_attribute(row, stages + SLOPE), fraction)))
        offset = np.float64(f32(round_bits(float_attribute(row, stages + OFFSET), fraction)))
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
        for k in range(v.size):
            v[k] = table[saturated(v[k], 0, -128, 127) + 128]


@inner
def store_rows(arena: Array, row: Array, zero: int, first: int, v: Array) -> None:
    """Store rows: integers rounded and clamped, floats rounded to their type, with its one quiet NaN."""
    channels = row[OUT + SHAPE + 3]
    count = v.size // channels
    run = rows_in_run(row, OUT)
    dtype, halves, floats = row[OUT + DTYPE], arena.view(np.uint16), arena.view(np.float32)
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        start = row_start(row, OUT, first + done)
        to, n = u64(done * channels), u64(rows * channels)
        if dtype in (I8_CODE, U8_CODE):
            low, high = (-128, 127) if dtype == I8_CODE else (0, 255)
            at = u64(row[OUT + ADDRESS] + start)
            for k in range(n):
                arena[at + k] = np.uint8(saturated(v[to + k], zero, low, high))
        elif dtype != F32_CODE:
            at = u64((row[OUT + ADDRESS] >> 1) + start)
            if dtype == I16_CODE:
                for k in range(n):
                    halves[at + k] = np.uint16(saturated(v[to + k], zero, -32768, 32767))
            elif dtype == F16_CODE:
                for k in range(n):
                    halves[at + k] = to_f16(v[to + k])
            else:
                for k in range(n):
                    halves[at + k] = to_bf16(v[to + k])
        else:
            at = u64((row[OUT + ADDRESS] >> 2) + start)
            for k in range(n):
                floats[at + k] = v[to + k] if v[to + k] == v[to + k] else f32(np.nan)
        done += rows


@inner
def run_chain(
    arena: Array,
    row: Array,
    operands: int,
    stages: int,
    acc: Array,
    sums: Array,
    first: int,
    count: int,
    work: Array,
    table: Array,
) -> None:
    """Take `count` rows of the result, from row `first`, through EW1 to EW3 into memory, block by block.

    acc[r] holds the accumulators of row first + r, of 32 bits, which are the result themselves if it is of type i32;
    or sums[r] does, of 64. Where both have no rows, `count` is one block, and the caller has loaded work[V].
    """
    channels, fraction = row[OUT + SHAPE + 3], row[FRACTION]
    if row[OUT + DTYPE] == I32_CODE:
        words = arena.view(np.int32)
        for r in range(count):
            at = u64((row[OUT + ADDRESS] >> 2) + row_start(row, OUT, first + r))
            for k in range(u64(channels)):
                words[at + k] = acc[r, k]
        return
    block = work.shape[1] // channels
    for done in range(0, count, block):
        some = min(block, count - done)
        v = work[V, : some * channels]
        for r in range(min(some, acc.shape[0])):
            to = u64(r * channels)
            if fraction == FP32_FRACTION:
                for k in range(u64(channels)):
                    v[to + k] = f32(acc[done + r, k])
            else:
                for k in range(u64(channels)):
                    v[to + k] = f32(round_bits(np.float64(acc[done + r, k]), fraction))
        for r in range(min(some, sums.shape[0])):
            to = u64(r * channels)
            for k in range(u64(channels)):
                v[to + k] = f32(round_bits(np.float64(sums[done + r, k]), fraction))
        if row[operands + EW1_SCALE + ADDRESS] != ABSENT:
            combine(v, work[S1], MUL, fraction)
        if row[operands + EW1_BIAS + ADDRESS] != ABSENT:
            combine(v, work[B1], ADD, fraction)
        if row[stages + EW2_OP] != NO_EW2:
            d = work[D, : v.size]
            load_rows(arena, row, operands + EW2, row[stages + EW2_ZERO], first + done, d)
            if row[operands + EW2_SCALE + ADDRESS] != ABSENT:
                combine(d, work[S2], MUL, fraction)
            combine(v, d, row[stages + EW2_OP], fraction)
        special_function(row, stages, v, table)
        if row[operands + EW3_SCALE + ADDRESS] != ABSENT:
            combine(v, work[S3], MUL, fraction)
        store_rows(arena, row, row[stages + OUT_ZERO], first + done, v)
