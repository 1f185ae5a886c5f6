"""One valid instruction for each row, and for each row what is wrong with variations of it.

`GOOD` and `BAD` are keyed by opcode. The rules that follow from the table alone (memories, types, ranks, ranges) are
varied by loops; the rules of shapes and of the chain are written out.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from isa.dtypes import BF16, DTYPES, E4M3, F16, F32, I8, I16, I32, U8
from isa.grouped import FORMS
from isa.instruction import Instruction, build
from isa.operand import MAX_TERMS, MEMORIES, Operand, Term, dense
from isa.row import ALL_ENGINES, Row
from isa.table import ROWS, by_opcode

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Bad:
    """Changes to the valid instruction, and the one problem that they cause."""

    changes: dict[str, Any]
    field: str
    kind: str
    message: str
    help: str | None = None
    waits: tuple[str, ...] = field(default=())


def lm(*shape: int, at: int = 0, dtype=I8) -> Operand:
    return dense("lm", at, dtype, shape)


def cb(length: int, dtype=F32) -> Operand:
    return dense("cb", 0, dtype, (length,))


REGIONS = {
    "out": lm(3, 4, 6, 4),
    "x": lm(2, 3, 4, 4, at=512),
    "rois": lm(3, 4, at=1024, dtype=F32),
    "index": lm(3, at=2048, dtype=I32),
}
_GOOD: dict[str, dict[str, Any]] = {
    "conv": {"out": lm(1, 4, 4, 6), "x": lm(1, 8, 8, 4, at=512), "w": lm(6, 3, 3, 4, at=1024), "pad": 1, "stride": 2},
    "dwconv": {"out": lm(1, 8, 8, 4), "x": lm(1, 8, 8, 4, at=512), "w": lm(1, 3, 3, 4, at=1024), "pad": 1},
    "matmul": {"out": lm(2, 3, 5), "x": lm(2, 3, 4, at=512), "w": lm(4, 5, at=1024)},
    "eltwise": {"out": lm(2, 3, 4), "x": lm(2, 3, 4, at=512)},
    "rotate": {
        "out": lm(3, 8, dtype=F16),
        "x": lm(3, 8, at=512, dtype=F16),
        "cos": lm(3, 4, at=1024, dtype=F32),
        "sin": lm(4, at=2048, dtype=F32),
        "pairs": "halves",
    },
    "maxpool": {"out": lm(1, 4, 4, 6), "x": lm(1, 8, 8, 6, at=512), "window": 2, "stride": 2},
    "avgpool": {"out": lm(1, 4, 4, 6), "x": lm(1, 8, 8, 6, at=512), "window": 2, "stride": 2},
    "reduce": {"out": lm(1, 4), "x": lm(3, 4, at=512), "op": "mean"},
    "topk": {"out": lm(3, 2), "places": lm(3, 2, at=64, dtype=I32), "x": lm(3, 5, at=512)},
    "resize": {"out": lm(1, 6, 8, 4), "x": lm(1, 3, 4, 4, at=512), "mode": "linear"},
    "roisample": {**REGIONS, "ratio": 2},
    "roipool": REGIONS,
    "load": {"out": lm(4, 6), "x": dense("host", 0, I8, (4, 6))},
    "store": {"out": dense("dev", 0, I8, (4, 6)), "x": lm(4, 6)},
    "copy": {"out": lm(4, 6), "x": lm(4, 6, at=512)},
    "fill": {"out": lm(4, 6)},
    "transpose": {"out": lm(6, 4), "x": lm(4, 6, at=512), "perm": (1, 0, 2, 3)},
    "gather": {"out": lm(3, 6), "x": lm(4, 6, at=512), "index": lm(3, at=1024, dtype=I32)},
    "scatter": {"out": lm(4, 6), "x": lm(3, 6, at=512), "index": lm(3, at=1024, dtype=I32)},
    "flatten": {"out": lm(1, 4, 4, 24), "x": lm(1, 8, 8, 6, at=512), "window": 2, "stride": 2},
    "toweight": {"out": lm(5, 3, 2, 4), "x": lm(24, 5, at=512)},
    "signal": {"semaphore": 3, "queue": "me"},
    "wait": {"semaphore": 3, "queue": "te"},
    "barrier": {"barrier": 3, "queue": "pe"},
    "loop": {"counter": 1, "count": 4},
    "brnz": {"counter": 1},
    "end": {},
}

F32_OUT = {"out": lm(1, 4, 4, 6, dtype=F32)}
NEEDS_CONTIGUOUS = "the innermost dimension must be contiguous here; make it so with `copy` or `transpose`"
OF_X = "expected [1, 6, 8, 4]: the images and channels of x"
AT_MOST = "expected a height and width of at most 16777216"
FOUR_CORNERS = "expected [n, 4]: four corners a region"
AN_IMAGE_EACH = "expected [3]: an image for each of the regions"
OF_THE_REGIONS = "expected [3, 4, 6, 4]: the regions, and the channels of x"
ANGLES = "expected [3, 4], an angle for each pair, or 1 where they are repeated for rows"
REDUCED = "expected [3, 4], with 1 for each dimension that is to be reduced"
NO_MEAN = "expected any other: i32 has sums of integers alone"
KEEPS = "the greatest value keeps its type"
LEAST_KEEPS = "the least value keeps its type"
NO_EMPTY_WINDOW = "it must be less than the window, so that no window is empty"
NOT_REMOTE = {
    "read": "nothing reads another core's lm: let that core `copy` it here, and wait for it",
    "write": "only `copy` writes another core's lm: write a tensor of this core, and `copy` it there",
}
FROM_WINDOW = "from x, the window, stride and padding"
LEAVE_OUT = "write another type, or leave the stages out; only `add=` of an i32 tensor may follow"
PER_CHANNEL = "expected 1, or 6: one a channel"

CONV = [
    Bad(
        {"x": lm(1, 8, 8, 5)},
        "w",
        "shape",
        "`w` has shape [6, 3, 3, 4]",
        "expected [6, 3, 3, 5]: OHWI, x has 5 channels",
    ),
    Bad(
        {"groups": 2},
        "w",
        "shape",
        "`w` has shape [6, 3, 3, 4]",
        "expected [6, 3, 3, 2]: OHWI, x has 4 channels in 2 groups",
    ),
    Bad({"groups": 3}, "groups", "shape", "3 groups do not divide 4 channels evenly"),
    Bad({"groups": 4}, "groups", "shape", "4 groups do not divide 6 channels evenly"),
    Bad({"groups": 5}, "groups", "shape", "5 groups divide neither 4 input nor 6 output channels evenly"),
    Bad({"stride": 1}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [1, 8, 8, 6]: {FROM_WINDOW}"),
    Bad({"pad": 0}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [1, 3, 3, 6]: {FROM_WINDOW}"),
    Bad({"stride": (65536, 1)}, "stride", "range", "`stride` is 65536", "it must be from 1 to 65535"),
    Bad({"dilation": 2}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [1, 3, 3, 6]: {FROM_WINDOW}"),
    Bad({"x": lm(2, 8, 8, 4)}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [2, 4, 4, 6]: {FROM_WINDOW}"),
    Bad(
        {"dilation": (5, 1)},
        "x",
        "shape",
        "the window reaches over 11 pixels, but x with its padding is 10 high",
        "make the window smaller or the padding larger",
    ),
    Bad({"dilation": (1, 5)}, "x", "shape", "the window reaches over 11 pixels, but x with its padding is 10 wide"),
    Bad({"bias": cb(3, I32)}, "bias", "shape", "`bias` has 3 elements", PER_CHANNEL),
    Bad({"ew1_scale": cb(3)}, "ew1_scale", "shape", "`ew1_scale` has 3 elements", PER_CHANNEL),
    Bad({"ew1_bias": cb(3)}, "ew1_bias", "shape", "`ew1_bias` has 3 elements", PER_CHANNEL),
    Bad({"ew3_scale": cb(7)}, "ew3_scale", "shape", "`ew3_scale` has 7 elements", PER_CHANNEL),
    Bad(
        {"ew2_op": "add", "ew2": lm(1, 4, 4, 6), "ew2_scale": cb(3)},
        "ew2_scale",
        "shape",
        "`ew2_scale` has 3 elements",
        PER_CHANNEL,
    ),
    Bad({"sf": "table", "table": cb(255)}, "table", "shape", "`table` has 255 elements", "expected 256"),
    Bad({"sf": "table"}, "table", "chain", "sf table needs `table`"),
    Bad({"table_offset": 3}, "table_offset", "chain", "`table_offset` is given, but no table", "name one: `table=...`"),
    Bad(
        {"sf": "table", "table": cb(256), "table_offset": -129},
        "table_offset",
        "range",
        "`table_offset` is -129",
        "it must be from -128 to 127",
    ),
    Bad({"table": cb(256)}, "table", "chain", "sf none does not take `table`"),
    Bad({"ew2_op": "add"}, "ew2", "chain", "ew2_op add needs `ew2`"),
    Bad({"ew2_op": "div"}, "ew2", "chain", "ew2_op div needs `ew2`"),
    Bad({"ew2": lm(1, 4, 4, 6)}, "ew2", "chain", "ew2_op none does not take `ew2`"),
    Bad({"slope": 0.5}, "slope", "chain", "sf none does not take `slope`"),
    Bad({"sf": "relu", "clip_low": 1}, "clip_low", "chain", "sf relu does not take `clip_low`"),
    Bad({"sf": "leaky_relu", "offset": 0.5}, "offset", "chain", "sf leaky_relu does not take `offset`"),
    Bad({"sf": "hard_swish", "slope": 0.5}, "slope", "chain", "sf hard_swish does not take `slope`"),
    Bad({"sf": "leaky_relu", "clip_high": 1}, "clip_high", "chain", "sf leaky_relu does not take `clip_high`"),
    Bad(
        {"sf": "clip", "clip_low": 6, "clip_high": 0.5},
        "clip_low",
        "chain",
        "clip's lower bound 6 is above its upper bound 0.5",
    ),
    Bad(
        {"ew2_scale": cb(1)}, "ew2_scale", "chain", "`ew2_scale` is given, but no second tensor", "name one: `add=...`"
    ),
    Bad({"ew2_zero": 3}, "ew2_zero", "chain", "`ew2_zero` is given, but no second tensor", "name one: `add=...`"),
    Bad(
        {"ew2_op": "mul", "ew2": lm(1, 4, 4, 5)},
        "ew2",
        "shape",
        "`ew2` has shape [1, 4, 4, 5]",
        "expected [1, 4, 4, 6], or 1 where it is to be repeated",
    ),
    Bad({"ew2_op": "mul", "ew2": lm(4, 2)}, "ew2", "shape", "`ew2` has shape [4, 2]"),
    Bad(
        {"ew2_op": "max", "ew2": lm(6, dtype=F32), "ew2_zero": 3},
        "ew2_zero",
        "chain",
        "ew2 of type f32 has no zero point",
    ),
    Bad({**F32_OUT, "out_zero": 3}, "out_zero", "chain", "a result of type f32 has no zero point"),
    Bad(
        {"out": lm(1, 4, 4, 6, dtype=I32), "sf": "relu", "ew1_scale": cb(1)},
        "out",
        "chain",
        "a result of type i32 is the accumulator itself, but ew1_scale, relu follows",
        LEAVE_OUT,
    ),
    *(
        Bad(
            {"out": lm(1, 4, 4, 6, dtype=I32), "ew2_op": word, "ew2": lm(6, dtype=dtype), "ew2_scale": scale},
            "out",
            "chain",
            f"a result of type i32 is the accumulator itself, but {follows} follows",
            LEAVE_OUT,
        )
        for word, dtype, scale, follows in (
            ("add", I8, None, "ew2"),
            ("sub", I32, None, "ew2"),
            ("add", I32, cb(1), "ew2_scale"),
        )
    ),
]

WHOLE = "expected i32[2, 1], or [2, 6]: m, then s, of each channel"
MULTIPLIERS = dense("cb", 0, I32, (2, 6))
CONV += [
    Bad({"ew3_scale": cb(6, I32)}, "ew3_scale", "type", "`ew3_scale` has type i32"),
    Bad({"ew3_scale": dense("cb", 0, F32, (2, 6))}, "ew3_scale", "rank", "`ew3_scale` has 2 dimensions [2, 6]"),
    Bad({**F32_OUT, "ew3_op": "zero_first"}, "out", "type", "out has type f32", "zero_first rounds to i8, u8 or i16"),
    Bad({"ew3_op": "zero_first", "ew3_scale": MULTIPLIERS}, "ew3_scale", "type", "`ew3_scale` has type i32"),
    Bad({"ew3_op": "round_once"}, "ew3_scale", "missing", "round_once needs `ew3_scale`", WHOLE),
    Bad({"ew3_op": "round_once", "ew3_scale": cb(6)}, "ew3_scale", "type", "`ew3_scale` has type f32", WHOLE),
    Bad(
        {"ew3_op": "round_twice", "ew3_scale": dense("cb", 0, I32, (2, 5))},
        "ew3_scale",
        "shape",
        "`ew3_scale` has shape [2, 5]",
        WHOLE,
    ),
    Bad(
        {"ew3_op": "round_twice", "ew3_scale": MULTIPLIERS, "sf": "tanh"},
        "ew3_op",
        "chain",
        "round_twice takes the accumulator itself, but there is tanh",
        "leave the stages out: only `relu` may stand before",
    ),
    Bad(
        {"ew3_op": "round_twice", "ew3_scale": MULTIPLIERS, "ew1_bias": cb(6)},
        "ew3_op",
        "chain",
        "round_twice takes the accumulator itself, but there is ew1_bias",
    ),
    Bad(
        {**F32_OUT, "ew3_op": "round_twice", "ew3_scale": MULTIPLIERS},
        "out",
        "type",
        "out has type f32",
        "round_twice rounds to i8, u8 or i16",
    ),
    Bad(
        {
            "x": lm(1, 8, 8, 4, at=512, dtype=I16),
            "w": lm(6, 3, 3, 4, at=1024, dtype=I16),
            "ew3_op": "round_once",
            "ew3_scale": MULTIPLIERS,
        },
        "x",
        "type",
        "x has type i16, which round_once does not take the accumulator of",
    ),
]
SIXTEEN = "16 bits multiply with 16 only: store both as i16, or both in 8 bits"


def compressed(w: Operand) -> list[Bad]:
    """Return what is wrong with compressed forms of a w of i8, and with compressed operands of other names."""
    low, high = -(-w.elements // 8), -(-w.elements // 8) + w.elements
    sizes = f"expected {low} to {high}, and a whole number of elements behind the mask"
    whole = "it is used whole, or not at all"
    apart = replace(w, stored=low, strides=(w.strides[0] + 1, *w.strides[1:]))
    only = "only the w of conv, dwconv and matmul may be: declare a dense weight beside it"
    wide = replace(w, dtype=I16, stored=low + low % 2 + 1)
    return [
        Bad({"w": replace(w, stored=low - 1)}, "w", "range", f"`w` is compressed to {low - 1} bytes", sizes),
        Bad({"w": replace(w, stored=high + 1)}, "w", "range", f"`w` is compressed to {high + 1} bytes", sizes),
        Bad({"w": wide}, "w", "range", f"`w` is compressed to {wide.stored} bytes"),
        Bad({"w": apart}, "w", "stride", "`w` is a compressed weight", whole),
        Bad({"w": replace(w, stored=low, terms=(Term(1, 0, 4),))}, "w", "stride", "`w` is a compressed weight", whole),
        Bad({"x": replace(w, stored=low)}, "x", "type", "`x` is a compressed weight", only),
    ]


def factors(x: Operand, w: Operand, out: Operand) -> list[Bad]:
    """Return what is wrong with the types of a product's tensors."""
    wide = {"x": replace(x, dtype=I16), "w": replace(w, dtype=I16)}
    return [
        *compressed(w),
        Bad({"x": wide["x"]}, "w", "type", "x has type i16 but w i8", SIXTEEN),
        Bad({"w": wide["w"], "x": replace(x, dtype=U8)}, "w", "type", "x has type u8 but w i16", SIXTEEN),
        Bad(
            {**wide, "out": replace(out, dtype=I32)},
            "out",
            "type",
            "a result of type i32 is the accumulator itself, but that of i16 products has 64 bits",
            "write i16, f32 or another type that the chain rounds to",
        ),
        Bad({"x_zero": 128}, "x_zero", "range", "`x_zero` is 128", "i8 holds a whole number from -128 to 127"),
        Bad({"w": replace(w, dtype=U8), "w_zero": -1}, "w_zero", "range", "`w_zero` is -1"),
        Bad({"out": replace(out, dtype=BF16), "out_zero": 1}, "out_zero", "chain", "a result of type bf16 has no zero"),
        *float_factors(x, w, out),
    ]


