"""The micro-kernel: a register tile of the product of packed matrices, and copies that pack for it.

    acc[r, o] = base[o] + sum over s of x[r, s] . w[s, o]      for r in ROWS, o in COLUMNS, wrapping as acc does

x[r, s] and w[s, o] are steps of 4 bytes: 4 elements of 8 bits, 2 of 16, or 1 of 32; `.` multiplies and adds them up.
Lines of x lie `stride` bytes apart; w is a panel, [steps][COLUMNS] steps one after another. One turn of the loop loads
the VECTORS vectors of w[s], then, line by line, repeats x[r, s] in a vector and multiplies it with each of them. That
is one load of x for VECTORS products, and a chain of additions for each sum that is one instruction a turn: with 12 or
more sums none waits for the one before. The forms (FORM, see emulator/jit/compile.py), all exact:

    form      element      instruction         vector registers: sums + w + x (+ product)   GMAC/s in L1
    vnni      u8 x s8      vpdpbusd zmm        14 lines x 2 + 2 + 1                         228
    avxvnni   u8 x s8      vpdpbusd ymm        6 x 2 + 2 + 1                                228
    avx512    s16 x s16    vpmaddwd zmm, add   14 x 2 + 2 + 1 + 1                           113
    avx2      s16 x s16    vpmaddwd ymm, add   6 x 2 + 2 + 1 + 1                            114
    portable  s16 x s16    whatever LLVM has   4 x 4 + 2 x 4 + 2                            49

Why no sum is wrong: a product of u8 and s8 is below 2**15 in size, four of them and a sum of 32 bits are added at full
width (vpdpbusd wraps where vpdpbusds would saturate). Elements of 16 bits are 8-bit ones less a zero point, so at most
255: two products stay below 2**17, far from the one case that vpmaddwd cannot hold. What then wraps at 32 bits does so
by the rule of ACC. 16-bit elements (`wide`) come as 32 bits, less their zero point, and are multiplied and added in 64.

Pointers here are raw, checked by the assertions of those functions that are no intrinsics. Measured on one
core of a Zen 4 at about 3.7 GHz, 64 steps; with panels and lines in the second-level cache the rate is the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from emulator.jit.arrays import Array, Bytes, Integers, Words
from emulator.jit.compile import inner
from emulator.jit.forms import DOT_FORM, chosen_form
from emulator.jit.intrinsics import intrinsic, whole
from emulator.jit.later import cgutils, types
from emulator.plan.blocks import COLUMNS, ELEMENT, ROWS, STEP, TILE

FORM = chosen_form()


HALF = whole(TILE.rows // 2)
# Lines and columns of bytes that are transposed at once.
SQUARE = 16
# Sums of 64 bits take twice the registers.
WIDE_ROWS = whole(4 if TILE.rows > 6 else 2)

# Of products without a sum over channels: lanes of a vector, and how many steps have their weights in registers: those
# of windows of 3 and 5 lines and columns.
TAP_LANES = whole(TILE.lanes)
TAPS_HELD = tuple(-(-size // (STEP // TILE.element)) * size for size in (3, 5))

i8, i16, i32, i64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
POINTER = i8.as_pointer()


def number(value: int, kind: Any = i64) -> Any:
    """Return a constant; of a vector type, that value in every lane."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def instruction(builder: Any, name: str, result: Any, *operands: Any) -> Any:
    """Call one of LLVM's names for an instruction of the host."""
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def load(builder: Any, at: Any, kind: Any) -> Any:
    loaded = builder.load(builder.bitcast(at, kind.as_pointer()))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, at: Any) -> None:
    builder.store(value, builder.bitcast(at, value.type.as_pointer())).align = 1


