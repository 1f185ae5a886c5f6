"""The description of a quantised network: activations by name, and nodes in the order in which they are computed.

Everything is a plain integer array or a float32 scale; `onnx_model.py` writes them as ONNX models of several types. A
stored integer q means q * scale; there are no zero points. Activations are i8, NHWC or [rows, columns]; convolutions'
weights OHWI, depthwise ones 1HWC, matrices [outputs, inputs]. Weights have a scale for each output channel, biases are
i32 in steps of x.scale * weight_scale. Each node rounds its result to 8 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

f32 = np.float32
UNSCALED = f32(1)
# The scale that makes 127 the 6 of relu6: the clamp to i8 is its ceiling.
RELU6_SCALE = f32(6 / 127)
# Added to a layer norm's variance.
EPSILON = f32(1e-5)


@dataclass(frozen=True)
class Tensor:
    """An activation."""

    shape: tuple[int, ...]
    scale: f32 = UNSCALED


# What a product's result goes through before it is stored: "", "relu", "relu6" or "gelu". Relu of a result that has no
# zero point is max(q, 0), before or behind the rounding alike; relu6 is the same, its output's scale being RELU6_SCALE.
Activation = str


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution, `pad` rows and columns of 0 around x."""

    out: str
    x: str
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    stride: int = 1
    pad: int = 0
    activation: Activation = ""


@dataclass(frozen=True, eq=False)
class Depthwise:
    """A convolution of each channel with its own filter."""

    out: str
    x: str
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    stride: int = 1
    pad: int = 0
    activation: Activation = ""


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer; x is read as rows of as many elements as the weight has inputs, images in NHWC order."""

    out: str
    x: str
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    activation: Activation = ""


@dataclass(frozen=True)
class Add:
    """The sum of two activations."""

    out: str
    a: str
    b: str
    activation: Activation = ""


@dataclass(frozen=True, eq=False)
class Constant:
    """An activation that is the same in each run."""

    out: str
    value: np.ndarray


@dataclass(frozen=True)
class MaxPool:
    """The greatest of each window; padding never wins. Its scale is that of x."""

    out: str
    x: str
    window: int
    stride: int
    pad: int = 0


@dataclass(frozen=True)
class GlobalAverage:
    """The mean over all pixels."""

    out: str
    x: str


@dataclass(frozen=True)
class Attention:
    """softmax(q k) v in each of several heads, which lie side by side in the columns of q, k, v and out.

    `scores` names the products q k; the division by the root of a head's size is in the scales of q's weights.
    """

    out: str
    q: str
    k: str
    v: str
    heads: int
    scores: str


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Each row less its mean, over its deviation; times gain plus offset, float32."""

    out: str
    x: str
    gain: np.ndarray
    offset: np.ndarray


Node = Conv | Depthwise | Dense | Add | Constant | MaxPool | GlobalAverage | Attention | LayerNorm
# Those with weights.
PRODUCTS = (Conv, Depthwise, Dense)
READ = ("x", "a", "b", "q", "k", "v")
MADE = ("scores", "out")


@dataclass(frozen=True, eq=False)
class Network:
    """A network from one activation, `input`, to another, `output`."""

    name: str
    tensors: Mapping[str, Tensor]
    input: str
    output: str
    nodes: tuple[Node, ...]

    def scaled(self, scales: Mapping[str, float]) -> "Network":
        """Return the network with these scales of its activations."""
        tensors = {name: replace(tensor, scale=f32(scales[name])) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors)

    def macs(self) -> int:
        """Return how many products are summed in one run."""
        return sum(self._macs(node) for node in self.nodes)

    def weight_bytes(self) -> int:
        """Return the bytes of weights, those of constants that are added among them."""
        weights = sum(node.weight.nbytes for node in self.nodes if isinstance(node, PRODUCTS))
        return weights + sum(node.value.nbytes for node in self.nodes if isinstance(node, Constant))

    def _macs(self, node: Node) -> int:
        if isinstance(node, Attention):
            rows, columns = self.tensors[node.q].shape
            return 2 * rows * rows * columns
        if not isinstance(node, PRODUCTS):
            return 0
        results = int(np.prod(self.tensors[node.out].shape))
        return results * int(np.prod(node.weight.shape[1:3] if isinstance(node, Depthwise) else node.weight.shape[1:]))


def inputs(node: Node) -> tuple[str, ...]:
    """Return the activations that a node reads."""
    return _named(node, READ)


def outputs(node: Node) -> tuple[str, ...]:
    """Return the activations that a node makes, its result last."""
    return _named(node, MADE)


def _named(node: Node, fields: tuple[str, ...]) -> tuple[str, ...]:
    names = (getattr(node, field, "") for field in fields)
    return tuple(name for name in names if name)
