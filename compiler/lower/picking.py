"""Elements at places along a dimension: places that are constant, and places that the network computes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import look_up, order_of
from compiler.lower.floats import blended
from compiler.lower.lowering import MAX_RANK, Lowering
from compiler.lower.quantised import f32, quantised
from compiler.steps import View, merged


def picked(low: Lowering, view: View, axis: int, places: ArrayLike) -> View:
    """Return the elements at constant places along a dimension: a view where they are evenly apart, else gathered."""
    at = np.asarray(places, np.int64).reshape(-1)
    steps = np.diff(at)
    if (steps == steps[:1]).all():
        return view.sliced(axis, int(at[0]), at.size, int(steps[0]) if steps.size else 1)
    return gathered(low, view, axis, low.weight(at.astype(np.int32), "places"))


def gathered(low: Lowering, view: View, axis: int, places: View) -> View:
    """Return the elements at places, [n] of i32, along a dimension; below 0 they count from the end."""
    shape = [*view.shape[:axis], places.elements, *view.shape[axis + 1 :]]
    out = low.local(view.dtype, shape, view.order, f"{view.tensor.name}_picked")
    rest = merged(out.sliced(axis, 0, 1), view.sliced(axis, 0, 1))
    if rest[0].rank >= MAX_RANK:
        view = low.copied(view, view.order)
        rest = merged(out.sliced(axis, 0, 1), view.sliced(axis, 0, 1))
    # Where the dimension lies in the result; what is gathered lies there in x, too.
    at = sum(stride > out.strides[axis] for stride in rest[0].strides)
    to, x = (
        View(
            one.tensor,
            one.offset,
            (*part.shape[:at], one.shape[axis], *part.shape[at:]),
            (*part.strides[:at], one.strides[axis], *part.strides[at:]),
        )
        for one, part in zip((out, view), rest)
    )
    low.emit("gather", to, x=x, index=places, axis=at or None, from_end=True)
    return out


def gather(low: Lowering, node: Node) -> None:
    """Gather: out[a, i, b] = x[a, index[i], b]."""
    view = low.view(node.inputs[0])
    axis, name = int(node.attributes.get("axis", 0)) % view.rank, node.inputs[1]
    places = low.constant(name)
    if places is not None:
        if not (-view.shape[axis] <= places.min() and places.max() < view.shape[axis]):
            raise Refusal(f"it picks what is not there: its dimension has {view.shape[axis]} elements")
        found = picked(low, view, axis, places % view.shape[axis])
    else:
        index = low.view(name)
        found = gathered(low, view, axis, low.reshaped(index, (index.elements,)))
    low.views[node.outputs[0]] = low.reshaped(found, low.value(node.outputs[0]).shape)


def where(low: Lowering, node: Node) -> None:
    """Where, its mask constant: both tensors behind each other, and of them the wanted elements, by places.

    A mask that follows the data blends them.
    """
    mask = low.constant(node.inputs[0])
    if mask is None:
        views = [low.view(name) for name in node.inputs]
        blended(low, node, low.result(node, order_of(low, node, *views)), *views)
        return
    shape = low.value(node.outputs[0]).shape
    x, y = (low.view(name) for name in node.inputs[1:3])
    if (mask == mask.reshape(-1)[0]).all():
        low.views[node.outputs[0]] = (x if mask.reshape(-1)[0] else y).repeated(shape)
        return
    both = low.local(x.dtype, (x.elements + y.elements,), name=f"{node.outputs[0]}_both")
    for view, at in ((x, 0), (y, x.elements)):
        to = both.sliced(0, at, view.elements).reshaped(view.shape)
        assert to is not None, "what is dense takes any shape"
        low.move(to, view)
    places = np.where(mask, _places(x, shape), x.elements + _places(y, shape))
    low.views[node.outputs[0]] = low.reshaped(picked(low, both, 0, places), shape)


def quantised_where(low: Lowering, node: Node) -> None:
    """QLinearWhere: of either tensor, as the mask says, rne(f32(f32((q - zero) * scale) / scale of z)) + zero of z."""
    z = quantised(low, node, 7, 8)
    mask, views = low.view(node.inputs[0]), []
    order = order_of(low, node, *(low.view(node.inputs[place]) for place in (1, 4)))
    out = low.result(node, order)
    ends = np.iinfo(low.value(node.outputs[0]).dtype)
    for place in (1, 4):
        given = quantised(low, node, place + 1, place + 2)
        view, kind = low.view(node.inputs[place]), np.iinfo(low.value(node.inputs[place]).dtype)
        numbers = np.arange(kind.min - given.zero, kind.max + 1 - given.zero).astype(f32) * given.one_scale
        table = np.clip(np.rint(numbers / z.one_scale) + z.zero, ends.min, ends.max)
        views.append(low.local(out.dtype, view.shape, view.order, f"{node.outputs[0]}_given"))
        look_up(low, views[-1], view, table)
    blended(low, node, out, mask, *views)


def _places(view: View, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.broadcast_to(np.arange(view.elements).reshape(view.shape), shape)
