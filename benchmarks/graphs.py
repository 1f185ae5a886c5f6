"""The networks of programs/networks as onnxruntime takes them: ONNX models of its quantised operators, or of floats.

Every model is made from the description that the emulator's program is made from, with the same integers as weights
and biases. Form by form:

- s8 x s8: QLinearConv, QGemm, QLinearAdd, QLinearGlobalAveragePool and MaxPool on int8 without zero points, what the
  description says to the last bit. Relu is a node: no zero point makes the clamp of int8 do its work.
- u8 x u8: its fastest form that is exact on every host. Weights are shifted by 128, their zero point. Activations
  behind a relu have the zero point 0 and 127/255 of the scale, so that the clamp to uint8 does the relu (or relu6) and
  all 255 steps serve; others are shifted by 128. The results are those of the network up to the steps of its
  activations, not to the bit.
- u8 x s8: those activations with int8 weights. Exact only where the host has VNNI: the kernels for other hosts add
  pairs of products in 16 bits, which saturate.
- float32: the operators of ONNX itself on de-quantised weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from programs.networks.graph import Add, Conv, Dense, Depthwise, GlobalAverage, MaxPool, Network, Node

f32 = np.float32
MICROSOFT = "com.microsoft"
# ONNX's operators of 2024, which onnxruntime's release of reference has kernels for.
OPSET, IR_VERSION = 21, 10


@dataclass(frozen=True)
class Form:
    """The types of a model's activations and weights."""

    name: str
    activations: type
    weights: type


FORMS = {
    form.name: form
    for form in (
        Form("u8 x u8", np.uint8, np.uint8),
        Form("u8 x s8", np.uint8, np.int8),
        Form("s8 x s8", np.int8, np.int8),
        Form("float32", np.float32, np.float32),
    )
}


def model(network: Network, form: Form) -> onnx.ModelProto:
    """Return a network as a model, its input and output of the names that the network has, NCHW."""
    graph = _Graph(network, form)
    for node in network.nodes:
        graph.write(node)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(form.activations))
    ends = [
        helper.make_tensor_value_info(name, element, channels_first(network.tensors[name].shape))
        for name in (network.input, network.output)
    ]
    made = helper.make_graph(graph.nodes, network.name, ends[:1], ends[1:], graph.initialisers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)


def given(network: Network, form: Form, x: np.ndarray) -> np.ndarray:
    """Return an input of the network, stored i8 NHWC, as a form's model takes it."""
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x
    if form.activations is np.float32:
        return x.astype(f32) * network.tensors[network.input].scale
    return x if form.activations is np.int8 else (x.astype(np.int16) + 128).astype(np.uint8)


def real(network: Network, form: Form, out: np.ndarray) -> np.ndarray:
    """Return the real numbers, NHWC or rows, that the output of a form's model stands for."""
    scale, zero = (f32(1), 0) if form.activations is np.float32 else steps(network, form)[network.output]
    return channels_last((out.astype(f32) - zero) * scale)


def steps(network: Network, form: Form) -> dict[str, tuple[np.float32, int]]:
    """Return the scale and the zero point of each activation in a quantised form."""
    rectified: dict[str, bool] = {network.input: False}
    for node in network.nodes:
        if isinstance(node, MaxPool | GlobalAverage):
            rectified[node.out] = rectified[node.x]
        else:
            rectified[node.out] = "relu" in node.activation
    found = {}
    for name, tensor in network.tensors.items():
        if form.activations is np.int8:
            found[name] = (tensor.scale, 0)
        elif rectified[name]:
            found[name] = (f32(tensor.scale * f32(127 / 255)), 0)
        else:
            found[name] = (tensor.scale, 128)
    return found


