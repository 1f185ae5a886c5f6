"""A network as an ONNX model: of onnxruntime's quantised operators, or of floats.

Every model has the integers of the description as weights and biases. Quantised models have the channels last, as the
chip does: onnxruntime would turn convolutions so by itself, but pay for transposes at both ends. Form by form, after
the types of activations and weights:

- s8s8: QLinearConv, QGemm, QLinearAdd, QLinearGlobalAveragePool and NhwcMaxPool on int8 without zero points, what
  the description says to the last bit. Relu is a node: no zero point makes the clamp of int8 do its work.
- u8u8: its fastest form that is exact on every host. Weights are shifted by 128, their zero point. Activations
  behind a relu have the zero point 0 and 127/255 of the scale, so that the clamp to uint8 does the relu (or relu6) and
  all 255 steps serve; others are shifted by 128. The results are those of the network up to the steps of its
  activations, not to the bit.
- u8s8: those activations with int8 weights. Exact only where the host has VNNI: the kernels for other hosts add
  pairs of products in 16 bits, which saturate.
- float: the operators of ONNX itself on de-quantised weights, channels first.

In an encoder layer all products are quantised, statically; softmax is QLinearSoftmax; gelu, layer norm and the sums
before it are floats, as there are no quantised operators of them: products before them give floats at once. (Dynamic
quantisation of the same layer, which leaves the products of attention to floats, was as fast within 2 %.)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from programs.networks.graph import (
    EPSILON,
    Add,
    Attention,
    Constant,
    Conv,
    Dense,
    Depthwise,
    GlobalAverage,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    inputs,
    outputs,
)

f32 = np.float32
MICROSOFT = "com.microsoft"
# What onnxruntime's release of reference has kernels for.
OPSET, IR_VERSION = 21, 10
# A softmax's results are at most 1.
SHARE_SCALE = f32(1 / 256)


@dataclass(frozen=True)
class Form:
    """The types of a model's activations and weights."""

    name: str
    activations: type
    weights: type

    @property
    def is_float(self) -> bool:
        return self.activations is np.float32


FORMS = {
    form.name: form
    for form in (
        Form("u8u8", np.uint8, np.uint8),
        Form("u8s8", np.uint8, np.int8),
        Form("s8s8", np.int8, np.int8),
        Form("float", np.float32, np.float32),
    )
}


# What the description says, to the last bit.
AS_DESCRIBED = FORMS["s8s8"]


def model(network: Network, form: Form = AS_DESCRIBED, wanted: Sequence[str] = ()) -> onnx.ModelProto:
    """Return a network as a model, its activations of the names that the network has.

    What it reads and does not make is given, in the order in which it is read; the activations `wanted` come of it, or
    the output alone.
    """
    made = {name for node in network.nodes for name in outputs(node)}
    read = dict.fromkeys(name for node in network.nodes for name in inputs(node) if name not in made)
    graph = (_Floats if form.is_float else _Integers)(network, form)
    for node in network.nodes:
        graph.write(node)
    graph.finish()
    element = helper.np_dtype_to_tensor_dtype(np.dtype(form.activations))
    ends = [
        [helper.make_tensor_value_info(name, element, graph.shape(name)) for name in names]
        for names in (read, wanted or [network.output])
    ]
    whole = helper.make_graph(graph.nodes, network.name, *ends, graph.initialisers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=IR_VERSION)


def given(network: Network, form: Form, x: np.ndarray, name: str = "") -> np.ndarray:
    """Return an input of the network, or another activation, stored i8 NHWC or rows, as a form's model takes it."""
    if form.is_float:
        return channels_first(x).astype(f32) * network.tensors[name or network.input].scale
    return x if form.activations is np.int8 else (x.astype(np.int16) + 128).astype(np.uint8)


def real(network: Network, form: Form, out: np.ndarray) -> np.ndarray:
    """Return the real numbers, NHWC or rows, that the output of a form's model stands for."""
    if form.is_float:
        return np.moveaxis(out, 1, -1) if out.ndim == 4 else out
    scale, zero = steps(network, form)[network.output]
    return (out.astype(f32) - zero) * scale


