"""THE TABLE: every instruction, declared once.

A row says what an instruction is called, which engine runs it, its operands and attributes, what it means and what it
traps on. From the rows follow, by plain loops: encoding.py, verify.py (with the shape rules), the manual, the
assembler's operand parsing and messages, the disassembler, and the hypothesis strategies. Meaning, kernels and costs
are dictionaries keyed by opcode elsewhere (`isa.reference.REFERENCE`, `emulator.kernels.KERNELS`,
`emulator.costs.COSTS`), each compared with the table when it is imported. Timing never enters the table.
"""

from dataclasses import dataclass, field
from typing import Literal

from isa.dtypes import F32, I8, I32, DType
from isa.operand import MAX_LOOP_DEPTH, MEMORIES

# Engines in the order of their wait bits; the sequencer runs loops itself and has no queue.
ENGINES = ("te", "pe", "me")
ENGINE_NAMES = {"te": "tensor engine", "pe": "pooling engine", "me": "memory engine", "seq": "sequencer"}
# The wait bit of each engine as written: (w.t), (w.p), (w.m), or several: (w.tp).
WAIT_LETTERS = {"t": "te", "p": "pe", "m": "me"}


@dataclass(frozen=True)
class OperandSpec:
    """What an instruction accepts in one operand slot.

    `ranks` is the least and greatest rank; `strided` allows an innermost stride other than 1; an `optional` operand
    may be absent, and then the step of the meaning that uses it is absent too.
    """

    name: str
    access: Literal["read", "write"]
    memories: tuple[str, ...]
    dtypes: tuple[DType, ...]
    ranks: tuple[int, int]
    meaning: str
    optional: bool = False
    strided: bool = False