def repeated(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector with a value in every lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(nothing, value, number(0, i32))
    return builder.shuffle_vector(first, nothing, number(0, ir.VectorType(i32, lanes)))


def multiply_add(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    """Return acc + x . w, lane by lane, in the chosen form."""
    if FORM in ("vnni", "avxvnni"):
        name = f"llvm.x86.avx512.vpdpbusd.{32 * TILE.lanes}"
        return instruction(builder, name, acc.type, acc, x, w)
    if FORM in ("avx512", "avx2"):
        name = "llvm.x86.avx512.pmaddw.d.512" if FORM == "avx512" else "llvm.x86.avx2.pmadd.wd"
        pairs = ir.VectorType(i16, 2 * TILE.lanes)
        products = instruction(builder, name, acc.type, builder.bitcast(x, pairs), builder.bitcast(w, pairs))
        return builder.add(acc, products)
    half = number(16, acc.type)
    for part in (lambda v: builder.ashr(builder.shl(v, half), half), lambda v: builder.ashr(v, half)):
        acc = builder.add(acc, builder.mul(part(x), part(w)))
    return acc


def multiply_add_wide(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    """Return acc + x * w, lane by lane, of 32 bits each, in 64."""
    return builder.add(acc, builder.mul(builder.sext(x, acc.type), builder.sext(w, acc.type)))


def multiply_add_floats(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    """Return acc + x * w, lane by lane, of float32 as the words that hold them, rounded once."""
    kind = ir.VectorType(ir.FloatType(), acc.type.count)
    factors = (builder.bitcast(v, kind) for v in (x, w, acc))
    return builder.bitcast(instruction(builder, f"llvm.fma.v{kind.count}f32", kind, *factors), acc.type)


def entire(_: Any, steps: Any) -> Any:
    return steps


def upper(builder: Any, pairs: Any) -> Any:
    """Return the upper halves of words, bf16, as float32."""
    return builder.and_(pairs, number(-(2**16), pairs.type))


def lower(builder: Any, pairs: Any) -> Any:
    return builder.shl(pairs, number(16, pairs.type))


def multiply_add_pairs(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    """Return acc + x * w of upper halves, then of lower ones, by one instruction, where its guard holds (pairs.py).

    As assembly, which compiles for hosts that lack it, too.
    """
    kind = ir.FunctionType(acc.type, [acc.type] * 3)
    return builder.call(ir.InlineAsm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v"), [acc, x, w])


def pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Return where byte `at` of an array lies."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(builder.bitcast(data, POINTER), [at])


def load_steps(builder: Any, at: Any, lanes: int) -> Any:
    """Return a vector of steps of w."""
    return load(builder, at, ir.VectorType(i32, lanes))


def float_of_f16(builder: Any, half: Any) -> Any:
    """Return f16 in words as the words of float32: exponents are moved by a product, which is exact."""
    words, lanes = half.type, half.type.count
    size = builder.shl(builder.and_(half, number(0x7FFF, words)), number(13, words))
    floats = ir.VectorType(ir.FloatType(), lanes)
    found = builder.bitcast(builder.fmul(builder.bitcast(size, floats), ir.Constant(floats, [2.0**112] * lanes)), words)
    # The greatest exponent is that of infinities and NaNs.
    far = builder.icmp_unsigned(">=", size, number(31 << 23, words))
    found = builder.or_(found, builder.select(far, number(0x7F800000, words), number(0, words)))
    return builder.or_(found, builder.shl(builder.and_(half, number(0x8000, words)), number(16, words)))


def load_f16(builder: Any, at: Any, lanes: int) -> Any:
    """Return a vector of f16 as the words of float32."""
    half = load(builder, at, ir.VectorType(i16, lanes))
    return float_of_f16(builder, builder.zext(half, ir.VectorType(i32, lanes)))


def load_f16_by_instruction(builder: Any, at: Any, lanes: int) -> Any:
    """Return the same where the host converts f16."""
    half = builder.bitcast(load(builder, at, ir.VectorType(i16, lanes)), ir.VectorType(ir.HalfType(), lanes))
    return builder.bitcast(builder.fpext(half, ir.VectorType(ir.FloatType(), lanes)), ir.VectorType(i32, lanes))


def load_bf16(builder: Any, at: Any, lanes: int) -> Any:
    """Return a vector of bf16 as the words of float32."""
    words = ir.VectorType(i32, lanes)
    return builder.shl(builder.zext(load(builder, at, ir.VectorType(i16, lanes)), words), number(16, words))


def tile_of(
    rows: int,
    lanes: int,
    sums: Any,
    add: Callable[[Any, Any, Any, Any], Any],
    load_w: Callable[[Any, Any, int], Any] = load_steps,
    size: int = STEP,
    is_strided: bool = False,
    parts: Sequence[Callable[[Any, Any], Any]] = (entire,),
) -> Any:
    """Return a function of compiled code: a tile of so many lines, with vectors of so many sums.

    `load_w` makes steps of what w has at a place, `size` bytes each; of each of them `parts` are factors of steps of x
    that follow each other.
    """
    kind = ir.VectorType(sums, lanes)
    vectors = range(COLUMNS // lanes)
    bytes_of_sums = lanes * sums.width // 8

    place = types.int64

    def typed(x: Any, w: Any, base: Any, acc: Any, *more: Any) -> Any:
        return types.void(x, place, place, w, place, place, base, place, acc, place, place, *more), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_line, panel, start, row = (
            pointer(context, builder, signature.args[k], arguments[k], arguments[at])
            for k, at in ((0, 1), (3, 4), (6, 7), (8, 9))
        )
        stride, steps, across = arguments[2], arguments[5], arguments[10]
        apart, pitch = (arguments[11], arguments[12]) if is_strided else (number(size * COLUMNS), None)
        first: list[list[Any]] = []
        for r in range(rows):
            if pitch is None and r:
                first.append(first[0])
                continue
            first.append([load(builder, builder.gep(start, [number(v * bytes_of_sums)]), kind) for v in vectors])
            start = start if pitch is None else builder.gep(start, [pitch])
        before, loop, done = builder.block, builder.append_basic_block("step"), builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(i64)
        acc = [[builder.phi(kind) for _ in vectors] for _ in range(rows)]
        line = builder.gep(panel, [builder.mul(step, apart)])
        held = [load_w(builder, builder.gep(line, [number(v * size * lanes)]), lanes) for v in vectors]
        x_step, new = builder.gep(x_line, [builder.mul(step, number(len(parts) * STEP))]), acc
        for number_of_part, part in enumerate(parts):
            w, before_part, new = [part(builder, steps_of_w) for steps_of_w in held], new, []
            # Stepping from line to line takes one register, where a pointer for each would take them all.
            line = builder.gep(x_step, [number(number_of_part * STEP)])
            for r in range(rows):
                x = repeated(builder, load(builder, line, i32), lanes)
                new.append([add(builder, before_part[r][v], x, w[v]) for v in vectors])
                line = builder.gep(line, [stride])
        following = builder.add(step, number(1))
        step.add_incoming(number(0), before)
        step.add_incoming(following, loop)
        for r in range(rows):
            for v in vectors:
                acc[r][v].add_incoming(first[r][v], before)
                acc[r][v].add_incoming(new[r][v], loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

        builder.position_at_end(done)
        for r in range(rows):
            for v in vectors:
                store(builder, new[r][v], builder.gep(row, [number(v * bytes_of_sums)]))
            row = builder.gep(row, [across])
        return context.get_dummy_value()

    @intrinsic
    def tile(_: Any, x: Any, x_at: Any, stride: Any, w: Any, w_at: Any, steps: Any, base: Any, base_at: Any, acc: Any, acc_at: Any, across: Any) -> Any:  # noqa: E501 # fmt: skip
        """Multiply lines of x, `stride` bytes apart, by a panel, into rows of acc, `across` bytes apart.

        Each array comes with the byte where its part begins.
        """
        return typed(x, w, base, acc)

    @intrinsic
    def strided_tile(_: Any, x: Any, x_at: Any, stride: Any, w: Any, w_at: Any, steps: Any, base: Any, base_at: Any, acc: Any, acc_at: Any, across: Any, apart: Any, pitch: Any) -> Any:  # noqa: E501 # fmt: skip
        """The same by a panel whose lines are `apart` bytes from each other; the base of each row is `pitch` away."""
        return typed(x, w, base, acc, place, place)

    return strided_tile if is_strided else tile


whole_tile, half_tile, two_lines, one_line = (
    tile_of(int(rows), TILE.lanes, i32, multiply_add) for rows in (ROWS, HALF, 2, 1)
)
# Floats of 16 bits take that much of a panel; every host with AVX2 converts f16, by F16C.
HALF_BYTES = 2
load_f16_of_host = load_f16 if FORM == "portable" else load_f16_by_instruction
(f16_tile, two_f16_lines, one_f16_line), (bf16_tile, two_bf16_lines, one_bf16_line) = (
    [tile_of(int(rows), TILE.lanes, i32, multiply_add_floats, load_w, HALF_BYTES, True) for rows in (ROWS, 2, 1)]
    for load_w in (load_f16_of_host, load_bf16)
)
# Pairs of bf16 by float32, one after the other; and by pairs, both by the instruction, in the form that has it.
_of_pairs = [
    [tile_of(int(rows), TILE.lanes, i32, add, parts=parts) for rows in (ROWS, 2, 1)]
    for add, parts in ((multiply_add_floats, (upper, lower)), (multiply_add_pairs, (entire,)))
]
pairs_tile, two_lines_of_pairs, one_line_of_pairs = _of_pairs[0]
dot_tile, two_dot_lines, one_dot_line = _of_pairs[FORM == DOT_FORM]
wide_tile, one_wide_line = (tile_of(int(rows), TILE.lanes // 2, i64, multiply_add_wide) for rows in (WIDE_ROWS, 1))


def _vectors_of_taps(_: Any, x: Any, at: Any, first: Any, step: Any, w: Any, steps: Any, begin: Any, acc: Any, acc_at: Any, runs: Any, count: Any) -> Any:  # noqa: E501 # fmt: skip
    """Set runs of acc to begin + products of `steps` steps: that of step s is w[s], lane by lane, with x from at[s].

    One vector of all runs, then the next: its weights stay in registers where they are TAPS_HELD, and then a sum costs
    a load and a product a step, and a store.
    """
    lanes, place = TILE.lanes, types.int64
    kind = ir.VectorType(i32, lanes)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sources, offsets, weights, begins, results = (
            pointer(context, builder, signature.args[k], arguments[k], number(0)) for k in (0, 1, 4, 6, 7)
        )
        first, step, steps, acc_at, runs, count = (arguments[k] for k in (2, 3, 5, 8, 9, 10))

        def place_of(base: Any, index: Any) -> Any:
            return builder.gep(base, [builder.mul(index, number(STEP))])

        def offset(s: Any) -> Any:
            return load(builder, builder.gep(offsets, [builder.mul(s, number(8))]), i64)

        def weight(s: Any, o: Any) -> Any:
            return load(builder, place_of(weights, builder.add(builder.mul(s, count), o)), kind)

        def add_step(total: Any, here: Any, of_step: Any, w: Any) -> Any:
            return multiply_add(builder, total, load(builder, place_of(of_step, here), kind), w)

        done = builder.append_basic_block("done")
        other = builder.append_basic_block("other")
        chosen = builder.switch(steps, other)
        for held in (*TAPS_HELD, None):
            block = other if held is None else builder.append_basic_block("held")
            if held is not None:
                chosen.add_case(number(held), block)
            builder.position_at_end(block)
            of_steps = [] if held is None else [place_of(sources, offset(number(s))) for s in range(held)]
            with cgutils.for_range_slice(builder, number(0), count, number(lanes), i64) as (o, _):
                start = load(builder, place_of(begins, o), kind)
                of_weights = [] if held is None else [weight(number(s), o) for s in range(held)]
                to = place_of(results, builder.add(acc_at, o))
                with cgutils.for_range(builder, runs, intp=i64) as loop:
                    r = loop.index
                    here = builder.add(builder.add(first, o), builder.mul(r, step))
                    if held is None:
                        total = cgutils.alloca_once(builder, kind)
                        builder.store(start, total)
                        with cgutils.for_range(builder, steps, intp=i64) as each:
                            of_step = place_of(sources, offset(each.index))
                            added = add_step(builder.load(total), here, of_step, weight(each.index, o))
                            builder.store(added, total)
                        found = builder.load(total)
                    else:
                        found = start
                        for of_step, w in zip(of_steps, of_weights, strict=True):
                            found = add_step(found, here, of_step, w)
                    store(builder, found, place_of(to, builder.mul(r, count)))
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(x, at, place, place, w, place, begin, acc, place, place, place), generate


_taps: Any = intrinsic(_vectors_of_taps)


@inner
def add_taps(
    x: Integers, at: Words, first: int, step: int, w: Integers, steps: int, begin: Integers, acc: Integers,
    acc_at: int, runs: int, count: int,
) -> None:  # fmt: skip
    """Set acc[acc_at + r * count + k] = begin[k] + sum over s of x[at[s] + first + r * step + k] . w[s * count + k].

    s are steps below `steps`, k below `count`, whole vectors, r below `runs`; x and w are steps.
    """
    assert 0 < steps <= at.size and count % TAP_LANES == 0 and count <= begin.size and steps * count <= w.size
    assert runs > 0 and acc_at >= 0 and acc_at + runs * count <= acc.size
    for s in range(steps):
        assert at[s] + first >= 0 and at[s] + first + (runs - 1) * step + count <= x.size
    _taps(x, at, first, step, w, steps, begin, acc, acc_at, runs, count)


@inner
def multiply(
    x: Array, stride: int, count: int, w: Array, w_at: int, steps: int, base: Bytes, acc: Integers,
    slot: int, column: int, width: int,
) -> None:  # fmt: skip
    """Set acc[r * width + column + o] = base[slot + o] + products of line r of x and column o of the panel at w_at.

    r below `count`, o below COLUMNS, whether or not the panel has so many columns; rows in ascending order, so that
    each may overwrite what the one before has too many. x, w and base are bytes; the sums are of 32 bits.
    """
    across = 4 * width
    assert steps > 0 and (count - 1) * stride + steps * STEP <= x.size and w_at + steps * STEP * COLUMNS <= w.size
    assert 4 * (slot + COLUMNS) <= base.size and (count - 1) * width + column + COLUMNS <= acc.size
    r = 0
    while r + ROWS <= count:
        whole_tile(x, r * stride, stride, w, w_at, steps, base, 4 * slot, acc, r * across + 4 * column, across)
        r += ROWS
    if r + HALF <= count:
        half_tile(x, r * stride, stride, w, w_at, steps, base, 4 * slot, acc, r * across + 4 * column, across)
        r += HALF
    while r + 2 <= count:
        two_lines(x, r * stride, stride, w, w_at, steps, base, 4 * slot, acc, r * across + 4 * column, across)
        r += 2
    if r < count:
        one_line(x, r * stride, stride, w, w_at, steps, base, 4 * slot, acc, r * across + 4 * column, across)


@inner
def multiply_floats(
    x: Array, stride: int, count: int, w: Array, w_at: int, steps: int, base: Bytes, acc: Integers,
    slot: int, column: int, width: int, of_f16: bool, apart: int, resumed: bool,
) -> None:  # fmt: skip
    """The same of float32 and a panel of f16, or of bf16, whose lines are `apart` bytes from each other.

    Each product is added to the sum before in one operation. Where sums are `resumed` they lie in base as in acc.
    """
    across = 4 * width
    pitch = across if resumed else 0
    assert steps > 0 and (count - 1) * stride + steps * STEP <= x.size
    assert apart >= 0 and w_at >= 0 and w_at + (steps - 1) * apart + HALF_BYTES * COLUMNS <= w.size
    assert (count - 1) * pitch + 4 * (slot + COLUMNS) <= base.size
    assert (count - 1) * width + column + COLUMNS <= acc.size
    r, line, start, to = 0, 0, 4 * slot, 4 * column
    while r < count:
        some = ROWS if r + ROWS <= count else 2 if r + 2 <= count else 1
        if of_f16:
            if some == ROWS:
                f16_tile(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
            elif some == 2:
                two_f16_lines(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
            else:
                one_f16_line(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
        elif some == ROWS:
            bf16_tile(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
        elif some == 2:
            two_bf16_lines(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
        else:
            one_bf16_line(x, line, stride, w, w_at, steps, base, start, acc, to, across, apart, pitch)
        r, line, start, to = r + some, line + some * stride, start + some * pitch, to + some * across


@inner
def multiply_pairs(
    x: Array, stride: int, count: int, w: Array, w_at: int, steps: int, base: Bytes, acc: Integers,
    slot: int, column: int, width: int, by_dot: bool,
) -> None:  # fmt: skip
    """The same as `multiply` of a panel of pairs of bf16, and of x float32, or pairs too: `by_dot` (pairs.py)."""
    across = 4 * width
    assert steps > 0 and (count - 1) * stride + steps * STEP * (1 if by_dot else 2) <= x.size
    assert w_at >= 0 and w_at + steps * STEP * COLUMNS <= w.size
    assert 4 * (slot + COLUMNS) <= base.size and (count - 1) * width + column + COLUMNS <= acc.size
    r, line, start, to = 0, 0, 4 * slot, 4 * column
    while r < count:
        some = ROWS if r + ROWS <= count else 2 if r + 2 <= count else 1
        if by_dot:
            if some == ROWS:
                dot_tile(x, line, stride, w, w_at, steps, base, start, acc, to, across)
            elif some == 2:
                two_dot_lines(x, line, stride, w, w_at, steps, base, start, acc, to, across)
            else:
                one_dot_line(x, line, stride, w, w_at, steps, base, start, acc, to, across)
        elif some == ROWS:
            pairs_tile(x, line, stride, w, w_at, steps, base, start, acc, to, across)
        elif some == 2:
            two_lines_of_pairs(x, line, stride, w, w_at, steps, base, start, acc, to, across)
        else:
            one_line_of_pairs(x, line, stride, w, w_at, steps, base, start, acc, to, across)
        r, line, to = r + some, line + some * stride, to + some * across


@inner
def multiply_wide(
    x: Array, stride: int, count: int, w: Array, w_at: int, steps: int, base: Bytes, sums: Words,
    slot: int, column: int, width: int,
) -> None:  # fmt: skip
    """The same of elements of 32 bits, into sums of 64."""
    across = 8 * width
    assert steps > 0 and (count - 1) * stride + steps * STEP <= x.size and w_at + steps * STEP * COLUMNS <= w.size
    assert 8 * (slot + COLUMNS) <= base.size and (count - 1) * width + column + COLUMNS <= sums.size
    r = 0
    while r + WIDE_ROWS <= count:
        wide_tile(x, r * stride, stride, w, w_at, steps, base, 8 * slot, sums, r * across + 8 * column, across)
        r += WIDE_ROWS
    while r < count:
        one_wide_line(x, r * stride, stride, w, w_at, steps, base, 8 * slot, sums, r * across + 8 * column, across)
        r += 1


def _by_vectors(_: Any, packed: Any, to: Any, pitch: Any, source: Any, start: Any, step: Any, runs: Any, count: Any, wide: Any, flip: Any, less: Any) -> Any:  # noqa: E501 # fmt: skip
    """Pack runs by vectors of the first size that a run fills, the last of which overlaps the one before it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, to, pitch, _, start, step, runs, count, wide, flip, less = arguments
        to = pointer(context, builder, signature.args[0], arguments[0], to)
        source = pointer(context, builder, signature.args[3], arguments[3], number(0))

        def pack_bytes(first: Any, line: Any, at: Any, size: int) -> None:
            elements = load(builder, builder.gep(source, [builder.add(first, at)]), ir.VectorType(i8, size))
            elements = builder.xor(elements, repeated(builder, builder.trunc(flip, i8), size))
            if TILE.element == 2:
                elements = builder.zext(elements, ir.VectorType(i16, size))
                elements = builder.sub(elements, repeated(builder, builder.trunc(less, i16), size))
            store(builder, elements, builder.gep(line, [builder.mul(at, number(TILE.element))]))

        def pack_words(first: Any, line: Any, at: Any, size: int) -> None:
            place = builder.mul(builder.add(first, at), number(2))
            elements = load(builder, builder.gep(source, [place]), ir.VectorType(i16, size))
            elements = builder.sext(elements, ir.VectorType(i32, size))
            elements = builder.sub(elements, repeated(builder, builder.trunc(less, i32), size))
            store(builder, elements, builder.gep(line, [builder.mul(at, number(STEP))]))

        def pack_all(pack: Callable[[Any, Any, Any, int], None], size: int, whole_ones: bool) -> None:
            """Pack all runs: `whole_ones` says that there may be more than two vectors in one."""
            last = builder.sub(count, number(size))
            with cgutils.for_range(builder, runs, intp=i64) as loop:
                first = builder.add(start, builder.mul(loop.index, step))
                line = builder.gep(to, [builder.mul(loop.index, pitch)])
                if whole_ones:
                    with cgutils.for_range_slice(builder, number(0), last, number(size), i64) as (at, _):
                        pack(first, line, at, size)
                elif size > 1:
                    pack(first, line, number(0), size)
                pack(first, line, last, size)

        def choose(pack: Callable[[Any, Any, Any, int], None], sizes: tuple[int, ...], is_first: bool) -> None:
            with builder.if_else(builder.icmp_signed(">=", count, number(sizes[0]))) as (enough, fewer):
                with enough:
                    pack_all(pack, sizes[0], is_first or sizes[0] == 1)
                with fewer:
                    if len(sizes) > 1:
                        choose(pack, sizes[1:], False)

        with builder.if_else(cgutils.is_true(builder, wide)) as (words, single):
            with words:
                choose(pack_words, (16, 1), True)
            with single:
                choose(pack_bytes, (64, 32, 16, 8, 4, 1), True)
        return context.get_dummy_value()

    place = types.int64
    signature = packed, place, place, source, place, place, place, place, types.boolean, place, place
    return types.void(*signature), generate


_pack_vectors: Any = intrinsic(_by_vectors)


@inner
def pack_runs(
    packed: Bytes, to: int, pitch: int, source: Array, start: int, step: int, runs: int, count: int, wide: bool,
    flip: int, less: int,
) -> None:  # fmt: skip
    """Pack runs of `count` elements of a source of bytes, the first from number `start` on, to byte `to` on.

    Each run begins `step` elements behind the one before, and is packed `pitch` bytes behind it. Bytes become elements
    of ELEMENT bytes, (byte ^ flip) - less; if `wide`, 16-bit words become 32 bits, word - less.
    """
    if count > 0 and runs > 0:
        read, written = (2, STEP) if wide else (1, ELEMENT)
        last = start + (runs - 1) * step
        assert min(start, last) >= 0 and (max(start, last) + count) * read <= source.size
        assert to >= 0 and pitch >= 0 and to + (runs - 1) * pitch + count * written <= packed.size
        _pack_vectors(packed, to, pitch, source, start, step, runs, count, wide, flip, less)


@inner
def pack_run(packed: Bytes, to: int, source: Array, start: int, count: int, wide: bool, flip: int, less: int) -> None:
    """Pack a single run."""
    pack_runs(packed, to, 0, source, start, 0, 1, count, wide, flip, less)


def _by_table(_: Any, memory: Any, table: Any, x: Any, to: Any, count: Any) -> Any:
    """Look up bytes: 64 at a time where a permutation of 64 words is an instruction, else one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, x, to = (pointer(context, builder, signature.args[0], arguments[0], at) for at in arguments[1:4])
        count, begin = arguments[4], number(0)
        if TILE.lanes == 16:
            words, size = ir.VectorType(i16, 32), 64
            parts = [load(builder, builder.gep(table, [number(k * size)]), words) for k in range(4)]
            begin = builder.and_(count, number(-size))
            with cgutils.for_range_slice(builder, number(0), begin, number(size), i64) as (at, _):
                pairs, found = load(builder, builder.gep(x, [at]), words), []
                for element in (builder.and_(pairs, number(255, words)), builder.lshr(pairs, number(8, words))):
                    word = builder.lshr(element, number(1, words))
                    low, high = (
                        instruction(builder, "llvm.x86.avx512.vpermi2var.hi.512", words, parts[k], word, parts[k + 1])
                        for k in (0, 2)
                    )
                    both = builder.select(builder.icmp_unsigned("<", word, number(64, words)), low, high)
                    shift = builder.shl(builder.and_(element, number(1, words)), number(3, words))
                    found.append(builder.lshr(both, shift))
                low_bytes = builder.and_(found[0], number(255, words))
                store(builder, builder.or_(low_bytes, builder.shl(found[1], number(8, words))), builder.gep(to, [at]))
        with cgutils.for_range_slice(builder, begin, count, number(1), i64) as (at, _):
            element = builder.zext(builder.load(builder.gep(x, [at])), i64)
            builder.store(builder.load(builder.gep(table, [element])), builder.gep(to, [at]))
        return context.get_dummy_value()

    return types.void(memory, *(types.int64,) * 4), generate


_looked_up: Any = intrinsic(_by_table)


@inner
def look_up(memory: Bytes, table: int, x: int, to: int, count: int) -> None:
    """Set memory[to + k] = memory[table + memory[x + k]] for k < `count`; the table has 256 bytes."""
    assert min(table, x, to) >= 0 and table + 256 <= memory.size and max(x, to) + count <= memory.size
    _looked_up(memory, table, x, to, count)


def _transposed(_: Any, source: Any, x: Any, x_pitch: Any, target: Any, to: Any, pitch: Any) -> Any:
    """Transpose 16 lines of 16 bytes in registers: 4 rounds that put lines together by pairs, of 16 shuffles each."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, to = (pointer(context, builder, signature.args[k], arguments[k], arguments[k + 1]) for k in (0, 3))
        x_pitch, pitch = arguments[2], arguments[5]
        kind, order = ir.VectorType(i8, SQUARE), ir.VectorType(i32, SQUARE)
        low, high = (
            ir.Constant(order, [k + half for k in range(SQUARE // 2) for k in (k, k + SQUARE)])
            for half in (0, SQUARE // 2)
        )
        lines = [load(builder, builder.gep(x, [builder.mul(x_pitch, number(r))]), kind) for r in range(SQUARE)]
        for _ in range(4):
            pairs = [(lines[k], lines[k + SQUARE // 2]) for k in range(SQUARE // 2)]
            lines = [builder.shuffle_vector(*pair, half) for pair in pairs for half in (low, high)]
        for r, line in enumerate(lines):
            store(builder, line, builder.gep(to, [builder.mul(pitch, number(r))]))
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), generate


_transpose_square: Any = intrinsic(_transposed)


@inner
def transpose_square(source: Bytes, x: int, x_pitch: int, target: Bytes, to: int, pitch: int) -> None:
    """Set target[to + i * pitch + j] = source[x + j * x_pitch + i] for i and j below SQUARE; both may not overlap."""
    last, last_x = to + (SQUARE - 1) * pitch, x + (SQUARE - 1) * x_pitch
    assert min(x, last_x) >= 0 and max(x, last_x) + SQUARE <= source.size
    assert min(to, last) >= 0 and max(to, last) + SQUARE <= target.size
    _transpose_square(source, x, x_pitch, target, to, pitch)
