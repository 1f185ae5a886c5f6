"""Convolutions and matrix products of integers: q = clamp(rne(f32(acc) * m) + zero), m = f32(f32(xs * ws) / ys).

And matrix products of float16: each sum in binary32, in order, rounded once to float16. onnxruntime adds in an order of
its own: of k products both are within k * 2^-24 of the sum of |x * w|, as any order is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import MAX_RANK, Lowering, images
from compiler.lower.quantised import Quantised, f32, multiplier, quantised
from compiler.steps import View

MAX_PAD = MAX_DILATION = 255
MAX_STRIDE = 65535
MAX_GROUPS = 65535


def window(node: Node, x: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Return stride, padding and dilation of a window, as the instructions have them, of one or two dimensions."""
    rank = len(kernel)
    strides = list(node.attributes.get("strides") or [1] * rank)
    dilations = list(node.attributes.get("dilations") or [1] * rank)
    pads = list(node.attributes.get("pads") or [0] * (2 * rank))
    auto = node.attributes.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto == "VALID":
        pads = [0] * (2 * rank)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        for k in range(rank):
            reach = (kernel[k] - 1) * dilations[k] + 1
            total = (-(-x[k] // strides[k]) - 1) * strides[k] + reach - x[k]
            if total < 0:
                raise Refusal(
                    "its stride passes its window, and its padding is chosen: that leaves elements out in front"
                )
            less, more = total // 2, total - total // 2
            pads[k], pads[k + rank] = (less, more) if auto == "SAME_UPPER" else (more, less)
    if rank == 1:
        strides, dilations, pads = [1, *strides], [1, *dilations], [0, pads[0], 0, pads[1]]
    if min(pads) < 0:
        raise Refusal("its padding is negative")
    if max(pads) > MAX_PAD or max(dilations) > MAX_DILATION:
        raise Refusal(f"its padding or dilation is more than {MAX_PAD}")
    if max(strides) > MAX_STRIDE:
        raise Refusal(f"its stride is more than {MAX_STRIDE}")
    return {
        "stride": tuple(strides) if set(strides) != {1} else None,
        "pad": tuple(pads) if any(pads) else None,
        "dilation": tuple(dilations) if set(dilations) != {1} else None,
    }


def conv(low: Lowering, node: Node) -> None:
    """QLinearConv: NHWC and OHWI; each channel with filters of its own is `dwconv`."""
    x, y = quantised(low, node, 1, 2), quantised(low, node, 6, 7)
    weights, w_zero = _weights(low, node, 3, 5, 0)
    w = Quantised(low.known(node, 4, "scale").astype(f32).reshape(-1), w_zero)
    bias = low.known(node, 8, "bias") if node.input(8) else None
    _conv(low, node, weights, bias, x_zero=x.zero, w_zero=w.zero, out_zero=y.zero, ew3_scale=multiplier(x, w, y))


def conv_integer(low: Lowering, node: Node) -> None:
    """ConvInteger: the accumulator itself."""
    weights, w_zero = _weights(low, node, 1, 3, 0)
    _conv(low, node, weights, None, x_zero=_one_zero(low, node, 2), w_zero=w_zero)


def _weights(low: Lowering, node: Node, place: int, zero: int, axis: int) -> tuple[NDArray[Any], int]:
    """Return constant weights and their zero point, which is one: others go from the weights first.

    What is left has to fit 8 bits, as it does where the zero points are near each other.
    """
    weights = low.known(node, place, "weight")
    zeros = low.known(node, zero, "zero point").astype(np.int32).reshape(-1) if node.input(zero) else np.zeros(1, int)
    if (zeros == zeros[0]).all():
        return weights, int(zeros[0])
    shape = [1] * weights.ndim
    shape[axis] = -1
    left = weights.astype(np.int32) - zeros.reshape(shape)
    least, greatest = min(int(left.min()), 0), int(left.max())
    if least >= -128 and greatest <= 127:
        return left.astype(np.int8), 0
    if greatest - least > 255:
        raise Refusal("its weights, less the zero point of each channel, take more than 8 bits")
    return (left - least).astype(np.uint8), -least


def _one_zero(low: Lowering, node: Node, place: int) -> int:
    zeros = low.known(node, place, "zero point").reshape(-1) if node.input(place) else np.zeros(1, np.int8)
    if (zeros != zeros[0]).any():
        raise Refusal("its first input has a zero point for each row; the engine has one")
    return int(zeros[0])


def _conv(
    low: Lowering,
    node: Node,
    weights: NDArray[Any],
    bias: NDArray[Any] | None,
    ew3_scale: NDArray[Any] | None = None,
    **zeros: int,
) -> None:
    given = low.images_read(node)
    if given.rank not in (3, 4):
        raise Refusal(f"it has {given.rank - 2} dimensions of space; the engine has 1 or 2")
    groups = int(node.attributes.get("group", 1))
    if groups > MAX_GROUPS:
        raise Refusal(f"it has more than {MAX_GROUPS} groups")
    attributes = window(node, given.shape[2:], weights.shape[2:])
    if weights.ndim == 3:
        weights = weights[:, :, None, :]
    depthwise = groups > 1 and groups == given.shape[1] and weights.shape[0] == groups
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    w = low.weight(np.ascontiguousarray(weights.transpose(order)), f"{node.name or node.outputs[0]}_w")
    x = images(low.innermost(given, 1))
    out = images(low.images_result(node))
    low.emit(
        "dwconv" if depthwise else "conv",
        out,
        x=x,
        w=w,
        bias=None if bias is None else low.const(bias, f"{node.name or node.outputs[0]}_b", np.int32),
        ew3_scale=None if ew3_scale is None else low.const(ew3_scale, f"{node.name or node.outputs[0]}_m"),
        groups=groups if groups > 1 and not depthwise else None,
        **attributes,
        **_zeros(zeros),
    )


def _zeros(zeros: dict[str, int]) -> dict[str, int]:
    return {name: zero for name, zero in zeros.items() if zero}


def matmul(low: Lowering, node: Node) -> None:
    """QLinearMatMul: of two values, or of constant weights with a scale and a zero point for each column."""
    x, y = quantised(low, node, 1, 2), quantised(low, node, 6, 7)
    b, w_zero = _second(low, node, 3, 5)
    w = Quantised(low.known(node, 4, "scale").astype(f32).reshape(-1), w_zero)
    if w.scale.size not in (1, b.shape[-1]):
        raise Refusal("its second input has a scale for each matrix of a batch")
    a, scale = low.view(node.inputs[0]), multiplier(x, w, y)
    product(low, node, a, b, x_zero=x.zero, w_zero=w.zero, out_zero=y.zero, ew3_scale=scale)


def matmul_integer(low: Lowering, node: Node) -> None:
    """MatMulInteger: the accumulator itself."""
    b, w_zero = _second(low, node, 1, 3)
    product(low, node, low.view(node.inputs[0]), b, x_zero=_one_zero(low, node, 2), w_zero=w_zero)


def _second(low: Lowering, node: Node, place: int, zero: int) -> tuple[View, int]:
    """Return the second factor of a product and its zero point."""
    name = node.inputs[place]
    if low.constant(name) is not None:
        weights, w_zero = _weights(low, node, place, zero, -1)
        return (low.view(name) if weights is low.constant(name) else low.weight(weights, f"{name}_less_zero")), w_zero
    zeros = low.known(node, zero, "zero point").reshape(-1) if node.input(zero) else np.zeros(1, np.int8)
    if (zeros != zeros[0]).any():
        raise Refusal("its second input follows the data, and has a zero point for each column")
    return low.view(name), int(zeros[0])


def float_matmul(low: Lowering, node: Node) -> None:
    """MatMul of float16."""
    multiplies(low, node, *node.inputs)
    product(low, node, low.view(node.inputs[0]), low.view(node.inputs[1]))
    low.note(sum_error(low, node))


def float_gemm(low: Lowering, node: Node) -> None:
    """Gemm of float16: acc * alpha, + c * beta."""
    multiplies(low, node, *node.inputs[:2])
    a, b = (
        low.view(name).permuted((1, 0)) if node.attributes.get(turned) else low.view(name)
        for name, turned in zip(node.inputs, ("transA", "transB"))
    )
    alpha, beta = (f32(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    chain: dict[str, Any] = {"ew1_scale": alpha} if alpha != 1 else {}
    if node.input(2):
        chain |= {"add": low.view(node.inputs[2])} | ({"ew2_scale": beta} if beta != 1 else {})
    product(low, node, a, b, **chain)
    low.note(sum_error(low, node, float(alpha)))


def multiplies(low: Lowering, node: Node, *factors: str) -> None:
    """Refuse what the tensor engine does not multiply: floats other than float16, and those on a chip without them."""
    for name in factors:
        if (kind := low.value(name).dtype.name) != "float16":
            raise Refusal(
                "it multiplies float32; the chip multiplies integers and float16: quantise it, or convert it to float16"
                if kind == "float32"
                else f"it multiplies {kind}; the chip multiplies float16, and integers in operators of their own"
            )
    if not low.chip["te.f16_cycles"]:
        raise Refusal(f"it multiplies float16, and {low.chip.name} has no multipliers for it: choose another chip")


def sum_error(low: Lowering, node: Node, alpha: float = 1.0) -> str:
    """Return how far a product of float16, times alpha, may be from onnxruntime's."""
    count = low.value(node.inputs[0]).shape[0 if node.attributes.get("transA") else -1]
    return f"1 ulp of float16 and {2 * count * abs(alpha):g} * 2^-24 of the sum of |x * w|"


def gemm(low: Lowering, node: Node) -> None:
    """QGemm: rne(acc * f32(m / ys)) + zero, m = f32(f32(alpha * as) * bs); without a scale of y acc * m."""
    x = quantised(low, node, 1, 2)
    name, turned = node.inputs[3], bool(node.attributes.get("transB"))
    weights, w_zero = low.constant(name), 0
    if weights is not None:
        weights, w_zero = _weights(low, node, 3, 5, 0 if turned else 1)
    elif node.input(5):
        w_zero = quantised(low, node, 4, 5).zero
    w = Quantised(low.known(node, 4, "scale").astype(f32).reshape(-1), w_zero)
    alpha = f32(node.attributes.get("alpha", 1.0))
    scales = ((alpha * x.one_scale).astype(f32) * w.scale).astype(f32)
    bias = low.known(node, 6, "bias") if node.input(6) else None
    if bias is not None and bias.size not in (1, low.value(node.outputs[0]).shape[-1]):
        raise Refusal("its bias has more than one row")
    chain: dict[str, Any] = {"x_zero": x.zero, "w_zero": w.zero}
    if node.input(7):
        y = quantised(low, node, 7, 8)
        chain |= {"out_zero": y.zero, "ew3_scale": scales / y.one_scale}
    else:
        chain |= {"ew1_scale": scales}
    a, b = _rows(low, node, weights)
    product(low, node, a, b, bias=bias, **chain)


def _rows(low: Lowering, node: Node, weights: NDArray[Any] | None) -> tuple[View, View]:
    """Return both matrices of a Gemm.

    Where the first is images, flattened, its columns stay in the order in which the images lie; the rows of the second
    are put into that order instead, once.
    """
    name, source = node.inputs[0], low.source_of(node.inputs[0])
    turned = bool(node.attributes.get("transB"))
    if source != name and weights is not None and not node.attributes.get("transA"):
        view = low.view(source)
        order = view.order
        if view.is_dense and order[0] == 0 and view.shape[0] == low.value(name).shape[0]:
            lies = view.permuted(order).reshaped(low.value(name).shape)
            columns = weights if turned else weights.T
            kept = columns.reshape(-1, *view.shape[1:]).transpose(0, *(k for k in order if k))
            if lies is not None:
                w = low.weight(np.ascontiguousarray(kept.reshape(columns.shape)), f"{node.name or node.outputs[0]}_w")
                return lies, w.permuted((1, 0))
    a, held = low.view(name), node.inputs[3]
    b = low.view(held)
    if weights is not None and weights is not low.constant(held):
        b = low.weight(weights, f"{held}_less_zero")
    a = a.permuted((1, 0)) if node.attributes.get("transA") else a
    return a, b.permuted((1, 0)) if turned else b


def product(
    low: Lowering,
    node: Node,
    x: View,
    w: View,
    bias: NDArray[Any] | None = None,
    add: View | None = None,
    **chain: Any,
) -> None:
    """Multiply [..., m, k] by [..., k, n]; either may lie transposed. `add` is broadcast to the product."""
    shape = low.value(node.outputs[0]).shape
    if x.rank == 1:
        x, shape = x.expanded(0), (*shape[:-1], 1, shape[-1]) if w.rank > 1 else (1, *shape)
    if w.rank == 1:
        w, shape = w.expanded(1), (*shape, 1)
    out = low.result(node).reshaped(shape)
    assert out is not None, "a new tensor takes any shape"
    if w.rank > 2 and max(x.rank, w.rank) > MAX_RANK:
        raise Refusal("its batch has more than two dimensions")
    x, out = _flat(low, x), _flat(low, out)
    named = {k: low.const(v, f"{node.name or node.outputs[0]}_m") for k, v in chain.items() if k.endswith("scale")}
    x, x_turned = _turned(low, x)
    w, w_turned = _turned(low, w)
    low.emit(
        "matmul",
        out,
        x=x,
        w=w,
        bias=None if bias is None else low.const(bias.reshape(-1), f"{node.name or node.outputs[0]}_b", bias.dtype),
        transpose_x=x_turned,
        transpose_w=w_turned,
        add=add,
        **named,
        **_zeros({k: v for k, v in chain.items() if not k.endswith("scale")}),
    )


def _flat(low: Lowering, view: View) -> View:
    """Return a batch of matrices with as few dimensions as an operand may have."""
    while view.rank > MAX_RANK:
        view = low.reshaped(view, (view.shape[0] * view.shape[1], *view.shape[2:]))
    return view


def _turned(low: Lowering, view: View) -> tuple[View, bool]:
    """Return a batch of matrices whose rows lie side by side, and whether that is its transpose."""
    *batch, rows, columns = range(view.rank)
    if view.strides[columns] == 1 or view.shape[columns] == 1:
        return view, False
    if view.strides[rows] == 1 or view.shape[rows] == 1:
        return view.permuted((*batch, columns, rows)), True
    return low.innermost(view, columns), False
