"""THE TABLE: every instruction, declared once.

A row says what an instruction is called, which engine runs it, its operands and attributes, what it means and what it
traps on. From the rows follow, by plain loops: encoding.py, verify.py (with the shape rules), the manual, the
assembler's operand parsing and messages, the disassembler, and the hypothesis strategies. Meaning, kernels and costs
are dictionaries keyed by opcode elsewhere (`isa.reference.REFERENCE`, `emulator.kernels.KERNELS`,
`emulator.costs.COSTS`), each compared with the table when it is imported. Timing never enters the table.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from isa.dtypes import BF16, DTYPES, F16, F32, I8, I16, I32, U8, DType
from isa.operand import MAX_LOOP_DEPTH, MEMORIES

# Engines in the order of their wait bits; synchronisation sits in the queue of the engine that it names; the sequencer
# runs loops itself and has no queue.
ENGINES = ("te", "pe", "me")
ALL_ENGINES = (*ENGINES, "sync", "seq")
ENGINE_NAMES = {
    "te": "tensor engine",
    "pe": "pooling engine",
    "me": "memory engine",
    "sync": "synchronisation",
    "seq": "sequencer",
}
# The wait bit of each engine as written: (w.t), (w.p), (w.m), or several: (w.tp).
WAIT_LETTERS = {"t": "te", "p": "pe", "m": "me"}


Value = TypeVar("Value")


@dataclass(frozen=True)
class OperandSpec:
    """What an instruction accepts in one operand slot.

    `ranks` is the least and greatest rank; `strided` allows an innermost stride other than 1; an `optional` operand
    may be absent, and then the step of the meaning that uses it is absent too; `remote` allows the local memory of
    another core, `compressible` a compressed weight.
    """

    name: str
    access: Literal["read", "write"]
    memories: tuple[str, ...]
    dtypes: tuple[DType, ...]
    ranks: tuple[int, int]
    meaning: str
    optional: bool = False
    strided: bool = False
    remote: bool = False
    compressible: bool = False


@dataclass(frozen=True)
class AttributeSpec:
    """What an instruction accepts for one attribute.

    `kind` is the encoding of one element: u8, u16, i16, u32, f32 or f64. `count` elements are written as a tuple,
    `names` says what each is; a single value in the text stands for all of them. `default` None makes it required.
    `words` turns the attribute into a choice that is written as one of these words; `takes` names the operand or the
    attributes that a word brings with it, as in `add=residual` or `clip=(0, 6)`; they are absent with another word.
    With `identity`, elements left out at the end of the tuple are their own index. `declared` names the kind of thing
    whose number it is, "semaphore" or "barrier": it is written first, without a name, as the program calls it.
    """

    name: str
    kind: Literal["u8", "u16", "i16", "u32", "f32", "f64"]
    low: float
    high: float
    default: tuple[float, ...] | None
    meaning: str
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    takes: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    identity: bool = False
    declared: str = ""

    @property
    def count(self) -> int:
        return max(1, len(self.names))

    @property
    def is_float(self) -> bool:
        return self.kind in ("f32", "f64")


@dataclass(frozen=True)
class Row:
    """One instruction.

    `meaning` is one line, `formula` the arithmetic, one assignment a line; `traps` what it may trap on (codes of
    TRAPS); `program` a small complete program that shows it. One that keeps values, always or with some words of its
    choices, knows no scales and zero points.
    """

    opcode: int
    mnemonic: str
    engine: Literal["te", "pe", "me", "sync", "seq"]
    operands: tuple[OperandSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    meaning: str
    formula: str
    traps: tuple[str, ...]
    program: str
    in_place: bool = False
    keeps_values: bool = False
    keeping_words: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """Return the line of `program` that holds the instruction."""
        lines = (line.strip() for line in self.program.splitlines())
        return next(line for line in lines if line.split()[:1] == [self.mnemonic])

    def keeps(self, words: Iterable[str]) -> bool:
        """Whether it only takes values of x to out, or finds their place, with these words chosen."""
        return self.keeps_values or not set(words).isdisjoint(self.keeping_words)

    def operand_index(self, name: str) -> int:
        return [spec.name for spec in self.operands].index(name)

    def attribute_index(self, name: str) -> int:
        return [spec.name for spec in self.attributes].index(name)

    @property
    def choices(self) -> tuple[AttributeSpec, ...]:
        """The attributes that are written as a word."""
        return tuple(spec for spec in self.attributes if spec.words)


# What DP multiplies; what EW3 and the pooling engine round to as they store; that and i32, every type.
FACTORS = (I8, U8, I16)
VALUES = (I8, U8, I16, F16, BF16, F32)
ANY = tuple(DTYPES.values())

# What can stop a program, decided when it is loaded for a chip (bounds, memory) or as an instruction starts, which then
# writes nothing.
TRAPS = {
    "bounds": "an operand reaches outside its memory on this chip, in some iteration",
    "memory": "the chip does not have the operand's memory",
    "overlap": "the result shares bytes with a tensor that the same instruction reads (where it may not work in "
    "place), or with a compressed weight, which nothing may write",
    "index": "an element of `index` is no place along the first dimension of x: below 0, or beyond its last",
    "deadlock": "no core can go on: each has ended, or waits for what only the others could bring",
}


def read(name: str, memories: str, dtypes: tuple[DType, ...], ranks: tuple[int, int], meaning: str) -> OperandSpec:
    return OperandSpec(name, "read", tuple(memories.split()), dtypes, ranks, meaning)


def weights(ranks: tuple[int, int], meaning: str) -> OperandSpec:
    """The second factor of DP."""
    return OperandSpec("w", "read", ("lm",), FACTORS, ranks, meaning, compressible=True)


def constant(name: str, dtype: DType, meaning: str) -> OperandSpec:
    """An optional vector in the constant buffer."""
    return OperandSpec(name, "read", ("cb",), (dtype,), (1, 1), meaning, optional=True)


def moved(
    name: str, access: Literal["read", "write"], memories: str, meaning: str, remote: bool = False
) -> OperandSpec:
    """A tensor that the memory engine moves: any type, any strides."""
    return OperandSpec(name, access, tuple(memories.split()), ANY, (1, 4), meaning, strided=True, remote=remote)


def zero_point(name: str, meaning: str) -> AttributeSpec:
    """The zero point of the operand that `name` begins with, which must hold it."""
    return AttributeSpec(name, "i16", -(2**15), 2**15 - 1, (0,), meaning)


def flag(name: str, meaning: str) -> AttributeSpec:
    return AttributeSpec(name, "u8", 0, 1, (0,), meaning)


STRIDE = AttributeSpec("stride", "u8", 1, 255, (1, 1), "step of the window, in input pixels", ("height", "width"))
PAD = AttributeSpec("pad", "u8", 0, 255, (0, 0, 0, 0), "pixels of padding", ("top", "left", "bottom", "right"))
DILATION = AttributeSpec("dilation", "u8", 1, 255, (1, 1), "distance of the taps, in input pixels", ("height", "width"))
WINDOW = AttributeSpec(
    "window", "u16", 1, 65535, None, "size of the window; `global` is the whole of x", ("height", "width")
)
COUNTER = AttributeSpec("counter", "u8", 1, MAX_LOOP_DEPTH, None, "the loop's counter: its depth, from 1")

SEMAPHORE = AttributeSpec("semaphore", "u16", 0, 65535, None, "the semaphore, by its name", declared="semaphore")
QUEUE = AttributeSpec("queue", "u8", 0, 2, None, "the engine in whose queue it sits", words=ENGINES)

ACC_BIAS = constant("bias", I32, "ACC: added to the products, for each output channel or one for all")

# EW1 -> EW2 -> SF -> EW3, behind ACC or entered at EW1.
CHAIN_OPERANDS = (
    constant("ew1_scale", F32, "EW1: multiplier, for each output channel or one for all"),
    constant("ew1_bias", F32, "EW1: added after the multiplier, for each output channel or one for all"),
    OperandSpec("ew2", "read", ("lm",), ANY, (1, 4), "EW2: second tensor, broadcast to out", optional=True),
    constant("ew2_scale", F32, "EW2: de-quantises the second tensor, for each channel or one for all"),
    constant("table", F32, "SF: 256 values, for v rounded to -128 ... 127"),
    constant("ew3_scale", F32, "EW3: multiplier before rounding, for each output channel or one for all"),
)
CHAIN_ATTRIBUTES = (
    AttributeSpec(
        "ew2_op",
        "u8",
        0,
        5,
        (0,),
        "EW2: operation with the second tensor",
        words=("none", "add", "sub", "mul", "max", "min"),
        takes=dict.fromkeys(("add", "sub", "mul", "max", "min"), ("ew2",)),
    ),
    AttributeSpec(
        "sf",
        "u8",
        0,
        13,
        (0,),
        "SF: special function",
        words=(
            *("none", "relu", "clip", "leaky_relu", "sigmoid", "tanh", "table"),
            *("gelu", "silu", "exp", "reciprocal", "rsqrt", "hard_sigmoid", "hard_swish"),
        ),
        takes={
            "clip": ("clip_low", "clip_high"),
            "leaky_relu": ("slope",),
            "table": ("table",),
            "hard_sigmoid": ("slope", "offset"),
        },
    ),
    AttributeSpec("clip_low", "f32", -3.4e38, 3.4e38, (0.0,), "SF: lower bound of clip"),
    AttributeSpec("clip_high", "f32", -3.4e38, 3.4e38, (0.0,), "SF: upper bound of clip"),
    AttributeSpec("slope", "f32", -3.4e38, 3.4e38, (0.0,), "SF: factor of leaky_relu below 0, of hard_sigmoid"),
    AttributeSpec("offset", "f32", -3.4e38, 3.4e38, (0.0,), "SF: added by hard_sigmoid"),
    zero_point("ew2_zero", "EW2: zero point of the second tensor"),
    zero_point("out_zero", "EW3: zero point of the result"),
)
CHAIN_FORMULA = """
v   = float(acc)                                      ; of 64 bits by way of float64
v   = v * ew1_scale                                   ; EW1, where given
v   = v + ew1_bias                                    ; EW1, where given
d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given
v   = v ew2_op d                                      ; EW2, where a second tensor is given
v   = sf(v)                                           ; SF
v   = v * ew3_scale                                   ; EW3, where given
out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
out = v                                               ; for an f32 result; rounded once to the type for f16 and bf16
out = acc                                             ; for an i32 result, which no stage may follow"""
ELTWISE_FORMULA = CHAIN_FORMULA.rpartition("\n")[0]

# What the pooling engine makes of its vector format.
TO_STORAGE = """
out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
out = v, rounded to the type                          ; f16, bf16, f32"""
POOL_SCALE = constant("scale", F32, "multiplier, one for all")
# The floating form of a sum: float(x) is x in the vector format.
SUM_FORMULA = """
sum = sum + float(x), from 0, in that order           ; f16, bf16, f32: each step rounded"""

WINDOW_FORMULA = """
ih  = oh * stride.height - pad.top + kh * dilation.height
iw  = ow * stride.width - pad.left + kw * dilation.width"""
POOL_WINDOW_FORMULA = """
ih  = oh * stride.height - pad.top + kh
iw  = ow * stride.width - pad.left + kw"""

# The regions that step 1 of ROI-align and ROI pooling look at.
REGIONS = (
    read("rois", "lm", (F32,), (2, 2), "regions, [n, 4]: left, top, right and bottom, in pixels of an image"),
    read("index", "lm", (I32,), (1, 1), "the image of x that each region lies in"),
)
SPATIAL_SCALE = AttributeSpec(
    "spatial_scale", "f32", 0, 3.4e38, (1.0,), "pixels of x to one pixel of the regions' image"
)
FOUR_PIXELS = """
p   = float(x[n, y, x, c] - x_zero) * (weight of y * weight of x), each product rounded
v   = p(y0, x0) + p(y0, x1) + p(y1, x0) + p(y1, x1), in this order, each sum rounded
v   = v * scale                                       ; where given"""
TWO_CORES = """\
.semaphore ready
.core 0
.input x i8[4, 64]
copy core1.inbox, x
signal ready, me
end
.core 1
.local inbox i8[4, 64]
.output out i8[4, 64]
wait ready, me
copy out, inbox
end
"""

ROWS = (
    Row(
        0x10,
        "conv",
        "te",
        (
            OperandSpec("out", "write", ("lm",), ANY, (4, 4), "result, NHWC"),
            read("x", "lm", FACTORS, (4, 4), "activations, NHWC"),
            weights((4, 4), "weights, OHWI: output channel, height, width, input channel of the group"),
            ACC_BIAS,
            *CHAIN_OPERANDS,
        ),
        (
            STRIDE,
            PAD,
            DILATION,
            AttributeSpec("groups", "u16", 1, 65535, (1,), "groups of channels"),
            zero_point("x_zero", "zero point of x, which padding contributes"),
            zero_point("w_zero", "zero point of w"),
            *CHAIN_ATTRIBUTES,
        ),
        "Convolve an image with weights, then run the chain.",
        "acc = bias[o] + sum over kh, kw, c of (x[n, ih, iw, c0 + c] - x_zero) * (w[o, kh, kw, c] - w_zero)\n"
        "c0  = o // (filters / groups) * (channels / groups)" + WINDOW_FORMULA + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 3] scale=0.02
.input  residual i8[1, 4, 4, 16] scale=0.05
.weight w i8[16, 3, 3, 3] scale=0.01 = 1
.const  b i32[16] = 0
.output out i8[1, 4, 4, 16] scale=0.05

conv out, x, w, bias=b, stride=2, pad=(0, 0, 1, 1), add=residual, relu
end
""",
    ),
    Row(
        0x11,
        "dwconv",
        "te",
        (
            OperandSpec("out", "write", ("lm",), ANY, (4, 4), "result, NHWC"),
            read("x", "lm", FACTORS, (4, 4), "activations, NHWC"),
            weights((4, 4), "weights, 1HWC: one filter for each channel"),
            ACC_BIAS,
            *CHAIN_OPERANDS,
        ),
        (
            STRIDE,
            PAD,
            DILATION,
            zero_point("x_zero", "zero point of x, which padding contributes"),
            zero_point("w_zero", "zero point of w"),
            *CHAIN_ATTRIBUTES,
        ),
        "Convolve each channel with a filter of its own (depthwise), then run the chain.",
        "acc = bias[c] + sum over kh, kw of (x[n, ih, iw, c] - x_zero) * (w[0, kh, kw, c] - w_zero)"
        + WINDOW_FORMULA
        + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 16] scale=0.02
