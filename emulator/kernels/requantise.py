"""The chain in one pass, in vectors: accumulators or elements of 8 bits to results of 8 bits.

For k below a count, from where each begins:

    v = x[k] - x_less                    an accumulator, or an element of 8 bits
    v = v * scale[k] + bias[k]           EW1
    v = v + (d[k] - d_less) * second[k]  EW2, where there is one: a tensor of 8 bits; SUB has second's sign turned over
    v = clamp(v, low, high) * last[k]    SF and EW3's scale, where there is one
    out[k] = rne(clamp(v, below, above)) + zero

Loop order: rows > GROUP vectors at a time, then one, then what is left of one under a mask; a form of loops for each
choice above, chosen once for all rows. In fp32 a vector of accumulators takes a conversion, a product with a sum, a
bound and a rounding conversion; a quarter each of two packings to 16 bits and one to 8, of the zero point, the other
bound, an order for the lanes and a store. What bounds it is the ports of vectors: 0.09 ns a result on a core of a Zen
4. In the shorter formats each step is rounded as numbers.py does: EW2 costs 17 instructions more there, each other
product 3.
"""

from typing import Any

from llvmlite import ir

from emulator.jit.arrays import Array, Bytes, Floats
from emulator.jit.compile import inner
from emulator.jit.intrinsics import intrinsic, whole
from emulator.jit.later import cgutils, types
from emulator.kernels.microkernel import FORM, i8, i32, instruction, load, number, pointer, repeated, store
from emulator.plan.blocks import TILE

LANES, GROUP = TILE.lanes, 4
f32 = ir.FloatType()
# What a form of loop is chosen by: whether there is EW2, EW3's scale; whether steps are rounded to a shorter format.
HAS_SECOND, HAS_LAST, IS_SHORT = whole(1), whole(2), whole(4)
CHOICES = 8
# Instructions that pack words, then halves, each kept within its range.
PACKS = [f"llvm.x86.avx512.packss{to}.512" if LANES == 16 else f"llvm.x86.avx2.packss{to}" for to in ("dw", "wb")]
# The arguments of the intrinsic.
NAMES = (
    *("x", "x_at", "x_flip", "x_less", "memory", "d_at", "d_flip", "d_less", "constants", "scale_at", "step", "out_at"),
    *("pitch", "rows", "count", "x_pitch", "choice", "low", "high", "below", "above", "zero", "flip", "fraction"),
)


