"""What only moves elements: mostly views, which move nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import look_up, write
from compiler.lower.lowering import Lowering
from compiler.lower.picking import picked
from compiler.lower.quantised import quantised
from compiler.lower.reductions import reduced
from compiler.runtime import evaluate
from compiler.steps import View

SMALL = ("i8", "u8", "i16")


def same(low: Lowering, node: Node) -> None:
    """Identity, Dropout, and what gives the same elements other dimensions: Reshape, Flatten, Squeeze, Unsqueeze."""
    if len([name for name in node.outputs if name]) > 1:
        raise Refusal("its mask is wanted")
    name, source = node.outputs[0], node.inputs[0]
    shape = low.value(name).shape
    if low.source_of(source) != source:
        low.postpone(name, low.source_of(source), shape)
        return
    view = low.view(source).reshaped(shape)
    if view is None:
        low.postpone(name, source, shape)
    else:
        low.views[name] = view


def dropout(low: Lowering, node: Node) -> None:
    """Dropout, which leaves everything where it does not train."""
    training = low.constant(node.input(2))
    if node.input(2) and (training is None or training.any()):
        raise Refusal("it trains, and drops elements at random")
    same(low, node)


def transpose(low: Lowering, node: Node) -> None:
    """Transpose: a view."""
    given = low.view(node.inputs[0])
    low.views[node.outputs[0]] = given.permuted(node.attributes.get("perm") or range(given.rank)[::-1])


def concat(low: Lowering, node: Node) -> None:
    """Concat: a copy of each part into the result."""
    parts = [low.view(name) for name in node.inputs if low.value(name).elements]
    _joined(low, node, parts, [None] * len(parts))


def quantised_concat(low: Lowering, node: Node) -> None:
    """QLinearConcat: a copy of each part of the result's scale and zero point, a table of each other.

    onnxruntime fills the tables, by joining all 256 values with nothing.
    """
    y = quantised(low, node, 0, 1)
    parts, tables = [], []
    for place in range(2, len(node.inputs), 3):
        if not low.value(node.inputs[place]).elements:
            continue
        x = quantised(low, node, place + 1, place + 2)
        parts.append(low.view(node.inputs[place]))
        is_same = (x.one_scale, x.zero) == (y.one_scale, y.zero)
        tables.append(None if is_same else _table(low, node, place))
    _joined(low, node, parts, tables)


def _table(low: Lowering, node: Node, place: int) -> NDArray[Any]:
    """Return what QLinearConcat makes of each value of a part."""
    kind = low.value(node.inputs[place]).dtype
    shape = np.ones(len(low.value(node.inputs[place]).shape), int)
    shape[node.attributes["axis"]] = 256
    read = [name for name in (*node.inputs[:2], *node.inputs[place + 1 : place + 3]) if name]
    given = {name: data for name in read if (data := low.constant(name)) is not None}
    given["part"] = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind).reshape(shape)
    alone = node.reading(*node.inputs[:2], "part", *node.inputs[place + 1 : place + 3])
    return evaluate([alone], given, node.outputs[:1], low.graph.opsets)[0].reshape(-1)


def _joined(low: Lowering, node: Node, parts: Sequence[View], tables: Sequence[NDArray[Any] | None]) -> None:
    """Write parts behind each other, each as it is or by a table."""
    axis, at = int(node.attributes["axis"]) % parts[0].rank, 0
    out = low.result(node, max(parts, key=lambda view: view.elements).order)
    for part, table in zip(parts, tables):
        to = out.sliced(axis, at, part.shape[axis])
        if table is None:
            low.move(to, part)
        else:
            look_up(low, to, part, table)
        at += part.shape[axis]


def split(low: Lowering, node: Node) -> None:
    """Split: a view for each result."""
    if not all(node.outputs):
        raise Refusal("one of its results is left out")
    given = low.view(node.inputs[0])
    axis, at = int(node.attributes.get("axis", 0)) % given.rank, 0
    for name in node.outputs:
        size = low.value(name).shape[axis]
        low.views[name] = given.sliced(axis, at, size)
        at += size


def slices(low: Lowering, node: Node) -> None:
    """Slice, with steps of either sign: a view."""
    view = low.view(node.inputs[0])
    if "starts" in node.attributes:
        # As operators of version 1 have it.
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends = (low.known(node, k, "range").reshape(-1).tolist() for k in (1, 2))
        axes = low.known(node, 3, "range").reshape(-1).tolist() if node.input(3) else None
        steps = low.known(node, 4, "step").reshape(-1).tolist() if node.input(4) else None
    for start, end, axis, step in zip(starts, ends, axes or range(len(starts)), steps or [1] * len(starts)):
        axis %= view.rank
        taken = _taken(view.shape[axis], start, end, step)
        view = view.sliced(axis, taken[0], len(taken), step)
    low.views[node.outputs[0]] = view


def _taken(size: int, start: int, end: int, step: int) -> range:
    """Return which elements of a dimension a slice takes: what is below 0 counts from the end, then both are kept in.

    Unlike Python's, a slice backwards begins at the first element where it would begin before it.
    """
    start, end = (at + size if at < 0 else at for at in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def pad(low: Lowering, node: Node) -> None:
    """Pad: the whole filled and the inside copied; of other modes the elements that the padding repeats, by places."""
    view, mode = low.view(node.inputs[0]), node.attributes.get("mode", b"constant").decode()
    value: Any = node.attributes.get("value", 0.0)
    if "pads" in node.attributes or "paddings" in node.attributes:
        pads = list(node.attributes.get("pads") or node.attributes["paddings"])
    else:
        pads = low.known(node, 1, "padding").reshape(-1).tolist()
        value = low.known(node, 2, "value").reshape(-1)[0] if node.input(2) else 0
    axes = low.known(node, 3, "dimensions").reshape(-1).tolist() if node.input(3) else range(view.rank)
    by_axis = {axis % view.rank: (pads[k], pads[k + len(pads) // 2]) for k, axis in enumerate(axes)}
    if mode == "constant":
        low.views[node.outputs[0]] = surrounded(low, view, by_axis, value)
        return
    for axis, (before, behind) in by_axis.items():
        most = {"reflect": view.shape[axis] - 1, "wrap": view.shape[axis]}.get(mode, before + behind)
        if min(before, behind) < 0 or max(before, behind) > most:
            raise Refusal(f"its padding of mode {mode} is negative, or wider than the tensor")
        if before or behind:
            places = np.pad(np.arange(view.shape[axis]), (before, behind), mode)
            view = picked(low, view, axis, places)
    low.views[node.outputs[0]] = view


def surrounded(low: Lowering, view: View, pads: Mapping[int, tuple[int, int]], value: Any) -> View:
    """Return a tensor with a margin of one value around it, before and behind by dimension; a negative margin cuts."""
    inside, shape = view, list(view.shape)
    for axis, (before, behind) in pads.items():
        size = inside.shape[axis] + min(before, 0) + min(behind, 0)
        if size < 1:
            raise Refusal("its padding leaves nothing of the tensor")
        inside = inside.sliced(axis, max(-before, 0), size)
        shape[axis] += before + behind
    if inside.shape == tuple(shape):
        return inside
    out = low.local(view.dtype, shape, view.order, f"{view.tensor.name}_padded")
    low.fill(out, value)
    to = out
    for axis, (before, _) in pads.items():
        to = to.sliced(axis, max(before, 0), inside.shape[axis])
    low.move(to, inside)
    return out


def expand(low: Lowering, node: Node) -> None:
    """Expand: a view whose elements are read again and again."""
    low.views[node.outputs[0]] = low.view(node.inputs[0]).repeated(low.value(node.outputs[0]).shape)


def tile(low: Lowering, node: Node) -> None:
    """Tile: one copy, whose source is read again and again."""
    view = low.view(node.inputs[0])
    repeats = low.known(node, 1, "number of repeats").reshape(-1).tolist()
    apart = [size for pair in zip(repeats, view.shape) for size in pair]
    once = [size for own in view.shape for size in (1, own)]
    source = view.reshaped(once)
    out = low.result(node, view.order)
    to = out.reshaped(apart)
    assert source is not None and to is not None, "a dimension is always cut in two"
    low.move(to, source.repeated(apart))


def depth_to_space(low: Lowering, node: Node) -> None:
    """DepthToSpace: channels [b, b, c] (DCR) or [c, b, b] (CRD) become blocks of b x b pixels."""
    view, block = low.view(node.inputs[0]), int(node.attributes["blocksize"])
    batch, channels, height, width = view.shape
    kept = channels // block**2
    if node.attributes.get("mode", b"DCR") == b"DCR":
        parts, order = (batch, block, block, kept, height, width), (0, 3, 4, 1, 5, 2)
    else:
        parts, order = (batch, kept, block, block, height, width), (0, 1, 4, 2, 5, 3)
    _rearranged(low, node, view, parts, order)


def space_to_depth(low: Lowering, node: Node) -> None:
    """SpaceToDepth: blocks of b x b pixels become channels [b, b, c] (DCR) or [c, b, b] (CRD)."""
    view, block = low.view(node.inputs[0]), int(node.attributes["blocksize"])
    batch, channels, height, width = view.shape
    parts = (batch, channels, height // block, block, width // block, block)
    is_deep = node.attributes.get("mode", b"DCR") == b"DCR"
    _rearranged(low, node, view, parts, (0, 3, 5, 1, 2, 4) if is_deep else (0, 1, 3, 5, 2, 4))


def _rearranged(low: Lowering, node: Node, view: View, parts: Sequence[int], order: Sequence[int]) -> None:
    apart = view.reshaped(parts)
    assert apart is not None, "a dimension is always cut in two"
    low.views[node.outputs[0]] = low.reshaped(apart.permuted(order), low.value(node.outputs[0]).shape)


def cast(low: Lowering, node: Node) -> None:
    """Cast, where each value stays: a view, or element by element; integers become i32 as sums of one element."""
    view, to = low.view(node.inputs[0]), low.dtype(node.outputs[0])
    held, made = (low.value(name).dtype for name in (node.inputs[0], node.outputs[0]))
    if view.dtype == to and (made != np.bool_ or held == made):
        low.views[node.outputs[0]] = view
    elif view.dtype in SMALL and to == "i32":
        reduced(low, low.result(node, view.order), view, "sum")
    elif to in ("f32", "f16") or (view.dtype in SMALL and (to == "i16" or held == np.bool_)):
        write(low, low.result(node, view.order), {"x": view})
    elif made.kind in "iu" and held.kind == "f":
        raise Refusal(f"it cuts the fractions of {held} off, which the chip rounds")
    else:
        raise Refusal(f"it makes {made} of {held}, whose values it may not hold")
