"""Windows, by the pooling engine: their greatest elements and their averages."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.lowering import Lowering, channels_last, images
from compiler.lower.movement import surrounded
from compiler.lower.products import MAX_PAD, window
from compiler.lower.quantised import Quantised, f32, quantised
from compiler.lower.reductions import added, divide, reduced
from compiler.steps import View

# The version since which AveragePool has an implementation of its own in onnxruntime.
NEW_AVERAGE = 19


def max_pool(low: Lowering, node: Node) -> None:
    """MaxPool, NhwcMaxPool: the greatest of each window; padding never wins.

    Windows of three dimensions, and such with gaps, are taken a dimension after the other.
    """
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("the places of the greatest elements are wanted")
    kernel, given = list(node.attributes["kernel_shape"]), low.images_read(node)
    sides = low.images_made(node)
    strides, pads, dilations = _whole(node, given.shape[2:], kernel, sides)
    if len(kernel) > 2 or set(dilations) != {1}:
        for k, axis in enumerate(range(2, given.rank)):
            given = _swept(low, given, axis, sides[k], kernel[k], strides[k], pads[k], dilations[k])
        low.move(low.images_result(node), given)
        return
    x = images(low.innermost(given, 1))
    out = images(low.images_result(node))
    low.emit("maxpool", out, x=x, **_as_image(kernel, strides, pads))


def _whole(
    node: Node, x: Sequence[int], kernel: Sequence[int], sides: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Return strides, padding (before, behind) and dilations, with as much padding as makes all windows whole."""
    attributes = window(node, x, kernel)
    strides, pads, dilations = (attributes[name] for name in ("stride", "pad", "dilation"))
    rank = len(kernel)
    # Of one dimension they come as of a row.
    strides = list(strides or [1] * rank)[-rank:]
    dilations = list(dilations or [1] * rank)[-rank:]
    before = list((pads or [0] * 2 * max(rank, 2))[: max(rank, 2)])[-rank:]
    whole = []
    for size, reach, step, dilation, first, count in zip(x, kernel, strides, dilations, before, sides):
        behind = (count - 1) * step + (reach - 1) * dilation + 1 - size - first
        whole.append((first, max(behind, 0)))
    if max(max(pair) for pair in whole) > MAX_PAD:
        raise Refusal(f"its padding is more than {MAX_PAD}")
    return strides, whole, dilations


