"""The chain EW1 -> EW2 -> SF -> EW3 on blocks of rows, in the engine's vector format.

A row is the innermost dimension of the result, or a stripe of it; a block is several rows side by side in a float32
buffer (every format's numbers are float32 numbers). Each stage runs over the whole block before the next begins: the
choice of stage, type and format is made once for a block, so the loops are free of branches and LLVM vectorises them,
and the number of loops compiled is the sum of the choices, not their product. Two things are done in passing, because
nearly all of an int8 network needs them: EW1's scale as accumulators become floats, and relu or clip as integers are
stored, which clamps them in any case. Constants are repeated up to LINE elements, so that few channels make long loops
too. A block of LANES elements and its constants stay in the first-level cache; what a block costs on top of its
elements, about 0.2 us, is 0.05 ns for each of them. What ends most instructions of such a network is done in one pass
(emulator/kernels/requantise.py): 8 bits, by moderate scales, a second tensor of 8 bits, relu or clip.

The two, `one_pass` and `by_stages`, are compiled apart from the kernels, which call them by the addresses in their
rows: so a program for which one pass is enough does not wait for the stages, which take five seconds to compile. A
kernel that finds other constants than were expected ends with NotImplementedError, its result not begun, and is called
anew once there are the stages (emulator/execute/walkers.py).

In fp32 a stage is one float32 operation. In the shorter formats it is done in float64, where a product is exact and a
sum of two has bits to spare, and rounded once; in one pass, in float32, which holds the error of what it rounds as long
as scales are moderate. Measured on one core with AVX-512, for an element: 0.05 ns from an accumulator to a scaled
number in fp32, 0.5 ns in fp24; 0.07 ns for a scaled sum in fp32; 0.07 ns from a number to i8.
"""

from typing import Any, NamedTuple

import numpy as np

from emulator.jit.arrays import Array, Bytes, Floats, Integers, Row, Words
from emulator.jit.compile import hot, inlined, inner
from emulator.jit.intrinsics import borrowed, viewed, whole
from emulator.jit.later import types
from emulator.jit.operations import call_by_address
from emulator.kernels.arithmetic import (
    ADD,
    CLIP,
    MUL,
    NO_EW2,
    NO_EW3,
    NO_SF,
    RELU,
    ROUND_AWAY,
    ROUND_TWICE,
    SUB,
    ZERO_FIRST,
    add_scaled,
    are_moderate,
    bounds,
    combine,
    is_fixed,
    load_accumulators,
    scale_and_add,
    scaled_once,
    scaled_twice,
    special_function,
    with_constant,
)
from emulator.kernels.numbers import (
    FP32_FRACTION,
    I8_CODE,
    I32_CODE,
    U8_CODE,
    address,
    f32,
    i32,
    i64,
    integer_range,
    is_floating,
    padded,
    round_all,
    round_bits,
    rounding_factor,
    store_integers,
    u64,
)
from emulator.kernels.requantise import HAS_LAST, HAS_SECOND, IS_SHORT, requantise
from emulator.kernels.rows import (
    OUT,
    Attribute,
    Slot,
    X,
    load_rows,
    row_count,
    row_start,
    rows_in_run,
    store_rows,
)
from emulator.kernels.workspace import room
from emulator.plan.blocks import CONSTANTS, LANES, LINE, TABLE_ELEMENTS
from emulator.plan.row import ABSENT, Call, Field, operand_slot

ZERO = whole(0)
# Where the chain's operands begin that is entered without a product.
ELTWISE_CHAIN = whole(operand_slot("eltwise", "ew1_scale"))
FAR = 2.0**72
FEW_ROWS = 8

# The constants of the stages in the order in which a chain holds them: slots, and what changes nothing; then the table.
CONSTANT_SLOTS = ((Slot.EW1_SCALE, 1.0), (Slot.EW1_BIAS, -0.0), (Slot.EW2_SCALE, 1.0), (Slot.EW3_SCALE, 1.0))
SCALE_1, BIAS_1, SCALE_2, SCALE_3 = (whole(k) for k in range(len(CONSTANT_SLOTS)))
assert len(CONSTANT_SLOTS) == CONSTANTS


