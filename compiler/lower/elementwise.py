"""Element by element: sums and products of quantised values, quantising, and functions of floats."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import MAX_RANK, Lowering
from compiler.lower.quantised import Quantised, f32, multiplier, quantised
from compiler.steps import View, collapsed
from isa.formats import multiply_add

# So many instructions for one node, where dimensions do not lie side by side.
MOST_PIECES = 256


def write(low: Lowering, out: View, views: Mapping[str, View], channels: bool = False, **chain: Any) -> None:
    """Write an eltwise instruction: operands are broadcast to the result; `channels` keeps its last dimension whole."""
    names = list(views)
    given = [_in_order(low, view.broadcast(out.shape), out) for view in views.values()]
    found = collapsed(out, *given, keep_last=channels)
    if found[0].strides[-1] != 1:
        # A part of a tensor, one element wide where that has its elements side by side.
        found = tuple(view.expanded(view.rank) for view in found)
    _write(low, names, found, chain)


def _in_order(low: Lowering, view: View, out: View) -> View:
    """Return an operand that lies as the result does, as far as an instruction asks for it."""
    last = next((axis for axis in reversed(out.order) if out.shape[axis] != 1), None)
    if last is None or view.shape[last] == 1 or view.strides[last] == 1:
        return view
    if view.tensor.data is not None and view.is_whole:
        return low.turned(view, out.order)
    return low.copied(view, out.order)


def _write(low: Lowering, names: Sequence[str], views: Sequence[View], chain: Mapping[str, Any]) -> None:
    out = views[0]
    if out.rank <= MAX_RANK:
        low.emit("eltwise", out, **dict(zip(names, views[1:])), **chain)
        return
    if out.shape[0] > MOST_PIECES:
        raise Refusal("its operands have more than four dimensions that do not lie side by side")
    for k in range(out.shape[0]):
        _write(low, names, [_at(view, k) for view in views], chain)


def _at(view: View, k: int) -> View:
    at = k if view.shape[0] > 1 else 0
    return View(view.tensor, view.offset + at * view.strides[0], view.shape[1:], view.strides[1:])


def order_of(low: Lowering, node: Node, *views: View) -> tuple[int, ...]:
    """Return how the result should lie: as the operand of its size does, the first of several."""
    shape = low.value(node.outputs[0]).shape
    whole = [view for view in views if view.shape == shape and view.tensor.kind != "weight"]
    whole = whole or [view for view in views if view.shape == shape]
    if whole:
        return whole[0].order
    return max((view.broadcast(shape) for view in views), key=lambda view: view.elements).order


def add(low: Lowering, node: Node) -> None:
    """QLinearAdd: rne(fma(a, ra, fma(b, rb, zc - fma(ra, za, rb * zb)))), ra = sa / sc, rb = sb / sc, in float32."""
    a, b, c = quantised(low, node, 1, 2), quantised(low, node, 4, 5), quantised(low, node, 6, 7)
    x, y = low.view(node.inputs[0]), low.view(node.inputs[3])
    x_ratio, y_ratio = a.one_scale / c.one_scale, b.one_scale / c.one_scale
    fixed = f32(c.zero) - fused(x_ratio, f32(a.zero), y_ratio * f32(b.zero))
    write(
        low,
        low.result(node, order_of(low, node, x, y)),
        {"x": y, "add": x},
        ew1_scale=low.const(y_ratio),
        ew1_bias=low.const(fixed) if fixed else None,
        ew2_scale=low.const(x_ratio),
    )


def fused(a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c in float32, rounded once."""
    x, y, z = (np.asarray(one, np.float64) for one in (a, b, c))
    return multiply_add(x, y, z, "fp32").astype(f32)[()]


def multiply(low: Lowering, node: Node) -> None:
    """QLinearMul: rne((a - za) * (b - zb) * m + zc), m = f32(f32(sa * sb) / sc); product and sum are rounded each."""
    a, b, c = quantised(low, node, 1, 2), quantised(low, node, 4, 5), quantised(low, node, 6, 7)
    x, y = low.view(node.inputs[0]), low.view(node.inputs[3])
    write(
        low,
        low.result(node, order_of(low, node, x, y)),
        {"x": x, "mul": y},
        x_zero=a.zero or None,
        ew2_zero=b.zero or None,
        out_zero=c.zero or None,
        ew3_scale=low.const(multiplier(a, b, c)),
        zero_first=True,
    )