@dataclass(frozen=True)
class AttributeSpec:
    """What an instruction accepts for one attribute.

    `kind` is the encoding of one element: u8, u16, i16, u32, f32 or f64. `count` elements are written as a tuple,
    `names` says what each is; a single value in the text stands for all of them. `default` None makes it required.
    `words` turns the attribute into a choice that is written as one of these words; `takes` names the operand or the
    attributes that a word brings with it, as in `add=residual` or `clip=(0, 6)`; they are absent with another word.
    With `identity`, elements left out at the end of the tuple are their own index.
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

    @property
    def count(self) -> int:
        return max(1, len(self.names))

    @property
    def is_float(self) -> bool:
        return self.kind in ("f32", "f64")


@dataclass(frozen=True)
class Row:
    """One instruction: `meaning` is one line, `formula` the arithmetic, `traps` what it may trap on (codes of TRAPS)."""

    opcode: int
    mnemonic: str
    engine: Literal["te", "pe", "me", "seq"]
    operands: tuple[OperandSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    meaning: str
    formula: str
    traps: tuple[str, ...]
    example: str

    def operand_index(self, name: str) -> int:
        return [spec.name for spec in self.operands].index(name)

    def attribute_index(self, name: str) -> int:
        return [spec.name for spec in self.attributes].index(name)

    @property
    def choices(self) -> tuple[AttributeSpec, ...]:
        """The attributes that are written as a word."""
        return tuple(spec for spec in self.attributes if spec.words)


# What can stop a program, decided when it is loaded for a chip (bounds, memory) or as an instruction starts (overlap).
TRAPS = {
    "bounds": "an operand reaches outside its memory on this chip, in some iteration",
    "memory": "the chip does not have the operand's memory",
    "overlap": "the result shares bytes with a tensor that the same instruction reads (an in-place `eltwise` may)",
}


def read(name: str, memories: str, dtypes: tuple[DType, ...], ranks: tuple[int, int], meaning: str) -> OperandSpec:
    return OperandSpec(name, "read", tuple(memories.split()), dtypes, ranks, meaning)


def constant(name: str, dtype: DType, meaning: str) -> OperandSpec:
    """An optional vector in the constant buffer."""
    return OperandSpec(name, "read", ("cb",), (dtype,), (1, 1), meaning, optional=True)


def moved(name: str, access: Literal["read", "write"], memories: str, meaning: str) -> OperandSpec:
    """A tensor that the memory engine moves: any type, any strides."""
    return OperandSpec(name, access, tuple(memories.split()), (I8, I32, F32), (1, 4), meaning, strided=True)


def zero_point(name: str, meaning: str) -> AttributeSpec:
    return AttributeSpec(name, "i16", -128, 127, (0,), meaning)


def flag(name: str, meaning: str) -> AttributeSpec:
    return AttributeSpec(name, "u8", 0, 1, (0,), meaning)


STRIDE = AttributeSpec("stride", "u8", 1, 255, (1, 1), "step of the window, in input pixels", ("height", "width"))
PAD = AttributeSpec("pad", "u8", 0, 255, (0, 0, 0, 0), "pixels of padding", ("top", "left", "bottom", "right"))
DILATION = AttributeSpec("dilation", "u8", 1, 255, (1, 1), "distance of the taps, in input pixels", ("height", "width"))
WINDOW = AttributeSpec(
    "window", "u16", 1, 65535, None, "size of the window; `global` is the whole of x", ("height", "width")
)
COUNTER = AttributeSpec("counter", "u8", 1, MAX_LOOP_DEPTH, None, "the loop's counter: its depth, from 1")

ACC_BIAS = constant("bias", I32, "ACC: added to the products, for each output channel or one for all")

# EW1 -> EW2 -> SF -> EW3, behind ACC or entered at EW1.
CHAIN_OPERANDS = (
    constant("ew1_scale", F32, "EW1: multiplier, for each output channel or one for all"),
    constant("ew1_bias", F32, "EW1: added after the multiplier, for each output channel or one for all"),
    OperandSpec(
        "ew2",
        "read",
        ("lm",),
        (I8, I32, F32),
        (1, 4),
        "EW2: second tensor, broadcast to out",
        optional=True,
    ),
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
        takes={word: ("ew2",) for word in ("add", "sub", "mul", "max", "min")},
    ),
    AttributeSpec(
        "sf",
        "u8",
        0,
        6,
        (0,),
        "SF: special function",
        words=("none", "relu", "clip", "leaky_relu", "sigmoid", "tanh", "table"),
        takes={"clip": ("clip_low", "clip_high"), "leaky_relu": ("slope",), "table": ("table",)},
    ),
    AttributeSpec("clip_low", "f32", -3.4e38, 3.4e38, (0.0,), "SF: lower bound of clip"),
    AttributeSpec("clip_high", "f32", -3.4e38, 3.4e38, (0.0,), "SF: upper bound of clip"),
    AttributeSpec("slope", "f32", -3.4e38, 3.4e38, (0.0,), "SF: factor of leaky_relu below 0"),
    zero_point("ew2_zero", "EW2: zero point of the second tensor"),
    zero_point("out_zero", "EW3: zero point of the result"),
)
CHAIN_FORMULA = (
    "v = float(acc) [* ew1_scale] [+ ew1_bias]; v = v ew2_op (float(ew2 - ew2_zero) [* ew2_scale]); v = sf(v); "
    "out = clamp(rne(v [* ew3_scale]) + out_zero) for i8, v [* ew3_scale] for f32, acc for i32 (with no other stage)"
)

WINDOW_FORMULA = "(ih, iw) = (oh * stride - pad.top + kh * dilation, ow * stride - pad.left + kw * dilation)"

ROWS = (
    Row(
        0x10,
        "conv",
        "te",
        (
            OperandSpec("out", "write", ("lm",), (I8, I32, F32), (4, 4), "result, NHWC"),
            read("x", "lm", (I8,), (4, 4), "activations, NHWC"),
            read("w", "lm", (I8,), (4, 4), "weights, OHWI: output channel, height, width, input channel of the group"),
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
        "acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x[n,ih,iw,c0(o)+c] - x_zero) * (w[o,kh,kw,c] - w_zero), "
        + WINDOW_FORMULA
        + "; "
        + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        "conv out, x, w, bias=b, stride=2, pad=(0, 0, 1, 1), add=residual, relu",
    ),
    Row(
        0x11,
        "dwconv",
        "te",
        (
            OperandSpec("out", "write", ("lm",), (I8, I32, F32), (4, 4), "result, NHWC"),
            read("x", "lm", (I8,), (4, 4), "activations, NHWC"),
            read("w", "lm", (I8,), (4, 4), "weights, 1HWC: one filter for each channel"),
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
        "acc[n,oh,ow,c] = bias[c] + sum over kh, kw of (x[n,ih,iw,c] - x_zero) * (w[0,kh,kw,c] - w_zero), "
        + WINDOW_FORMULA
        + "; "
        + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        "dwconv out, x, w, bias=b, pad=1, clip=(0, 6)",
    ),
    Row(
        0x12,
        "matmul",
        "te",
        (
            OperandSpec("out", "write", ("lm",), (I8, I32, F32), (2, 4), "result, [batch..., m, n]"),
            read("x", "lm", (I8,), (2, 4), "left matrix, [batch..., m, k], or [batch..., k, m] with transpose_x"),
            read("w", "lm", (I8,), (2, 4), "right matrix, [k, n] or [batch..., k, n]; n before k with transpose_w"),
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
        "acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero); " + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        "matmul out, x, w, bias=b, transpose_w, relu",
    ),
    Row(
        0x18,
        "eltwise",
        "te",
        (
            OperandSpec("out", "write", ("lm",), (I8, F32), (1, 4), "result"),
            read("x", "lm", (I8, I32, F32), (1, 4), "first tensor, broadcast to out"),
            *CHAIN_OPERANDS,
        ),
        (zero_point("x_zero", "zero point of x"), *CHAIN_ATTRIBUTES),
        "Enter the chain at EW1: element by element, with broadcasting.",
        "acc = x - x_zero; " + CHAIN_FORMULA,
        ("bounds", "memory", "overlap"),
        "eltwise out, x, mul=gate, tanh",
    ),
    Row(
        0x20,
        "maxpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), (I8,), (4, 4), "result, NHWC"),
            read("x", "lm", (I8,), (4, 4), "activations, NHWC"),
        ),
        (WINDOW, STRIDE, PAD),
        "Take the greatest value of each window; padding never wins.",
        "out[n,oh,ow,c] = max over kh, kw inside x of x[n,ih,iw,c], " + WINDOW_FORMULA.replace(" * dilation", ""),
        ("bounds", "memory", "overlap"),
        "maxpool out, x, window=2, stride=2",
    ),
    Row(
        0x21,
        "avgpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), (I8,), (4, 4), "result, NHWC"),
            read("x", "lm", (I8,), (4, 4), "activations, NHWC"),
            OperandSpec("scale", "read", ("cb",), (F32,), (1, 1), "multiplier, one for all", optional=True),
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
        "out[n,oh,ow,c] = clamp(rne(float(sum over kh, kw inside x of (x[n,ih,iw,c] - x_zero)) * (scale / count)) + "
        "out_zero), scale 1 where absent, " + WINDOW_FORMULA.replace(" * dilation", ""),
        ("bounds", "memory", "overlap"),
        "avgpool out, x, window=global",
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
        "out[...] = x[...]",
        ("bounds", "memory"),
        "load out, x",
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
        "out[...] = x[...]",
        ("bounds", "memory"),
        "store out, x",
    ),
    Row(
        0x32,
        "copy",
        "me",
        (moved("out", "write", "lm", "where the tensor goes"), moved("x", "read", "lm", "tensor in local memory")),
        (),
        "Copy a tensor within local memory; slices make it a concatenation or a cut.",
        "out[...] = x[...]",
        ("bounds", "memory", "overlap"),
        "copy out[:, 0:2], x[:, 0:2]",
    ),
    Row(
        0x33,
        "fill",
        "me",
        (moved("out", "write", "lm dev", "what is filled"),),
        (AttributeSpec("value", "f64", -3.4e38, 3.4e38, (0.0,), "value of each element"),),
        "Set every element to one value.",
        "out[...] = value",
        ("bounds", "memory"),
        "fill out, value=0",
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
        "out.shape[k] = x.shape[perm[k]]; out[i] = x[j] with j[perm[k]] = i[k]",
        ("bounds", "memory", "overlap"),
        "transpose out, x, perm=(1, 0)",
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
        "loop i, 4",
    ),
    Row(
        0x41,
        "brnz",
        "seq",
        (),
        (COUNTER,),
        "Close a loop: count on, and branch back while iterations are left.",
        "counter = counter + 1; if counter < count: branch to the instruction after the loop's `loop`",
        (),
        "brnz i",
    ),
    Row(
        0x4F,
        "end",
        "seq",
        (),
        (),
        "End the task, once every engine has finished.",
        "the outputs are drained",
        (),
        "end",
    ),
)

TABLE = {row.opcode: row for row in ROWS}
MNEMONICS = {row.mnemonic: row for row in ROWS}
MAX_OPERANDS = max(len(row.operands) for row in ROWS)


def same_keys(name: str, dictionary: dict[int, object], engines: tuple[str, ...]) -> None:
    """Raise AssertionError naming the instruction that `dictionary` lacks, or has too many, for these engines."""
    expected = {row.opcode for row in ROWS if row.engine in engines}
    missing = sorted(TABLE[opcode].mnemonic for opcode in expected - dictionary.keys())
    surplus = sorted(hex(opcode) for opcode in dictionary.keys() - expected)
    if missing or surplus:
        raise AssertionError(f"{name} does not match the table: missing {missing}, not in the table {surplus}")


def _check_rows() -> None:
    assert len(TABLE) == len(MNEMONICS) == len(ROWS), "an opcode or a mnemonic stands twice in the table"
    for row in ROWS:
        names = [spec.name for spec in row.operands + row.attributes]
        assert len(set(names)) == len(names), f"{row.mnemonic}: a name stands twice"
        assert set(row.traps) <= set(TRAPS), f"{row.mnemonic}: unknown trap"
        for operand in row.operands:
            assert set(operand.memories) <= set(MEMORIES), f"{row.mnemonic}: unknown memory in {operand.name}"
        for spec in row.attributes:
            assert spec.default is None or len(spec.default) == spec.count, f"{row.mnemonic}: default of {spec.name}"
            assert all(set(taken) <= set(names) for taken in spec.takes.values()), f"{row.mnemonic}: {spec.name} takes"


_check_rows()
