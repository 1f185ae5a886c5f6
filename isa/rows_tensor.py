"""Rows of the tensor engine: products, and the chain EW1 -> EW2 -> SF -> EW3 behind them or by itself."""

from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8
from isa.row import (
    ANY,
    DILATION,
    PAD,
    STRIDE,
    VALUES,
    WINDOW_FORMULA,
    AttributeSpec,
    OperandSpec,
    Row,
    constant,
    flag,
    read,
    zero_point,
)

# What DP multiplies: integers, or floats by floats of the same type, or by what they hold exactly.
FLOAT_FACTORS = (F16, BF16)
FACTORS = (I8, U8, I16, *FLOAT_FACTORS)
NARROW_FACTORS = (I8, E4M3, E5M2)
# What `rotate` turns, and what it turns by.
FLOATS = (F16, BF16, F32)


def weights(ranks: tuple[int, int], meaning: str) -> OperandSpec:
    """The second factor of DP."""
    return OperandSpec("w", "read", ("lm",), (*FACTORS, E4M3, E5M2), ranks, meaning, compressible=True)


ACC_BIAS = OperandSpec(
    "bias",
    "read",
    ("cb",),
    (I32, F32),
    (1, 1),
    "ACC: added to the products, for each output channel or one for all; f32 for those of floats",
    optional=True,
)

# The words of EW3 that scale and round by whole numbers.
FIXED_POINT = ("round_once", "round_twice", "round_away")