.weight w i8[1, 3, 3, 16] scale=0.01 = 1
.const  b i32[16] = 0
.output out i8[1, 8, 8, 16] scale=0.05

dwconv out, x, w, bias=b, pad=1, clip=(0, 6)
end
""",
    ),
    Row(
        0x12,
        "matmul",
        "te",
        (
            OperandSpec("out", "write", ("lm",), ANY, (2, 4), "result, [batch..., m, n]"),
            read("x", "lm", FACTORS, (2, 4), "left matrix, [batch..., m, k], or [batch..., k, m] with transpose_x"),
            weights((2, 4), "right matrix, [batch..., k, n], or [batch..., n, k] with transpose_w"),
            ACC_BIAS,
            *CHAIN_OPERANDS,
        ),
        (
            flag("transpose_x", "x is stored as [k, m]"),
            flag("transpose_w", "w is stored as [n, k]"),
            zero_point("x_zero", "zero point of x"),
            zero_point("w_zero", "zero point of w"),
            *CHAIN_ATTRIBUTES,
        ),
        "Multiply matrices, then run the chain.",
        "acc = bias[n] + sum over k of (x[..., m, k] - x_zero) * (w[..., k, n] - w_zero)\n"
        "...   the batch: dimensions of 1, or left out in front, are repeated" + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64] scale=0.02
.weight w i8[10, 64] scale=0.01 = 1
.const  b i32[10] = 0
.output out i8[4, 10] scale=0.05

matmul out, x, w, bias=b, transpose_w, relu
end
""",
    ),
    Row(
        0x18,
        "eltwise",
        "te",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (1, 4), "result"),
            read("x", "lm", ANY, (1, 4), "first tensor, broadcast to out"),
            *CHAIN_OPERANDS,
        ),
        (zero_point("x_zero", "zero point of x"), *CHAIN_ATTRIBUTES),
        "Enter the chain at EW1: element by element, with broadcasting.",
        "acc = x - x_zero" + ELTWISE_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64] scale=0.02
