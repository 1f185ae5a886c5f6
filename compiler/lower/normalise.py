"""Normalising: batches by constants, rows by their own mean and deviation or by the sum of their exponentials."""

import math
from math import prod

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.floats import floats, near
from compiler.lower.lowering import Lowering
from compiler.lower.quantised import f32, quantised
from compiler.steps import View


def batch(low: Lowering, node: Node) -> None:
    """BatchNormalization: x * k, rounded, + o, rounded; k = (1 / sqrt(var + eps)) * g, o = b - mean * k in float32."""
    if node.attributes.get("training_mode") or any(node.outputs[1:]):
        raise Refusal("it is in training mode")
    if (dtype := low.value(node.inputs[0]).dtype) != np.float32:
        raise Refusal(f"it is of {dtype}; the chip normalises float32")
    g, b, mean, variance = (
        low.known(node, place, "mean, variance, scale or bias").astype(f32) for place in range(1, 5)
    )
    k = (f32(1) / np.sqrt(variance + f32(node.attributes.get("epsilon", 1e-5)))) * g
    o = b - mean * k
    x = low.view(node.inputs[0])
    shape = (-1, *[1] * (x.rank - 2))
    views = {"x": x, "add": low.weight(o.reshape(shape))}
    if x.rank < 2:
        raise Refusal("it has no channels")
    order = (*(axis for axis in x.order if axis != 1), 1)
    write(low, low.result(node, order), views, channels=True, ew1_scale=low.const(k))


def rows(low: Lowering, node: Node, name: str, since: int) -> tuple[View, View]:
    """Return an operand and a new result as [rows, elements], what is normalised side by side.

    `since` is the dimension that is normalised, alone or with all behind it as the node has it.
    """
    x = low.view(name)
    alone = _is_alone(low, node)
    kept = [axis for axis in x.order if axis != since] if alone else list(range(since))
    inner = [since] if alone else list(range(since, x.rank))
    order = (*kept, *inner)
    size = prod(x.shape[axis] for axis in inner)
    shape = (x.elements // size, size)
    out = low.computed(node, order).permuted(order).reshaped(shape)
    assert out is not None, "it lies in this order"
    return low.innermost(low.reshaped(x.permuted(order), shape), 1), out


def _is_alone(low: Lowering, node: Node) -> bool:
    version = int(node.attributes["opset"]) if "opset" in node.attributes else low.graph.opsets.get(node.domain, 1)
    return version >= 13 and node.op in ("Softmax", "QLinearSoftmax")


def axis_of(low: Lowering, node: Node) -> int:
    default = 1 if node.op == "Softmax" and not _is_alone(low, node) else -1
    rank = len(low.value(node.inputs[0]).shape)
    if not rank:
        raise Refusal("it is of a single number")
    return int(node.attributes.get("axis", default)) % rank


def softmax(low: Lowering, node: Node) -> None:
    """Softmax: e = exp(x - max), e / sum of e, from the first to the last."""
    floats(low, node)
    x, out = rows(low, node, node.inputs[0], axis_of(low, node))
    kinds = (("top", x.dtype), ("sum", "f32"))
    top, total = (low.local(kind, (x.shape[0], 1), name=f"{node.outputs[0]}_{what}") for what, kind in kinds)
    low.emit("reduce", top, x=x, max=True)
    write(low, out, {"x": x, "sub": top}, exp=True)
    low.emit("reduce", total, x=out, sum=True)
    write(low, out, {"x": out, "div": total})
    near(low, node)


def quantised_softmax(low: Lowering, node: Node) -> None:
    """QLinearSoftmax: e = E[x - max], rne(floor(1 / sy) * e / sum of e) + zero, the sum from the first to the last.

    E[-k] = f32(exp(S - k * sx)), with S such that the sum of a row does not pass what float32 holds. onnxruntime takes
    the quotient in float64: within 2^-24 of half of a step the results may be one apart.
    """
    x_scale = quantised(low, node, 1, 2).one_scale
    y = quantised(low, node, 3, 4)
    x, out = rows(low, node, node.inputs[0], axis_of(low, node))
    size = x.shape[1]
    if size == 1:
        raise Refusal("its rows have one element")
    whole = f32(np.floor(f32(1) / y.one_scale))
    shift = max(0.0, float(f32(math.log(np.finfo(f32).max / f32(size)))) - 5)
    table = np.exp(np.arange(-255, 1) * float(x_scale) + shift).astype(f32)
    top = low.local(x.dtype, (x.shape[0], 1), name=f"{node.outputs[0]}_top")
    total = low.local("f32", (x.shape[0], 1), name=f"{node.outputs[0]}_sum")
    made = low.local("f32", x.shape, name=f"{node.outputs[0]}_exp")
    low.emit("reduce", top, x=x, max=True)
    write(low, made, {"x": x, "sub": top}, table=low.table(table), table_offset=127)
    low.emit("reduce", total, x=made, sum=True)
    write(low, out, {"x": made, "div": total}, ew1_scale=low.const(whole), out_zero=y.zero or None)


def layer(low: Lowering, node: Node) -> None:
    """LayerNormalization: c = x - mean, fma(c * d, g, b), d = 1 / sqrt(mean of c * c + eps)."""
    floats(low, node)
    axis = axis_of(low, node)
    x, out = rows(low, node, node.inputs[0], axis)
    size = x.shape[1]
    vectors = [name for name in (node.input(1), node.input(2)) if name]
    if any(low.value(name).elements not in (1, size) for name in vectors):
        raise Refusal("its scale or bias has other dimensions than it normalises")
    mean, deviation = (_statistic(low, node, place, x.shape[0]) for place in (1, 2))
    squares = low.local("f32", x.shape, name=f"{node.outputs[0]}_squares")
    low.emit("reduce", mean, x=x, mean=True)
    write(low, out, {"x": x, "sub": mean})
    write(low, squares, {"x": out, "mul": out})
    low.emit("reduce", deviation, x=squares, mean=True)
    epsilon = low.const(f32(node.attributes.get("epsilon", 1e-5)))
    write(low, deviation, {"x": deviation}, ew1_bias=epsilon, rsqrt=True)
    write(low, out, {"x": out, "mul": deviation})
    known = {name: data for name in vectors if (data := low.constant(name)) is not None}
    if len(known) == len(vectors):
        names = ("ew1_scale", "ew1_bias") if node.input(1) else ("ew1_bias",)
        write(
            low, out, {"x": out}, channels=True, **{k: low.const(known[v].reshape(-1)) for k, v in zip(names, vectors)}
        )
    else:
        for word, name in zip(("mul", "add"), (node.input(1), node.input(2))):
            if name:
                vector = low.reshaped(low.view(name), (low.value(name).elements,))
                write(low, out, {"x": out, word: vector})
    near(low, node)


def _statistic(low: Lowering, node: Node, place: int, count: int) -> View:
    """Return a new tensor of one element for each row: an output of the node, where that is wanted."""
    if place >= len(node.outputs) or not node.outputs[place]:
        return low.local("f32", (count, 1), name=f"{node.outputs[0]}_{('', 'mean', 'deviation')[place]}")
    found = low.result(node, place=place).reshaped((count, 1))
    assert found is not None, "a new tensor takes any shape"
    return found
