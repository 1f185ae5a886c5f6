"""Windows, averages and reductions, by the pooling engine."""

from typing import Any

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering, images
from compiler.lower.products import window
from compiler.lower.quantised import f32, quantised

MAX_WINDOW = 65535


def max_pool(low: Lowering, node: Node) -> None:
    """MaxPool: the greatest of each window; padding never wins."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("the places of the greatest elements are wanted")
    given = low.view(node.inputs[0])
    kernel = list(node.attributes["kernel_shape"])
    if len(kernel) > 2:
        raise Refusal(f"its window has {len(kernel)} dimensions; the engine's have 1 or 2")
    attributes: dict[str, Any] = window(node, given.shape[2:], kernel)
    if attributes.pop("dilation"):
        raise Refusal("its window is dilated")
    x = images(low.innermost(given, 1))
    out = images(low.result(node, (0, *range(2, given.rank), 1)))
    low.emit(
        "maxpool",
        out,
        x=x,
        window=(1, *kernel) if len(kernel) == 1 else tuple(kernel),
        ceil=bool(node.attributes.get("ceil_mode")) or None,
        **attributes,
    )


def global_average(low: Lowering, node: Node) -> None:
    """QLinearGlobalAveragePool: rne(sum * m) + zero, m = xs / (ys * pixels) in float32."""
    x, y = quantised(low, node, 1, 2), quantised(low, node, 3, 4)
    given = low.view(node.inputs[0])
    if node.attributes.get("channels_last"):
        given = given.permuted((0, given.rank - 1, *range(1, given.rank - 1)))
    given = low.innermost(given, 1)
    pixels = given.elements // (given.shape[0] * given.shape[1])
    rows = low.reshaped(given.permuted((0, *range(2, given.rank), 1)), (given.shape[0], pixels, given.shape[1]))
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