class Chain(NamedTuple):
    """The chain of an instruction: where in its row its fields are, and what of its numbers lies where in `floats`.

    That is the view of `memory`, the first `used` bytes of the walker's scratch memory: v, a block of results, and d,
    its second operand, `apart` numbers each; then the constants, rounded, `step` numbers each, of which `line` are a
    whole number of rows. What is absent is not filled in, or, where all stages are done `at_once`, with a number that
    changes nothing. One array for all of them: each more takes seven registers from hand to hand.
    """

    memory: Bytes
    floats: Floats
    used: int
    operands: int
    stages: int
    at_once: bool
    block: int
    apart: int
    line: int
    step: int


@inner
def fill(arena: Bytes, row: Row, slot: int, values: Floats, to: int, size: int, period: int) -> None:
    """Fill `size` values from number `to` on with a vector of a constant buffer, rounded; repeated after `period`."""
    floats, start, begin = viewed(arena, np.float32), u64(row[slot + Field.ADDRESS] >> 2), u64(to)
    if row[slot + Field.SHAPE + 3] > 1:
        for k in range(u64(period)):
            values[begin + k] = floats[start + k]
        round_all(values[to : to + period], row[Call.FRACTION])
        for more in range(begin + u64(period), begin + u64(size), u64(period)):
            for k in range(u64(period)):
                values[more + k] = values[begin + k]
    else:
        value = f32(round_bits(np.float64(floats[start]), row[Call.FRACTION]))
        for k in range(u64(size)):
            values[begin + k] = value


@inner
def constant(row: Row, chain: Chain, number: int, slot: int) -> Floats:
    """Return a constant of a chain, a whole number of rows; it is empty where absent."""
    at = 2 * chain.apart + number * chain.step
    return chain.floats[at : at if row[chain.operands + slot + Field.ADDRESS] == ABSENT else at + chain.line]


@inlined
def is_at_once(row: Row, operands: int, stages: int) -> bool:
    """Return whether all stages can be done in one pass if scales are moderate: 8 bits, EW2 at most a sum of 8 bits.

    In the shorter formats EW1 has no bias. eltwise reads x as it lies.
    """
    operation, function, second = row[stages + Attribute.EW2_OP], row[stages + Attribute.SF], operands + Slot.EW2
    bytes_only = row[OUT + Field.DTYPE] in (I8_CODE, U8_CODE) and row[X + Field.DTYPE] in (I8_CODE, U8_CODE)
    if not bytes_only or function not in (NO_SF, RELU, CLIP) or row[stages + Attribute.EW3_OP] != NO_EW3:
        return False
    if operands == ELTWISE_CHAIN and row[X + Field.SHAPE + 3] != row[OUT + Field.SHAPE + 3]:
        return False
    # A shorter format's product of 32 bits and a bias have a sum whose error is no float32.
    if row[Call.FRACTION] != FP32_FRACTION and row[operands + Slot.EW1_BIAS + Field.ADDRESS] != ABSENT:
        return False
    if operation in (ADD, SUB):
        held = row[second + Field.DTYPE] in (I8_CODE, U8_CODE)
        return held and row[second + Field.SHAPE + 3] == row[OUT + Field.SHAPE + 3]
    return operation == NO_EW2