.input  gate i8[4, 1] scale=0.0078125
.output out i8[4, 64] scale=0.0078125

eltwise out, x, mul=gate, tanh
end
""",
        in_place=True,
    ),
    Row(
        0x20,
        "maxpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC, of the type of x"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
        ),
        (WINDOW, STRIDE, PAD),
        "Take the greatest value of each window; padding never wins.",
        "out = max over kh, kw inside x of x[n, ih, iw, c]    ; the first of equals; a NaN is greater than any number"
        + POOL_WINDOW_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 16]
.output out i8[1, 4, 4, 16]

maxpool out, x, window=2, stride=2
end
""",
        keeps_values=True,
    ),
    Row(
        0x21,
        "avgpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
            POOL_SCALE,
        ),
        (
            WINDOW,
            STRIDE,
            PAD,
            flag("count_pad", "divide by the size of the window, padding counted, not by the pixels inside x"),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Average each window, in the pooling engine's vector format.",
        "sum = total over kh, kw inside x of (x[n, ih, iw, c] - x_zero), exact where x is an integer"
        + SUM_FORMULA
        + POOL_WINDOW_FORMULA
        + """
count = pixels of the window that lie inside x, or, with count_pad, its size
m   = scale / count                                   ; scale 1 where absent
v   = float(sum) * m"""
        + TO_STORAGE,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 7, 7, 16] scale=0.02
