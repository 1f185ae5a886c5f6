"""Arithmetic of floats, and functions of them.

One rule says which nodes of floats the chip computes: all that are lowered here. Sums, products, quotients, square
roots, comparisons and what consists of them have onnxruntime's bits, for finite numbers: each step rounds once, as
onnxruntime's does; a NaN, an infinity that is clipped and the sign of a zero may differ. Exponentials and their kin are
functions of the chip's own, and onnxruntime's are its own, too: `INEXACT` says how far apart they are, and such a node
is noted in the plan.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import order_of, write
from compiler.lower.lowering import Lowering
from compiler.lower.quantised import f32
from compiler.steps import View

# What is below all numbers, and above them: bounds that bound nothing.
LEAST, GREATEST = float(np.finfo(f32).min), float(np.finfo(f32).max)


# Those of float16 are computed in float32, and rounded once, as onnxruntime does it.
FLOAT_TYPES = ("float32", "float16")


class Error(NamedTuple):
    """How far a result may be from onnxruntime's: by `ulp` units in its last place, or `absolute`, the greater."""

    ulp: float
    absolute: float

    def __str__(self) -> str:
        parts = [f"{self.ulp:g} ulp"] if self.ulp else []
        return " or ".join([*parts, f"{self.absolute:g}"] if self.absolute else parts)


# Measured by tests/compiler/lower/test_floats.py, of x of a normal distribution of deviation 3.
INEXACT: Mapping[str, Error] = {
    "Pow": Error(1, 0),
    "Exp": Error(2, 0),
    "Sigmoid": Error(4, 2e-7),
    "Tanh": Error(4, 3e-7),
    "Erf": Error(4, 6e-7),
    "Elu": Error(4, 2e-7),
    "Gelu": Error(4, 2e-6),
    "FastGelu": Error(4, 2e-6),
    "BiasGelu": Error(4, 2e-6),
    "QuickGelu": Error(4, 3e-6),
    "Softmax": Error(24, 5e-7),
    "LayerNormalization": Error(4, 4e-6),
    "SimplifiedLayerNormalization": Error(4, 4e-6),
    "RMSNormalization": Error(4, 4e-6),
    "SkipSimplifiedLayerNormalization": Error(4, 4e-6),
}


def floats(low: Lowering, node: Node, others: Sequence[str] = ()) -> list[View]:
    """Return the inputs of a node, all of which have to be floats, or of the other types that are named."""
    views = []
    for name in filter(None, node.inputs):
        if (dtype := low.value(name).dtype).name not in (*FLOAT_TYPES, *others):
            raise Refusal(f"it is of {dtype}; element by element the chip computes float32 and float16")
        views.append(low.view(name))
    return views


def near(low: Lowering, node: Node) -> None:
    """Note how far a node may be from onnxruntime's: where both round to float16, by one step of that at most.

    Half of the least number is added, by which what is below the normal ones may differ more.
    """
    error = INEXACT.get(node.op)
    if error is not None and low.value(node.outputs[0]).dtype == np.float16:
        error = Error(1, error.absolute + 2.0**-24)
    low.note(error)


def scalar(low: Lowering, value: float) -> View:
    """Return one number in local memory, for the second tensor of an instruction."""
    return low.weight(np.array([value], f32), "scalar")


def temporary(low: Lowering, node: Node, like: View, name: str) -> View:
    """Return a new tensor of floats which lies as another does."""
    return low.local("f32", like.shape, like.order, f"{node.outputs[0]}_{name}")


def folded(word: str) -> Callable[[Lowering, Node], None]:
    """Return what lowers Add, Sub, Mul, Div, Max, Min, Sum: `word` of all inputs, from the first on.

    Integers, too, where one of them is the result, and a float holds each.
    """
    whole = ("int8", "uint8", "int16") if word in ("max", "min") else ()

    def lower(low: Lowering, node: Node) -> None:
        first, *others = floats(low, node, whole)
        if not others:
            low.views[node.outputs[0]] = first
            return
        out = low.computed(node, order_of(low, node, first, *others))
        for k, view in enumerate(others):
            write(low, out, {"x": out if k else first, word: view})

    return lower


