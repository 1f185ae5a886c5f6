"""The chain EW1 -> EW2 -> SF -> EW3 on blocks of rows, in the engine's vector format.

A row is the innermost dimension of the result, a block several rows side by side in a float32 buffer (every format's
numbers are float32 numbers). Each stage runs over the whole block before the next begins: the choice of stage, type
and format is made once for a block, so the loops are free of branches and LLVM vectorises them, and the number of
loops compiled is the sum of the choices, not their product. A block of LANES elements and its constants, repeated for
each of its rows, stay in the first-level cache (6 buffers of 8 KB).

In fp32 a stage is one float32 operation, a product with its sum a fused one. In the shorter formats it is done in
float64, where a product is exact and a sum of two has bits to spare, and rounded once; the sum behind a product is
rounded to odd before, as in isa.formats. Measured on one core with AVX-512: 0.05 ns for an element's sum or
product in fp32, 0.35 ns in fp24; 0.5 ns for a sigmoid, 0.7 ns for a tanh.
"""

from typing import Any

import numpy as np

from emulator.functions import exp, gelu, sigmoid, silu, tanh, unit
from emulator.jit import fused, inner, whole
from emulator.plan import ABSENT, ADDRESS, DTYPE, FIELDS, FRACTION, SHAPE, STRIDE, attribute_slot, operand_slot
from emulator.storage import (
    FP32_FRACTION,
    I32_CODE,
    Array,
    address,
    f32,
    load_numbers,
    round_all,
    round_bits,
    saturated,
    store_numbers,
    to_odd,
    u64,
)
from isa.table import MNEMONICS

LANES = 2048

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
def scale_and_add(v: Array, scale: Array, bias: Array, fraction: int) -> None:
    """Set v to v * scale + bias, rounded once."""
    if fraction == FP32_FRACTION:
        for k in range(v.size):
            v[k] = fused(v[k], scale[k], bias[k])
    else:
        for k in range(v.size):
            v[k] = f32(round_bits(to_odd(np.float64(v[k]) * np.float64(scale[k]), np.float64(bias[k])), fraction))


@inner
def add_scaled(v: Array, d: Array, scale: Array, sign: Any, fraction: int) -> None:
    """Set v to v + sign * d * scale, rounded once; the sign is 1 or -1, a float32."""
    if fraction == FP32_FRACTION:
        for k in range(v.size):
            v[k] = fused(sign * d[k], scale[k], v[k])
    else:
        for k in range(v.size):
            product = np.float64(sign * d[k]) * np.float64(scale[k])
            v[k] = f32(round_bits(to_odd(product, np.float64(v[k])), fraction))


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
    """Return a multiplier of one element, rounded as it is loaded, as float64; 1 where absent."""
    if row[slot + ADDRESS] == ABSENT:
        return np.float64(1)
    # By way of float32, where what rounding carries beyond it is an infinity.
    return np.float64(f32(round_bits(np.float64(arena.view(np.float32)[row[slot + ADDRESS] >> 2]), row[FRACTION])))


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
def load_rows(arena: Array, row: Array, slot: int, zero: int, first: int, v: Array) -> None:
    """Fill v with rows of a tensor of any type, broadcast to the result, less its zero point, rounded once."""
    channels, fraction, dtype = row[OUT + SHAPE + 3], row[FRACTION], row[slot + DTYPE]
    count = v.size // channels
    run = rows_in_run(row, slot)
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        at = address(row, slot, row[slot + ADDRESS], row_start(row, slot, first + done))
        to = done * channels
        if row[slot + SHAPE + 3] == channels:
            load_numbers(arena, dtype, at, zero, fraction, v[to : to + rows * channels])
        else:
            load_numbers(arena, dtype, at, zero, fraction, v[to : to + 1])
            v[to + 1 : to + channels] = v[to]
        done += rows


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
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        at = address(row, OUT, row[OUT + ADDRESS], row_start(row, OUT, first + done))
        store_numbers(arena, row[OUT + DTYPE], at, zero, v[done * channels : (done + rows) * channels])
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
        scaled, biased = row[operands + EW1_SCALE + ADDRESS] != ABSENT, row[operands + EW1_BIAS + ADDRESS] != ABSENT
        if scaled and biased:
            scale_and_add(v, work[S1], work[B1], fraction)
        elif scaled:
            combine(v, work[S1], MUL, fraction)
        elif biased:
            combine(v, work[B1], ADD, fraction)
        operation = row[stages + EW2_OP]
        if operation != NO_EW2:
            d = work[D, : v.size]
            load_rows(arena, row, operands + EW2, row[stages + EW2_ZERO], first + done, d)
            scaled = row[operands + EW2_SCALE + ADDRESS] != ABSENT
            if scaled and operation in (ADD, SUB):
                add_scaled(v, d, work[S2], f32(1) if operation == ADD else f32(-1), fraction)
            else:
                if scaled:
                    combine(d, work[S2], MUL, fraction)
                combine(v, d, operation, fraction)
        special_function(row, stages, v, table)
        if row[operands + EW3_SCALE + ADDRESS] != ABSENT:
            combine(v, work[S3], MUL, fraction)
        store_rows(arena, row, row[stages + OUT_ZERO], first + done, v)