def dequantise(low: Lowering, node: Node) -> None:
    """DequantizeLinear: (q - zero) * scale, both for the tensor or for each index of a dimension."""
    scales, zeros = _along(low, node)
    given = low.view(node.inputs[0])
    if scales.size == 1:
        zero = int(zeros) or None
        write(low, low.result(node, given.order), {"x": given}, x_zero=zero, ew1_scale=low.const(scales))
        return
    if (zeros == zeros.flat[0]).all():
        views = {"x": given, "mul": low.weight(scales)}
        write(low, low.result(node, given.order), views, x_zero=int(zeros.flat[0]) or None)
        return
    out = low.result(node, _last(given, int(np.argmax(scales.shape))))
    views = {"x": given, "sub": low.weight(zeros.astype(np.int32))}
    write(low, out, views, channels=True, ew3_scale=low.const(scales.reshape(-1)))


def quantise(low: Lowering, node: Node) -> None:
    """QuantizeLinear: clamp(rne(x / scale) + zero), a true division; both for the tensor or for each index.

    Zero points that differ are added to whole numbers of 16 bits, whose ends are far beyond those of 8.
    """
    scales, zeros = _along(low, node)
    given = low.view(node.inputs[0])
    if given.dtype != "f32":
        raise Refusal(f"it quantises {low.value(node.inputs[0]).dtype}, not float32")
    out = low.result(node, given.order)
    if out.dtype not in ("i8", "u8", "i16"):
        raise Refusal(f"it makes {low.value(node.outputs[0]).dtype}, to which the engine does not round")
    views = {"x": given, "div": low.weight(scales.reshape(1) if scales.size == 1 else scales)}
    if (zeros == zeros.flat[0]).all():
        write(low, out, views, out_zero=int(zeros.flat[0]) or None)
        return
    if out.dtype == "i16":
        raise Refusal("it makes integers of 16 bits with a zero point for each channel")
    whole = low.local("i16", out.shape, given.order)
    write(low, whole, views)
    write(low, out, {"x": whole, "add": low.weight(zeros.astype(np.int32))})


def _along(low: Lowering, node: Node) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return scales and zero points of a node, of shapes that are broadcast to its input's."""
    scales = low.known(node, 1, "scale")
    zeros = low.known(node, 2, "zero point") if node.input(2) else np.zeros(scales.shape, np.int8)
    if scales.dtype != np.float32:
        raise Refusal(f"its scale is {scales.dtype}, not float32")
    if scales.size == 1:
        return scales.reshape(()), zeros.astype(np.int64).reshape(())
    if node.attributes.get("block_size"):
        raise Refusal("it has a scale for each block of a dimension")
    shape = [1] * len(low.value(node.inputs[0]).shape)
    shape[int(node.attributes.get("axis", 1))] = scales.size
    return scales.reshape(shape), zeros.astype(np.int64).reshape(shape)


def _last(view: View, axis: int) -> tuple[int, ...]:
    return (*(k for k in view.order if k != axis), axis)


def quantise_input(low: Lowering, node: Node) -> Quantised | None:
    """Return how QuantizeLinear makes integers, as the host can of an input; None where it differs."""
    scale = low.constant(node.input(1)) if node.op == "QuantizeLinear" else None
    if scale is None or scale.size != 1 or low.value(node.inputs[0]).dtype != np.float32:
        return None
    if node.input(2) and low.constant(node.input(2)) is None:
        return None
    return quantised(low, node, 1, 2)


def by_table(low: Lowering, node: Node, source: str, values: NDArray[Any] | None) -> None:
    """Write a value as a table of another of 8 bits, from its least to its greatest; None stands for any table."""
    given = low.view(source)
    out = low.result(node, given.order)
    if out.dtype not in ("i8", "u8", "f32"):
        raise Refusal(f"its result is {out.dtype}, which no table has")
    look_up(low, out, given, np.zeros(256, f32) if values is None else values)


def look_up(low: Lowering, out: View, given: View, values: NDArray[Any]) -> None:
    """Write for each element of 8 bits what a table has, which begins with the least of the type."""
    write(low, out, {"x": given}, x_zero=128 if given.dtype == "u8" else None, table=low.table(values))
