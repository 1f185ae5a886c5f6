"""Reductions: dimensions that become one element each."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.lowering import MAX_RANK, Lowering
from compiler.steps import View, collapsed


def reduced(low: Lowering, out: View, x: View, op: str, **attributes: Any) -> None:
    """Write a reduction to a result of as many dimensions, 1 where they are reduced; the order of elements is free."""
    views = collapsed(x, out)
    if views[0].rank > MAX_RANK or not all(view.strides[-1] == 1 or view.shape[-1] == 1 for view in views):
        kept = [axis for axis in out.order if out.shape[axis] == x.shape[axis]]
        x = low.copied(x, [*kept, *(axis for axis in x.order if axis not in kept)])
        views = collapsed(x, out)
    x, out = views
    if out.shape[-1] > 1 and out.strides[-1] != 1:
        x, out = x.expanded(x.rank), out.expanded(out.rank)
    if x.rank > MAX_RANK:
        raise Refusal("its result has more than four dimensions that do not lie side by side")
    low.emit("reduce", out, x=x, **{op: True}, **attributes)


def axes_of(low: Lowering, node: Node, rank: int) -> list[int]:
    """Return the dimensions that a node reduces: of an attribute or of an input, all where neither says."""
    given = node.attributes.get("axes")
    if node.input(1):
        given = low.known(node, 1, "dimensions").reshape(-1).tolist()
    if not given and node.attributes.get("noop_with_empty_axes"):
        return []
    return sorted({axis % rank for axis in given or range(rank)})


def result(low: Lowering, node: Node, x: View, axes: Sequence[int]) -> View:
    """Return a new result, seen with the dimensions that are reduced as 1."""
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    kept = low.value(node.outputs[0]).shape
    places = [axis for axis in range(x.rank) if axis not in axes] if len(kept) != x.rank else list(range(x.rank))
    out = low.result(node, [places.index(axis) for axis in x.order if axis in places])
    for axis in range(x.rank):
        if axis not in places:
            out = out.expanded(axis)
    assert out.shape == shape, f"{out.shape} is no {shape}"
    return out


def extreme(low: Lowering, node: Node, op: str) -> None:
    """ReduceMax, ReduceMin: the greatest or the least."""
    x = low.view(node.inputs[0])
    axes = axes_of(low, node, x.rank)
    reduced(low, result(low, node, x, axes), x, op)


def maximum(low: Lowering, node: Node) -> None:
    """ReduceMax."""
    extreme(low, node, "max")


def minimum(low: Lowering, node: Node) -> None:
    """ReduceMin."""
    extreme(low, node, "min")


def total(low: Lowering, node: Node) -> None:
    """ReduceSum: of integers exact, wrapped at 32 bits as onnxruntime's are; of floats see `rows`."""
    kind, x = low.value(node.inputs[0]).dtype.name, low.view(node.inputs[0])
    axes = axes_of(low, node, x.rank)
    if kind == "float32":
        floats, out = rows(low, node, x, axes)
        low.emit("reduce", out, x=floats, sum=True)
    elif kind == "int32":
        reduced(low, result(low, node, x, axes), x, "sum")
    else:
        raise Refusal(f"its sums of {kind} may pass 32 bits")


def mean(low: Lowering, node: Node) -> None:
    """ReduceMean of floats: sum / count, one true division; see `rows`."""
    x = low.view(node.inputs[0])
    if x.dtype != "f32":
        raise Refusal(f"its mean of {low.value(node.inputs[0]).dtype} cuts fractions off")
    axes = axes_of(low, node, x.rank)
    floats, out = rows(low, node, x, axes)
    sums = low.local("f32", out.shape, name="sums")
    low.emit("reduce", sums, x=floats, sum=True)
    divide(low, out, sums, floats.shape[0])


def rows(low: Lowering, node: Node, x: View, axes: Sequence[int]) -> tuple[View, View]:
    """Return what is added as rows, [count, kept], and the result, [1, kept]: from the first row on.

    So onnxruntime adds where all dimensions that are added stand before all others, or where there are two elements to
    add. Else it has an order of its own, by the vectors of its host.
    """
    kept = [axis for axis in x.order if axis not in axes]
    count = prod(x.shape[axis] for axis in axes)
    leads = max(axes, default=-1) < min(kept, default=0)
    if count > 2 and not (leads and x.elements > count):
        raise Refusal("onnxruntime adds these floats in an order of its own, and each order has other bits")
    order, size = [*axes, *kept], x.elements // count
    out = result(low, node, x, axes).permuted(order).reshaped((1, size))
    assert out is not None, "it lies in this order"
    return low.innermost(low.reshaped(x.permuted(order), (count, size)), 1), out


def divide(low: Lowering, out: View, x: View, by: Any) -> None:
    """Write x / by, one true division for each element; `by` is one number, or is broadcast to the result."""
    numbers = np.asarray(by, np.float32)
    if (numbers == numbers.reshape(-1)[0]).all():
        numbers = numbers.reshape(-1)[:1]
    write(low, out, {"x": x, "div": low.weight(numbers, "counts")})


def place(low: Lowering, node: Node) -> None:
    """ArgMax: the first place of the greatest."""
    if node.attributes.get("select_last_index"):
        raise Refusal("it wants the last place of the greatest; the engine has the first")
    x = low.view(node.inputs[0])
    axis = int(node.attributes.get("axis", 0)) % x.rank
    reduced(low, result(low, node, x, [axis]), x, "argmax")