def grouped(w: Operand, floats: dict[str, Operand]) -> list[Bad]:
    """Return what is wrong with groups of a w of f16, and with products and operands that have none."""
    wide = lm(*w.shape[:-1], 64, at=w.address, dtype=F16)
    size = FORMS["q4_32"].stored_bytes(wide.shape)
    wide = replace(wide, form="q4_32", stored=size)
    what, apart = "`w` is in groups (q4_32)", (128, *wide.strides[1:])
    small = replace(w, form="q4_32", stored=18)
    only = "only the w of matmul may be: declare a dense weight beside it"
    return [
        Bad({**floats, "w": small}, "w", "shape", f"{what}, which do not divide"),
        Bad({**floats, "w": replace(wide, stored=size + 2)}, "w", "range", f"`w` is stored in {size + 2} bytes"),
        Bad({**floats, "w": replace(wide, dtype=F32)}, "w", "type", f"{what}, of type f32"),
        Bad({**floats, "w": replace(wide, strides=apart)}, "w", "stride", what),
        Bad({**floats, "x": replace(wide, address=2048)}, "x", "type", "`x` is in groups", only),
    ]


def float_factors(x: Operand, w: Operand, out: Operand) -> list[Bad]:
    """Return what is wrong where floats are multiplied."""
    # Of 16 bits, so in places of their own.
    floats = {"x": replace(x, address=2048, dtype=F16), "w": replace(w, address=8192, dtype=F16)}
    of_i8 = {**floats, "w": w}
    together = "store x as f16 or bf16, and w alike, or as i8, e4m3 or e5m2"
    return [
        Bad({**floats, "w": replace(floats["w"], dtype=BF16)}, "w", "type", "x has type f16 but w bf16", together),
        Bad({**floats, "w": replace(w, dtype=U8)}, "w", "type", "x has type f16 but w u8", together),
        Bad({**floats, "x": x}, "w", "type", "x has type i8 but w f16", together),
        Bad({"w": replace(w, dtype=E4M3)}, "w", "type", "x has type i8 but w e4m3", together),
        Bad({**floats, "x": replace(x, dtype=E4M3)}, "x", "type", "`x` has type e4m3"),
        Bad(
            {**floats, "out": replace(out, dtype=I32)},
            "out",
            "type",
            "a result of type i32 is the accumulator itself, but that of floats is a float",
        ),
        Bad(
            {**floats, "bias": cb(1, I32)}, "bias", "type", "`bias` has type i32", "expected f32: it is added to floats"
        ),
        Bad({"bias": cb(1, F32)}, "bias", "type", "`bias` has type f32"),
        Bad({**of_i8, "w": replace(w, stored=-(-w.elements // 8))}, "w", "type", "`w` is compressed"),
        *grouped(floats["w"], floats),
        Bad({**of_i8, "w_zero": 3}, "w_zero", "type", "`w_zero` is 3, but x is a float"),
    ]


# The chain's rules are one function for the four instructions that end in it; each shows that it calls it.
CHAIN = [
    Bad({"sf": "table", "table": cb(255)}, "table", "shape", "`table` has 255 elements", "expected 256"),
    Bad({"ew2_op": "add"}, "ew2", "chain", "ew2_op add needs `ew2`"),
    Bad({"ew2_zero": 3}, "ew2_zero", "chain", "`ew2_zero` is given, but no second tensor"),
]

POOL = [
    Bad({"window": 3}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [1, 3, 3, 6]: {FROM_WINDOW}"),
    Bad({"x": lm(1, 8, 8, 5)}, "out", "shape", "`out` has shape [1, 4, 4, 6]", f"expected [1, 4, 4, 5]: {FROM_WINDOW}"),
    Bad({"window": 9}, "x", "shape", "the window reaches over 9 pixels, but x with its padding is 8 high"),
    Bad(
        {"ceil": 1, "stride": 3},
        "out",
        "shape",
        "`out` has shape [1, 4, 4, 6]",
        f"expected [1, 3, 3, 6]: {FROM_WINDOW}, rounded up",
    ),
    Bad({"ceil": 1, "window": 11, "stride": 3}, "x", "shape", "the window reaches over 11 pixels, but x with"),
    Bad({"pad": (2, 0, 0, 0)}, "pad", "shape", "padding of 2 at the top", NO_EMPTY_WINDOW),
    Bad({"pad": (0, 2, 0, 0)}, "pad", "shape", "padding of 2 at the left", NO_EMPTY_WINDOW),
    Bad({"pad": (0, 0, 3, 0)}, "pad", "shape", "padding of 3 at the bottom", NO_EMPTY_WINDOW),
    Bad({"pad": (0, 0, 0, 2)}, "pad", "shape", "padding of 2 at the right", NO_EMPTY_WINDOW),
]


OF_REGIONS = [
    Bad({"rois": lm(3, 5, dtype=F32)}, "rois", "shape", "`rois` has shape [3, 5]", FOUR_CORNERS),
    Bad({"index": lm(2, dtype=I32)}, "index", "shape", "`index` has shape [2]", AN_IMAGE_EACH),
    Bad({"out": lm(2, 4, 6, 4)}, "out", "shape", "`out` has shape [2, 4, 6, 4]", OF_THE_REGIONS),
    Bad({"out": lm(3, 4, 6, 5)}, "out", "shape", "`out` has shape [3, 4, 6, 5]", OF_THE_REGIONS),
    Bad({"x": lm(2, 2**24 + 1, 1, 4)}, "x", "shape", "`x` has shape [2, 16777217, 1, 4]", AT_MOST),
]


def moves(out_memory: str, x_memory: str) -> list[Bad]:
    out, x = dense(out_memory, 0, I8, (4, 6)), dense(x_memory, 0, I8, (4, 6))
    return [
        Bad(
            {"x": replace(x, dtype=F32)},
            "x",
            "type",
            "x has type f32 but out i8",
            "a copy does not convert; use `eltwise`",
        ),
        Bad(
            {"out": replace(out, shape=(4, 5))},
            "x",
            "shape",
            "`x` has shape [4, 6]",
            "expected [4, 5]: the shape of out",
        ),
        Bad({"x": replace(x, shape=(6,), strides=(1,))}, "x", "shape", "`x` has shape [6]"),
    ]


_BAD: dict[str, list[Bad]] = {
    "conv": [*CONV, *factors(lm(1, 8, 8, 4, at=512), lm(6, 3, 3, 4, at=1024), lm(1, 4, 4, 6))],
    "dwconv": [
        *CHAIN,
        *factors(lm(1, 8, 8, 4, at=512), lm(1, 3, 3, 4, at=1024), lm(1, 8, 8, 4)),
        Bad(
            {"x": lm(1, 8, 8, 5)},
            "w",
            "shape",
            "`w` has shape [1, 3, 3, 4]",
            "expected [1, 3, 3, 5]: 1HWC, x has 5 channels",
        ),
        Bad(
            {"w": lm(4, 3, 3, 1)},
            "w",
            "shape",
            "`w` has shape [4, 3, 3, 1]",
            "expected [1, 3, 3, 4]: 1HWC, x has 4 channels",
        ),
        Bad({"pad": 0}, "out", "shape", "`out` has shape [1, 8, 8, 4]", f"expected [1, 6, 6, 4]: {FROM_WINDOW}"),
        Bad({"bias": cb(3, I32)}, "bias", "shape", "`bias` has 3 elements", "expected 1, or 4: one a channel"),
    ],
    "matmul": [
        *CHAIN,
        *factors(lm(2, 3, 4, at=512), lm(4, 5, at=1024), lm(2, 3, 5)),
        Bad(
            {"transpose_w": 1},
            "w",
            "shape",
            "x is [3, 4] but w is [5, 4] (m by k times k by n)",
            "expected 4 rows in w; is `transpose_w` or `transpose_x` missing?",
        ),
        Bad(
            {"w": lm(3, 4, 5)},
            "w",
            "shape",
            "x has batch [2] but w [3]",
            "expected sizes that are equal, or 1 where one is repeated, counted from the last",
        ),
        Bad(
            {"x": lm(3, 4, at=512)},
            "out",
            "shape",
            "`out` has shape [2, 3, 5]",
            "expected [3, 5]: the batch, rows of x, columns of w",
        ),
        Bad(
            {"out": lm(2, 3, 4)},
            "out",
            "shape",
            "`out` has shape [2, 3, 4]",
            "expected [2, 3, 5]: the batch, rows of x, columns of w",
        ),
        Bad({"bias": cb(3, I32)}, "bias", "shape", "`bias` has 3 elements", "expected 1, or 5: one a channel"),
    ],
    "eltwise": [
        *CHAIN,
        Bad(
            {"x": lm(2, 3, 3)},
            "x",
            "shape",
            "`x` has shape [2, 3, 3]",
            "expected [2, 3, 4], or 1 where it is to be repeated",
        ),
        Bad({"x": lm(1, 2, 3, 4)}, "x", "shape", "`x` has shape [1, 2, 3, 4]"),
        Bad({"x": lm(4, dtype=F32), "x_zero": 1}, "x_zero", "chain", "x of type f32 has no zero point"),
        Bad({"x": lm(4, dtype=I32), "x_zero": 1}, "x_zero", "chain", "x of type i32 has no zero point"),
        Bad(
            {"x": lm(4, dtype=U8), "x_zero": 256},
            "x_zero",
            "range",
            "`x_zero` is 256",
            "u8 holds a whole number from 0 to 255",
        ),
        Bad(
            {"ew1_scale": cb(3)}, "ew1_scale", "shape", "`ew1_scale` has 3 elements", "expected 1, or 4: one a channel"
        ),
    ],
    "rotate": [
        Bad({"x": lm(3, 6, dtype=F16)}, "x", "shape", "`x` has shape [3, 6]", "expected [3, 8]: the shape of out"),
        Bad(
            {"out": lm(7, dtype=F16), "x": lm(7, dtype=F16)},
            "out",
            "shape",
            "`out` has shape [7]",
            "expected an even last dimension: pairs",
        ),
        Bad({"cos": lm(3, 8, dtype=F32)}, "cos", "shape", "`cos` has shape [3, 8]", ANGLES),
        Bad({"cos": lm(3, 1, dtype=F32)}, "cos", "shape", "`cos` has shape [3, 1]", ANGLES),
        Bad({"sin": lm(2, 4, dtype=F32)}, "sin", "shape", "`sin` has shape [2, 4]", ANGLES),
        Bad({"sin": lm(1, 3, 4, dtype=F32)}, "sin", "shape", "`sin` has shape [1, 3, 4]", ANGLES),
    ],
    "maxpool": [*POOL, Bad({"x": lm(1, 8, 8, 6, dtype=F32)}, "x", "type", "x has type f32 but out i8", KEEPS)],
    "avgpool": [
        *POOL,
        Bad({"scale": cb(6)}, "scale", "shape", "`scale` has 6 elements", "expected 1"),
        Bad({"x": lm(1, 8, 8, 6, dtype=F32), "x_zero": 1}, "x_zero", "chain", "x of type f32 has no zero point"),
        Bad({**F32_OUT, "out_zero": 1}, "out_zero", "chain", "a result of type f32 has no zero point"),
    ],
    "topk": [
        Bad({"x": lm(3, 5, dtype=F16)}, "x", "type", "x has type f16 but out i8", "what is found keeps its type"),
        Bad({"x": lm(3, 1)}, "out", "shape", "`out` has shape [3, 2]", "expected [3, k]: k of each row, at most 1"),
        Bad({"x": lm(4, 5)}, "out", "shape", "`out` has shape [3, 2]", "expected [4, k]: k of each row, at most 5"),
        Bad({"x": lm(5)}, "out", "shape", "`out` has shape [3, 2]", "expected [k]: k of each row, at most 5"),
        Bad(
            {"places": lm(3, 1, dtype=I32)},
            "places",
            "shape",
            "`places` has shape [3, 1]",
            "expected [3, 2]: the shape of out",
        ),
    ],
    "reduce": [
        Bad({"out": lm(3, 2)}, "out", "shape", "`out` has shape [3, 2]", REDUCED),
        Bad({"out": lm(4)}, "out", "shape", "`out` has shape [4]", REDUCED),
        Bad({"op": "max", "x": lm(3, 4, dtype=F32)}, "x", "type", "x has type f32 but out i8", KEEPS),
        Bad({"op": "min", "x": lm(3, 4, dtype=F32)}, "x", "type", "x has type f32 but out i8", LEAST_KEEPS),
        Bad({"op": "min", "scale": cb(1)}, "scale", "chain", "reduce min does not take `scale`"),
        Bad({"op": "argmax"}, "out", "type", "out has type i8", "argmax gives places: expected i32"),
        Bad({"x": lm(3, 4, dtype=I32)}, "x", "type", "x has type i32", NO_MEAN),
        Bad({"out": lm(1, 4, dtype=I32)}, "out", "type", "out has type i32", NO_MEAN),
        Bad({"op": "absmax", "x": lm(3, 4, dtype=I32)}, "x", "type", "x has type i32", NO_MEAN),
        Bad({"op": "sumsq", "out": lm(1, 4, dtype=I32)}, "out", "type", "out has type i32", NO_MEAN),
        Bad(
            {"op": "sum", "x": lm(3, 4, dtype=F32), "out": lm(1, 4, dtype=I32)},
            "out",
            "type",
            "out has type i32",
            "a sum of f32 is a float: expected any other type",
        ),
        Bad(
            {"op": "sum", "x": lm(3, 4, dtype=I32)},
            "out",
            "type",
            "out has type i8",
            "expected i32, the type of a sum of i32",
        ),
        Bad({"op": "max", "scale": cb(1)}, "scale", "chain", "reduce max does not take `scale`"),
        Bad({"op": "max", "x_zero": 1}, "x_zero", "chain", "reduce max does not take `x_zero`"),
        Bad({"op": "max", "out_zero": 1}, "out_zero", "chain", "reduce max does not take `out_zero`"),
        Bad(
            {"op": "sum", "out": lm(1, 4, dtype=I32), "scale": cb(1)},
            "scale",
            "chain",
            "reduce sum to i32 does not take `scale`",
        ),
        Bad({"scale": cb(6)}, "scale", "shape", "`scale` has 6 elements", "expected 1"),
    ],
    "resize": [
        Bad({"out": lm(2, 6, 8, 4)}, "out", "shape", "`out` has shape [2, 6, 8, 4]", OF_X),
        Bad({"out": lm(1, 6, 8, 5)}, "out", "shape", "`out` has shape [1, 6, 8, 5]", OF_X),
        Bad({"out": lm(1, 2**24 + 1, 1, 4)}, "out", "shape", "`out` has shape [1, 16777217, 1, 4]", AT_MOST),
        Bad({"x": lm(1, 1, 2**24 + 1, 4)}, "x", "shape", "`x` has shape [1, 1, 16777217, 4]", AT_MOST),
        Bad({"mode": "nearest", "x": lm(1, 3, 4, 4, dtype=F32)}, "x", "type", "x has type f32 but out i8"),
        Bad({"mode": "nearest", "scale": cb(1)}, "scale", "chain", "resize nearest does not take `scale`"),
        Bad({"mode": "nearest", "x_zero": 1}, "x_zero", "chain", "resize nearest does not take `x_zero`"),
        Bad({"mode": "nearest", "out_zero": 1}, "out_zero", "chain", "resize nearest does not take `out_zero`"),
        Bad({"rounding": "ceil"}, "rounding", "chain", "resize linear does not take `ceil`"),
        Bad(
            {"coordinates": "align_corners", "factor": (0, 2)},
            "factor",
            "chain",
            "align_corners does not take `factor`",
            "it goes by the sizes alone",
        ),
        Bad({"scale": cb(6)}, "scale", "shape", "`scale` has 6 elements", "expected 1"),
    ],
    "roisample": [
        *OF_REGIONS,
        Bad({"ratio": (3, 2)}, "ratio", "shape", "3 samples to a bin do not divide 4 samples down evenly"),
        Bad({"ratio": (2, 4)}, "ratio", "shape", "4 samples to a bin do not divide 6 samples across evenly"),
        Bad({"scale": cb(6)}, "scale", "shape", "`scale` has 6 elements", "expected 1"),
    ],
    "roipool": [
        *OF_REGIONS,
        Bad({"x": lm(2, 3, 4, 4, dtype=F32)}, "x", "type", "x has type f32 but out i8", KEEPS),
    ],
    "load": moves("lm", "host"),
    "store": moves("dev", "lm"),
    "copy": moves("lm", "lm"),
    "fill": [
        Bad({"value": 128}, "value", "range", "`value` is 128", "i8 holds a whole number from -128 to 127"),
        Bad({"value": 0.5}, "value", "range", "`value` is 0.5", "i8 holds a whole number from -128 to 127"),
        Bad({"out": lm(2, dtype=I32), "value": 2**31}, "value", "range", "`value` is 2147483648"),
        Bad({"out": lm(2, dtype=F32), "value": 0.1}, "value", "range", "`value` is 0.1, which is not a float32"),
    ],
    "transpose": [
        Bad(
            {"perm": (0, 0, 2, 3)},
            "perm",
            "range",
            "`perm` is (0, 0) for an x of 2 dimensions",
            "expected each of 0, 1 once, then the dimensions beyond in order",
        ),
        Bad({"perm": (1, 0, 3, 2)}, "perm", "range", "`perm` is (1, 0, 3, 2) for an x of 2 dimensions"),
        Bad(
            {"perm": (0, 1, 2, 3)},
            "out",
            "shape",
            "`out` has shape [6, 4]",
            "expected [4, 6]: the shape of x, permuted",
        ),
        Bad({"x": lm(4, 6, dtype=I32)}, "x", "type", "x has type i32 but out i8", "a transpose does not convert"),
    ],
    "gather": [
        Bad(
            {"out": lm(4, 6)},
            "out",
            "shape",
            "`out` has shape [4, 6]",
            "expected [3, 6]: a row of x for each element of index",
        ),
        Bad({"x": lm(4, 5)}, "out", "shape", "`out` has shape [3, 6]"),
        Bad({"axis": 2}, "axis", "range", "`axis` is 2 for an x of 2 dimensions", "expected 0 to 1"),
        Bad(
            {"axis": 1},
            "out",
            "shape",
            "`out` has shape [3, 6]",
            "expected [4, 3]: dimension 1 of x counts each element of index",
        ),
        Bad({"x": lm(4)}, "out", "shape", "`out` has shape [3, 6]"),
        Bad({"x": lm(4, 6, dtype=I32)}, "x", "type", "x has type i32 but out i8", "a gather does not convert"),
    ],
    "scatter": [
        Bad(
            {"x": lm(4, 6)},
            "x",
            "shape",
            "`x` has shape [4, 6]",
            "expected [3, 6]: a row of out for each element of index",
        ),
        Bad({"axis": 2}, "axis", "range", "`axis` is 2 for an out of 2 dimensions", "expected 0 to 1"),
        Bad(
            {"axis": 1},
            "x",
            "shape",
            "`x` has shape [3, 6]",
            "expected [4, 3]: what dimension 1 of out counts for each element of index",
        ),
        Bad({"x": lm(3, 6, dtype=F16)}, "x", "type", "x has type f16 but out i8", "a scatter does not convert"),
    ],
    "flatten": [
        Bad({"window": 3}, "out", "shape", "`out` has shape [1, 4, 4, 24]", f"expected [1, 3, 3, 54]: {FROM_WINDOW}"),
        Bad({"dilation": 3}, "out", "shape", "`out` has shape [1, 4, 4, 24]", f"expected [1, 3, 3, 24]: {FROM_WINDOW}"),
        Bad({"pad": 1}, "out", "shape", "`out` has shape [1, 4, 4, 24]", f"expected [1, 5, 5, 24]: {FROM_WINDOW}"),
        Bad({"window": 9}, "x", "shape", "the window reaches over 9 pixels, but x with its padding is 8 high"),
        Bad({"x": lm(1, 8, 8, 6, dtype=I32)}, "x", "type", "x has type i32 but out i8", "flatten does not convert"),
        Bad(
            {"out": lm(1, 4, 4, 24, dtype=F32), "x": lm(1, 8, 8, 6, dtype=F32), "x_zero": 1},
            "x_zero",
            "chain",
            "x of type f32 has no zero point",
        ),
    ],
    "toweight": [
        Bad(
            {"x": lm(25, 5)},
            "x",
            "shape",
            "`x` has shape [25, 5]",
            "expected [24, 5]: height, width and channels of out in a row, by its filters",
        ),
        Bad({"x": lm(5, 24)}, "x", "shape", "`x` has shape [5, 24]"),
        Bad({"x": lm(24, 5, dtype=I32)}, "x", "type", "x has type i32 but out i8", "toweight does not convert"),
    ],
    "signal": [],
    "wait": [],
    "barrier": [],
    "loop": [],
    "brnz": [],
    "end": [],
}


def of_operands(row: Row, good: dict[str, Any]) -> list[Bad]:
    """Return, for every operand of a row, one bad input for each rule that the table implies."""
    found = []
    for spec in row.operands:
        low, high = spec.ranks
        length = 256 if spec.name == "table" else 1
        operand: Operand = good.get(spec.name) or dense(spec.memories[0], 0, spec.dtypes[0], (length,) * low)
        name, rank = spec.name, operand.rank

        def bad(kind: str, message: str, help: str | None = None, _spec=spec, _operand=operand, **changed) -> Bad:
            wrong = replace(_operand, **changed)
            return Bad({_spec.name: wrong}, _spec.name, kind, f"`{_spec.name}` {message}", help)

        if not spec.optional:
            message = f"{row.mnemonic} needs `{name}`"
            found.append(Bad({name: None}, name, "missing", message, spec.meaning))
        for memory in MEMORIES:
            if memory not in spec.memories:
                help = f"it must be in {' or '.join(spec.memories)}"
                found.append(bad("memory", f"is in {memory}", help, memory=memory))
        for dtype in DTYPES.values():
            if dtype not in spec.dtypes:
                help = f"expected {' or '.join(map(str, spec.dtypes))}"
                found.append(bad("type", f"has type {dtype}", help, dtype=dtype))
        for wrong in (low - 1, high + 1):
            if wrong > 0:
                ones = (1,) * wrong
                expected = f"expected {low}" if low == high else f"expected {low} to {high}"
                message = f"has {wrong} dimensions {list(ones)}"
                found.append(bad("rank", message, expected, shape=ones, strides=ones))
        empty = (*operand.shape[:-1], 0)
        found.append(bad("shape", f"has an empty dimension {list(empty)}", shape=empty))
        found.append(bad("shape", "has more than 2147483647 elements", shape=(2**31,) * rank, strides=(1,) * rank))
        if not spec.remote:
            found.append(bad("memory", f"is in {operand.memory} of core 1", NOT_REMOTE[spec.access], core=1))
        if not spec.strided:
            strides = (*(64,) * (rank - 1), 2)
            message = "has an innermost stride of 2 elements"
            found.append(bad("stride", message, NEEDS_CONTIGUOUS, shape=(2,) * rank, strides=strides))
        far = (2**31,) + (1,) * (rank - 1)
        found.append(bad("stride", "has a stride beyond 32 bits", shape=(1,) * rank, strides=far))
        found.append(bad("range", "has the impossible address -4", address=-4))
        found.append(bad("range", f"has the impossible address {2**62}", address=2**62))
        wide = spec.dtypes[-1]
        if wide.bytes > 1:
            help = f"addresses of {wide} are multiples of {wide.bytes}"
            found.append(bad("align", "is not aligned", help, dtype=wide, address=wide.bytes // 2))
            found.append(bad("align", "is not aligned", help, dtype=wide, terms=(Term(1, 0, wide.bytes * 3 // 2),)))
        disorder = "has terms out of order"
        many = tuple(Term(k, 0, 4) for k in range(MAX_TERMS + 1))
        found.append(bad("range", f"has an address of {len(many)} terms", terms=many))
        found.append(bad("range", disorder, terms=(Term(2, 0, 4), Term(1, 0, 4))))
        found.append(bad("range", disorder, terms=(Term(1, 0, 4), Term(1, 0, 4))))
        for term in (Term(1, 1, 4), Term(8, 0, 4), Term(-1, 0, 4), Term(1, 0, 0), Term(1, 2**32, 4), Term(1, 0, 2**62)):
            help = "modulus from 2, stride other than 0"
            found.append(bad("range", "has an impossible term", help, terms=(term,)))
        if spec.access == "write":
            message = "may write the same element twice: it has strides "
            found.append(bad("stride", message, shape=(2,) * rank, strides=(1,) * rank if rank > 1 else (0,)))
    return found


def of_attributes(row: Row) -> list[Bad]:
    """Return, for every attribute of a row, bad inputs beyond its range and of the wrong kind."""
    found = []
    for spec in row.attributes:
        beyond = (
            (spec.low - 1, spec.high + 1, NAN, INF, -INF) if not spec.is_float else (3.5e38, -3.5e38, NAN, INF, -INF)
        )
        for value in beyond:
            found.append(Bad({spec.name: (value,) * spec.count}, spec.name, "range", f"`{spec.name}` is "))
        found.append(Bad({spec.name: (10**400,) * spec.count}, spec.name, "range", f"`{spec.name}` is a huge number"))
        found.append(
            Bad(
                {spec.name: (spec.low,) * (spec.count + 1)},
                spec.name,
                "range",
                f"`{spec.name}` has {spec.count + 1} elements",
            )
        )
        if not spec.is_float:
            value = spec.low + 0.5
            found.append(Bad({spec.name: (value,) * spec.count}, spec.name, "range", f"`{spec.name}` is {value}"))
        else:
            zeros = {spec.name: (-0.0,) * spec.count}
            found.append(Bad(zeros, spec.name, "range", f"`{spec.name}` is -0.0", "write 0"))
        if spec.name.endswith("_zero"):
            operand = _GOOD[row.mnemonic].get(spec.name.removesuffix("_zero"))
            if operand is not None:
                help = "i8 holds a whole number from -128 to 127"
                found.append(Bad({spec.name: 128}, spec.name, "range", f"`{spec.name}` is 128", help))
                found.append(Bad({spec.name: -129}, spec.name, "range", f"`{spec.name}` is -129", help))
        if spec.kind == "f32":
            message = f"`{spec.name}` is 0.1, which is not a float32"
            found.append(Bad({spec.name: (0.1,) * spec.count}, spec.name, "range", message))
    return found


def of_waits(row: Row) -> list[Bad]:
    if row.engine != "seq":
        return []
    help = "only instructions of an engine have wait bits"
    return [Bad({}, "", "range", f"{row.mnemonic} cannot wait", help, waits=("te",))]


def make(row: Row, bad: Bad | None = None) -> Instruction:
    """Return the valid instruction of a row, with the changes of a bad input put in unchecked."""
    good = build(row.mnemonic, bad.waits if bad else (), **_GOOD[row.mnemonic])
    operands, attributes = list(good.operands), list(good.attributes)
    names = [spec.name for spec in row.operands]
    for name, value in (bad.changes if bad else {}).items():
        if name in names:
            operands[row.operand_index(name)] = value
        else:
            spec = row.attributes[row.attribute_index(name)]
            if isinstance(value, str):
                value = spec.words.index(value)
            attributes[row.attribute_index(name)] = value if isinstance(value, tuple) else (value,) * spec.count
    return Instruction(row.opcode, tuple(operands), tuple(attributes), good.waits)


# Both name what they lack, where a row is new.
by_opcode("GOOD in tests/isa/bad_inputs.py", _GOOD, ALL_ENGINES)
by_opcode("BAD in tests/isa/bad_inputs.py", _BAD, ALL_ENGINES)
GOOD = {row.opcode: make(row) for row in ROWS}
BAD = {
    row.opcode: [*_BAD[row.mnemonic], *of_operands(row, _GOOD[row.mnemonic]), *of_attributes(row), *of_waits(row)]
    for row in ROWS
}
