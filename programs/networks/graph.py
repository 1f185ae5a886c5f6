"""The description of a quantised network: activations by name, and nodes in the order in which they are computed.

Everything is a plain integer array or a float32 scale, so that each reader states the arithmetic by itself: `emit.py`
as a program, `reference.py` in NumPy. A stored integer q means q * scale; there are no zero points. Activations are i8,
NHWC or [rows, columns]; convolutions' weights OHWI, depthwise ones 1HWC, matrices [outputs, inputs]. Weights have a
scale for each output channel, biases are i32 in steps of x.scale * weight_scale.

As described, each node rounds its result to the type of its output, as a runtime does that computes node by node.
`fused` gives the form that a chip would run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

f32 = np.float32
UNSCALED = f32(1)
# The scale that makes 127 the 6 of relu6: the clamp to i8 is its ceiling.
RELU6_SCALE = f32(6 / 127)
# The scale of a softmax's exponentials, u8: the greatest of a row is 1.
EXP_SCALE = f32(1 / 255)
# Added to a layer norm's variance.
EPSILON = f32(1e-5)
BYTES = {"i8": 1, "i16": 2}


@dataclass(frozen=True)
class Tensor:
    """An activation."""

    shape: tuple[int, ...]
    scale: f32 = UNSCALED
    dtype: str = "i8"

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * BYTES[self.dtype]


# What a product's result goes through before it is stored: "", "relu", "relu6" or "gelu". Relu of a result that has no
# zero point is max(q, 0), before or behind the rounding alike; relu6 is the same, its output's scale being RELU6_SCALE.
Activation = str


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution, `pad` rows and columns of 0 around x; with `add`, a residual of out's shape, added first."""

    out: str
    x: str
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    stride: int = 1
    pad: int = 0
    activation: Activation = ""
    add: str = ""


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
    add: str = ""


@dataclass(frozen=True)
class Add:
    """The sum of two activations: rne(fma(a, ra, b * rb)), where ra = f32(a.scale / out.scale), rb the same of b."""

    out: str
    a: str
    b: str
    activation: Activation = ""


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
    """The mean over all pixels: rne(sum * m), where m = f32(x.scale / f32(out.scale * pixels))."""

    out: str
    x: str


@dataclass(frozen=True)
class Attention:
    """softmax(q k) v in each of several heads, which lie side by side in the columns of q, k, v and out.

    `scores` names the products q k, i16; the division by the root of a head's size is in the scales of q's weights.
    Exponentials of the distances from a row's greatest score are u8 in steps of EXP_SCALE, their sum divides behind
    the product with v.
    """

    out: str
    q: str
    k: str
    v: str
    heads: int
    scores: str


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Each row less its mean, `centred`, over its deviation, `normal`, both i16; times gain plus offset, float32."""

    out: str
    x: str
    gain: np.ndarray
    offset: np.ndarray
    centred: str
    normal: str


Node = Conv | Depthwise | Dense | Add | MaxPool | GlobalAverage | Attention | LayerNorm
# Those with weights.
PRODUCTS = (Conv, Depthwise, Dense)
READ = ("x", "a", "b", "q", "k", "v", "add")
MADE = ("scores", "centred", "normal", "out")


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
        return sum(node.weight.nbytes for node in self.nodes if isinstance(node, PRODUCTS))

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


def fused(network: Network) -> Network:
    """Return the network with each sum done by the product before it, in real units: one rounding instead of two."""
    uses = Counter(name for node in network.nodes for name in inputs(node))
    # Where both operands could take the sum, the one computed last does: the other is there by then.
    makers = {node.out: k for k, node in enumerate(network.nodes)}
    nodes: list[Node | None] = list(network.nodes)
    for k, node in enumerate(network.nodes):
        if not isinstance(node, Add):
            continue
        last = max(node.a, node.b, key=lambda name: makers.get(name, -1))
        other = node.b if last == node.a else node.a
        maker = nodes[makers[last]] if last in makers else None
        if isinstance(maker, Conv | Dense) and uses[last] == 1 and not maker.activation and not maker.add:
            nodes[makers[last]] = None
            nodes[k] = replace(maker, out=node.out, add=other, activation=node.activation)
    kept = tuple(node for node in nodes if node is not None)
    used = {network.input, *(name for node in kept for name in outputs(node))}
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in used}
    return replace(network, name=f"{network.name}_fused", tensors=tensors, nodes=kept)