def adds_integers(network: Network) -> bool:
    """Return whether a quantised model has sums of integers; those before a layer norm are of floats."""
    of_floats = _float_made(network)
    return any(isinstance(node, Add) and not of_floats[node.out] for node in network.nodes)


def steps(network: Network, form: Form) -> dict[str, tuple[np.float32, int]]:
    """Return the scale and the zero point of each activation in a quantised form."""
    rectified: dict[str, bool] = {}
    for node in network.nodes:
        if isinstance(node, MaxPool | GlobalAverage):
            rectified[node.out] = rectified.get(node.x, False)
        else:
            rectified[node.out] = "relu" in getattr(node, "activation", "")
    found = {}
    for name, tensor in network.tensors.items():
        if form.activations is np.int8:
            found[name] = (tensor.scale, 0)
        elif rectified.get(name):
            found[name] = (f32(tensor.scale * f32(127 / 255)), 0)
        else:
            found[name] = (tensor.scale, 128)
    return found


def channels_first(x: np.ndarray) -> np.ndarray:
    """Return images NCHW, and OHWI weights OIHW; rows as they are."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x


class _Graph(ABC):
    """A model under construction, node by node of the network."""

    def __init__(self, network: Network, form: Form) -> None:
        self.network, self.form = network, form
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    @abstractmethod
    def write(self, node: Node) -> None:
        """Add the nodes that compute one node of the network."""

    def finish(self) -> None:  # noqa: B027, most forms need none
        """Add what gives the output its type."""

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def hold(self, node: Constant) -> None:
        """Add an activation that is the same in each run, under its name."""
        value = given(self.network, self.form, node.value, node.out)
        self.initialisers.append(numpy_helper.from_array(value, node.out))

    def node(self, operator: str, read: Sequence[str], out: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, read, [out], domain=domain, **attributes))
        return out

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an activation in the model."""
        return self.network.tensors[name].shape

    def weight(self, node: Conv | Depthwise | Dense) -> np.ndarray:
        """Return a weight as ONNX has it: outputs, then input channels, rows and columns."""
        return channels_first(node.weight.transpose(3, 1, 2, 0) if isinstance(node, Depthwise) else node.weight)

    def rows(self, node: Dense, x: str) -> str:
        """Return a dense layer's input as rows."""
        summed = node.weight.shape[1]
        if self.network.tensors[node.x].shape[1:] == (summed,):
            return x
        return self.node("Reshape", [x, self.constant(np.array([-1, summed]))], f"{node.out}_rows")

    def split(self, name: str, x: str, heads: int, order: tuple[int, int, int]) -> str:
        """Return [steps, model] as [steps, heads, size of a head] with its dimensions in another order."""
        rows, columns = self.network.tensors[name].shape
        shape = self.constant(np.array([rows, heads, columns // heads]))
        parts = self.node("Reshape", [x, shape], f"{name}_parts")
        return self.node("Transpose", [parts], f"{name}_heads", perm=order)

    def merge(self, name: str, x: str, out: str) -> str:
        """Return [heads, steps, size of a head] as [steps, model]."""
        turned = self.node("Transpose", [x], f"{name}_turned", perm=(1, 0, 2))
        return self.node("Reshape", [turned, self.constant(np.array(self.network.tensors[name].shape))], out)


class _Floats(_Graph):
    """A model in float32, channels first."""

    def shape(self, name: str) -> tuple[int, ...]:
        batch, *others = super().shape(name)
        return (batch, *others[2:], *others[:2]) if len(others) == 3 else (batch, *others)

    def weight(self, node: Conv | Depthwise | Dense) -> np.ndarray:
        """Return a weight as ONNX has it; a matrix has its columns in the order of the image that it multiplies."""
        image = self.network.tensors[node.x].shape[1:]
        if isinstance(node, Dense) and len(image) == 3:
            return channels_first(node.weight.reshape(-1, *image)).reshape(node.weight.shape)
        return super().weight(node)

    def write(self, node: Node) -> None:
        match node:
            case Conv() | Depthwise():
                self.activated(node, "Conv", [node.x, *self.parameters(node)], **window_of(node))
            case Dense():
                self.activated(node, "Gemm", [self.rows(node, node.x), *self.parameters(node)], transB=1)
            case Add():
                self.activated(node, "Add", [node.a, node.b])
            case Constant():
                self.hold(node)
            case MaxPool():
                self.node("MaxPool", [node.x], node.out, **window_of(node))
            case GlobalAverage():
                self.node("GlobalAveragePool", [node.x], node.out)
            case Attention():
                q, k, v = (
                    self.split(name, name, node.heads, order)
                    for name, order in ((node.q, (1, 0, 2)), (node.k, (1, 2, 0)), (node.v, (1, 0, 2)))
                )
                scores = self.node("MatMul", [q, k], node.scores)
                share = self.node("Softmax", [scores], f"{node.out}_share", axis=-1)
                self.merge(node.out, self.node("MatMul", [share, v], f"{node.out}_heads"), node.out)
            case LayerNorm():
                read = [node.x, self.constant(node.gain), self.constant(node.offset)]
                self.node("LayerNormalization", read, node.out, epsilon=float(EPSILON))

    def parameters(self, node: Conv | Depthwise | Dense) -> list[str]:
        weight, scale = self.weight(node), node.weight_scale
        step = self.network.tensors[node.x].scale * scale
        each = scale.reshape(-1, *[1] * (weight.ndim - 1))
        return [self.constant(weight.astype(f32) * each), self.constant(node.bias.astype(f32) * step)]

    def activated(
        self, node: Conv | Depthwise | Dense | Add, operator: str, read: Sequence[str], **attributes: Any
    ) -> None:
        """Add an operator and the activation behind it."""
        before = f"{node.out}_before" if node.activation else node.out
        self.node(operator, read, before, **attributes)
        if node.activation == "relu6":
            self.node("Clip", [before, self.constant(f32(0)), self.constant(f32(6))], node.out)
        elif node.activation:
            self.node({"relu": "Relu", "gelu": "Gelu"}[node.activation], [before], node.out)


class _Integers(_Graph):
    """A quantised model: an activation is stored under its name, or real under another, or both."""

    def __init__(self, network: Network, form: Form) -> None:
        super().__init__(network, form)
        self.steps = steps(network, form)
        self.float_made = _float_made(network)
        self.names: dict[tuple[str, str], str] = {("stored", network.input): network.input}

    def write(self, node: Node) -> None:
        match node:
            case Conv() | Depthwise() | Dense():
                self.product(node)
            case Add() if self.float_made[node.out]:
                self.node("Add", [self.real(node.a), self.real(node.b)], self.made_real(node.out))
            case Add():
                a, b = ([self.stored(name), *self.step(name)] for name in (node.a, node.b))
                self.activated(node, "QLinearAdd", [*a, *b, *self.step(node.out)])
            case Constant():
                self.hold(node)
                self.names["stored", node.out] = node.out
            case MaxPool():
                self.node("NhwcMaxPool", [self.stored(node.x)], self.made(node.out), MICROSOFT, **window_of(node))
            case GlobalAverage():
                read = [self.stored(node.x), *self.step(node.x), *self.step(node.out)]
                self.node("QLinearGlobalAveragePool", read, self.made(node.out), MICROSOFT, channels_last=1)
            case Attention():
                self.attend(node)
            case LayerNorm():
                read = [self.real(node.x), self.constant(node.gain), self.constant(node.offset)]
                self.node("LayerNormalization", read, self.made_real(node.out), epsilon=float(EPSILON))

    def finish(self) -> None:
        self.stored(self.network.output)

    def product(self, node: Conv | Depthwise | Dense) -> None:
        zero = 128 if self.form.weights is np.uint8 else 0
        stored: np.ndarray = (self.weight(node).astype(np.int16) + zero).astype(self.form.weights)
        zeros: np.ndarray = np.full(len(node.bias), zero, self.form.weights)
        # A bias is in steps of the sums, which are as fine as the form's activations.
        finer = self.network.tensors[node.x].scale / self.steps[node.x][0]
        bias = self.constant(np.rint(node.bias * float(finer)).astype(np.int32))
        weight = [self.constant(stored), self.constant(node.weight_scale.astype(f32)), self.constant(zeros)]
        x = [self.stored(node.x), *self.step(node.x)]
        if not isinstance(node, Dense):
            read = [*x, *weight, *self.step(node.out), bias]
            self.activated(node, "QLinearConv", read, channels_last=1, **window_of(node))
            return
        x[0] = self.rows(node, x[0])
        if not self.float_made[node.out]:
            self.activated(node, "QGemm", [*x, *weight, bias, *self.step(node.out)], transB=1)
        elif _is_gelu(node):
            before = self.node("QGemm", [*x, *weight, bias], f"{node.out}_before", MICROSOFT, transB=1)
            self.node("Gelu", [before], self.made_real(node.out))
        else:
            self.node("QGemm", [*x, *weight, bias], self.made_real(node.out), MICROSOFT, transB=1)

    def attend(self, node: Attention) -> None:
        lowest = np.iinfo(self.form.activations).min
        share = [self.constant(SHARE_SCALE), self.constant(np.array(lowest, self.form.activations))]
        q, k, v = (
            [self.split(name, self.stored(name), node.heads, order), *self.step(name)]
            for name, order in ((node.q, (1, 0, 2)), (node.k, (1, 2, 0)), (node.v, (1, 0, 2)))
        )
        scores, out = self.step(node.scores), self.step(node.out)
        self.node("QLinearMatMul", [*q, *k, *scores], node.scores)
        shares = f"{node.out}_share"
        self.node("QLinearSoftmax", [node.scores, *scores, *share], shares, MICROSOFT, axis=-1, opset=OPSET)
        heads = self.node("QLinearMatMul", [shares, *share, *v, *out], f"{node.out}_heads")
        self.merge(node.out, heads, self.made(node.out))

    def activated(
        self, node: Conv | Depthwise | Dense | Add, operator: str, read: Sequence[str], **others: Any
    ) -> None:
        """Add an operator and, where the clamp to its type is not it, the relu behind it."""
        if node.activation and self.form.activations is np.int8:
            before = self.node(operator, read, f"{node.out}_before", MICROSOFT, **others)
            self.node("Relu", [before], self.made(node.out))
        else:
            self.node(operator, read, self.made(node.out), MICROSOFT, **others)

    def made(self, name: str) -> str:
        """Note that an activation is made, stored, and return its name."""
        return self.names.setdefault(("stored", name), name)

    def made_real(self, name: str) -> str:
        return self.names.setdefault(("real", name), f"{name}_real")

    def stored(self, name: str) -> str:
        """Return the name of an activation's integers, quantised where it was made of floats."""
        if ("stored", name) not in self.names:
            self.node("QuantizeLinear", [self.names["real", name], *self.step(name)], self.made(name))
        return self.names["stored", name]

    def real(self, name: str) -> str:
        """Return the name of an activation's real numbers."""
        if ("real", name) not in self.names:
            self.node("DequantizeLinear", [self.names["stored", name], *self.step(name)], self.made_real(name))
        return self.names["real", name]

    def step(self, name: str) -> list[str]:
        """Return the names of an activation's scale and zero point."""
        scale, zero = self.steps[name]
        return [self.constant(f32(scale)), self.constant(np.array(zero, self.form.activations))]


def _float_made(network: Network) -> Mapping[str, bool]:
    """Return which activations a quantised model makes as floats: layer norms, gelus, and what they alone read."""
    readers: dict[str, list[Node]] = {name: [] for name in network.tensors}
    for node in network.nodes:
        for name in inputs(node):
            readers[name].append(node)
    found: dict[str, bool] = {}
    for node in reversed(network.nodes):
        for_floats = bool(readers[node.out]) and all(
            isinstance(reader, LayerNorm) or (isinstance(reader, Add) and found[reader.out])
            for reader in readers[node.out]
        )
        found[node.out] = (
            isinstance(node, LayerNorm) or _is_gelu(node) or (isinstance(node, Add | Dense) and for_floats)
        )
    return found


def _is_gelu(node: Node) -> bool:
    return getattr(node, "activation", "") == "gelu"


def window_of(node: Conv | Depthwise | MaxPool) -> dict[str, Any]:
    """Return the attributes of a convolution or of pooling."""
    sides = [node.window] * 2 if isinstance(node, MaxPool) else node.weight.shape[1:3]
    groups = {"group": len(node.bias)} if isinstance(node, Depthwise) else {}
    return {"kernel_shape": sides, "strides": [node.stride] * 2, "pads": [node.pad] * 4, **groups}
