"""Rows, normalised by the root of the mean of their squares: x / sqrt(mean of x * x + eps) * gain, all in float32."""

from math import prod

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.floats import floats, near
from compiler.lower.lowering import Lowering
from compiler.lower.normalise import axis_of, rows
from compiler.lower.quantised import f32
from compiler.steps import View


def simplified(low: Lowering, node: Node) -> None:
    """SimplifiedLayerNormalization, RMSNormalization."""
    floats(low, node)
    x, out = rows(low, node, node.inputs[0], axis_of(low, node))
    root = _normalised(low, node, x, out, 1)
    if len(node.outputs) > 1 and node.outputs[1]:
        inverse = low.result(node, place=1).reshaped(root.shape)
        assert inverse is not None, "a new tensor takes any shape"
        write(low, inverse, {"x": root}, reciprocal=True)


def skipped(low: Lowering, node: Node) -> None:
    """SkipSimplifiedLayerNormalization: of x + skip + bias in float32, which as a result of its own is rounded.

    So onnxruntime does it: what is normalised is not what the next layer adds to.
    """
    x, skip, *_ = floats(low, node)
    if any(node.outputs[1:3]):
        raise Refusal("its mean or its deviation is wanted, which onnxruntime does not compute either")
    shape = (prod(x.shape[:-1]), x.shape[-1])
    total = low.local("f32", x.shape, name=f"{node.outputs[0]}_sum")
    write(low, total, {"x": x, "add": skip})
    if node.input(3):
        write(low, total, {"x": total, "add": low.view(node.inputs[3])})
    if len(node.outputs) > 3 and node.outputs[3]:
        write(low, low.result(node, place=3), {"x": total})
    given, out = total.reshaped(shape), low.computed(node).reshaped(shape)
    assert given is not None and out is not None, "a new tensor takes any shape"
    _normalised(low, node, given, out, 2)


def _normalised(low: Lowering, node: Node, x: View, out: View, gain: int) -> View:
    """Write rows, [rows, elements], by the root of the mean of their squares, and by an input; return these roots."""
    squares = low.local("f32", x.shape, name=f"{node.outputs[0]}_squares")
    mean, root = (low.local("f32", (x.shape[0], 1), name=f"{node.outputs[0]}_{what}") for what in ("mean", "root"))
    write(low, squares, {"x": x, "mul": x})
    low.emit("reduce", mean, x=squares, mean=True)
    write(low, root, {"x": mean}, ew1_bias=low.const(f32(node.attributes.get("epsilon", 1e-5))), sqrt=True)
    gains = low.known(node, gain, "scale").reshape(-1)
    if gains.size not in (1, x.shape[1]):
        raise Refusal("its scale has other dimensions than it normalises")
    write(low, out, {"x": x, "div": root}, channels=True, ew3_scale=low.const(gains))
    near(low, node)
    return root