@inner
def line_of(channels: int, rows: int) -> int:
    """Return up to how many elements constants are repeated: to repeat them takes as long as a few rows."""
    return channels * max(1, min(LINE // channels, rows // FEW_ROWS))


@inner
def open_chain(arena: Bytes, row: Row, operands: int, stages: int) -> Chain:
    """Return the chain of a row, whose operands and attributes begin at these places of it."""
    channels, at_once = row[OUT + Field.SHAPE + 3], is_at_once(row, operands, stages)
    rows = row_count(row)
    block = channels * min(max(1, LANES // channels), rows)
    line = line_of(channels, rows)
    # Each buffer begins a cache line.
    apart, step = padded(block, 16), padded(line, 16)
    if row[Call.CONSTANTS] != 0:
        memory = arena[row[Call.CONSTANTS] : row[Call.CONSTANTS] + 4 * CONSTANTS * step]
        floats = viewed(borrowed(memory), np.float32)
        return Chain(memory, floats, ZERO, operands, stages, True, block, ZERO, line, step)
    used = 4 * (2 * apart + CONSTANTS * step + TABLE_ELEMENTS)
    memory = room(arena, row, 0, used)
    floats = viewed(borrowed(memory), np.float32)
    to = 2 * apart
    for slot, neutral in CONSTANT_SLOTS:
        if row[operands + slot + Field.DTYPE] == I32_CODE:
            # The whole numbers of EW3 are read where they lie.
            pass
        elif row[operands + slot + Field.ADDRESS] != ABSENT:
            fill(arena, row, operands + slot, floats, to, line, channels)
        elif at_once:
            for k in range(u64(to), u64(to + line)):
                floats[k] = f32(neutral)
        to += step
    for number in range(CONSTANTS if at_once else 0):
        at = 2 * apart + number * step
        at_once = at_once and are_moderate(floats[at : at + channels])
    if row[operands + Slot.TABLE + Field.ADDRESS] != ABSENT:
        fill(arena, row, operands + Slot.TABLE, floats, to, TABLE_ELEMENTS, TABLE_ELEMENTS)
    return Chain(memory, floats, used, operands, stages, at_once, block, apart, line, step)


@inner
def as_signed(dtype: int, less: int, is_turned: bool) -> tuple[int, int]:
    """Return by what the bits of an element of 8 bits are turned over, and what comes off the i8 that they are then.

    What is left is the element less `less`; with its sign turned over, if that is to be.
    """
    flip, off = (0, less) if dtype == I8_CODE else (128, less - 128)
    return (flip ^ 255, -off - 1) if is_turned else (flip, off)


@inner
def all_at_once(
    arena: Bytes,
    row: Row,
    chain: Chain,
    source: Array,
    start: int,
    zero: int,
    pitch: int,
    first: int,
    count: int,
) -> None:
    """Take rows of the result, `count` from number `first` on, through EW1 to EW3 into memory, in one pass.

    source[start + r * pitch + c] is the accumulator of row first + r and channel c; or, of bytes, an element of x, with
    a zero point to be taken off.
    """
    channels, stages, second = row[OUT + Field.SHAPE + 3], chain.stages, chain.operands + Slot.EW2
    operation, fraction = row[stages + Attribute.EW2_OP], row[Call.FRACTION]
    run = rows_in_run(row, OUT)
    if operation != NO_EW2:
        run = min(run, rows_in_run(row, second))
    low, high = f32(-np.inf), f32(np.inf)
    if row[stages + Attribute.SF] != NO_SF:
        low, high = bounds(row, stages)
    least, greatest = integer_range(row[OUT + Field.DTYPE])
    out_zero = row[stages + Attribute.OUT_ZERO]
    below, above = f32(least - out_zero), f32(greatest - out_zero)
    choice = i64(0)
    if fraction != FP32_FRACTION:
        choice |= IS_SHORT
        # Times a moderate scale what lies so far off is stored as what is infinite, or 0 if that is 0.
        low, high = min(max(low, f32(-FAR)), f32(FAR)), min(max(high, f32(-FAR)), f32(FAR))
    if row[chain.operands + Slot.EW3_SCALE + Field.ADDRESS] != ABSENT:
        choice |= HAS_LAST
    else:
        # Nothing comes between them and the store: one clamp does for both.
        below, above = min(max(low, below), above), min(max(high, below), above)
    x_flip, x_less = as_signed(row[X + Field.DTYPE], zero, False)
    d_flip, d_less = as_signed(row[second + Field.DTYPE], row[stages + Attribute.EW2_ZERO], operation == SUB)
    factor, out_flip = rounding_factor(fraction), 128 if row[OUT + Field.DTYPE] == U8_CODE else 0
    scale = 2 * chain.apart
    # Rows that lie side by side are done as many at a time as the constants hold.
    piece = chain.line if pitch == channels else channels
    done = 0
    while done < count:
        rows = min(count - done, run - (first + done) % run)
        to, d = row[OUT + Field.ADDRESS] + row_start(row, OUT, first + done), i64(0)
        if operation != NO_EW2:
            d = row[second + Field.ADDRESS] + row_start(row, second, first + done)
            choice |= HAS_SECOND
        x, left = start + done * pitch, rows * channels
        while left > 0:
            n = min(piece, left)
            several = left // n
            requantise(
                source, x, x_flip, x_less, arena, d, d_flip, d_less, chain.floats, scale, chain.step, to, n, several, n,
                n if pitch == channels else pitch, choice, low, high, below, above, out_zero, out_flip, factor,
            )  # fmt: skip
            x, d, to, left = x + several * n, d + several * n, to + several * n, left - several * n
        done += rows


@inner
def store_sums(arena: Bytes, row: Row, chain: Chain, acc: Integers, pitch: int, first: int, count: int) -> None:
    """Store accumulators of 32 bits as they are, as `run_chain` has them, each with a second tensor's i32 added."""
    words, channels, second = viewed(arena, np.int32), u64(row[OUT + Field.SHAPE + 3]), chain.operands + Slot.EW2
    added, step = row[chain.stages + Attribute.EW2_OP] != NO_EW2, u64(row[second + Field.SHAPE + 3] > 1)
    for r in range(count):
        at, of_acc = u64((row[OUT + Field.ADDRESS] >> 2) + row_start(row, OUT, first + r)), u64(r * pitch)
        if added:
            d = u64((row[second + Field.ADDRESS] >> 2) + row_start(row, second, first + r))
            for k in range(channels):
                words[at + k] = i32(acc[of_acc + k] + words[d + k * step])
        else:
            for k in range(channels):
                words[at + k] = acc[of_acc + k]


@inner
def store_fixed(arena: Bytes, row: Row, chain: Chain, acc: Integers, pitch: int, first: int, count: int) -> None:
    """Store accumulators of 32 bits as `run_chain` has them, scaled and rounded by whole numbers."""
    words, channels, slot = viewed(arena, np.int32), row[OUT + Field.SHAPE + 3], chain.operands + Slot.EW3_SCALE
    fractions = u64(row[slot + Field.ADDRESS] >> 2)
    powers, step = fractions + u64(row[slot + Field.STRIDE + 2]), u64(row[slot + Field.SHAPE + 3] > 1)
    twice = row[chain.stages + Attribute.EW3_OP] == ROUND_TWICE
    away = row[chain.stages + Attribute.EW3_OP] == ROUND_AWAY
    floor = 0 if row[chain.stages + Attribute.SF] == RELU else -(2**31)
    zero, (least, greatest) = row[chain.stages + Attribute.OUT_ZERO], integer_range(row[OUT + Field.DTYPE])
    results = viewed(chain.memory, np.int32)[:channels]
    for r in range(count):
        at = u64(r * pitch)
        for c in range(u64(channels)):
            m, s, a = words[fractions + c * step], words[powers + c * step], max(acc[at + c], floor)
            q = scaled_twice(a, m, s) if twice else scaled_once(a, m, s, away)
            results[c] = i32(min(max(q + zero, least), greatest))
        to = address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, first + r))
        store_integers(arena, row[OUT + Field.DTYPE], to, results)


@hot
def one_pass(
    arena: Bytes,
    row: Row,
    chain: Chain,
    acc: Integers,
    sums: Words,
    pitch: int,
    first: int,
    count: int,
) -> None:
    """Take rows as `run_chain` has them through all stages at once; there are no `sums`."""
    all_at_once(arena, row, chain, acc, i64(0), i64(0), pitch, first, count)


@hot
def by_stages(
    arena: Bytes,
    row: Row,
    chain: Chain,
    acc: Integers,
    sums: Words,
    pitch: int,
    first: int,
    count: int,
) -> None:
    """Take rows as `run_chain` has them stage by stage, block by block."""
    channels, fraction, stages = row[OUT + Field.SHAPE + 3], row[Call.FRACTION], chain.stages
    if row[OUT + Field.DTYPE] == I32_CODE:
        store_sums(arena, row, chain, acc, pitch, first, count)
        return
    if is_fixed(row, stages):
        store_fixed(arena, row, chain, acc, pitch, first, count)
        return
    scale, bias = constant(row, chain, SCALE_1, Slot.EW1_SCALE), constant(row, chain, BIAS_1, Slot.EW1_BIAS)
    second_scale = constant(row, chain, SCALE_2, Slot.EW2_SCALE)
    last_scale = constant(row, chain, SCALE_3, Slot.EW3_SCALE)
    operation, function = row[stages + Attribute.EW2_OP], row[stages + Attribute.SF]
    # With a bias the product is not rounded.
    early = scale if bias.size == 0 else bias[:0]
    low, high, clamped = f32(-np.inf), f32(np.inf), False
    zero, zero_first = row[stages + Attribute.OUT_ZERO], row[stages + Attribute.EW3_OP] == ZERO_FIRST
    last = last_scale.size or zero_first
    if function in (RELU, CLIP) and not last and not is_floating(row[OUT + Field.DTYPE]):
        least, greatest = bounds(row, stages)
        # A NaN counts as 0 there, and only once it is stored.
        if least <= f32(0) and greatest >= f32(0):
            low, high, clamped = least, greatest, True
    # Rows that lie side by side are loaded as many at a time as the constants hold.
    piece = channels
    if pitch == channels:
        piece = chain.line if scale.size else chain.block
    block = chain.block // channels
    for done in range(0, count, block):
        some = min(block, count - done)
        v = chain.floats[: some * channels]
        if acc.size:
            for to in range(0, v.size, piece):
                part = v[to : to + piece]
                load_accumulators(acc, done * pitch + to // channels * pitch, early, part, fraction)
        for r in range(some if sums.size else 0):
            start, at = u64(r * channels), u64((done + r) * pitch)
            for k in range(u64(channels)):
                v[start + k] = f32(round_bits(np.float64(sums[at + k]), fraction))
        if scale.size and bias.size:
            scale_and_add(v, scale, bias, fraction)
        elif bias.size:
            with_constant(v, bias, ADD, fraction)
        elif scale.size and acc.size == 0:
            with_constant(v, scale, MUL, fraction)
        if operation != NO_EW2:
            d = chain.floats[chain.apart : chain.apart + v.size]
            load_rows(arena, row, chain.operands + Slot.EW2, row[stages + Attribute.EW2_ZERO], first + done, d)
            if second_scale.size and operation in (ADD, SUB):
                add_scaled(v, d, second_scale, f32(1) if operation == ADD else f32(-1), fraction)
            else:
                if second_scale.size:
                    with_constant(d, second_scale, MUL, fraction)
                combine(v, d, operation, fraction)
        if not clamped:
            special_function(row, stages, v, chain.floats[2 * chain.apart + CONSTANTS * chain.step :])
        if last_scale.size:
            with_constant(v, last_scale, MUL, fraction)
        if zero_first:
            d = chain.floats[chain.apart : chain.apart + v.size]
            d[:] = f32(round_bits(np.float64(zero), fraction))
            combine(v, d, ADD, fraction)
        store_rows(arena, row, 0 if zero_first else zero, first + done, v, low, high)


def types_of_chain() -> Any:
    """Return the types of `one_pass` and of `by_stages`."""
    numbers, parts = (types.int32[::1], types.int64[::1]), (types.uint8[::1], types.float32[::1])
    chain = types.NamedTuple([*parts, *[types.int64] * 3, types.boolean, *[types.int64] * 4], Chain)
    return types.void(types.uint8[::1], types.int64[::1], chain, *numbers, *[types.int64] * 3)


_call_part: Any = call_by_address(types_of_chain, by_stages)


@inlined
def run_chain(
    arena: Bytes,
    row: Row,
    chain: Chain,
    acc: Integers,
    sums: Words,
    pitch: int,
    first: int,
    count: int,
) -> None:
    """Take rows of the result, `count` from number `first` on, through EW1 to EW3 into memory.

    acc[r * pitch + c] is the accumulator of row first + r and channel c, of 32 bits, which is the result itself if that
    is of type i32; or sums[...] is, of 64. Where there are neither, `count` is one block, and the caller has filled v.
    Raises NotImplementedError before the first where what it takes has not been compiled.
    """
    part = row[Call.ONE_PASS] if chain.at_once and acc.size else row[Call.BY_STAGES]
    if part == 0:
        raise NotImplementedError
    _call_part(part, arena, row, chain, acc, sums, pitch, first, count)
