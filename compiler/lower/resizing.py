"""Resizing to the nearest pixels.

Which pixel is nearest onnxruntime says: the node resizes a ramp along each dimension by itself. So any coordinates and
any rounding that it has are right, in float32 as it computes them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering, images
from compiler.lower.picking import picked
from compiler.runtime import evaluate
from isa.reference import coordinates, nearest
from isa.shape_rules import MAX_SIDE

COORDINATES = ("half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("prefer_floor", "prefer_ceil", "floor", "ceil")


def resize(low: Lowering, node: Node) -> None:
    """Resize, Upsample: `resize` where it has the same pixels, else `gather` along each dimension."""
    mode = node.attributes.get("mode", b"nearest").decode()
    if mode != "nearest":
        raise Refusal(f"it is {mode}: onnxruntime weights pixels in steps of its own, which have other bits")
    if node.attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise Refusal("it crops as it resizes")
    if node.attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise Refusal("its sizes follow a policy")
    view = low.view(node.inputs[0])
    places = [_places(low, node, axis) for axis in range(view.rank)]
    changed = [axis for axis, at in enumerate(places) if not np.array_equal(at, np.arange(view.shape[axis]))]
    if changed and set(changed) <= {2, 3} and view.rank in (3, 4) and view.dtype != "i32":
        words = _words(view.shape[2:], places[2:])
        if words is not None:
            out = low.result(node, (0, *range(2, view.rank), 1))
            low.emit("resize", images(out), x=images(low.innermost(view, 1)), nearest=True, **words)
            return
    # Those that make it smaller come first.
    for axis in sorted(changed, key=lambda axis: len(places[axis]) / view.shape[axis]):
        view = picked(low, view, axis, places[axis])
    low.views[node.outputs[0]] = view


def _places(low: Lowering, node: Node, axis: int) -> NDArray[Any]:
    """Return which elements of a dimension the result has."""
    shape = low.value(node.inputs[0]).shape
    ramp = np.arange(shape[axis], dtype=np.float32)
    given = {name: low.known(node, k, "scale") for k, name in enumerate(node.inputs) if k and name}
    others = [1 if size <= to else size for size, to in zip(shape, low.value(node.outputs[0]).shape)]
    alone = [*others[:axis], shape[axis], *others[axis + 1 :]]
    given[node.inputs[0]] = np.broadcast_to(ramp.reshape(-1, *[1] * (len(shape) - axis - 1)), alone)
    made = evaluate([node], given, node.outputs[:1], low.graph.opsets)[0]
    return np.moveaxis(made, axis, 0).reshape(made.shape[axis], -1)[:, 0].astype(np.int64)


def _words(shape: tuple[int, ...], places: list[NDArray[Any]]) -> dict[str, Any] | None:
    """Return by which words `resize` has these pixels; None where it has not."""
    if max(*shape, *map(len, places)) > MAX_SIDE:
        return None
    for word in COORDINATES:
        for rounding in ROUNDINGS:
            if all(
                np.array_equal(nearest(rounding, *coordinates(word, len(at), size), size), at)
                for size, at in zip(shape, places)
            ):
                return {name: True for name in (word, rounding) if name not in ("half_pixel", "prefer_floor")}
    return None
