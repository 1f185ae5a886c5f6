"""The meaning of each instruction once more: one element at a time, in plain Python with exact rational arithmetic.

It shares no code with isa.reference, apart from isa.functions, which are definitions. Tests only.
"""

import struct
from fractions import Fraction
from itertools import product
from math import ceil, copysign, floor, inf, isfinite, isnan, isqrt, nan

import numpy as np

from isa import functions
from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8
from isa.instruction import Instruction
from isa.operand import Operand

BITS = {"fp32": 23, "fp24": 15, "fp19": 10}
# Of floats of a byte: bits of the fraction, the bias, the least magnitude that is too great, and what is stored then.
TINY = {E4M3: (3, 7, 480, b"\x7f"), E5M2: (2, 15, 2**16, b"\x7c")}
CODES = {I8: "<b", U8: "<B", I16: "<h", I32: "<i", F16: "<e", F32: "<f"}


def divided(a, b):
    """Return a / b, of floats by 0 too, where Python refuses."""
    if isinstance(b, Fraction) or b:
        return a / b
    return nan if a == 0 or isnan(a) else copysign(inf, a) * copysign(1, b)


OPERATIONS = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": divided}


def nearest(value: Fraction, bits: int) -> float:
    """Return a rational other than 0 rounded once to the format, half to even."""
    magnitude = abs(value)
    exponent = max(magnitude.numerator.bit_length() - magnitude.denominator.bit_length(), -126)
    while exponent > -126 and Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** (exponent - bits)
    rounded = round(magnitude / unit) * unit
    result = inf if rounded >= 2**128 else float(rounded)
    return -result if value < 0 else result


def single(value: float) -> float:
    """Return a float64 rounded to float32."""
    return nearest(Fraction(value), 23) if value and isfinite(value) else value


def small_float(code: int, bits: int, fraction: int, bias: int) -> float:
    """Return the number of a sign, an exponent and so many bits of a fraction, all of them numbers."""
    exponent, sign = (code & (1 << bits - 1) - 1) >> fraction, -1 if code >> bits - 1 else 1
    part = Fraction(code & (1 << fraction) - 1, 1 << fraction) + (exponent > 0)
    return sign * float(part * Fraction(2) ** (max(exponent, 1) - bias))


def tiny(dtype, byte: int) -> float:
    """Return the number of e4m3 or e5m2 that a byte is."""
    fraction, bias, _, beyond = TINY[dtype]
    if byte & 127 < beyond[0]:
        return small_float(byte, 8, fraction, bias)
    return nan if byte & 127 > 0x7C else copysign(inf, 127 - byte)


def packed_tiny(dtype, value: float) -> bytes:
    """Return the byte whose number is nearest, half to even, which a pattern is where its last bit is 0."""
    _, _, most, beyond = TINY[dtype]
    sign = 128 if copysign(1, value) < 0 else 0
    # What would follow the greatest number is what is too great.
    numbers = [*(Fraction(tiny(dtype, byte)) for byte in range(beyond[0])), Fraction(most)]
    size = min(abs(Fraction(value)), most) if isfinite(value) else most
    byte = min(range(len(numbers)), key=lambda byte: (abs(numbers[byte] - size), byte & 1))
    return b"\x7f" if byte == 0x7F else bytes([byte | sign])


def packed(dtype, value: float) -> bytes:
    """Return a number of the format as an element of a floating type."""
    if isnan(value):
        return {E4M3: b"\x7f", E5M2: b"\x7e", F16: b"\0\x7e", BF16: b"\xc0\x7f", F32: b"\0\0\xc0\x7f"}[dtype]
    if dtype in TINY:
        return packed_tiny(dtype, value)
    if dtype == BF16:
        value = nearest(Fraction(value), 7) if value and isfinite(value) else value
        return struct.pack("<f", value)[2:]
    if dtype == F16 and abs(value) >= 65520:
        return struct.pack("<e", inf if value > 0 else -inf)
    return struct.pack(CODES[dtype], value)


