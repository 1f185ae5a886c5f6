"""Lines of weights in groups, compiled: expanded into 16 bits, or multiplied by one row as they are expanded.

A line has COLUMNS numbers q of 8 bits, or of 4 those of two lines, the lower halves from the first. In vectors of the
form's lanes they become floats and are fused with scales and minima, which stay in registers for all lines of a group,
and rounded to 16 bits:

    w = round16(fma(q - less, scale, minimum))        of 4 bits and f16: 7 instructions for a vector, 2 of them shared

For many rows that is stored, into the first-level cache, and multiplied by tiles (microkernel.py). For one row it goes
on as acc = fma(x, w, acc) at once: a store and a load of 16 bits would cost as much as the product. Pointers are raw,
checked by the assertions of those functions that are no intrinsics.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from emulator.jit.arrays import Bytes, Integers
from emulator.jit.compile import inner
from emulator.jit.intrinsics import intrinsic
from emulator.jit.later import cgutils, types
from emulator.kernels.microkernel import (
    FORM,
    HALF_BYTES,
    POINTER,
    float_of_f16,
    i8,
    i16,
    i32,
    i64,
    instruction,
    load,
    load_f16_of_host,
    number,
    pointer,
    repeated,
    store,
)
from emulator.plan.blocks import COLUMNS, STEP, TILE

LANES, PLACES = TILE.lanes, range(COLUMNS // TILE.lanes)
WORDS, FLOATS = ir.VectorType(i32, LANES), ir.VectorType(ir.FloatType(), LANES)
HALVES = ir.VectorType(i16, LANES)


def f16_of(builder: Any, value: Any) -> Any:
    """Return floats as f16, in words; as `to_f16` in numbers.py, but for the bits of a NaN."""
    bits = builder.bitcast(value, WORDS)
    size = builder.and_(bits, number(0x7FFFFFFF, WORDS))
    last = builder.and_(builder.lshr(size, number(13, WORDS)), number(1, WORDS))
    normal = builder.lshr(builder.add(builder.sub(size, number(0x37FFF001, WORDS)), last), number(13, WORDS))
    half = ir.Constant(FLOATS, [0.5] * LANES)
    small = builder.bitcast(builder.fadd(half, builder.bitcast(size, FLOATS)), WORDS)
    found = builder.sub(small, number(0x3F000000, WORDS))
    found = builder.select(builder.icmp_unsigned("<", size, number(0x38800000, WORDS)), found, normal)
    found = builder.select(builder.icmp_unsigned(">=", size, number(0x47800000, WORDS)), number(0x7C00, WORDS), found)
    found = builder.select(builder.icmp_unsigned(">", size, number(0x7F800000, WORDS)), number(0x7E00, WORDS), found)
    return builder.or_(found, builder.and_(builder.lshr(bits, number(16, WORDS)), number(0x8000, WORDS)))


def bf16_of(builder: Any, value: Any) -> Any:
    """Return floats as bf16, in words; as `to_bf16` in numbers.py."""
    bits = builder.bitcast(value, WORDS)
    last = builder.and_(builder.lshr(bits, number(16, WORDS)), number(1, WORDS))
    rounded = builder.lshr(builder.add(builder.add(bits, number(0x7FFF, WORDS)), last), number(16, WORDS))
    return builder.select(builder.fcmp_unordered("uno", value, value), number(0x7FC0, WORDS), rounded)


def store_half(builder: Any, value: Any, at: Any, is_f16: bool) -> None:
    """Store floats in 16 bits."""
    if is_f16 and FORM != "portable":
        half = builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES))
    else:
        half = builder.trunc((f16_of if is_f16 else bf16_of)(builder, value), HALVES)
    store(builder, half, at)


def rounded(builder: Any, value: Any, is_f16: bool) -> Any:
    """Return floats rounded to 16 bits, as floats."""
    if is_f16 and FORM != "portable":
        return builder.fpext(builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES)), FLOATS)
    if is_f16:
        return builder.bitcast(float_of_f16(builder, f16_of(builder, value)), FLOATS)
    return builder.bitcast(builder.shl(bf16_of(builder, value), number(16, WORDS)), FLOATS)


class _Group:
    """What the code of a group has in registers: places of its lines, scales and minima."""

    def __init__(self, builder: Any, source: Any, scales: Any, minima: Any, lines: Any, less: Any, size: int) -> None:
        self.size, self.lines = size, builder.gep(source, [lines])
        self.less = repeated(builder, builder.trunc(less, i32), LANES)
        self.scales, self.minima = (
            [self._factors(builder, builder.gep(source, [at]), v) for v in PLACES] for at in (scales, minima)
        )

    @staticmethod
    def _factors(builder: Any, head: Any, v: int) -> Any:
        at = builder.gep(head, [number(HALF_BYTES * LANES * v)])
        return builder.bitcast(load_f16_of_host(builder, at, LANES), FLOATS)

    def numbers(self, builder: Any, line: Any, v: int) -> list[Any]:
        """Return vector v of the lines that line `line` of bytes holds, before they are rounded to 16 bits."""
        at = builder.add(builder.mul(line, number(int(COLUMNS))), number(v * LANES))
        held = builder.zext(load(builder, builder.gep(self.lines, [at]), ir.VectorType(i8, LANES)), WORDS)
        # Signed bytes, of which 128 is to be taken off, as unsigned ones 128 above them.
        parts = [builder.xor(held, self.less)]
        if self.size == 4:
            parts = [builder.and_(held, number(15, WORDS)), builder.lshr(held, number(4, WORDS))]
        floats = [builder.sitofp(builder.sub(part, self.less), FLOATS) for part in parts]
        return [fused(builder, one, self.scales[v], self.minima[v]) for one in floats]


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    return instruction(builder, f"llvm.fma.v{LANES}f32", FLOATS, a, b, c)


def _expansion(size: int, is_f16: bool) -> Any:
    """Return a function of compiled code that expands a group's lines of numbers of `size` bits."""

    @intrinsic
    def expansion(_: Any, source: Any, scales: Any, minima: Any, lines: Any, count: Any, less: Any, dense: Any, to: Any) -> Any:  # noqa: E501 # fmt: skip
        """Expand `count` lines of bytes."""
        place = types.int64

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            held = pointer(context, builder, signature.args[0], arguments[0], number(0))
            to = pointer(context, builder, signature.args[6], arguments[6], arguments[7])
            group = _Group(builder, held, arguments[1], arguments[2], arguments[3], arguments[5], size)
            with cgutils.for_range(builder, arguments[4], intp=i64) as loop:
                first = builder.mul(loop.index, number(HALF_BYTES * int(COLUMNS) * 8 // size))
                for v in PLACES:
                    for k, value in enumerate(group.numbers(builder, loop.index, v)):
                        behind = number(HALF_BYTES * (int(COLUMNS) * k + LANES * v))
                        store_half(builder, value, builder.gep(to, [builder.add(first, behind)]), is_f16)
            return context.get_dummy_value()

        return types.void(source, *(place,) * 5, dense, place), generate

    return expansion


def _product(size: int, is_f16: bool) -> Any:
    """Return a function of compiled code that multiplies one row by a group's lines as they are expanded."""

    @intrinsic
    def product(_: Any, source: Any, scales: Any, minima: Any, lines: Any, count: Any, less: Any, x: Any, x_at: Any, acc: Any, acc_at: Any) -> Any:  # noqa: E501 # fmt: skip
        """Add the products of `count` lines of bytes to sums."""
        place = types.int64

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            held = pointer(context, builder, signature.args[0], arguments[0], number(0))
            row = pointer(context, builder, signature.args[6], arguments[6], arguments[7])
            sums = pointer(context, builder, signature.args[8], arguments[8], arguments[9])
            group = _Group(builder, held, arguments[1], arguments[2], arguments[3], arguments[5], size)
            at = [builder.gep(sums, [number(STEP * LANES * v)]) for v in PLACES]
            first = [load(builder, one, FLOATS) for one in at]
            before, body, done = builder.block, builder.append_basic_block("line"), builder.append_basic_block("done")
            builder.branch(body)

            builder.position_at_end(body)
            line = builder.phi(i64)
            acc = [builder.phi(FLOATS) for _ in PLACES]
            place_of_x = builder.gep(row, [builder.mul(line, number(STEP * 8 // size))])
            steps = [
                repeated(builder, load(builder, builder.gep(place_of_x, [number(STEP * k)]), ir.FloatType()), LANES)
                for k in range(8 // size)
            ]
            new = []
            for v in PLACES:
                total = acc[v]
                for step, value in zip(steps, group.numbers(builder, line, v), strict=True):
                    total = fused(builder, step, rounded(builder, value, is_f16), total)
                new.append(total)
            following = builder.add(line, number(1))
            line.add_incoming(number(0), before)
            line.add_incoming(following, body)
            for v in PLACES:
                acc[v].add_incoming(first[v], before)
                acc[v].add_incoming(new[v], body)
            builder.cbranch(builder.icmp_signed("<", following, arguments[4]), body, done)

            builder.position_at_end(done)
            for v in PLACES:
                store(builder, new[v], at[v])
            return context.get_dummy_value()

        return types.void(source, *(place,) * 5, x, place, acc, place), generate

    return product


def _each(make: Callable[[int, bool], Any]) -> list[list[Any]]:
    return [[make(size, is_f16) for is_f16 in (True, False)] for size in (8, 4)]


((_bytes_to_f16, _bytes_to_bf16), (_nibbles_to_f16, _nibbles_to_bf16)) = _each(_expansion)
((_row_by_f16_bytes, _row_by_bf16_bytes), (_row_by_f16_nibbles, _row_by_bf16_nibbles)) = _each(_product)


@inner
def expand_lines(
    source: Bytes, scales: int, minima: int, lines: int, count: int, is_small: bool, less: int, dense: Bytes, to: int,
    is_f16: bool,
) -> None:  # fmt: skip
    """Set lines of dense to q * scale + minimum, less `less`, each rounded to binary32 and to 16 bits.

    q are `count` lines of COLUMNS numbers, those of 4 bits, where `is_small`, two lines in one. Scales and minima are
    f16. Places are bytes.
    """
    held, written = count // 2 if is_small else count, count * COLUMNS * HALF_BYTES
    assert min(scales, minima, lines, to) >= 0 and max(scales, minima) + HALF_BYTES * COLUMNS <= source.size
    assert lines + held * COLUMNS <= source.size and to + written <= dense.size
    if is_small:
        if is_f16:
            _nibbles_to_f16(source, scales, minima, lines, held, less, dense, to)
        else:
            _nibbles_to_bf16(source, scales, minima, lines, held, less, dense, to)
    elif is_f16:
        _bytes_to_f16(source, scales, minima, lines, held, less, dense, to)
    else:
        _bytes_to_bf16(source, scales, minima, lines, held, less, dense, to)


@inner
def multiply_lines(
    source: Bytes, scales: int, minima: int, lines: int, count: int, is_small: bool, less: int, x: Bytes, x_at: int,
    acc: Integers, acc_at: int, is_f16: bool,
) -> None:  # fmt: skip
    """Add to COLUMNS sums, from number `acc_at` on, the products of `count` float32 of x with such lines, in order."""
    held = count // 2 if is_small else count
    assert held > 0 and min(scales, minima, lines) >= 0 and max(scales, minima) + HALF_BYTES * COLUMNS <= source.size
    assert lines + held * COLUMNS <= source.size and x_at >= 0 and x_at + STEP * count <= x.size
    assert acc_at >= 0 and acc_at + COLUMNS <= acc.size
    to = STEP * acc_at
    if is_small:
        if is_f16:
            _row_by_f16_nibbles(source, scales, minima, lines, held, less, x, x_at, acc, to)
        else:
            _row_by_bf16_nibbles(source, scales, minima, lines, held, less, x, x_at, acc, to)
    elif is_f16:
        _row_by_f16_bytes(source, scales, minima, lines, held, less, x, x_at, acc, to)
    else:
        _row_by_bf16_bytes(source, scales, minima, lines, held, less, x, x_at, acc, to)


@intrinsic
def prefetch(_: Any, source: Any, at: Any) -> Any:
    """Let the host fetch the cache line of byte `at`, which need not be within the array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        here = pointer(context, builder, signature.args[0], *arguments)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [here, number(0, i32), number(3, i32), number(1, i32)])
        return context.get_dummy_value()

    return types.void(source, types.int64), generate


prefetch.plain = lambda source, at: None
