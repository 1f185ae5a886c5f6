"""Reductions: dimensions that become one element each."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.floats import FLOAT_TYPES
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


def result(low: Lowering, node: Node, x: View, axes: Sequence[int], computed: bool = False) -> View:
    """Return a new result, seen with the dimensions that are reduced as 1; floats are `computed` in float32."""
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    kept = low.value(node.outputs[0]).shape
    places = [axis for axis in range(x.rank) if axis not in axes] if len(kept) != x.rank else list(range(x.rank))
    out = (low.computed if computed else low.result)(node, [places.index(axis) for axis in x.order if axis in places])
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
    """ReduceSum: of integers exact, wrapped at 32 bits as onnxruntime's are; of floats see `_float_sum`."""
    kind, x = low.value(node.inputs[0]).dtype.name, low.view(node.inputs[0])
    axes = axes_of(low, node, x.rank)
    if kind in FLOAT_TYPES:
        sums, out, _ = _float_sum(low, node, x, axes)
        low.move(out, sums)
    elif kind == "int32":
        reduced(low, result(low, node, x, axes), x, "sum")
    else:
        raise Refusal(f"its sums of {kind} may pass 32 bits")


def mean(low: Lowering, node: Node) -> None:
    """ReduceMean of floats: sum / count, one true division; the sum is that of `_float_sum`."""
    x = low.view(node.inputs[0])
    if x.dtype not in ("f32", "f16"):
        raise Refusal(f"its mean of {low.value(node.inputs[0]).dtype} cuts fractions off")
    sums, out, count = _float_sum(low, node, x, axes_of(low, node, x.rank))
    divide(low, out, sums, count)


def _float_sum(low: Lowering, node: Node, x: View, axes: Sequence[int]) -> tuple[View, View, int]:
    """Return sums of floats, [1, 1, kept], a result to write them to, and how many elements each has.

    They are added as onnxruntime (Eigen, on hosts with AVX) adds them. Where all that is added stands before all that
    is kept, it is in order. Where it stands behind, each row by lanes of 8, if every row begins with a whole vector of
    4: other rows have heads of their own. What lies between has an order that follows the host.
    """
    kept = [axis for axis in x.order if axis not in axes]
    count = prod(x.shape[axis] for axis in axes)
    size = x.elements // count
    # Dimensions of 1 count where they stand: a column is added in order, a row by lanes.
    last = max((axis for axis in axes if x.shape[axis] > 1), default=-1)
    is_ahead = x.rank - 1 not in axes and all(axis > last for axis in kept if x.shape[axis] > 1)
    is_behind = max(kept, default=-1) < min(axes, default=x.rank)
    in_order = count <= 2 or is_ahead or (is_behind and count < 4)
    if not in_order and not (is_behind and (count % 4 == 0 or size == 1)):
        raise Refusal("onnxruntime adds these floats in an order of its own, and each order has other bits")
    order = [*axes, *kept]
    out = result(low, node, x, axes, computed=True).permuted(order).reshaped((1, 1, size))
    assert out is not None, "it lies in this order"
    rows = low.innermost(low.reshaped(x.permuted(order), (1, count, size)), 2)
    return added(low, rows, 1 if in_order else 8), out, count


def added(low: Lowering, rows: View, lanes: int) -> View:
    """Return the sums of [batch, count, channels] of floats over the second dimension, by lanes of 1, 4 or 8.

    Of 4: every fourth in turn, (0 + 2) + (1 + 3) of these sums, then what is left over, in order. Of 8: every eighth in
    turn, the upper four to the lower four, four more where there are, then as with 4.
    """
    batch, count, channels = rows.shape

    def fresh(size: int) -> View:
        return low.local("f32", (batch, size, channels), name="sums")

    if lanes == 1 or count < 4:
        total = fresh(1)
        low.emit("reduce", total, x=rows, sum=True)
        return total
    done = count - count % lanes
    if done:
        turns = rows.sliced(1, 0, done).reshaped((batch, done // lanes, lanes, channels))
        assert turns is not None, "a dimension is always cut in two"
        sums = fresh(lanes)
        low.emit("reduce", sums.expanded(1), x=turns, sum=True)
        if lanes == 8:
            sums, eight = fresh(4), sums
            write(low, sums, {"x": eight.sliced(1, 0, 4), "add": eight.sliced(1, 4, 4)})
            if count - done >= 4:
                write(low, sums, {"x": sums, "add": rows.sliced(1, done, 4)})
                done += 4
    else:
        sums, done = rows.sliced(1, 0, 4), 4
    two, total = fresh(2), fresh(1)
    write(low, two, {"x": sums.sliced(1, 0, 2), "add": sums.sliced(1, 2, 2)})
    write(low, total, {"x": two.sliced(1, 0, 1), "add": two.sliced(1, 1, 1)})
    for k in range(done, count):
        write(low, total, {"x": total, "add": rows.sliced(1, k, 1)})
    return total


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
    if not x.rank:
        raise Refusal("it is of a single number")
    axis = int(node.attributes.get("axis", 0)) % x.rank
    reduced(low, result(low, node, x, [axis]), x, "argmax")