def _as_image(kernel: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the attributes of windows of one or two dimensions."""
    if len(kernel) == 1:
        kernel, strides, pads = [1, *kernel], [1, *strides], [(0, 0), *pads]
    padding = tuple(pair[k] for k in (0, 1) for pair in pads)
    return {
        "window": tuple(kernel),
        "stride": tuple(strides) if set(strides) != {1} else None,
        "pad": padding if any(padding) else None,
    }


def _swept(
    low: Lowering, view: View, axis: int, count: int, size: int, stride: int, pads: tuple[int, int], dilation: int
) -> View:
    """Return the greatest of windows along one dimension: a reduction of the windows, which overlap as views."""
    if size == stride == 1 and not any(pads):
        return view
    if any(pads):
        view = surrounded(low, view, {axis: pads}, _least(view.dtype))
    step = view.strides[axis]
    shape = [*view.shape[:axis], count, size, *view.shape[axis + 1 :]]
    strides = [*view.strides[:axis], step * stride, step * dilation, *view.strides[axis + 1 :]]
    windows = View(view.tensor, view.offset, tuple(shape), tuple(strides))
    shape.pop(axis + 1)
    out = low.local(view.dtype, shape, view.order, f"{view.tensor.name}_greatest")
    reduced(low, out.expanded(axis + 1), windows, "max")
    return out


def _least(dtype: str) -> Any:
    least = {"i8": -128, "u8": 0, "i16": -(2**15), "f32": np.finfo(f32).min}
    if dtype not in least:
        raise Refusal(f"it is of {dtype}, which the engine does not pool")
    return least[dtype]


def global_maximum(low: Lowering, node: Node) -> None:
    """GlobalMaxPool: a reduction."""
    given = low.view(node.inputs[0])
    reduced(low, low.result(node), given, "max")


def average_pool(low: Lowering, node: Node) -> None:
    """AveragePool of floats: sum / count, one true division; sums in onnxruntime's order.

    Since version 19 in the order of the window, and before where ceil_mode adds windows and padding counts. Else (MLAS)
    a window that is the whole image, at strides of 1, is added as GlobalAveragePool's is, and one of two dimensions at
    a stride of 1 or 2 column by column.
    """
    counts_all = node.attributes.get("ceil_mode") and node.attributes.get("count_include_pad")
    if low.graph.opsets[""] >= NEW_AVERAGE or counts_all:
        _averaged(low, node, None, None)
        return
    kernel, shape = list(node.attributes["kernel_shape"]), low.value(node.inputs[0]).shape
    given = window(node, shape[2:], kernel)
    if kernel == list(shape[2:]) and given["pad"] is given["stride"] is None:
        global_float_average(low, node)
    else:
        _averaged(low, node, None, None, by_columns=len(kernel) == 2 and (given["stride"] or (1, 1))[1] <= 2)


def quantised_average_pool(low: Lowering, node: Node) -> None:
    """QLinearAveragePool: rne(sum / count / ys + zero), sum of (x - zero) * xs in the order of the window, in float32.

    What ceil_mode adds counts as padding here, unlike in ONNX's operator. A window that is the whole image is
    QLinearGlobalAveragePool's, which rounds before it adds the zero point.
    """
    kernel, sides = list(node.attributes["kernel_shape"]), low.images_read(node).shape[2:]
    if kernel == list(sides) and window(node, sides, kernel)["pad"] is None:
        global_average(low, node)
    else:
        _averaged(low, node, quantised(low, node, 1, 2), quantised(low, node, 3, 4))


def _averaged(low: Lowering, node: Node, x: Quantised | None, y: Quantised | None, by_columns: bool = False) -> None:
    kernel, given = list(node.attributes["kernel_shape"]), low.images_read(node)
    if len(kernel) > 2:
        raise Refusal(f"its window has {len(kernel)} dimensions; the engine's have 1 or 2")
    sides = low.images_made(node)
    strides, pads, dilations = _whole(node, given.shape[2:], kernel, sides)
    if set(dilations) != {1}:
        raise Refusal("its window has gaps")
    out = low.images_result(node)
    if x is None:
        values = low.innermost(given, 1)
    else:
        values = low.local("f32", given.shape, channels_last(given), "values")
        write(low, values, {"x": given}, x_zero=x.zero or None, ew1_scale=low.const(x.one_scale))
    counts = _counts(node, given.shape[2:], kernel, strides, pads, sides, x is None)
    first = int(counts.reshape(-1)[0])
    is_exact = bool((counts == first).all()) and first & (first - 1) == 0
    sums = out if is_exact and y is None else low.local("f32", out.shape, channels_last(out), "sums")
    if by_columns:
        (down, right), (above, beside) = strides, pads
        columns = low.local("f32", (*given.shape[:2], sides[0], given.shape[3]), channels_last(given), "columns")
        _sum_windows(low, columns, values, (kernel[0], 1), (down, 1), (above, (0, 0)))
        _sum_windows(low, sums, columns, (1, kernel[1]), (1, right), ((0, 0), beside), first if is_exact else 1)
    else:
        _sum_windows(low, sums, values, kernel, strides, pads, first if is_exact else 1)
    if not is_exact:
        means = sums if y is not None else out
        divide(low, means, sums, counts.reshape(1, 1, *counts.shape))
        sums = means
    if y is not None:
        steps = low.weight(np.asarray([y.one_scale], f32), "scale")
        write(low, out, {"x": sums, "div": steps}, out_zero=y.zero or None, zero_first=bool(y.zero))


def _sum_windows(
    low: Lowering,
    out: View,
    x: View,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    by: int = 1,
) -> None:
    """Write sums of windows over a power of two; padding adds nothing.

    The engine's factor is scale / count, and the count that of a whole window: so the quotient is exact.
    """
    scale = prod(kernel) / by
    low.emit(
        "avgpool",
        images(out),
        x=images(x),
        scale=low.const(scale) if scale != 1 else None,
        count_pad=True,
        **_as_image(kernel, strides, pads),
    )


def _counts(
    node: Node,
    x: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    sides: Sequence[int],
    is_float: bool,
) -> NDArray[Any]:
    """Return by how many elements the sum of each window is divided."""
    counted = node.attributes.get("count_include_pad")
    ends = [size + before + behind for size, (before, behind) in zip(x, pads)]
    if is_float:
        # What ceil_mode adds behind the padding does not count.
        given = window(node, x, kernel)["pad"]
        behind = given[2:] if given else (0, 0)
        ends = [size + before + more for size, (before, _), more in zip(x, pads, behind[-len(kernel) :])]
    found = np.ones((), int)
    for size, reach, step, (before, _), count, end in zip(x, kernel, strides, pads, sides, ends):
        first = np.arange(count) * step
        low, high = (0, end) if counted else (before, before + size)
        found = np.multiply.outer(found, np.minimum(first + reach, high) - np.maximum(first, low))
    return found


def global_average(low: Lowering, node: Node) -> None:
    """QLinearGlobalAveragePool: rne(sum * m) + zero, m = xs / (ys * pixels) in float32."""
    x, y = quantised(low, node, 1, 2), quantised(low, node, 3, 4)
    given = low.innermost(low.images_read(node), 1)
    pixels = given.elements // (given.shape[0] * given.shape[1])
    rows = low.reshaped(given.permuted(channels_last(given)), (given.shape[0], pixels, given.shape[1]))
    out = low.result(node).reshaped((given.shape[0], 1, given.shape[1]))
    assert out is not None
    m = x.one_scale / f32(y.one_scale * f32(pixels))
    low.emit(
        "reduce",
        out,
        x=rows,
        sum=True,
        scale=low.const(m),
        x_zero=x.zero or None,
        out_zero=y.zero or None,
    )


def global_float_average(low: Lowering, node: Node) -> None:
    """GlobalAveragePool of floats: the sum of all pixels by lanes of 4, and a true division by their number."""
    given = low.view(node.inputs[0])
    batch, channels = given.shape[:2]
    pixels = given.elements // (batch * channels)
    rows = low.innermost(low.reshaped(given, (batch, channels, pixels)).permuted((0, 2, 1)), 2)
    out = low.result(node).reshaped((batch, 1, channels))
    assert out is not None, "a new tensor takes any shape"
    divide(low, out, added(low, rows, 4), pixels)