.output out i8[1, 1, 1, 16] scale=0.01

avgpool out, x, window=global
end
""",
    ),
    Row(
        0x22,
        "reduce",
        "pe",
        (
            OperandSpec(
                "out",
                "write",
                ("lm",),
                ANY,
                (1, 4),
                "result, of the rank of x: each dimension has the size of x's, or 1, which reduces it",
            ),
            read("x", "lm", ANY, (1, 4), "tensor to reduce"),
            POOL_SCALE,
        ),
        (
            AttributeSpec("op", "u8", 0, 3, None, "what many elements become", words=("sum", "mean", "max", "argmax")),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Reduce dimensions to one element: sum, mean, greatest, or place of the greatest.",
        """\
i   = the elements of x that become one of out, in row-major order; count of them
sum = total over i of (x[i] - x_zero), exact where x is an integer"""
        + SUM_FORMULA
        + """
m   = scale for sum, scale / count for mean           ; scale 1 where absent
v   = float(sum) * m                                  ; sum, mean"""
        + TO_STORAGE
        + """
out = sum, wrapped to 32 bits                         ; sum of integers to i32, without a scale
out = max over i of x[i]                              ; max: the first of equals; a NaN is greater than any number
out = the first place in i where x[i] is the greatest ; argmax, i32""",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 7, 7, 16] scale=0.02
.output out f32[1, 1, 1, 16]

reduce out, x, mean
end
""",
        keeping_words=("max", "argmax"),
    ),
    Row(
        0x23,
        "resize",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
            POOL_SCALE,
        ),
        (
            AttributeSpec("mode", "u8", 0, 1, None, "how pixels come about", words=("nearest", "linear")),
            AttributeSpec(
                "coordinates",
                "u8",
                0,
                2,
                (0,),
                "where index i of the result's `size` lies among the `of_x` of x",
                words=("half_pixel", "align_corners", "asymmetric"),
            ),
            AttributeSpec(
                "rounding",
                "u8",
                0,
                3,
                (0,),
                "which pixel is nearest to a coordinate s",
                words=("prefer_floor", "prefer_ceil", "floor", "ceil"),
            ),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Resize images: the nearest pixel, or four weighted (bilinear).",
        """\
s   = the coordinate in x of an index of out, for rows and for columns: an exact fraction
out = x[n, nearest(s of oh), nearest(s of ow), c]     ; nearest, kept within x; out has the type of x
s   = s, kept within 0 ... of_x - 1                   ; linear, as all that follows
y0  = floor(s);  y1 = y0 + 1, kept within x; their weights 1 - (s - y0) and s - y0 are rounded once; so x0, x1"""
        + FOUR_PIXELS
        + TO_STORAGE,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 4, 4, 16] scale=0.02
