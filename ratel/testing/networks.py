"""Networks of ONNX at random: quantised and float operators, as the compiler lowers them or leaves them to the host.

Every value has some layout by the time that it is read, for most of the operators move nothing but a view; so what is
tried is how operators and layouts meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

MICROSOFT = "com.microsoft"
OPSET = 17
BYTES = ("int8", "uint8")
MOST_ELEMENTS = 4096
# Of i8: two products with u8 stay within 16 bits, in which some hosts add them.
MOST_WEIGHT = 63


@dataclass(frozen=True)
class Network:
    """A network, as the bytes of its file, and inputs for it by name."""

    model: bytes
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Value:
    """A value of the network; of 8 bits with a scale and a zero point."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero: int = 0

    @property
    def is_bytes(self) -> bool:
        return self.dtype in BYTES and self.scale > 0

    @property
    def is_float(self) -> bool:
        return self.dtype == "float32"

    @property
    def holds_images(self) -> bool:
        return len(self.shape) in (3, 4)


@dataclass
class Drawing:
    """A network as it is drawn."""

    draw: st.DrawFn
    values: list[Value] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def constant(self, data: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(data, dtype)
        return name

    def noise(self, dtype: str, shape: Sequence[int], most: int | None = None) -> np.ndarray:
        rng = np.random.default_rng(self.draw(st.integers(0, 2**16)))
        if dtype == "float32":
            return rng.normal(0, 4, shape).astype(np.float32)
        info = np.iinfo(dtype)
        low, high = max(info.min, -(most or 2**10)), min(info.max, most or 2**10)
        return rng.integers(low, high, tuple(shape), endpoint=True).astype(dtype)

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def scale(self, x: Value) -> tuple[str, str]:
        """Return the names of a value's scale and zero point."""
        return self.constant(x.scale), self.constant(x.zero, x.dtype)

    def quantised(self, dtype: str, scale: float | None = None) -> Value:
        """Draw a scale and a zero point for a result."""
        info = np.iinfo(dtype)
        zero = self.of(0, info.max // 2 + 1 + info.min, self.number(info.min, info.max))
        if scale is None:
            scale = 2.0 ** -self.number(3, 7) * self.of(1.0, 1.1, 1.7)
        return Value("", dtype, (), float(np.float32(scale)), int(np.clip(zero, info.min, info.max)))

    def node(self, op: str, read: Sequence[str], *made: Value, domain: str = "", **attributes: Any) -> None:
        """Add a node; the values that it makes get names."""
        from compiler.runtime import onnx

        named = [replace(value, name=f"v{len(self.values) + k}") for k, value in enumerate(made)]
        names = [value.name for value in named]
        self.nodes.append(onnx().helper.make_node(op, list(read), names, domain=domain, **attributes))
        self.values += named
        self.read |= set(read)


Drawer = Callable[[Drawing, Value], None]


def _sized(x: Value, shape: Sequence[int]) -> Value:
    return replace(x, shape=tuple(int(size) for size in shape))


def _window(d: Drawing, x: Value, dilated: bool) -> tuple[dict[str, Any], list[int]]:
    """Draw a window, and return how many there are."""
    kernel, strides, dilations, pads, sides = [], [], [], [], []
    for size in x.shape[2:]:
        side = d.number(1, min(3, size))
        dilation = d.number(1, 2) if dilated and (side - 1) * 2 < size else 1
        stride, before, behind = d.number(1, 3), d.number(0, side - 1), d.number(0, side - 1)
        kernel.append(side)
        strides.append(stride)
        dilations.append(dilation)
        pads.append((before, behind))
        sides.append((size + before + behind - (side - 1) * dilation - 1) // stride + 1)
    flat = [pair[k] for k in (0, 1) for pair in pads]
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": flat}
    return attributes | ({"dilations": dilations} if dilated else {}), sides


def convolution(d: Drawing, x: Value) -> None:
    attributes, sides = _window(d, x, dilated=True)
    channels = x.shape[1]
    groups = d.of(*(k for k in (1, channels, 2, 3) if channels % k == 0))
    filters = groups * d.number(1, 6) if groups < channels else channels
    kernel = (filters, channels // groups, *attributes["kernel_shape"])
    dtype = d.of("int8", "uint8") if x.dtype == "uint8" else "int8"
    weights = d.noise(dtype, kernel, MOST_WEIGHT)
    scales = np.float32(d.of(0.01, 0.003)) * (d.noise("float32", (filters,)) ** 2 + 1 if d.of(0, 1) else np.ones(1))
    w_zero = 0 if dtype == "int8" else d.number(0, 63)
    y = d.quantised(x.dtype, x.scale * float(scales.mean()) * 40 * prod(kernel[1:]) ** 0.5)
    read = [x.name, *d.scale(x), d.constant(weights, dtype), d.constant(scales if scales.size > 1 else scales[0])]
    read += [d.constant(w_zero if scales.size == 1 else np.full(filters, w_zero), dtype), *d.scale(y)]
    if d.of(True, False):
        read.append(d.constant(d.noise("int32", (filters,)), np.int32))
    d.node("QLinearConv", read, _sized(y, (x.shape[0], filters, *sides)), group=groups, **attributes)


def product(d: Drawing, x: Value) -> None:
    """QLinearMatMul or QGemm by constant weights."""
    columns, depth = d.number(1, 8), x.shape[-1]
    weights = d.noise("int8", (depth, columns), MOST_WEIGHT)
    y = d.quantised(x.dtype, x.scale * 0.01 * 40 * depth**0.5)
    shape = (*x.shape[:-1], columns)
    right = [d.constant(0.01), d.constant(0, np.int8)]
    if len(x.shape) == 2 and d.of(True, False):
        turned = d.of(0, 1)
        bias = [d.constant(d.noise("int32", (columns,)), np.int32) if d.of(0, 1) else ""]
        w = d.constant(weights.T if turned else weights, np.int8)
        read = [x.name, *d.scale(x), w, *right, *bias, *d.scale(y)]
        d.node("QGemm", read, _sized(y, shape), domain=MICROSOFT, transB=turned)
    else:
        read = [x.name, *d.scale(x), d.constant(weights, np.int8), *right, *d.scale(y)]
        d.node("QLinearMatMul", read, _sized(y, shape))


def pair(d: Drawing, x: Value) -> None:
    """QLinearAdd or QLinearMul, with another value or a constant, broadcast."""
    others = [v for v in d.values if v.is_bytes and v.dtype == x.dtype and _fits(v.shape, x.shape)]
    if others and d.of(True, True, False):
        other = d.draw(st.sampled_from(others))
    else:
        kept = [size if d.of(True, False) else 1 for size in x.shape][d.number(0, len(x.shape)) :]
        data = d.noise(x.dtype, kept)
        other = replace(d.quantised(x.dtype), name=d.constant(data, x.dtype), shape=tuple(kept))
    op = d.of("QLinearAdd", "QLinearAdd", "QLinearMul")
    y = d.quantised(x.dtype, x.scale + other.scale if op == "QLinearAdd" else x.scale * other.scale * 50)
    first, second = (x, other) if d.of(True, False) else (other, x)
    shape = np.broadcast_shapes(x.shape, other.shape)
    read = [first.name, *d.scale(first), second.name, *d.scale(second), *d.scale(y)]
    d.node(op, read, _sized(y, shape), domain=MICROSOFT)


def _fits(a: Sequence[int], b: Sequence[int]) -> bool:
    try:
        return prod(np.broadcast_shapes(tuple(a), tuple(b))) <= MOST_ELEMENTS
    except ValueError:
        return False


def function(d: Drawing, x: Value) -> None:
    """DequantizeLinear, functions of floats, QuantizeLinear: a table, or steps on either side."""
    d.node("DequantizeLinear", [x.name, *d.scale(x)], Value("", "float32", x.shape))
    for _ in range(d.number(0, 3)):
        last = d.values[-1]
        op = d.of("Relu", "Sigmoid", "HardSwish", "Tanh", "Exp", "Abs", "Clip", "Add", "Mul", "LeakyRelu")
        more = [d.constant(d.of(0.5, 3.0, -1.5)) for _ in range({"Clip": 1, "Add": 1, "Mul": 1}.get(op, 0))]
        d.node(op, [last.name, *more], last)
    quantise(d, d.values[-1])


def quantise(d: Drawing, x: Value) -> None:
    y = d.quantised(d.of(*BYTES))
    d.node("QuantizeLinear", [x.name, *d.scale(y)], _sized(y, x.shape))


def of_floats(d: Drawing, x: Value) -> None:
    """Float operators, of one value or two."""
    op = d.of("Relu", "Add", "Sub", "Mul", "Div", "Max", "Min")
    same = [v.name for v in d.values if v.is_float and v.shape == x.shape]
    if op == "Relu":
        d.node(op, [x.name], x)
    elif op not in ("Mul", "Div") and d.of(True, False):
        # No quotient of zeros, and no squares of squares: of NaN, engines and onnxruntime make different things.
        d.node(op, [x.name, d.draw(st.sampled_from(same))], x)
    else:
        d.node(op, [x.name, d.constant(np.abs(d.noise("float32", d.of((), x.shape[-1:], x.shape))) + 0.5)], x)


def quantised_function(d: Drawing, x: Value) -> None:
    op = d.of("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
    y = d.quantised(x.dtype, 1 / 256 if op != "QLinearLeakyRelu" else x.scale)
    more: dict[str, Any] = {"alpha": 0.1} if op == "QLinearLeakyRelu" else {}
    if op == "QLinearSoftmax":
        more = {"axis": -1, "opset": 13}
    d.node(op, [x.name, *d.scale(x), *d.scale(y)], _sized(y, x.shape), domain=MICROSOFT, **more)


def greatest(d: Drawing, x: Value) -> None:
    attributes, sides = _window(d, x, dilated=False)
    d.node("MaxPool", [x.name], _sized(x, (*x.shape[:2], *sides)), **attributes)


def average(d: Drawing, x: Value) -> None:
    if x.is_float:
        if d.of(True, False):
            d.node("GlobalAveragePool", [x.name], _sized(x, (*x.shape[:2], *[1] * (len(x.shape) - 2))))
        else:
            attributes, sides = _window(d, x, dilated=False)
            d.node("AveragePool", [x.name], _sized(x, (*x.shape[:2], *sides)), **attributes)
        return
    y = d.quantised(x.dtype, x.scale)
    read = [x.name, *d.scale(x), *d.scale(y)]
    if d.of(True, False):
        shape = (*x.shape[:2], *[1] * (len(x.shape) - 2))
        d.node("QLinearGlobalAveragePool", read, _sized(y, shape), domain=MICROSOFT, channels_last=0)
    else:
        attributes, sides = _window(d, x, dilated=False)
        attributes["count_include_pad"] = d.of(0, 1)
        d.node("QLinearAveragePool", read, _sized(y, (*x.shape[:2], *sides)), domain=MICROSOFT, **attributes)


def resized(d: Drawing, x: Value) -> None:
    sizes = [*x.shape[:2], *(d.number(1, 2 * size) for size in x.shape[2:])]
    mode = d.of("asymmetric", "half_pixel", "align_corners")
    rounding = d.of("floor", "round_prefer_floor")
    read = [x.name, "", "", d.constant(sizes, np.int64)]
    d.node("Resize", read, _sized(x, sizes), coordinate_transformation_mode=mode, nearest_mode=rounding)


def joined(d: Drawing, x: Value) -> None:
    axis = d.number(0, len(x.shape) - 1)

    def alike(v: Value) -> bool:
        same = [a == b or k == axis for k, (a, b) in enumerate(zip(v.shape, x.shape))]
        return v.dtype == x.dtype and len(v.shape) == len(x.shape) and all(same) and v.is_bytes == x.is_bytes

    others = [v for v in d.values if alike(v) and v.shape[axis] < 64] or [x]
    parts = [x, *(d.draw(st.sampled_from(others)) for _ in range(d.number(1, 2)))]
    shape = [*x.shape[:axis], sum(part.shape[axis] for part in parts), *x.shape[axis + 1 :]]
    if not x.is_bytes:
        d.node("Concat", [part.name for part in parts], _sized(x, shape), axis=axis)
        return
    y = x if d.of(True, False) else d.quantised(x.dtype, x.scale)
    read = [name for part in parts for name in (part.name, *d.scale(part))]
    d.node("QLinearConcat", [*d.scale(y), *read], _sized(y, shape), domain=MICROSOFT, axis=axis)


def turned(d: Drawing, x: Value) -> None:
    perm = d.draw(st.permutations(range(len(x.shape))))
    d.node("Transpose", [x.name], _sized(x, [x.shape[k] for k in perm]), perm=perm)


def reshaped(d: Drawing, x: Value) -> None:
    """Reshape: dimensions put together, and cut in two."""
    shape = list(x.shape)
    for _ in range(d.number(1, 3)):
        k = d.number(0, len(shape) - 1)
        factors = [f for f in (2, 3, 4, 5) if shape[k] % f == 0]
        if k + 1 < len(shape) and d.of(True, False):
            shape[k : k + 2] = [shape[k] * shape[k + 1]]
        elif len(shape) < 6:
            factor = d.of(1, *factors)
            shape[k : k + 1] = [factor, shape[k] // factor] if d.of(True, False) else [shape[k] // factor, factor]
    d.node("Reshape", [x.name, d.constant(shape, np.int64)], _sized(x, shape))


def sliced(d: Drawing, x: Value) -> None:
    axis = d.number(0, len(x.shape) - 1)
    size, step = x.shape[axis], d.of(1, 1, 2, -1, -2)
    first, count = d.number(0, size - 1), d.number(1, size)
    taken = list(range(first, -1 if step < 0 else size, step))[:count]
    end = taken[-1] + (1 if step > 0 else -1)
    ends = [end if end >= 0 else -size - 1]
    read = [x.name, *(d.constant(v, np.int64) for v in ([first], ends, [axis], [step]))]
    d.node("Slice", read, _sized(x, [*x.shape[:axis], len(taken), *x.shape[axis + 1 :]]))


def split(d: Drawing, x: Value) -> None:
    axis = d.number(0, len(x.shape) - 1)
    size = x.shape[axis]
    first = d.number(1, max(size - 1, 1))
    sizes = [first, size - first] if size > 1 else [1]
    parts = [_sized(x, [*x.shape[:axis], part, *x.shape[axis + 1 :]]) for part in sizes]
    d.node("Split", [x.name, d.constant(sizes, np.int64)], *parts, axis=axis)


def padded(d: Drawing, x: Value) -> None:
    mode = d.of("constant", "constant", "edge", "reflect")
    room = [min(2, size - 1) if mode == "reflect" else 2 for size in x.shape]
    pads = [d.number(0, most) for most in (*room, *room)]
    rank = len(room)
    shape = [size + pads[k] + pads[k + rank] for k, size in enumerate(x.shape)]
    value = [d.constant(x.zero, x.dtype)] if mode == "constant" else []
    d.node("Pad", [x.name, d.constant(pads, np.int64), *value], _sized(x, shape), mode=mode)


def repeated(d: Drawing, x: Value) -> None:
    repeats = [d.of(1, 1, 2) for _ in x.shape]
    if d.of(True, False):
        shape = [size * times for size, times in zip(x.shape, repeats)]
        d.node("Tile", [x.name, d.constant(repeats, np.int64)], _sized(x, shape))
    else:
        shape = [times if size == 1 else size for size, times in zip(x.shape, repeats)]
        d.node("Expand", [x.name, d.constant(shape, np.int64)], _sized(x, shape))


def gathered(d: Drawing, x: Value) -> None:
    axis = d.number(0, len(x.shape) - 1)
    size = x.shape[axis]
    count = d.number(1, 4)
    places = np.random.default_rng(d.number(0, 99)).integers(-size, size, count)
    read = [x.name, d.constant(places, np.int64)]
    d.node("Gather", read, _sized(x, [*x.shape[:axis], count, *x.shape[axis + 1 :]]), axis=axis)


def extremes(d: Drawing, x: Value) -> None:
    """ReduceMax and its like, and ArgMax, whose dimension goes or stays."""
    axis, kept = d.number(0, len(x.shape) - 1), d.of(0, 1)
    shape = [*x.shape[:axis], *([1] if kept or len(x.shape) == 1 else []), *x.shape[axis + 1 :]]
    kept = 1 if len(x.shape) == 1 else kept
    op = d.of("ReduceMax", "ReduceMin", "ArgMax", *(("ReduceMean",) if x.is_float else ()))
    if op == "ArgMax":
        d.node(op, [x.name], Value("", "int64", tuple(shape)), axis=axis, keepdims=kept)
    else:
        d.node(op, [x.name], _sized(x, shape), axes=[axis], keepdims=kept)


def cast(d: Drawing, x: Value) -> None:
    from compiler.runtime import onnx

    to = d.of("float32", "int32")
    if x.is_float:
        to = "float32"
    kind = onnx().helper.np_dtype_to_tensor_dtype(np.dtype(to))
    d.node("Cast", [x.name], Value("", to, x.shape), to=kind)


# Each with what it takes.
OPERATORS: tuple[tuple[Callable[[Value], bool], Drawer], ...] = (
    (lambda x: x.is_bytes and x.holds_images, convolution),
    (lambda x: x.is_bytes and x.holds_images, convolution),
    (lambda x: x.is_bytes and len(x.shape) > 1, product),
    (lambda x: x.is_bytes, pair),
    (lambda x: x.is_bytes, pair),
    (lambda x: x.is_bytes, function),
    (lambda x: x.is_bytes and len(x.shape) > 1, quantised_function),
    (lambda x: x.is_float, quantise),
    (lambda x: x.is_float, of_floats),
    (lambda x: (x.is_bytes or x.is_float) and x.holds_images, greatest),
    (lambda x: (x.is_bytes or x.is_float) and x.holds_images, average),
    (lambda x: len(x.shape) in (3, 4) and x.dtype != "int64", resized),
    (lambda x: True, joined),
    (lambda x: True, turned),
    (lambda x: True, reshaped),
    (lambda x: True, sliced),
    (lambda x: True, split),
    (lambda x: True, padded),
    (lambda x: True, repeated),
    (lambda x: True, gathered),
    (lambda x: x.is_bytes or x.is_float, extremes),
    (lambda x: x.dtype != "int64", cast),
)


@st.composite
def networks(draw: st.DrawFn, least: int = 5, most: int = 30) -> Network:
    """Draw a network of some nodes, with inputs for it; it shrinks to few nodes and small tensors.

    Its operators are those that the compiler lowers, quantised ones first; all shapes are fixed, and no value has more
    than 4,096 elements. What nothing reads is an output.
    """
    from compiler.runtime import IR_VERSION, onnx

    helper, numpy_helper = onnx().helper, onnx().numpy_helper
    d = Drawing(draw)
    given: dict[str, np.ndarray] = {}
    for _ in range(d.number(1, 2)):
        shape = tuple(d.number(1, 6) for _ in range(d.of(4, 4, 3, 2)))
        dtype = d.of("int8", "uint8", "float32")
        value = d.quantised(dtype) if dtype in BYTES else Value("", dtype, ())
        value = replace(value, name=f"x{len(given)}", shape=shape)
        given[value.name] = d.noise(dtype, shape)
        d.values.append(value)
    inputs = list(d.values)
    count = d.number(least, most)
    while len(d.nodes) < count:
        # The last values first, so that networks are deep.
        x = d.values[-1 - min(d.of(0, 0, 0, 1, 2, 5), len(d.values) - 1)]
        if prod(x.shape) > MOST_ELEMENTS:
            x = d.values[0]
        drawers = [drawer for takes, drawer in OPERATORS if takes(x)]
        draw(st.sampled_from(drawers))(d, x)
    described = [
        helper.make_tensor_value_info(x.name, helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype)), x.shape)
        for x in inputs
        if x.name in d.read
    ]
    ends = [onnx().ValueInfoProto(name=v.name) for v in d.values[len(inputs) :] if v.name not in d.read]
    held = [numpy_helper.from_array(data, name) for name, data in d.constants.items()]
    graph = helper.make_graph(d.nodes, "drawn", described, ends, held)
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)
    return Network(model.SerializeToString(), {x.name: given[x.name] for x in inputs if x.name in d.read})