# EW1 -> EW2 -> SF -> EW3, behind ACC or entered at EW1.
CHAIN_OPERANDS = (
    constant("ew1_scale", F32, "EW1: multiplier, for each output channel or one for all"),
    constant("ew1_bias", F32, "EW1: added to the product, for each output channel or one for all"),
    OperandSpec("ew2", "read", ("lm",), ANY, (1, 4), "EW2: second tensor, broadcast to out", optional=True),
    constant("ew2_scale", F32, "EW2: de-quantises the second tensor, for each channel or one for all"),
    constant("table", F32, "SF: 256 values, for indices of -128 ... 127"),
    OperandSpec(
        "ew3_scale",
        "read",
        ("cb",),
        (F32, I32),
        (1, 2),
        "EW3: multiplier before rounding, for each output channel or one for all; or, for `round_once` and its "
        "like, whole numbers, [2, channels or 1]: m, then s",
        optional=True,
    ),
)
CHAIN_ATTRIBUTES = (
    AttributeSpec(
        "ew2_op",
        "u8",
        0,
        6,
        (0,),
        "EW2: operation with the second tensor",
        words=("none", "add", "sub", "mul", "max", "min", "div"),
        takes=dict.fromkeys(("add", "sub", "mul", "max", "min", "div"), ("ew2",)),
    ),
    AttributeSpec(
        "sf",
        "u8",
        0,
        14,
        (0,),
        "SF: special function",
        words=(
            *("none", "relu", "clip", "leaky_relu", "sigmoid", "tanh", "table"),
            *("gelu", "silu", "exp", "reciprocal", "rsqrt", "hard_sigmoid", "hard_swish", "sqrt"),
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
    AttributeSpec("table_offset", "i8", -128, 127, (0,), "SF: added to what the table takes for its index"),
    zero_point("ew2_zero", "EW2: zero point of the second tensor"),
    zero_point("out_zero", "EW3: zero point of the result"),
    AttributeSpec(
        "ew3_op",
        "u8",
        0,
        4,
        (0,),
        "EW3: how the result is scaled and rounded",
        words=("none", *FIXED_POINT, "zero_first"),
    ),
)
FLOAT_SUM = """
acc = fma(x, w, acc), for kh, kw, c or k in order, from bias or 0   ; of floats: in binary32, each rounded once"""
CHAIN_FORMULA = """
v   = float(acc)                                      ; of 64 bits by way of float64
v   = v * ew1_scale + ew1_bias                        ; EW1, each where given, both as one operation
d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given, one operation with add and sub
v   = v ew2_op d                                      ; EW2, where a second tensor is given
v   = sf(v)                                           ; SF
v   = v * ew3_scale                                   ; EW3, where given
out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
out = clamp(rne(v + out_zero), least, greatest)       ; EW3 by `zero_first`: the sum is rounded to the format too
out = clamp(fixed(acc, m, s) + out_zero, least, greatest)   ; EW3 by `round_once` and its like: whole numbers alone
out = v                                               ; for an f32 result; rounded once to the type for other floats
out = acc + ew2, wrapped to 32 bits                   ; for an i32 result: the sum where add= an i32, no other stage"""
ELTWISE_FORMULA = CHAIN_FORMULA.rpartition("\n")[0]

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
        "c0  = o // (filters / groups) * (channels / groups)" + WINDOW_FORMULA + FLOAT_SUM + CHAIN_FORMULA,
        ("bounds", "memory", "factors", "overlap"),
        """\
.input  x i8[1, 8, 8, 3] scale=0.02
.input  residual i8[1, 4, 4, 16] scale=0.05
.weight w i8[16, 3, 3, 3] scale=0.01 = 1
.const  b i32[16] = 0
.output out i8[1, 4, 4, 16] scale=0.05

conv out, x, w, bias=b, stride=2, pad=(0, 0, 1, 1), add=residual, relu
end
""",
        in_place=("ew2",),
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
        + FLOAT_SUM
        + CHAIN_FORMULA,
        ("bounds", "memory", "factors", "overlap"),
        """\
.input  x i8[1, 8, 8, 16] scale=0.02
.weight w i8[1, 3, 3, 16] scale=0.01 = 1
.const  b i32[16] = 0
.output out i8[1, 8, 8, 16] scale=0.05

dwconv out, x, w, bias=b, pad=1, clip=(0, 6)
end
""",
        in_place=("ew2",),
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
        "...   the batch: dimensions of 1, or left out in front, are repeated" + FLOAT_SUM + CHAIN_FORMULA,
        ("bounds", "memory", "factors", "overlap"),
        """\
.input  x i8[4, 64] scale=0.02
.weight w i8[10, 64] scale=0.01 = 1
.const  b i32[10] = 0
.output out i8[4, 10] scale=0.05

matmul out, x, w, bias=b, transpose_w, relu
end
""",
        in_place=("ew2",),
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
        in_place=("x", "ew2"),
    ),
    Row(
        0x19,
        "rotate",
        "te",
        (
            OperandSpec("out", "write", ("lm",), FLOATS, (1, 4), "result, of the shape of x"),
            read("x", "lm", FLOATS, (1, 4), "rows of pairs, its last dimension"),
            read("cos", "lm", FLOATS, (1, 4), "cosine of the angle of each pair, broadcast to out but for its last"),
            read("sin", "lm", FLOATS, (1, 4), "sine of it, alike"),
        ),
        (
            AttributeSpec(
                "pairs", "u8", 0, 1, None, "which elements of a row are a pair", words=("halves", "interleaved")
            ),
        ),
        "Turn pairs of numbers by angles: rotary position embedding.",
        """\
a, b    = x[j], x[j + columns / 2]                    ; halves, for pair j of a row
a, b    = x[2 * j], x[2 * j + 1]                      ; interleaved
c, s    = cos[j], sin[j]                              ; as a and b rounded to the vector format, as all that follows is
v_a     = a * c - b * s                               ; each product rounded, then the difference
v_b     = b * c + a * s                               ; each product rounded, then the sum
out     = v_a, v_b where a, b lay, rounded once for f16 and bf16""",
        ("bounds", "memory", "overlap"),
        """\
.input  x f16[8, 64]
.input  cos f32[8, 32]
.input  sin f32[8, 32]
.output out f16[8, 64]

rotate out, x, cos, sin, halves
end
""",
        in_place=("x",),
    ),
)