.output out i8[1, 8, 8, 16] scale=0.02

resize out, x, linear
end
""",
        keeping_words=("nearest",),
    ),
    Row(
        0x24,
        "roisample",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, [regions, samples down, across, channels]"),
            read("x", "lm", VALUES, (4, 4), "images, NHWC"),
            *REGIONS,
            POOL_SCALE,
        ),
        (
            AttributeSpec(
                "ratio", "u8", 1, 255, None, "samples to a bin: the window of the pooling behind", ("height", "width")
            ),
            SPATIAL_SCALE,
            flag("half_pixel", "pixels have their centres at a half; else regions are at least one pixel large"),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Sample regions of images bilinearly: step 1 of ROI-align; `avgpool` or `maxpool` is step 2.",
        """\
start  = top * spatial_scale - offset                 ; float32, each operation rounded; offset 0.5 with half_pixel
length = (bottom * spatial_scale - offset) - start    ; at least 1 without half_pixel
size   = length / bins                                ; bins = samples down / ratio.height
y      = (start + i // ratio * size) + (i % ratio + 0.5) * size / ratio   ; for sample i; x likewise
out    = 0, which is out_zero                         ; unless -1 <= y <= height and -1 <= x <= width
y0  = floor(y), y1 = y0 + 1, kept within x            ; y below 0 counts as 0, from the last row on as the last row
      their weights 1 - (y - y0) and y - y0 are float32, then rounded; so x0, x1; n = index[region]"""
        + FOUR_PIXELS
        + TO_STORAGE,
        ("bounds", "memory", "overlap", "index"),
        """\
.input  x i8[2, 16, 16, 8] scale=0.02
.input  rois f32[3, 4]
.input  index i32[3]
.local  samples i8[3, 8, 8, 8] scale=0.02
.output out i8[3, 4, 4, 8] scale=0.02

roisample samples, x, rois, index, ratio=2, spatial_scale=0.25, half_pixel
avgpool out, samples, window=2, stride=2
end
""",
    ),
    Row(
        0x25,
        "roipool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, [regions, bins down, across, channels]"),
            read("x", "lm", VALUES, (4, 4), "images, NHWC, of the type of out"),
            *REGIONS,
        ),
        (SPATIAL_SCALE, zero_point("x_zero", "zero point of x, which an empty bin gives")),
        "Take the greatest value of each bin of a region (ROI max pooling).",
        """\
first  = round(top * spatial_scale)                   ; the product in float32, half away from zero, NaN as 0
last   = round(bottom * spatial_scale)                ; both kept within -2**30 ... 2**30
length = max(last - first + 1, 1)
rows of bin i = first + floor(i * length / bins) ... first + ceil((i + 1) * length / bins) - 1, inside x
out    = max over the rows and columns of a bin of x[index[region], y, x, c]; a NaN is greater than any number
out    = x_zero where the bin is empty""",
        ("bounds", "memory", "overlap", "index"),
        """\
.input  x i8[2, 16, 16, 8]
.input  rois f32[3, 4]
.input  index i32[3]
.output out i8[3, 4, 4, 8]

roipool out, x, rois, index, spatial_scale=0.0625
end
""",
        keeps_values=True,
    ),
    Row(
        0x30,
        "load",
        "me",
        (
            moved("out", "write", "lm", "where the tensor goes"),
            moved("x", "read", "host dev", "tensor in host or device memory"),
        ),
        (),
        "Copy a tensor from host or device memory into local memory.",
        "out = x",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64] in host
.output out i8[4, 64]

load out, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x31,
        "store",
        "me",
        (
            moved("out", "write", "host dev", "where the tensor goes, in host or device memory"),
            moved("x", "read", "lm", "tensor in local memory"),
        ),
        (),
        "Copy a tensor from local memory to host or device memory.",
        "out = x",
        ("bounds", "memory"),
        """\
.input  x i8[4, 64]
.output out i8[4, 64] in host

store out, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x32,
        "copy",
        "me",
        (
            moved("out", "write", "lm", "where the tensor goes; may lie in another core's local memory", remote=True),
            moved("x", "read", "lm", "tensor in local memory"),
        ),
        (),
        "Copy a tensor within local memory, or to another core's; slices make it a concatenation or a cut.",
        "out = x",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 2]