def mapped(**chain: Any) -> Callable[[Lowering, Node], None]:
    """Return what lowers a node of one input that is one instruction."""

    def lower(low: Lowering, node: Node) -> None:
        (x,) = floats(low, node)
        write(low, low.computed(node, x.order), {"x": x}, **chain)
        near(low, node)

    return lower


def negative(low: Lowering, node: Node) -> None:
    """Neg: x * -1."""
    (x,) = floats(low, node)
    write(low, low.computed(node, x.order), {"x": x}, ew1_scale=low.const(-1))


def clip(low: Lowering, node: Node) -> None:
    """Clip: min(max(x, low), high), each where it bounds."""
    x, *_ = floats(low, node)
    least, greatest = (
        float(low.known(node, place, "bound").reshape(-1)[0])
        if node.input(place)
        else float(node.attributes.get(name, value))
        for place, name, value in ((1, "min", LEAST), (2, "max", GREATEST))
    )
    above, below = least > LEAST, greatest < GREATEST
    if not (above or below):
        low.views[node.outputs[0]] = x
        return
    out = low.computed(node, x.order)
    if above and below:
        # Of bounds in the wrong order onnxruntime's second one stands.
        write(low, out, {"x": x}, clip=(min(least, greatest), greatest))
    elif above:
        write(low, out, {"x": x, "max": scalar(low, least)})
    else:
        write(low, out, {"x": x, "min": scalar(low, greatest)})


def leaky_relu(low: Lowering, node: Node) -> None:
    """LeakyRelu: x * alpha where x < 0."""
    (x,) = floats(low, node)
    slope = float(f32(node.attributes.get("alpha", 0.01)))
    write(low, low.computed(node, x.order), {"x": x}, leaky_relu=slope)


def prelu(low: Lowering, node: Node) -> None:
    """PRelu: x * slope where x < 0; with slopes of 1 at most that is max(x, x * slope), each rounded as it is.

    Else min(x, 0) * slope + max(x, 0), of which one is 0.
    """
    x, slope = floats(low, node)
    known = low.constant(node.inputs[1])
    out = low.computed(node, x.order)
    if known is not None and known.size == 1:
        write(low, out, {"x": x}, leaky_relu=float(known.reshape(-1)[0]))
        return
    turned = temporary(low, node, x, "turned")
    if known is not None and (known <= 1).all():
        write(low, turned, {"x": x, "mul": slope})
        write(low, out, {"x": x, "max": turned})
        return
    write(low, turned, {"x": x, "min": scalar(low, 0)})
    write(low, turned, {"x": turned, "mul": slope})
    write(low, out, {"x": x}, relu=True)
    write(low, out, {"x": out, "add": turned})


def hard_sigmoid(low: Lowering, node: Node) -> None:
    """HardSigmoid: x * alpha, + beta, between 0 and 1."""
    (x,) = floats(low, node)
    alpha, beta = (float(f32(node.attributes.get(*pair))) for pair in (("alpha", 0.2), ("beta", 0.5)))
    write(low, low.computed(node, x.order), {"x": x}, hard_sigmoid=(alpha, beta))


def hard_swish(low: Lowering, node: Node) -> None:
    """HardSwish: x * HardSigmoid of 1 / 6 and 1 / 2; the engine's own divides by 6, which rounds otherwise."""
    (x,) = floats(low, node)
    gate = temporary(low, node, x, "gate")
    write(low, gate, {"x": x}, hard_sigmoid=(float(f32(1 / 6)), 0.5))
    write(low, low.computed(node, x.order), {"x": x, "mul": gate})


def power(low: Lowering, node: Node) -> None:
    """Pow by one constant: x * x for 2, (x * x) * x for 3, x for 1; the square root for 1/2, within 1 ulp."""
    exponents = low.known(node, 1, "exponent")
    name = node.inputs[0]
    floats(low, node.reading(name))
    if exponents.size != 1:
        raise Refusal("it has an exponent for each element")
    exponent, x = float(exponents.reshape(-1)[0]), low.view(name)
    shape = low.value(node.outputs[0]).shape
    if exponent not in (0.5, 1, 2, 3) or shape != x.shape:
        raise Refusal(f"no engine takes powers of {exponent:g}; 0.5, 1, 2 and 3 it does")
    if exponent == 1:
        low.views[node.outputs[0]] = x
        return
    out = low.computed(node, x.order)
    if exponent == 0.5:
        write(low, out, {"x": x}, sqrt=True)
        near(low, node)
        return
    write(low, out, {"x": x, "mul": x})
    if exponent == 3:
        write(low, out, {"x": out, "mul": x})