class Element:
    """One instruction on memories: a method by its name is what it writes at an index of its result.

    That of another result has the operand's name behind.
    """

    def __init__(
        self, instruction: Instruction, memories: dict[str, bytes], counters: list[int], formats: dict[str, str]
    ):
        row = instruction.row
        self.instruction, self.memories, self.counters = instruction, memories, counters
        self.operands = {spec.name: op for spec, op in zip(row.operands, instruction.operands, strict=True)}
        self.attributes = {spec.name: v for spec, v in zip(row.attributes, instruction.attributes, strict=True)}
        self.bits, self.sum_bits = (BITS[formats.get(name, "fp32")] for name in (row.engine, "sums"))
        self.out = self.operands["out"]

    def one(self, name: str):
        return self.attributes[name][0]

    def position(self, operand: Operand, index) -> int:
        address = operand.address
        for term in operand.terms:
            counter = self.counters[term.counter]
            address += term.stride * (counter % term.modulus if term.modulus else counter)
        return address + operand.dtype.bytes * sum(i * stride for i, stride in zip(index, operand.strides, strict=True))

    def compressed(self, operand: Operand, index) -> bytes:
        """Return the bytes of one element of a compressed weight: the mask's bits before it count its values."""
        memory, size = self.memories[operand.memory], operand.dtype.bytes
        place = sum(i * stride for i, stride in zip(index, operand.strides, strict=True))
        bits = [memory[operand.address + k // 8] >> k % 8 & 1 for k in range(place + 1)]
        mask = (operand.elements + 7) // 8
        first = operand.address + (mask + size - 1) // size * size + size * sum(bits[:-1])
        held = bits[-1] and first + size <= operand.address + operand.stored
        return bytes(memory[first : first + size]) if held else bytes(size)

    def grouped(self, operand: Operand, index) -> float:
        """Return one element of a weight in groups: exact, then rounded to binary32 and to 16 bits."""
        memory, kind, group = self.memories[operand.memory], *operand.form.partition("_")[::2]
        size = int(group or 32)
        place = sum(i * stride for i, stride in zip(index, operand.strides, strict=True))
        head, bits = {"q8": 2, "q4": 2, "q8m": 4, "q4m": 4, "mxfp8": 1, "mxfp4": 1}[kind], 4 if "4" in kind else 8
        at = self.position(operand, [0] * len(index)) + place // size * (head + size * bits // 8)
        byte = memory[at + head + place % size * bits // 8]
        q = byte >> 4 * (place % 2) & 15 if bits == 4 else byte
        if kind.startswith("mx"):
            scale, least = nan if memory[at] == 255 else Fraction(2) ** (memory[at] - 127), None
            q = tiny(E4M3, q) if bits == 8 else small_float(q, 4, 1, 1)
        else:
            scale, least = (struct.unpack("<e", bytes(memory[at + k : at + k + 2]))[0] for k in (0, head - 2))
            least = least if kind.endswith("m") else None
            q = {"q8": q - 256 * (q >= 128), "q4": q - 8}.get(kind, q)
        if not all(isfinite(factor) for factor in (q, scale, least or 0)):
            value = float(q) * float(scale) + (0.0 if least is None else least)
        else:
            exact = Fraction(q) * Fraction(scale) + Fraction(least or 0)
            zero = copysign(1.0, float(q)) * copysign(1.0, float(scale)) * 0.0
            zero = zero if least is None else zero + least if not least else 0.0
            value = nearest(exact, 23) if exact else zero
        raw = packed(operand.dtype, value)
        return struct.unpack("<e", raw)[0] if operand.dtype == F16 else struct.unpack("<f", b"\0\0" + raw)[0]

    def raw(self, name: str, index) -> bytes:
        operand = self.operands[name]
        first = self.position(operand, index)
        return bytes(self.memories[operand.memory][first : first + operand.dtype.bytes])

    def load(self, name: str, *index: int):
        if self.operands[name].form:
            return self.grouped(self.operands[name], index)
        dtype, raw = self.operands[name].dtype, self.raw(name, index)
        if self.operands[name].stored:
            raw = self.compressed(self.operands[name], index)
        if dtype == BF16:
            return struct.unpack("<f", b"\0\0" + raw)[0]
        return tiny(dtype, raw[0]) if dtype in TINY else struct.unpack(CODES[dtype], raw)[0]

    def broadcast(self, name: str, index):
        """Return the element of a tensor that is repeated along its dimensions of size 1."""
        shape = self.operands[name].shape
        tail = index[len(index) - len(shape) :]
        return self.load(name, *(0 if size == 1 else i for i, size in zip(tail, shape, strict=True)))

    def channel(self, name: str, channel: int):
        """Return the element of a constant for a channel, None where the constant is absent."""
        operand = self.operands.get(name)
        return None if operand is None else self.load(name, 0 if operand.shape[0] == 1 else channel)

    def rounded(self, value, bits: int | None = None) -> float:
        if isinstance(value, float) and (not isfinite(value) or value == 0):
            return value
        return nearest(Fraction(value), self.bits if bits is None else bits) if value else 0.0

    def in_sum(self, value) -> float:
        return self.rounded(value, self.sum_bits)

    def operate(self, operation: str, a: float, b: float, bits: int | None = None) -> float:
        """Return an operation of two numbers of the format, exact and then rounded once."""
        plain = OPERATIONS[operation](a, b)
        if not isfinite(a) or not isfinite(b) or (operation == "div" and b == 0):
            return plain
        exact = OPERATIONS[operation](Fraction(a), Fraction(b))
        return nearest(exact, self.bits if bits is None else bits) if exact else plain

    def multiply_add(self, a: float, b: float, c: float, bits: int | None = None) -> float:
        """Return a * b + c, exact and then rounded once."""
        plain = a * b + c
        if not all(map(isfinite, (a, b, c))):
            return plain
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        # A sum of 0 has the sign that the float64 sum has: the product of floats of the format is exact there.
        return nearest(exact, self.bits if bits is None else bits) if exact else plain

    def saturated(self, value: float, zero: int, dtype=I8) -> int:
        if isnan(value):
            value = 0.0
        if not isfinite(value):
            return dtype.high if value > 0 else dtype.low
        return max(dtype.low, min(dtype.high, round(Fraction(value)) + zero))

    def stored(self, value: float) -> bytes:
        """Return a number of the format as an element of the result."""
        dtype = self.out.dtype
        if not dtype.is_float:
            return struct.pack(CODES[dtype], self.saturated(value, self.one("out_zero"), dtype))
        return packed(dtype, value)

    def chain(self, acc, index) -> bytes:
        channel = index[-1]
        if self.out.dtype == I32:
            second = 0 if self.operands["ew2"] is None else self.broadcast("ew2", index)
            return struct.pack("<i", (acc + second + 2**31) % 2**32 - 2**31)
        if (word := self.instruction.word("ew3_op")).startswith("round"):
            return self.fixed(word, acc, channel)
        # Accumulators of 64 bits pass through float64, where Python rounds half to even too.
        v = self.rounded(float(acc))
        scale, bias = (self.channel(name, channel) for name in ("ew1_scale", "ew1_bias"))
        if scale is not None and bias is not None:
            v = self.multiply_add(v, self.rounded(scale), self.rounded(bias))
        elif scale is not None:
            v = self.operate("mul", v, self.rounded(scale))
        elif bias is not None:
            v = self.operate("add", v, self.rounded(bias))
        v = self.special(self.second(v, index))
        scale = self.channel("ew3_scale", channel)
        if scale is not None:
            v = self.operate("mul", v, self.rounded(scale))
        if word == "zero_first":
            v = self.operate("add", v, self.rounded(Fraction(self.one("out_zero"))))
            return struct.pack(CODES[self.out.dtype], self.saturated(v, 0, self.out.dtype))
        return self.stored(v)

    def fixed(self, word: str, acc: int, channel: int) -> bytes:
        """Return an accumulator times m * 2**(s - 31), as an element of the result."""
        of = 0 if self.operands["ew3_scale"].shape[1] == 1 else channel
        m, s = (self.load("ew3_scale", k, of) for k in (0, 1))
        s = min(max(s, -31), 30)
        acc = max(acc, 0) if self.instruction.word("sf") == "relu" else acc
        if word == "round_once":
            q = floor(acc * m * Fraction(2) ** (s - 31) + Fraction(1, 2))
        elif word == "round_away":
            q = floor(abs(acc * m) * Fraction(2) ** (s - 31) + Fraction(1, 2))
            q = q if acc * m > 0 else -q
        else:
            a = min(max(acc * 2 ** max(s, 0), -(2**31)), 2**31 - 1)
            a = min(floor(Fraction(a * m, 2**31) + Fraction(1, 2)), 2**31 - 1)
            q = floor(Fraction(abs(a), 2 ** max(-s, 0)) + Fraction(1, 2))
            q = q if a > 0 else -q
        dtype = self.out.dtype
        return struct.pack(CODES[dtype], min(max(q + self.one("out_zero"), dtype.low), dtype.high))

    def second(self, v: float, index) -> float:
        word = self.instruction.word("ew2_op")
        if word == "none":
            return v
        d = self.broadcast("ew2", index)
        d = self.rounded(d if isinstance(d, float) else d - self.one("ew2_zero"))
        scale = self.channel("ew2_scale", index[-1])
        if scale is not None and word in ("add", "sub"):
            return self.multiply_add(d if word == "add" else -d, self.rounded(scale), v)
        if scale is not None:
            d = self.operate("mul", d, self.rounded(scale))
        if word == "max":
            return v if v > d else d
        if word == "min":
            return v if v < d else d
        return self.operate(word, v, d)

    def special(self, v: float) -> float:
        word = self.instruction.word("sf")
        if word == "relu":
            return v if v > 0 else 0.0
        if word == "clip":
            low, high = self.rounded(self.one("clip_low")), self.rounded(self.one("clip_high"))
            v = low if v < low else v
            return high if v > high else v
        if word == "leaky_relu":
            return self.operate("mul", v, self.rounded(self.one("slope"))) if v < 0 else v
        if word == "hard_sigmoid":
            a = self.operate("mul", v, self.rounded(self.one("slope")))
            return self.unit(self.operate("add", a, self.rounded(self.one("offset"))))
        if word == "hard_swish":
            a = self.rounded(Fraction(v) / 6) if v and isfinite(v) else v
            return self.operate("mul", v, self.unit(self.operate("add", a, 0.5)))
        if word == "table":
            return self.rounded(self.load("table", self.saturated(v, self.one("table_offset")) + 128))
        if word == "none":
            return v
        if word == "sqrt":
            return self.root(v)
        with np.errstate(all="ignore"):
            return self.rounded(float(getattr(functions, word)(np.array([v], np.float32))[0]))

    def root(self, v: float) -> float:
        """Return the root, rounded once. It is no tie, of which the square would have more bits than a number has."""
        if v <= 0 or not isfinite(v):
            return nan if v < 0 else v
        whole = int(Fraction(v) * 4**200)
        below = isqrt(whole)
        exact = below * below == whole
        return nearest((Fraction(below) if exact else below + Fraction(1, 2)) / 2**200, self.bits)

    @staticmethod
    def unit(v: float) -> float:
        return 0.0 if v < 0 else 1.0 if v > 1 else v

    def pixel(self, n: int, row: int, column: int, channel: int):
        """Return an element of x, or None outside it."""
        _, height, width, _ = self.operands["x"].shape
        return self.load("x", n, row, column, channel) if 0 <= row < height and 0 <= column < width else None

    def taps(self, index, kernel, dilation=(1, 1)):
        """Yield (tap, row, column) of a window over x."""
        _, oh, ow, _ = index
        (top, left, _, _), (down, right) = self.attributes["pad"], self.attributes["stride"]
        for kh, kw in product(range(kernel[0]), range(kernel[1])):
            yield (kh, kw), oh * down - top + kh * dilation[0], ow * right - left + kw * dilation[1]

    def products(self, terms, channel: int) -> int | float:
        """Return the accumulator of the products of x and w, each by one operation where they are floats."""
        if self.operands["x"].dtype.is_float:
            total = self.channel("bias", channel) or 0.0
            for x, w in terms:
                total = self.multiply_add(0.0 if x is None else x, float(w), total, 23)
            return total
        less, w_less = self.one("x_zero"), self.one("w_zero")
        return self.accumulated(sum((x - less) * (w - w_less) for x, w in terms if x is not None), channel)

    def accumulated(self, total: int, channel: int) -> int:
        total += self.channel("bias", channel) or 0
        return total if self.operands["x"].dtype == I16 else (total + 2**31) % 2**32 - 2**31

    def conv(self, index) -> bytes:
        n, _, _, o = index
        filters, *kernel, depth = self.operands["w"].shape
        group = o // (filters // self.one("groups"))
        terms = (
            (self.pixel(n, row, column, group * depth + c), self.load("w", o, *tap, c))
            for tap, row, column in self.taps(index, kernel, self.attributes["dilation"])
            for c in range(depth)
        )
        return self.chain(self.products(terms, o), index)

    def dwconv(self, index) -> bytes:
        n, _, _, channel = index
        _, *kernel, _ = self.operands["w"].shape
        terms = (
            (self.pixel(n, row, column, channel), self.load("w", 0, *tap, channel))
            for tap, row, column in self.taps(index, kernel, self.attributes["dilation"])
        )
        return self.chain(self.products(terms, channel), index)

    def batch(self, name: str, index):
        """Return where in the batch of an operand the matrix lies that belongs to the result's."""
        sizes = self.operands[name].shape[:-2]
        return [0 if size == 1 else i for i, size in zip(index[len(index) - len(sizes) :], sizes, strict=True)]

    def matmul(self, index) -> bytes:
        *batch, m, n = index
        x_flipped, w_flipped = self.one("transpose_x"), self.one("transpose_w")
        x_batch, w_batch = (self.batch(name, batch) for name in ("x", "w"))
        terms = (
            (
                self.load("x", *x_batch, *((k, m) if x_flipped else (m, k))),
                self.load("w", *w_batch, *((n, k) if w_flipped else (k, n))),
            )
            for k in range(self.operands["x"].shape[-2 if x_flipped else -1])
        )
        return self.chain(self.products(terms, n), index)

    def eltwise(self, index) -> bytes:
        x = self.broadcast("x", index)
        return self.chain(x if isinstance(x, float) else x - self.one("x_zero"), index)

    def rotate(self, index) -> bytes:
        *row, column = index
        half = self.out.shape[-1] // 2
        interleaved = self.instruction.word("pairs") == "interleaved"
        pair, second = divmod(column, 2) if interleaved else (column % half, column // half)
        columns = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + half)
        x = [self.rounded(self.load("x", *row, k)) for k in columns]
        cos, sin = (self.rounded(self.broadcast(name, (*row, pair))) for name in ("cos", "sin"))
        straight, across = self.operate("mul", x[second], cos), self.operate("mul", x[1 - second], sin)
        return self.stored(self.operate("add" if second else "sub", straight, across))

    def maxpool(self, index) -> bytes:
        n, _, _, channel = index
        pixels = [self.pixel(n, row, column, channel) for _, row, column in self.taps(index, self.attributes["window"])]
        return self.unchanged(self.greatest([x for x in pixels if x is not None])[0])

    def unchanged(self, value) -> bytes:
        """Return a value of x in the result's type, which is the same."""
        return self.stored(value) if isinstance(value, float) else struct.pack(CODES[self.out.dtype], value)

    def greatest(self, values):
        """Return (the greatest, its place): the first NaN, else the first of the greatest numbers."""
        for k, value in enumerate(values):
            if value != value:
                return value, k
        return max(values), values.index(max(values))

    def summed(self, values) -> float:
        """Return the sum of values of x less the zero point: exact for integers, for floats in the sum format."""
        if not self.operands["x"].dtype.is_float:
            return self.rounded(sum(value - self.one("x_zero") for value in values))
        total = 0.0
        for value in values:
            total = self.operate("add", total, self.in_sum(value), self.sum_bits)
        return self.rounded(total)

    def multiplied(self, v: float, count: int = 1) -> bytes:
        """Return v times scale / count, stored."""
        scale = self.channel("scale", 0)
        scale = 1.0 if scale is None else self.rounded(scale)
        multiplier = nearest(Fraction(scale) / count, self.bits) if scale and isfinite(scale) else scale
        return self.stored(self.operate("mul", v, multiplier))

    def avgpool(self, index) -> bytes:
        n, _, _, channel = index
        pixels = [self.pixel(n, row, column, channel) for _, row, column in self.taps(index, self.attributes["window"])]
        inside = [x for x in pixels if x is not None]
        count = len(inside)
        if self.one("count_pad"):
            _, height, width, _ = self.operands["x"].shape
            _, _, bottom, right = self.attributes["pad"]
            taps = self.taps(index, self.attributes["window"])
            count = sum(row < height + bottom and column < width + right for _, row, column in taps)
        return self.multiplied(self.summed(inside), count)

    def reduce(self, index) -> bytes:
        x, op = self.operands["x"], self.instruction.word("op")
        spans = [range(size) if of_out == 1 else (i,) for i, size, of_out in zip(index, x.shape, self.out.shape)]
        values = [self.load("x", *place) for place in product(*spans)]
        if op == "argmax":
            return struct.pack("<i", self.greatest(values)[1])
        if op == "min":
            # As of the greatest, but for the first NaN.
            return self.unchanged(next((value for value in values if value != value), min(values)))
        if op == "max":
            return self.unchanged(self.greatest(values)[0])
        if self.out.dtype == I32:
            return struct.pack("<i", (sum(value - self.one("x_zero") for value in values) + 2**31) % 2**32 - 2**31)
        if op == "absmax":
            values = [value if isinstance(value, float) else value - self.one("x_zero") for value in values]
            return self.multiplied(self.rounded(self.greatest([abs(value) for value in values])[0]))
        if op == "sumsq":
            return self.multiplied(self.summed_squares(values))
        return self.multiplied(self.summed(values), len(values) if op == "mean" else 1)

    def summed_squares(self, values) -> float:
        """Return the sum of squares of values of x less the zero point: exact for integers, else fma after fma."""
        if not self.operands["x"].dtype.is_float:
            return self.rounded(float(sum((value - self.one("x_zero")) ** 2 for value in values)))
        total = 0.0
        for value in map(self.in_sum, values):
            total = self.multiply_add(value, value, total, self.sum_bits)
        return self.rounded(total)

    def found(self, index) -> int:
        """Return the place of the element of a row that is as great as only so many before it."""
        *row, rank = index
        values = [self.load("x", *row, k) for k in range(self.operands["x"].shape[-1])]
        numbers = sorted((k for k, value in enumerate(values) if value == value), key=lambda k: (-values[k], k))
        return [*numbers, *(k for k, value in enumerate(values) if value != value)][rank]

    def topk(self, index) -> bytes:
        return self.raw("x", (*index[:-1], self.found(index)))

    def topk_places(self, index) -> bytes:
        return struct.pack("<i", self.found(index))

    def resize(self, index) -> bytes:
        n, *place, channel = index
        sizes = self.out.shape[1:3], self.operands["x"].shape[1:3], self.attributes["factor"]
        sides = list(zip(place, *sizes, strict=True))
        if self.instruction.word("mode") == "nearest":
            return self.raw("x", (n, *(self.nearest_pixel(*side) for side in sides), channel))
        rows, columns = (self.weighted(min(max(self.coordinate(*side), 0), side[2] - 1), side[2]) for side in sides)
        return self.multiplied(self.four(n, channel, rows, columns))

    def coordinate(self, i: int, size: int, of_x: int, factor: float) -> Fraction | float:
        word = self.instruction.word("coordinates")
        if factor:
            half = 0.5 if word == "half_pixel" else 0.0
            quotient = (Fraction(i) + Fraction(half)) / Fraction(factor)
            return single((nearest(quotient, 23) if quotient else 0.0) - half)
        if word == "half_pixel":
            return (i + Fraction(1, 2)) * Fraction(of_x, size) - Fraction(1, 2)
        if word == "align_corners":
            return Fraction(i * (of_x - 1), size - 1) if size > 1 else Fraction(0)
        return Fraction(i * of_x, size)

    def nearest_pixel(self, i: int, size: int, of_x: int, factor: float) -> int:
        place, half = self.coordinate(i, size, of_x, factor), Fraction(1, 2)
        place = Fraction(min(place, of_x))
        word = self.instruction.word("rounding")
        rounded = {
            "prefer_floor": ceil(place - half),
            "prefer_ceil": floor(place + half),
            "floor": floor(place),
            "ceil": ceil(place),
        }
        return min(max(rounded[word], 0), of_x - 1)

    def weighted(self, place, of_x: int):
        """Return the two pixels around a place inside x, each with its weight."""
        low = floor(place)
        after = place - low
        before = 1 - after if isinstance(place, Fraction) else single(1 - after)
        return (low, self.in_sum(before)), (min(low + 1, of_x - 1), self.in_sum(after))

    def four(self, n: int, channel: int, rows, columns) -> float:
        """Return the sum of four pixels times their weights."""
        parts = []
        for (y, high), (x, wide) in product(rows, columns):
            value = self.load("x", n, y, x, channel)
            value = self.in_sum(value if isinstance(value, float) else value - self.one("x_zero"))
            weight = self.operate("mul", high, wide, self.sum_bits)
            parts.append(self.operate("mul", value, weight, self.sum_bits))
        total = parts[0]
        for part in parts[1:]:
            total = self.operate("add", total, part, self.sum_bits)
        return self.rounded(total)

    def image(self, region: int) -> int:
        chosen = self.load("index", region)
        if not 0 <= chosen < self.operands["x"].shape[0]:
            raise IndexError(region)
        return chosen

    def roisample(self, index) -> bytes:
        region, *sample, channel = index
        image, around = self.image(region), []
        for axis in (0, 1):
            place, of_x = self.sample(region, sample[axis], axis), self.operands["x"].shape[1 + axis]
            if not -1 <= place <= of_x:
                return self.stored(0.0)
            around.append(self.weighted(min(max(place, 0.0), of_x - 1.0), of_x))
        return self.multiplied(self.four(image, channel, *around))

    def sample(self, region: int, i: int, axis: int) -> float:
        """Return the coordinate of a sample of a region, each operation in float32."""
        begin, end = (self.load("rois", region, corner - axis) for corner in (1, 3))
        scale, offset = self.one("spatial_scale"), 0.5 if self.one("half_pixel") else 0.0
        ratio = int(self.attributes["ratio"][axis])
        start = single(single(begin * scale) - offset)
        length = single(single(single(end * scale) - offset) - start)
        if length < 1 and not self.one("half_pixel"):
            length = 1.0
        size = single(length / (self.out.shape[1 + axis] // ratio))
        within = single(single((i % ratio + 0.5) * size) / ratio)
        return single(single(start + single(i // ratio * size)) + within)

    def roipool(self, index) -> bytes:
        region, *place, channel = index
        image, spans = self.image(region), []
        for axis, i in enumerate(place):
            count, of_x = self.out.shape[1 + axis], self.operands["x"].shape[1 + axis]
            first, last = (self.corner(self.load("rois", region, corner - axis)) for corner in (1, 3))
            step = Fraction(max(last - first + 1, 1), count)
            span = range(max(first + floor(i * step), 0), min(first + ceil((i + 1) * step), of_x))
            spans.append(span)
        values = [self.load("x", image, y, x, channel) for y, x in product(*spans)]
        if values:
            return self.unchanged(self.greatest(values)[0])
        return self.unchanged(0.0 if self.out.dtype.is_float else self.one("x_zero"))

    def corner(self, value: float) -> int:
        """Return a corner as a whole pixel, half away from zero."""
        place = single(value * self.one("spatial_scale"))
        place = 0.0 if isnan(place) else min(max(place, -(2.0**30)), 2.0**30)
        away = floor(abs(Fraction(place)) + Fraction(1, 2))
        return away if place >= 0 else -away

    def load_(self, index) -> bytes:
        return self.raw("x", index)

    def fill(self, index) -> bytes:
        (value,) = self.attributes["value"]
        return (
            packed(self.out.dtype, value) if self.out.dtype.is_float else struct.pack(CODES[self.out.dtype], int(value))
        )

    def transpose(self, index) -> bytes:
        source = [0] * len(index)
        for k, i in enumerate(index):
            source[int(self.attributes["perm"][k])] = i
        return self.raw("x", source)

    def gather(self, index) -> bytes:
        axis = self.one("axis")
        chosen, size = self.load("index", index[axis]), self.operands["x"].shape[axis]
        if self.one("from_end") and -size <= chosen < 0:
            chosen += size
        if not 0 <= chosen < size:
            raise IndexError(index[axis])
        return self.raw("x", (*index[:axis], chosen, *index[axis + 1 :]))

    def scatter(self, index) -> bytes:
        axis, size = self.one("axis"), self.out.shape[self.one("axis")]
        found = None
        for i in range(self.operands["index"].shape[0]):
            chosen = self.load("index", i)
            chosen += size if self.one("from_end") and -size <= chosen < 0 else 0
            if not 0 <= chosen < size:
                raise IndexError(i)
            found = i if chosen == index[axis] else found
        return self.raw("out", index) if found is None else self.raw("x", (*index[:axis], found, *index[axis + 1 :]))

    def flatten(self, index) -> bytes:
        n, _, _, place = index
        taps = list(self.taps(index, self.attributes["window"], self.attributes["dilation"]))
        tap, channel = divmod(place, self.operands["x"].shape[3])
        _, row, column = taps[tap]
        _, height, width, _ = self.operands["x"].shape
        if 0 <= row < height and 0 <= column < width:
            return self.raw("x", (n, row, column, channel))
        return self.one("x_zero").to_bytes(self.out.dtype.bytes, "little", signed=self.one("x_zero") < 0)

    def toweight(self, index) -> bytes:
        o, kh, kw, c = index
        _, _, width, channels = self.out.shape
        return self.raw("x", (kh * width * channels + kw * channels + c, o))

    store = copy = load_


def run(instruction: Instruction, memories: dict[str, bytearray], counters: list[int], formats: dict[str, str]) -> None:
    """Run one instruction: every element is computed before the first is written. Raises IndexError."""
    element = Element(instruction, {name: bytes(memory) for name, memory in memories.items()}, counters, formats)
    name = instruction.row.mnemonic
    results = []
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if spec.access == "write":
            own = {"load": "load_"}.get(name, name) + ("" if spec.name == "out" else f"_{spec.name}")
            compute = getattr(element, own)
            results += [(operand, index, compute(index)) for index in np.ndindex(operand.shape)]
    for operand, index, value in results:
        first = element.position(operand, index)
        memories[operand.memory][first : first + operand.dtype.bytes] = value