.input  y i8[4, 2]
.output out i8[4, 4]

copy out[:, 0:2], x
copy out[:, 2:4], y
end
""",
        keeps_values=True,
    ),
    Row(
        0x33,
        "fill",
        "me",
        (moved("out", "write", "lm dev", "what is filled"),),
        (AttributeSpec("value", "f64", -3.4e38, 3.4e38, (0.0,), "value of each element"),),
        "Set every element to one value.",
        "out = value",
        ("bounds", "memory", "overlap"),
        """\
.output out i8[4, 64]

fill out, value=-1
end
""",
    ),
    Row(
        0x34,
        "transpose",
        "me",
        (moved("out", "write", "lm", "result"), moved("x", "read", "lm", "tensor to transpose")),
        (
            AttributeSpec(
                "perm",
                "u8",
                0,
                3,
                None,
                "dimension of x that each dimension of out takes; those beyond the rank stay",
                ("0", "1", "2", "3"),
                identity=True,
            ),
        ),
        "Permute dimensions.",
        "out[i] = x[j], where j[perm[k]] = i[k] for each dimension k of out",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64]
.output out i8[64, 4]

transpose out, x, perm=(1, 0)
end
""",
        keeps_values=True,
    ),
    Row(
        0x35,
        "gather",
        "me",
        (
            moved("out", "write", "lm", "result: as many rows as the index has elements"),
            moved("x", "read", "lm", "tensor whose rows are picked: its first dimension counts them"),
            OperandSpec("index", "read", ("lm",), (I32,), (1, 1), "the row of x for each row of out", strided=True),
        ),
        (),
        "Gather rows of a tensor by an index tensor.",
        "out[i, ...] = x[index[i], ...]",
        ("bounds", "memory", "overlap", "index"),
        """\
.input  index i32[3]
.input  x i8[10, 64]
.output out i8[3, 64]

gather out, x, index
end
""",
        keeps_values=True,
    ),
    Row(
        0x36,
        "flatten",
        "me",
        (
            replace(moved("out", "write", "lm", "result: the window of every output pixel as a row"), ranks=(4, 4)),
            replace(moved("x", "read", "lm", "activations, NHWC"), ranks=(4, 4)),
        ),
        (WINDOW, STRIDE, PAD, DILATION, zero_point("x_zero", "zero point of x, which padding contributes")),
        "Lay out the window of each output pixel as a row, so that `matmul` with OHWI weights convolves.",
        "out[n, oh, ow, (kh * window.width + kw) * channels + c] = x[n, ih, iw, c], or x_zero outside x"
        + WINDOW_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 3] scale=0.02