class Vectors:
    """Operations on vectors of LANES elements."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.floats, self.words, self.bytes = (ir.VectorType(kind, LANES) for kind in (f32, i32, i8))

    def word(self, value: int) -> Any:
        """Return a number in every lane."""
        return number(value, self.words)

    def float(self, bits: int) -> Any:
        """Return the float32 of these bits in every lane."""
        return self.as_floats(self.word(bits))

    def as_floats(self, v: Any) -> Any:
        return self.builder.bitcast(v, self.floats)

    def as_words(self, v: Any) -> Any:
        return self.builder.bitcast(v, self.words)

    def read(self, at: Any, kind: Any, mask: Any) -> Any:
        """Return a vector from memory, of the lanes that a mask has; those it has not are 0."""
        if mask is None:
            return load(self.builder, at, kind)
        at = self.builder.bitcast(at, kind.as_pointer())
        name = f"llvm.masked.load.v{LANES}{'f32' if kind.element == f32 else f'i{kind.element.width}'}.p0"
        signature = ir.FunctionType(kind, [at.type, i32, mask.type, kind])
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, [at, number(1, i32), mask, ir.Constant(kind, None)])

    def write(self, v: Any, at: Any, mask: Any) -> None:
        """Store a vector, of the lanes that a mask has."""
        if mask is None:
            store(self.builder, v, at)
            return
        at = self.builder.bitcast(at, v.type.as_pointer())
        signature = ir.FunctionType(ir.VoidType(), [v.type, at.type, i32, mask.type])
        name = f"llvm.masked.store.v{LANES}i{v.type.element.width}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        self.builder.call(function, [v, at, number(1, i32), mask])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, rounded once."""
        return instruction(self.builder, f"llvm.fma.v{LANES}f32", self.floats, a, b, c)

    def integers(self, v: Any) -> Any:
        """Return floats rounded to int32, half to even; the least one where it does not fit, by the host's own rule."""
        if LANES == 16:
            nothing, all_lanes, as_set = ir.Constant(self.words, None), ir.Constant(ir.IntType(16), -1), number(4, i32)
            name = "llvm.x86.avx512.mask.cvtps2dq.512"
            return instruction(self.builder, name, self.words, v, nothing, all_lanes, as_set)
        return instruction(self.builder, "llvm.x86.avx.cvt.ps2dq.256", self.words, v)

    def packed(self, group: list[Any], zero: Any) -> Any:
        """Return GROUP vectors of int32 plus `zero`, of 16 bits, as one of i8, each kept within its range."""
        b, half, quarter = self.builder, ir.VectorType(ir.IntType(16), 2 * LANES), ir.VectorType(i8, 4 * LANES)
        halves = [instruction(b, PACKS[0], half, *group[k : k + 2]) for k in (0, 2)]
        halves = [instruction(b, f"llvm.sadd.sat.v{2 * LANES}i16", half, each, zero) for each in halves]
        # Both work on 128 bits at a time: of each there are 4 elements of each vector.
        mixed = b.bitcast(instruction(b, PACKS[1], quarter, *halves), self.words)
        order = ir.Constant(self.words, [lane * GROUP + k for k in range(GROUP) for lane in range(LANES // 4)])
        return b.bitcast(b.shuffle_vector(mixed, mixed, order), quarter)

    def greater(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def less(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def bytes_as_words(self, at: Any, flip: Any, less: Any, mask: Any) -> Any:
        """Return elements of 8 bits, their bits turned over by `flip`, as i8, minus `less`."""
        elements = self.builder.xor(self.read(at, self.bytes, mask), flip)
        return self.builder.sub(self.builder.sext(elements, self.words), less)

    def rounding_term(self, v: Any, fraction: Any) -> Any:
        """Return m so that v + m - m is v rounded to a shorter format; `fraction` is its numbers.rounding_factor.

        v is 0 or of a magnitude in [2**-126, 2**114). Any number that float32 rounds to v is rounded likewise: where
        that is the next power of two, both formats have it. To multiply takes no port that sums need.
        """
        power = self.builder.and_(self.as_words(v), self.word(0x7F800000))
        return self.builder.fmul(self.as_floats(power), fraction)

    def rounded(self, v: Any, fraction: Any) -> Any:
        """Return v rounded to a shorter format."""
        term = self.rounding_term(v, fraction)
        return self.builder.fsub(self.builder.fadd(v, term), term)

    def short_integer(self, n: Any, fraction: Any) -> Any:
        """Return int32 rounded to a format of 15 bits at most.

        From 2**24 on the last 7 bits cannot but tell beside which side of a tie it lies: the bit before says so for all
        of them (rounding to odd), and float32 holds what is left.
        """
        b, low = self.builder, self.word(127)
        odd = b.and_(b.or_(n, b.add(b.and_(n, low), low)), self.word(-128))
        far = b.icmp_unsigned(">", b.add(n, self.word(2**24 - 1)), self.word(2**25 - 2))
        return self.rounded(b.sitofp(b.select(far, odd, n), self.floats), fraction)

    def short_product(self, x: Any, y: Any, fraction: Any) -> Any:
        """Return x * y rounded once: the term is added to the exact product."""
        term = self.rounding_term(self.builder.fmul(x, y), fraction)
        return self.builder.fsub(self.fma(x, y, term), term)

    def short_multiply_add(self, x: Any, y: Any, z: Any, fraction: Any) -> Any:
        """Return x * y + z rounded once to 21 bits at most, where x * y is a float32.

        The error of the sum is one too (two-sum), so that it can be rounded to odd, as numbers.to_odd does. Nothing may
        pass the greatest float32 or be below the least normal one, but 0.
        """
        b, nothing = self.builder, ir.Constant(self.floats, [0.0] * LANES)
        total = self.fma(x, y, z)
        part = b.fsub(total, z)
        error = b.fadd(b.fsub(z, b.fsub(total, part)), self.fma(x, y, b.fneg(part)))
        bits = self.as_words(total)
        apart = b.ashr(b.xor(self.as_words(error), bits), self.word(31))
        odd = b.or_(b.add(bits, apart), self.word(1))
        exact = b.fcmp_ordered("==", error, nothing)
        return self.rounded(self.as_floats(b.select(exact, bits, odd)), fraction)


def _in_vectors(_: Any, x: Any, x_at: Any, x_flip: Any, x_less: Any, memory: Any, d_at: Any, d_flip: Any, d_less: Any, constants: Any, scale_at: Any, step: Any, out_at: Any, pitch: Any, rows: Any, count: Any, x_pitch: Any, choice: Any, low: Any, high: Any, below: Any, above: Any, zero: Any, flip: Any, fraction: Any) -> Any:  # noqa: E501 # fmt: skip
    """Compute rows of `count` results as the module says; x is i32, or bytes. Each array comes with where it begins."""
    of_sums = x.dtype == types.int32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, kinds = (dict(zip(NAMES, values, strict=True)) for values in (arguments, signature.args))
        v = Vectors(builder)
        spread = {name: repeated(builder, given[name], LANES) for name in ("low", "high", "below", "above", "fraction")}
        words = {name: repeated(builder, builder.trunc(given[name], i32), LANES) for name in ("x_less", "d_less")}
        flips = {name: repeated(builder, builder.trunc(given[name], i8), LANES) for name in ("x_flip", "d_flip")}
        # What is added rounds, and leaves the integer in the last bits.
        magic = v.float(0x4B400000)
        back = builder.sub(repeated(builder, builder.trunc(given["zero"], i32), LANES), v.word(0x4B400000))
        # Where results are packed, of u8 as the i8 128 below: zero, and the least result.
        signed_zero = builder.sub(given["zero"], given["flip"])
        least = builder.bitcast(builder.fadd(given["below"], ir.Constant(f32, 1.5 * 2**23)), i32)
        least = builder.add(builder.sub(least, number(0x4B400000, i32)), builder.trunc(signed_zero, i32))
        zeros = repeated(builder, builder.trunc(signed_zero, ir.IntType(16)), 2 * LANES)
        floor, flip = (repeated(builder, builder.trunc(each, i8), GROUP * LANES) for each in (least, given["flip"]))
        bytes_of = {"x": 4 if of_sums else 1, "d": 1, "out": 1}
        places = {"x": ("x", "x_at"), "d": ("memory", "d_at"), "out": ("memory", "out_at")}
        starts = {
            name: pointer(context, builder, kinds[array], given[array], builder.mul(given[at], number(bytes_of[name])))
            for name, (array, at) in places.items()
        }
        starts["scale"] = pointer(
            context, builder, kinds["constants"], given["constants"], builder.mul(given["scale_at"], number(4))
        )
        for k, name in enumerate(("bias", "second", "last"), 1):
            starts[name] = builder.gep(starts["scale"], [builder.mul(given["step"], number(4 * k))])

        pitches = {"x": given["x_pitch"], "d": given["pitch"], "out": given["pitch"]}

        def numbers(
            starts: Any, at: Any, mask: Any, has_second: bool, has_last: bool, is_short: bool, is_near: bool = False
        ) -> Any:
            """Return a vector of results as floats, before the last bounds; `is_near`: float32 has the accumulators."""

            def constant(name: str) -> Any:
                return v.read(builder.gep(starts[name], [builder.mul(at, number(4))]), v.floats, mask)

            def here(name: str) -> Any:
                return builder.gep(starts[name], [builder.mul(at, number(bytes_of[name]))])

            fraction = spread["fraction"]
            if of_sums:
                n = v.read(here("x"), v.words, mask)
                a = v.short_integer(n, fraction) if is_short and not is_near else builder.sitofp(n, v.floats)
                a = v.rounded(a, fraction) if is_short and is_near else a
            else:
                a = builder.sitofp(v.bytes_as_words(here("x"), flips["x_flip"], words["x_less"], mask), v.floats)
            if is_short:
                a = v.short_product(a, constant("scale"), fraction)
            else:
                a = v.fma(a, constant("scale"), constant("bias"))
            if has_second:
                d = builder.sitofp(v.bytes_as_words(here("d"), flips["d_flip"], words["d_less"], mask), v.floats)
                if is_short:
                    a = v.short_multiply_add(d, constant("second"), a, fraction)
                else:
                    a = v.fma(d, constant("second"), a)
            if has_last:
                a = v.less(v.greater(a, spread["low"]), spread["high"])
                last = constant("last")
                a = v.short_product(a, last, fraction) if is_short else builder.fmul(a, last)
            return a

        def results(starts: Any, at: Any, mask: Any, form: tuple[bool, bool, bool]) -> None:
            """Compute a vector of results."""
            a = numbers(starts, at, mask, *form)
            a = v.less(v.greater(a, spread["below"]), spread["above"])
            rounded = builder.add(v.as_words(builder.fadd(a, magic)), back)
            v.write(builder.trunc(rounded, v.bytes), builder.gep(starts["out"], [at]), mask)

        def group_of_results(starts: Any, at: Any, form: tuple[bool, bool, bool]) -> None:
            """Compute GROUP vectors of results, which are packed together.

            What is too small for an int32 becomes the least one, as what is too great would: only that needs a bound.
            """
            places = [builder.add(at, number(k * LANES)) for k in range(GROUP)]
            if FORM == "portable":
                for place in places:
                    results(starts, place, None, form)
                return

            def write_group(is_near: bool) -> None:
                group = [numbers(starts, place, None, *form, is_near) for place in places]
                packed = v.packed([v.integers(v.less(one, spread["above"])) for one in group], zeros)
                kept = builder.select(builder.icmp_signed(">", packed, floor), packed, floor)
                v.write(builder.xor(kept, flip), builder.gep(starts["out"], [at]), None)

            if not (of_sums and form[-1]):
                write_group(False)
                return
            # Nearly all accumulators are such that float32 has them.
            beyond: Any = v.word(0)
            for place in places:
                n = v.read(builder.gep(starts["x"], [builder.mul(place, number(4))]), v.words, None)
                beyond = builder.or_(beyond, builder.add(n, v.word(2**24)))
            far = builder.icmp_unsigned(">=", beyond, v.word(2**25))
            any_far = builder.bitcast(far, ir.IntType(LANES))
            with builder.if_else(builder.icmp_unsigned("==", any_far, number(0, any_far.type))) as (near, others):
                with near:
                    write_group(True)
                with others:
                    write_group(False)

        done = builder.append_basic_block("done")
        chosen = builder.switch(given["choice"], done)
        for choice in range(CHOICES):
            form = bool(choice & HAS_SECOND), bool(choice & HAS_LAST), bool(choice & IS_SHORT)
            block = builder.append_basic_block("choice")
            chosen.add_case(number(choice), block)
            builder.position_at_end(block)
            with cgutils.for_range(builder, given["rows"], intp=given["rows"].type) as loop:
                here = {**starts}
                for name, pitch in pitches.items():
                    over = builder.mul(builder.mul(loop.index, pitch), number(bytes_of[name]))
                    here[name] = builder.gep(starts[name], [over])
                begin = number(0)
                for size in (GROUP * LANES, LANES):
                    end, step = builder.and_(given["count"], number(-size)), number(size)
                    with cgutils.for_range_slice(builder, begin, end, step, step.type) as (at, _):
                        if size > LANES:
                            group_of_results(here, at, form)
                        else:
                            results(here, at, None, form)
                    begin = end
                left = builder.sub(given["count"], begin)
                with builder.if_then(builder.icmp_signed(">", left, number(0))):
                    lanes = ir.Constant(v.words, list(range(LANES)))
                    mask = builder.icmp_signed("<", lanes, repeated(builder, builder.trunc(left, i32), LANES))
                    results(here, begin, mask, form)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    place = types.int64
    given = x, *(place,) * 3, memory, *(place,) * 3, constants, *(place,) * 6
    return types.void(*given, *(place,) * 2, *(types.float32,) * 4, place, place, types.float32), generate


_requantise: Any = intrinsic(_in_vectors)


@inner
def requantise(
    x: Array, x_at: int, x_flip: int, x_less: int, memory: Bytes, d_at: int, d_flip: int, d_less: int,
    constants: Floats, scale_at: int, step: int, out_at: int, pitch: int, rows: int, count: int, x_pitch: int,
    choice: int, low: Any, high: Any, below: Any, above: Any, zero: int, flip: int, factor: Any,
) -> None:  # fmt: skip
    """Compute rows of `count` results of 8 bits from byte out_at of a memory on, as the module says.

    x is accumulators, i32, or bytes: each is an i8, once its bits are turned over by x_flip, and so is each of d, which
    lies in the memory, too. Rows of x lie x_pitch elements apart, those of d and of the results `pitch`. scale begins
    at number scale_at of `constants`, the others each `step` numbers behind the one before. `choice` is made of
    HAS_SECOND, HAS_LAST and IS_SHORT; `flip` is 128 where results are u8, else 0; `factor` is numbers.rounding_factor.
    Constants are moderate (arithmetic.are_moderate): nothing on the way is a NaN.
    """
    assert rows > 0 and x_at >= 0 and x_at + (rows - 1) * x_pitch + count <= x.size
    assert out_at >= 0 and out_at + (rows - 1) * pitch + count <= memory.size
    assert choice & HAS_SECOND == 0 or (d_at >= 0 and d_at + (rows - 1) * pitch + count <= memory.size)
    assert scale_at >= 0 and scale_at + 3 * step + count <= constants.size
    _requantise(x, x_at, x_flip, x_less, memory, d_at, d_flip, d_less, constants, scale_at, step, out_at, pitch, rows, count, x_pitch, choice, low, high, below, above, zero, flip, factor)  # noqa: E501 # fmt: skip
