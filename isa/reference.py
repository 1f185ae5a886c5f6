"""What each instruction means, in plain NumPy.

`REFERENCE[opcode](given)` returns the result as a new array. `apply` is one instruction on memories, `interpret` a
whole core: read every operand, compute, write. Kernels do the same, fast; tests compare them bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isa import functions
from isa.compressed import expand
from isa.dtypes import I8, I32, DType
from isa.formats import round_to
from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH, Operand
from isa.program import Core
from isa.table import ENGINES, by_opcode


@dataclass(frozen=True)
class Given:
    """What a reference sees: the tensors read, by name (None where absent), attributes by name, and the result's form.

    Choices are given by their word. `vector_format` is that of the engine.
    """

    tensors: Mapping[str, np.ndarray | None]
    attributes: Mapping[str, tuple]
    shape: tuple[int, ...]
    dtype: DType
    vector_format: str

    def tensor(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        assert tensor is not None
        return tensor

    def zeroed(self, name: str) -> np.ndarray:
        """Return an integer tensor less its zero point, as int64."""
        return self.tensor(name).astype(np.int64) - self.attributes[f"{name}_zero"][0]

    def dequantised(self, name: str) -> np.ndarray:
        """Return a tensor of any type less its zero point: floats as float64, integers as int64."""
        with np.errstate(invalid="ignore"):
            whole = np.issubdtype(self.tensor(name).dtype, np.integer)
            return self.zeroed(name) if whole else self.tensor(name).astype(np.float64)

    def rounded(self, value: np.ndarray) -> np.ndarray:
        return round_to(value, self.vector_format)

    def constant(self, name: str) -> np.ndarray:
        """Return a float constant, rounded as it is loaded."""
        return self.rounded(self.tensor(name).astype(np.float64))


def saturate(v: np.ndarray, zero: float, dtype: DType) -> np.ndarray:
    """Return clamp(rne(v) + zero) in an integer type; NaN counts as 0."""
    v = np.where(np.isnan(v), 0.0, v)
    return np.clip(np.rint(v) + zero, dtype.low, dtype.high).astype(dtype.numpy)


def chain(given: Given, acc: np.ndarray) -> np.ndarray:
    """Return EW1 -> EW2 -> SF -> EW3 of the accumulators (integers, or floats where the chain is entered with them)."""
    if given.dtype == I32:
        return acc.astype(np.int32)
    with np.errstate(all="ignore"):
        v = given.rounded(np.broadcast_to(acc, given.shape).astype(np.float64))
        if given.tensors["ew1_scale"] is not None:
            v = given.rounded(v * given.constant("ew1_scale"))
        if given.tensors["ew1_bias"] is not None:
            v = given.rounded(v + given.constant("ew1_bias"))
        v = special_function(given, second_operand(given, v))
        if given.tensors["ew3_scale"] is not None:
            v = given.rounded(v * given.constant("ew3_scale"))
        if given.dtype.is_float:
            # From float32, which holds every v, so that 16 bits are rounded to once. Every NaN becomes the quiet one.
            stored = v.astype(np.float32).astype(given.dtype.numpy)
            return np.where(np.isnan(v), np.array(np.nan, given.dtype.numpy), stored)
        return saturate(v, given.attributes["out_zero"][0], given.dtype)


def second_operand(given: Given, v: np.ndarray) -> np.ndarray:
    """Return EW2: v with the de-quantised second tensor."""
    operation = given.attributes["ew2_op"][0]
    if operation == "none":
        return v
    d = given.rounded(given.dequantised("ew2").astype(np.float64))
    if given.tensors["ew2_scale"] is not None:
        d = given.rounded(d * given.constant("ew2_scale"))
    if operation == "max":
        return np.where(v > d, v, d)
    if operation == "min":
        return np.where(v < d, v, d)
    return given.rounded({"add": np.add, "sub": np.subtract, "mul": np.multiply}[operation](v, d))


def special_function(given: Given, v: np.ndarray) -> np.ndarray:
    """Return SF: v through the chosen function; those of isa.functions are computed in float32, then rounded."""
    word = given.attributes["sf"][0]
    if word == "relu":
        return np.where(v > 0, v, 0.0)
    if word == "clip":
        low, high = (given.rounded(np.array(given.attributes[name][0])) for name in ("clip_low", "clip_high"))
        v = np.where(v < low, low, v)
        return np.where(v > high, high, v)
    if word == "leaky_relu":
        slope = given.rounded(np.array(given.attributes["slope"][0]))
        return np.where(v < 0, given.rounded(v * slope), v)
    if word == "hard_sigmoid":
        slope, offset = (given.rounded(np.array(given.attributes[name][0])) for name in ("slope", "offset"))
        return unit(given.rounded(given.rounded(v * slope) + offset))
    if word == "hard_swish":
        return given.rounded(v * unit(given.rounded(given.rounded(v / 6) + 0.5)))
    if word == "table":
        return given.constant("table")[saturate(v, 0, I8).astype(np.int64) + 128]
    if word == "none":
        return v
    return given.rounded(getattr(functions, word)(v.astype(np.float32)).astype(np.float64))


def unit(v: np.ndarray) -> np.ndarray:
    """Return v held between 0 and 1; NaN stays."""
    v = np.where(v < 0, 0.0, v)
    return np.where(v > 1, 1.0, v)


def with_bias(given: Given, products: np.ndarray) -> np.ndarray:
    """Return the accumulators: int64 sums of products plus the bias, of 8-bit products wrapped to 32 bits."""
    bias = given.tensors["bias"]
    acc = products + (0 if bias is None else bias.astype(np.int64))
    return acc if given.tensor("x").dtype == np.int16 else acc.astype(np.int32)


def window(padded: np.ndarray, given: Given, tap: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """Return, for every output pixel, the input pixel under one tap: [n, oh, ow, c] of the padded input."""
    _, rows, columns, _ = given.shape
    stride = given.attributes["stride"]
    top, left = tap[0] * dilation[0], tap[1] * dilation[1]
    return padded[
        :,
        top : top + (rows - 1) * stride[0] + 1 : stride[0],
        left : left + (columns - 1) * stride[1] + 1 : stride[1],
        :,
    ]


def pad(x: np.ndarray, given: Given, value: int) -> np.ndarray:
    top, left, bottom, right = given.attributes["pad"]
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def conv(given: Given) -> np.ndarray:
    x, w = pad(given.zeroed("x"), given, 0), given.zeroed("w")
    filters, height, width, depth = w.shape
    groups = given.attributes["groups"][0]
    of_group = filters // groups
    products = np.zeros(given.shape, np.int64)
    for kh, kw in np.ndindex(height, width):
        pixels = window(x, given, (kh, kw), given.attributes["dilation"])
        for g in range(groups):
            outputs = slice(g * of_group, (g + 1) * of_group)
            products[..., outputs] += pixels[..., g * depth : (g + 1) * depth] @ w[outputs, kh, kw, :].T
    return chain(given, with_bias(given, products))


def dwconv(given: Given) -> np.ndarray:
    x, w = pad(given.zeroed("x"), given, 0), given.zeroed("w")
    products = np.zeros(given.shape, np.int64)
    for kh, kw in np.ndindex(w.shape[1:3]):
        products += window(x, given, (kh, kw), given.attributes["dilation"]) * w[0, kh, kw]
    return chain(given, with_bias(given, products))


def matmul(given: Given) -> np.ndarray:
    x, w = given.zeroed("x"), given.zeroed("w")
    if given.attributes["transpose_x"][0]:
        x = x.swapaxes(-1, -2)
    if given.attributes["transpose_w"][0]:
        w = w.swapaxes(-1, -2)
    return chain(given, with_bias(given, x @ w))


def eltwise(given: Given) -> np.ndarray:
    return chain(given, given.dequantised("x"))


def maxpool(given: Given) -> np.ndarray:
    x = pad(given.tensor("x"), given, I8.low)
    out = np.full(given.shape, I8.low, np.int8)
    for tap in np.ndindex(*given.attributes["window"]):
        out = np.maximum(out, window(x, given, tap, (1, 1)))
    return out


def avgpool(given: Given) -> np.ndarray:
    x = given.zeroed("x")
    inside = np.ones_like(x)
    sums, count = np.zeros(given.shape, np.int64), np.zeros(given.shape, np.int64)
    for tap in np.ndindex(*given.attributes["window"]):
        sums += window(pad(x, given, 0), given, tap, (1, 1))
        count += window(pad(inside, given, given.attributes["count_pad"][0]), given, tap, (1, 1))
    scale = np.ones(1) if given.tensors["scale"] is None else given.constant("scale")
    with np.errstate(all="ignore"):
        multiplier = given.rounded(scale / count)
        v = given.rounded(given.rounded(sums.astype(np.float64)) * multiplier)
    return saturate(v, given.attributes["out_zero"][0], given.dtype)


def move(given: Given) -> np.ndarray:
    return given.tensor("x").copy()


def fill(given: Given) -> np.ndarray:
    return np.full(given.shape, given.attributes["value"][0], given.dtype.numpy)


def transpose(given: Given) -> np.ndarray:
    x = given.tensor("x")
    return x.transpose([int(k) for k in given.attributes["perm"][: x.ndim]]).copy()


REFERENCE: dict[int, Callable[[Given], np.ndarray]] = by_opcode(
    "REFERENCE",
    {
        "conv": conv,
        "dwconv": dwconv,
        "matmul": matmul,
        "eltwise": eltwise,
        "maxpool": maxpool,
        "avgpool": avgpool,
        "load": move,
        "store": move,
        "copy": move,
        "fill": fill,
        "transpose": transpose,
    },
    ENGINES,
)


def view(operand: Operand, memories: Mapping[str, np.ndarray], counters: Sequence[int]) -> np.ndarray:
    """Return the operand's tensor at the given counters: a view of its memory (uint8 arrays by name), or expanded."""
    low, high = operand.span()
    if operand.stored:
        return expand(memories[operand.memory][operand.address : operand.address + high], operand.dtype, operand.shape)
    address, size = operand.address_at(counters), operand.dtype.bytes
    flat = memories[operand.memory][address + low : address + high].view(operand.dtype.numpy)
    return np.lib.stride_tricks.as_strided(
        flat[-low // size :], operand.shape, [stride * size for stride in operand.strides]
    )


def apply(
    instruction: Instruction,
    memories: Mapping[str, np.ndarray],
    counters: Sequence[int],
    formats: Mapping[str, str],
) -> None:
    """Run one instruction of an engine: read all of its operands, compute, write the result.

    `formats` gives the vector format of "te" and "pe".
    """
    row = instruction.row
    out = instruction.operand("out")
    assert out is not None
    tensors = {
        spec.name: None if operand is None else view(operand, memories, counters)
        for spec, operand in zip(row.operands, instruction.operands, strict=True)
        if spec.access == "read"
    }
    attributes: dict[str, tuple] = dict(zip((a.name for a in row.attributes), instruction.attributes, strict=True))
    attributes.update({spec.name: (instruction.word(spec.name),) for spec in row.choices})
    given = Given(tensors, attributes, out.shape, out.dtype, formats.get(row.engine, "fp32"))
    view(out, memories, counters)[...] = REFERENCE[row.opcode](given)


def interpret(core: Core, memories: Mapping[str, np.ndarray], formats: Mapping[str, str]) -> None:
    """Run a core's code in program order on memories that hold its data and inputs."""
    counters = [0] * (MAX_LOOP_DEPTH + 1)
    opened: list[int] = []
    at = 0
    while core.code[at].row.mnemonic != "end":
        instruction = core.code[at]
        if instruction.row.mnemonic == "loop":
            opened.append(at)
            counters[len(opened)] = 0
        elif instruction.row.mnemonic == "brnz":
            counters[len(opened)] += 1
            if counters[len(opened)] < core.code[opened[-1]].attribute("count")[0]:
                at = opened[-1]
            else:
                counters[len(opened)] = 0
                opened.pop()
        else:
            apply(instruction, memories, counters, formats)
        at += 1