def elu(low: Lowering, node: Node) -> None:
    """Elu: max(x, 0) + fma(exp(min(x, 0)), alpha, -alpha)."""
    (x,) = floats(low, node)
    alpha = float(f32(node.attributes.get("alpha", 1.0)))
    above, below = (temporary(low, node, x, name) for name in ("above", "below"))
    write(low, above, {"x": x}, relu=True)
    write(low, below, {"x": x, "min": scalar(low, 0)}, exp=True)
    out = low.computed(node, x.order)
    write(low, out, {"x": below, "add": above}, ew1_scale=low.const(alpha), ew1_bias=low.const(-alpha))
    near(low, node)


def erf(low: Lowering, node: Node) -> None:
    """Erf, by gelu(v) = v * (1 + erf(v / sqrt(2))) / 2: of a = |x| * sqrt(2), away from 0, 2 * gelu(a) / a - 1.

    The sign is x's; where x * 2^100 does not reach 1 it is 0, and so is the result.
    """
    (x,) = floats(low, node)
    size, made, sign = (temporary(low, node, x, name) for name in ("size", "made", "sign"))
    write(low, size, {"x": x}, leaky_relu=-1.0)
    write(low, size, {"x": size, "max": scalar(low, 2.0**-40)}, ew1_scale=low.const(np.sqrt(2)))
    write(low, made, {"x": size}, gelu=True)
    write(low, made, {"x": made, "div": size})
    write(low, sign, {"x": x}, ew1_scale=low.const(2.0**100), clip=(-1.0, 1.0))
    write(
        low,
        low.computed(node, x.order),
        {"x": made, "mul": sign},
        ew1_scale=low.const(2),
        ew1_bias=low.const(-1),
    )
    near(low, node)


def gelu(low: Lowering, node: Node) -> None:
    """Gelu, BiasGelu, FastGelu: of x, or of x + bias; by erf one instruction, by tanh as `_by_tanh` has it."""
    x, *bias = floats(low, node)
    by_tanh = node.op == "FastGelu" or node.attributes.get("approximate", b"none") in (b"tanh", "tanh")
    if by_tanh:
        if bias:
            shifted = temporary(low, node, x, "shifted")
            write(low, shifted, {"x": x, "add": bias[0]})
            x = shifted
        _by_tanh(low, node, x)
    else:
        write(low, low.computed(node, x.order), {"x": x, **({"add": bias[0]} if bias else {})}, gelu=True)
    near(low, node)


def _by_tanh(low: Lowering, node: Node, x: View) -> None:
    """Write x * (1 + tanh(u)) / 2 = x * sigmoid(2 * u), u = sqrt(2 / pi) * (x + 0.044715 * x^3)."""
    twice = 2 * np.sqrt(2 / np.pi)
    inner = temporary(low, node, x, "inner")
    write(low, inner, {"x": x, "mul": x})
    scale, bias = low.const(twice * 0.044715), low.const(twice)
    write(low, inner, {"x": inner, "mul": x}, ew1_scale=scale, ew1_bias=bias, sigmoid=True)
    write(low, low.computed(node, x.order), {"x": x, "mul": inner})


def quick_gelu(low: Lowering, node: Node) -> None:
    """QuickGelu: x * sigmoid(alpha * x)."""
    (x,) = floats(low, node)
    if x.dtype != "f32":
        raise Refusal("it is of float16, for which onnxruntime rounds inside of it, too")
    gate = temporary(low, node, x, "gate")
    alpha = f32(node.attributes.get("alpha", 1.702))
    write(low, gate, {"x": x}, ew1_scale=low.const(alpha), sigmoid=True)
    write(low, low.computed(node, x.order), {"x": x, "mul": gate})
    near(low, node)


# By this much, twice, any number that is not 0 becomes at least 1.
HUGE = 2.0**100