.weight w i8[16, 27] scale=0.01 = 1
.local  rows i8[1, 4, 4, 27] scale=0.02
.output out i8[1, 4, 4, 16] scale=0.05

flatten rows, x, window=3, stride=2, pad=(0, 0, 1, 1)
matmul out, rows, w, transpose_w
end
""",
        keeps_values=True,
    ),
    Row(
        0x37,
        "toweight",
        "me",
        (
            replace(moved("out", "write", "lm", "weights, OHWI"), ranks=(4, 4)),
            replace(moved("x", "read", "lm", "matrix, a column for each output channel"), ranks=(2, 2)),
        ),
        (),
        "Turn a matrix into the weights of a convolution.",
        "out[o, kh, kw, c] = x[(kh * width + kw) * channels + c, o], for out of [filters, height, width, channels]",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[27, 16] scale=0.01
.output out i8[16, 3, 3, 3] scale=0.01

toweight out, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x40,
        "loop",
        "seq",
        (),
        (COUNTER, AttributeSpec("count", "u32", 1, 2**31 - 1, None, "iterations")),
        "Open a loop; its counter starts at 0.",
        "counter = 0",
        (),
        """\
.output out i8[4, 64]

loop i, 4
    fill out[i], value=1
brnz i
end
""",
    ),
    Row(
        0x41,
        "brnz",
        "seq",
        (),
        (COUNTER,),
        "Close a loop: count on, and branch back while iterations are left.",
        "counter = counter + 1\nif counter < count: branch to the instruction after `loop`",
        (),
        """\
