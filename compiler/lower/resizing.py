"""Resizing images: to the nearest pixels, and bilinearly.

Which pixel is nearest onnxruntime says: the node resizes a ramp along each dimension by itself. So any coordinates and
any rounding that it has are right, in float32 as it computes them. Bilinearly four pixels are gathered, and weighted
and added by instructions of their own: `resize` weights pixels at the border otherwise than onnxruntime.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.lowering import Lowering, images
from compiler.lower.picking import picked
from compiler.runtime import evaluate
from compiler.steps import View
from isa.reference import coordinates, nearest
from isa.shape_rules import MAX_SIDE

COORDINATES = ("half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("prefer_floor", "prefer_ceil", "floor", "ceil")


def resize(low: Lowering, node: Node) -> None:
    """Resize, Upsample: `resize` where it has the same pixels, else `gather` along each dimension."""
    if node.attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise Refusal("it crops as it resizes")
    if node.attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise Refusal("its sizes follow a policy")
    view, mode = low.view(node.inputs[0]), node.attributes.get("mode", b"nearest").decode()
    if mode in ("linear", "bilinear"):
        _bilinear(low, node, view)
        return
    if mode != "nearest":
        raise Refusal(f"it is {mode}; the engine resizes to the nearest and bilinearly")
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


def _bilinear(low: Lowering, node: Node, x: View) -> None:
    """Write what onnxruntime computes in float32, each product and each sum a step.

    sum = ((w11 * X11 + w12 * X12) + w21 * X21) + w22 * X22, X12 the right, X21 the lower neighbour of X11; the weight
    of a pixel is the distance of its neighbour, of both 1/2 at the border. Bytes are cut to whole numbers.
    """
    shape = low.value(node.outputs[0]).shape
    if x.rank != 4 or shape[:2] != x.shape[:2]:
        raise Refusal("it resizes bilinearly more than the two last of four dimensions")
    if node.attributes.get("antialias") or x.dtype not in ("f32", "u8", "i8"):
        raise Refusal(f"it resizes {x.dtype}, or without aliasing")
    (above, below, upper, lower), (left, right, before, behind) = (
        _neighbours(low, node, axis, x.shape[axis], shape[axis]) for axis in (2, 3)
    )
    order = (0, 2, 3, 1)
    total: View | None = None
    for rows, high in ((above, upper), (below, lower)):
        for columns, wide in ((left, before), (right, behind)):
            pixels = picked(low, picked(low, x, 2, rows), 3, columns)
            weights = low.weight(np.multiply.outer(high, wide)[None, None], "weights")
            part = low.local("f32", shape, order, "weighted")
            write(low, part, {"x": pixels, "mul": weights})
            if total is not None:
                write(low, part, {"x": total, "add": part})
            total = part
    assert total is not None, "there are four"
    out = low.result(node, order)
    if x.dtype == "f32":
        low.move(out, total)
    else:
        _cut(low, out, total)


def _neighbours(low: Lowering, node: Node, axis: int, of_x: int, size: int) -> list[NDArray[Any]]:
    """Return the pixels before and behind each coordinate of a dimension, and their weights."""
    f32, half = np.float32, np.float32(0.5)
    is_old = low.graph.opsets[""] < 11
    word = node.attributes.get("coordinate_transformation_mode", b"asymmetric" if is_old else b"half_pixel").decode()
    place = 1 if is_old else 2
    scales = node.attributes.get("scales")
    if scales is None and node.input(place) and low.known(node, place, "scale").size:
        scales = low.known(node, place, "scale")
    chosen = [k % 4 for k in node.attributes.get("axes") or range(4)]
    scale = f32(size) / f32(of_x)
    if scales is not None and axis in chosen:
        scale = f32(scales[chosen.index(axis)])
    i = np.arange(size, dtype=f32)
    if word == "align_corners":
        at = i * f32(of_x - 1) / f32(size - 1) if size > 1 else 0 * i
    elif word in ("half_pixel", "pytorch_half_pixel"):
        at = (i + half) / scale - half if size > 1 or word == "half_pixel" else 0 * i
    elif word == "asymmetric":
        at = i / scale
    else:
        raise Refusal(f"its coordinates are {word}")
    at = np.clip(at, f32(0), f32(of_x - 1))
    first = at.astype(np.int64)
    second = np.minimum(first + 1, of_x - 1)
    is_edge = first == second
    of_second = np.where(is_edge, half, at - first.astype(f32)).astype(f32)
    of_first = np.where(is_edge, half, second.astype(f32) - at).astype(f32)
    return [first, second, of_first, of_second]


def _cut(low: Lowering, out: View, x: View) -> None:
    """Write whole numbers without the fractions of floats: what is rounded, less 1 where that is above; so of each
    sign by itself.
    """
    steep = low.const(np.float32(2**100))

    def without_fraction(of: View, sign: int) -> View:
        rounded, over = (low.local(dtype, x.shape, x.order, "whole") for dtype in ("i16", "i8"))
        write(low, rounded, {"x": of})
        # 1 where rounding went away from 0.
        first, second = (steep, low.const(np.float32(-(2**100))))[::-sign]
        write(low, over, {"x": of, "add": rounded}, ew1_scale=first, ew2_scale=second, clip=(0, 1))
        whole = out if out.dtype == "u8" else low.local("i16", x.shape, x.order, "whole")
        write(low, whole, {"x": rounded, "sub" if sign > 0 else "add": over})
        return whole

    if out.dtype == "u8":
        without_fraction(x, 1)
        return
    above, below = (low.local("f32", x.shape, x.order, "half") for _ in range(2))
    write(low, above, {"x": x}, relu=True)
    write(low, below, {"x": x}, clip=(-300, 0))
    write(low, out, {"x": without_fraction(above, 1), "add": without_fraction(below, -1)})