def compared(word: str, negated: bool = False, swapped: bool = False) -> Callable[[Lowering, Node], None]:
    """Return what lowers Equal, Less, Greater and their like: 1 where a difference is not 0, or above it.

    A difference of finite floats is 0 where they are equal alone; what is not 0 is multiplied until it is at least 1.
    Integers of 32 bits are compared with constants of less than 2^24: as they become floats, those beyond stay beyond.
    """

    def lower(low: Lowering, node: Node) -> None:
        first, second = reversed(node.inputs) if swapped else node.inputs
        _comparable(low, first, second)
        views = {"x": low.view(first), "sub": low.view(second)}
        out = low.computed(node, order_of(low, node, *views.values()))
        far = temporary(low, node, out, "far")
        write(low, far, views, **({"leaky_relu": -1.0} if word == "other" else {"relu": True}))
        write(low, far, {"x": far}, ew1_scale=low.const(HUGE), clip=(0.0, 1.0))
        bias = low.const(1) if negated else None
        write(low, out, {"x": far}, ew1_scale=low.const(-HUGE if negated else HUGE), ew1_bias=bias, clip=(0.0, 1.0))

    return lower


def _comparable(low: Lowering, *names: str) -> None:
    """Refuse what floats do not hold as far as a comparison needs it."""
    kinds = {low.value(name).dtype.name for name in names}
    known = [data for name in names if (data := low.constant(name)) is not None]
    if kinds <= {"int32", "int64"} and any(np.abs(data.astype(np.int64)).max() < 2**24 for data in known):
        return
    if not kinds <= {*FLOAT_TYPES, "int8", "uint8", "int16", "bool"}:
        raise Refusal(f"it compares {' and '.join(sorted(kinds))}, which floats do not hold to the last bit")


def denied(low: Lowering, node: Node) -> None:
    """Not: 1 - x."""
    x = low.view(node.inputs[0])
    write(low, low.computed(node, x.order), {"x": x}, ew1_scale=low.const(-1), ew1_bias=low.const(1))


def both(word: str) -> Callable[[Lowering, Node], None]:
    """Return what lowers And, as the product, and Or, as the greater one."""

    def lower(low: Lowering, node: Node) -> None:
        x, y = (low.view(name) for name in node.inputs)
        write(low, low.computed(node, order_of(low, node, x, y)), {"x": x, word: y})

    return lower


def blended(low: Lowering, node: Node, out: View, mask: View, x: View, y: View) -> None:
    """Write x where a mask is 1, y where it is 0: x * mask + y * (1 - mask), of finite values."""
    if out.dtype == "i32":
        raise Refusal(f"its mask follows the data, and it takes {low.value(node.outputs[0]).dtype}")
    constants = [data for name in node.inputs if name and (data := low.constant(name)) is not None]
    if any(data.dtype.kind == "f" and not np.isfinite(data).all() for data in constants):
        raise Refusal("its mask follows the data, and it takes infinities, which are not masked by a product")
    left = low.local("u8", mask.shape, mask.order, f"{node.outputs[0]}_left")
    part = low.local(out.dtype, out.shape, out.order, f"{node.outputs[0]}_part")
    write(low, left, {"x": mask}, ew1_scale=low.const(-1), ew1_bias=low.const(1))
    write(low, part, {"x": x, "mul": mask})
    write(low, out, {"x": y, "mul": left})
    write(low, out, {"x": out, "add": part})


FLOATS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Add": folded("add"),
    "Sum": folded("add"),
    "Sub": folded("sub"),
    "Mul": folded("mul"),
    "Div": folded("div"),
    "Max": folded("max"),
    "Min": folded("min"),
    "Relu": mapped(relu=True),
    "Sqrt": mapped(sqrt=True),
    "Reciprocal": mapped(reciprocal=True),
    "Abs": mapped(leaky_relu=-1.0),
    "Exp": mapped(exp=True),
    "Sigmoid": mapped(sigmoid=True),
    "Tanh": mapped(tanh=True),
    "Neg": negative,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Pow": power,
    "Equal": compared("other", negated=True),
    "Greater": compared("above"),
    "Less": compared("above", swapped=True),
    "LessOrEqual": compared("above", negated=True),
    "GreaterOrEqual": compared("above", negated=True, swapped=True),
    "Not": denied,
    "And": both("mul"),
    "Or": both("max"),
    "Elu": elu,
    "Erf": erf,
    "Gelu": gelu,
    "BiasGelu": gelu,
    "FastGelu": gelu,
    "QuickGelu": quick_gelu,
}