.output out i8[4, 64]

loop i, 4
    fill out[i], value=1
brnz i
end
""",
    ),
    Row(
        0x42,
        "signal",
        "sync",
        (),
        (SEMAPHORE, QUEUE),
        "Count one more signal of a semaphore, once all earlier instructions of the queue's engine have finished.",
        "signals = signals + 1",
        (),
        TWO_CORES,
    ),
    Row(
        0x43,
        "wait",
        "sync",
        (),
        (SEMAPHORE, QUEUE),
        "Hold a queue until a semaphore is signalled: the k-th `wait` for the k-th `signal`.",
        "waits = waits + 1\nhold the queue until signals >= waits",
        ("deadlock",),
        TWO_CORES,
    ),
    Row(
        0x44,
        "barrier",
        "sync",
        (),
        (AttributeSpec("barrier", "u16", 0, 65535, None, "the barrier, by its name", declared="barrier"), QUEUE),
        "Hold a queue until every core that uses a barrier has arrived there as often, its earlier work finished.",
        "arrivals[core] = arrivals[core] + 1\n"
        "hold the queue until arrivals[other] >= arrivals[core] for each core that uses the barrier",
        ("deadlock",),
        """\
.barrier stage
.core 0
.output out i8[4, 64]
fill out, value=1
barrier stage, me
end
.core 1
.output other i8[4, 64]
barrier stage, me
fill other, value=2
end
""",
    ),
    Row(
        0x4F,
        "end",
        "seq",
        (),
        (),
        "End the task on this core, once its engines have finished.",
        "every output holds its result, once all cores have ended",
        (),
        """\
.output out i8[4, 64]

fill out, value=-1
end
""",
    ),
)

TABLE = {row.opcode: row for row in ROWS}
MNEMONICS = {row.mnemonic: row for row in ROWS}
MAX_OPERANDS = max(len(row.operands) for row in ROWS)


def by_opcode(name: str, by_mnemonic: Mapping[str, Value], engines: Collection[str]) -> dict[int, Value]:
    """Return a dictionary keyed by opcode from one keyed by mnemonic.

    Raises AssertionError that names the instructions of these engines which it lacks, or has too many.
    """
    expected = [row.mnemonic for row in ROWS if row.engine in engines]
    missing = [mnemonic for mnemonic in expected if mnemonic not in by_mnemonic]
    surplus = [mnemonic for mnemonic in by_mnemonic if mnemonic not in expected]
    if missing or surplus:
        raise AssertionError(f"{name} does not match the table: missing {missing}, not in the table {surplus}")
    return {MNEMONICS[mnemonic].opcode: by_mnemonic[mnemonic] for mnemonic in expected}


def _check_rows() -> None:
    assert len(TABLE) == len(MNEMONICS) == len(ROWS), "an opcode or a mnemonic stands twice in the table"
    for row in ROWS:
        names = [spec.name for spec in row.operands + row.attributes]
        assert len(set(names)) == len(names), f"{row.mnemonic}: a name stands twice"
        assert set(row.traps) <= set(TRAPS), f"{row.mnemonic}: unknown trap"
        assert row.example, f"{row.mnemonic}: its program does not show it"
        for operand in row.operands:
            assert set(operand.memories) <= set(MEMORIES), f"{row.mnemonic}: unknown memory in {operand.name}"
        for spec in row.attributes:
            assert spec.default is None or len(spec.default) == spec.count, f"{row.mnemonic}: default of {spec.name}"
            assert spec.declared in ("", "semaphore", "barrier"), f"{row.mnemonic}: {spec.name} is of no kind declared"
            assert all(set(taken) <= set(names) for taken in spec.takes.values()), f"{row.mnemonic}: {spec.name} takes"


_check_rows()