def channels_last(out: np.ndarray) -> np.ndarray:
    """Return an output as the emulator gives it: NHWC, or rows."""
    return np.moveaxis(out, 1, -1) if out.ndim == 4 else out


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an NHWC tensor as NCHW; that of rows as it is."""
    return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else tuple(shape)


class _Graph:
    """A model under construction, node by node of the network."""

    def __init__(self, network: Network, form: Form) -> None:
        self.network, self.form = network, form
        self.floats = form.activations is np.float32
        self.steps = {} if self.floats else steps(network, form)
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def write(self, node: Node) -> None:
        """Add the nodes that compute one node of the network."""
        match node:
            case Conv() | Depthwise():
                weight = node.weight.transpose(3, 0, 1, 2) if isinstance(node, Depthwise) else node.weight
                weight = np.ascontiguousarray(np.moveaxis(weight, -1, 1))
                group = len(weight) if isinstance(node, Depthwise) else 1
                window: dict[str, Any] = {
                    "kernel_shape": weight.shape[2:],
                    "strides": [node.stride] * 2,
                    "pads": [node.pad] * 4,
                    "group": group,
                }
                self.product(node, ("Conv" if self.floats else "QLinearConv", ""), weight, **window)
            case Dense():
                rows = self.rows(node)
                weight = node.weight
                if len(self.network.tensors[node.x].shape) == 4:
                    weight = self.channels_first_columns(node)
                self.product(node, ("Gemm", "") if self.floats else ("QGemm", MICROSOFT), weight, rows, transB=1)
            case Add():
                self.activated(node, *self.add(node))
            case MaxPool():
                window = {"kernel_shape": [node.window] * 2, "strides": [node.stride] * 2, "pads": [node.pad] * 4}
                self.node("MaxPool", [node.x], node.out, **window)
            case GlobalAverage():
                if self.floats:
                    self.node("GlobalAveragePool", [node.x], node.out)
                else:
                    inputs = [node.x, *self.step(node.x), *self.step(node.out)]
                    self.node("QLinearGlobalAveragePool", inputs, node.out, MICROSOFT, channels_last=0)
            case _:
                raise NotImplementedError(f"no ONNX form of {type(node).__name__}")

    def product(
        self, node: Conv | Depthwise | Dense, kind: tuple[str, str], weight: np.ndarray, x: str = "", **attributes: Any
    ) -> None:
        """Add a product [outputs, ...] with its bias and activation."""
        operator, domain = kind
        x = x or node.x
        # The description's scale of the sums; that of u8's activations may be a smaller one.
        sums = self.network.tensors[node.x].scale * node.weight_scale
        if self.floats:
            scale = node.weight_scale.reshape(-1, *[1] * (weight.ndim - 1))
            inputs = [x, self.constant(weight.astype(f32) * scale), self.constant(node.bias.astype(f32) * sums)]
        else:
            zero = 128 if self.form.weights is np.uint8 else 0
            scale = node.weight_scale.astype(f32)
            stored: np.ndarray = (weight.astype(np.int16) + zero).astype(self.form.weights)
            bias = node.bias
            if self.form.activations is np.uint8:
                bias = np.rint(node.bias * (sums / (self.steps[node.x][0] * scale))).astype(np.int32)
            zeros: np.ndarray = np.full(len(scale), zero, self.form.weights)
            middle = [self.constant(stored), self.constant(scale), self.constant(zeros)]
            out = self.step(node.out)
            if operator == "QGemm":
                inputs = [x, *self.step(node.x), *middle, self.constant(bias), *out]
            else:
                inputs = [x, *self.step(node.x), *middle, *out, self.constant(bias)]
        self.activated(node, operator, inputs, domain, **attributes)

    def add(self, node: Add) -> tuple[str, list[str], str]:
        if self.floats:
            return "Add", [node.a, node.b], ""
        inputs = [node.a, *self.step(node.a), node.b, *self.step(node.b), *self.step(node.out)]
        return "QLinearAdd", inputs, MICROSOFT

    def activated(
        self, node: Conv | Depthwise | Dense | Add, operator: str, inputs: list[str], domain: str, **attributes: Any
    ) -> None:
        """Add an operator and, where the clamp to its type is not it, the activation behind it."""
        apart = node.activation and self.form.activations is not np.uint8
        before = f"{node.out}_before" if apart else node.out
        self.node(operator, inputs, before, domain, **attributes)
        if apart and self.floats and node.activation == "relu6":
            self.node("Clip", [before, self.constant(f32(0)), self.constant(f32(6))], node.out)
        elif apart:
            self.node("Relu", [before], node.out)

    def rows(self, node: Dense) -> str:
        """Return the name of a dense layer's input as rows."""
        shape = self.network.tensors[node.x].shape
        if shape == (shape[0], node.weight.shape[1]):
            return node.x
        self.node("Reshape", [node.x, self.constant(np.array([-1, node.weight.shape[1]]))], f"{node.out}_rows")
        return f"{node.out}_rows"

    def channels_first_columns(self, node: Dense) -> np.ndarray:
        """Return the weight of a dense layer, its columns in the order of NCHW: those of the network are NHWC's."""
        _, height, width, depth = self.network.tensors[node.x].shape
        parts = node.weight.reshape(-1, height, width, depth)
        return np.ascontiguousarray(np.moveaxis(parts, -1, 1)).reshape(node.weight.shape)

    def step(self, name: str) -> list[str]:
        """Return the names of an activation's scale and zero point."""
        scale, zero = self.steps[name]
        return [self.constant(f32(scale)), self.constant(np.array(zero, self.form.activations))]

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], out: str, domain: str = "", **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [out], domain=domain, **attributes))
