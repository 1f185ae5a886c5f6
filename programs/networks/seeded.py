"""Networks layer by layer, with weights drawn from a seed."""

from typing import Any

import numpy as np

from programs.networks.graph import (
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
    Tensor,
)

f32 = np.float32
# The standard deviation of integers drawn evenly from -127 ... 127; and about that of stored activations.
DEVIATION, ACTIVATION = 73.3, 30


class Layers:
    """A network under construction: each method adds a node and returns the name of its result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []

    def input(self, name: str, *shape: int) -> str:
        self.tensors[name] = Tensor(shape)
        return name

    def conv(self, out: str, x: str, channels: int, window: int, stride: int = 1, activation: str = "") -> str:
        """Add a convolution; an odd window has as much padding as keeps the size at stride 1."""
        depth = self.tensors[x].shape[3]
        drawn = self._drawn((channels, window, window, depth), channels, window * window * depth, activation)
        node = Conv(out, x, *drawn, stride, window // 2, activation)
        return self._add(node, *self._windows(x, window, stride, window // 2), channels)

    def depthwise(self, out: str, x: str, window: int, stride: int = 1, activation: str = "") -> str:
        depth = self.tensors[x].shape[3]
        drawn = self._drawn((1, window, window, depth), depth, window * window, activation)
        node = Depthwise(out, x, *drawn, stride, window // 2, activation)
        return self._add(node, *self._windows(x, window, stride, window // 2), depth)

    def dense(self, out: str, x: str, outputs: int, activation: str = "", gain: float = 1) -> str:
        """Add a fully connected layer; `gain` multiplies its weights."""
        rows, *others = self.tensors[x].shape
        size = int(np.prod(others))
        drawn = self._drawn((outputs, size), outputs, size, activation, gain)
        return self._add(Dense(out, x, *drawn, activation), rows, outputs)

    def add(self, out: str, a: str, b: str, activation: str = "") -> str:
        return self._add(Add(out, a, b, activation), *self.tensors[a].shape)

    def constant(self, out: str, *shape: int) -> str:
        return self._add(Constant(out, self.rng.integers(-127, 128, shape, np.int8)), *shape)

    def maxpool(self, out: str, x: str, window: int, stride: int, pad: int = 0) -> str:
        depth = self.tensors[x].shape[3]
        return self._add(MaxPool(out, x, window, stride, pad), *self._windows(x, window, stride, pad), depth)

    def average(self, out: str, x: str) -> str:
        batch, _, _, depth = self.tensors[x].shape
        return self._add(GlobalAverage(out, x), batch, 1, 1, depth)

    def attention(self, out: str, q: str, k: str, v: str, heads: int) -> str:
        rows, columns = self.tensors[q].shape
        self.tensors[f"{out}_scores"] = Tensor((heads, rows, rows))
        return self._add(Attention(out, q, k, v, heads, f"{out}_scores"), rows, columns)

    def norm(self, out: str, x: str) -> str:
        """Add a layer norm, with a gain of about 1 and an offset of about 0."""
        shape = self.tensors[x].shape
        gain, offset = (self.rng.normal(mean, 0.1, shape[1]).astype(f32) for mean in (1, 0))
        return self._add(LayerNorm(out, x, gain, offset), *shape)

    def network(self, name: str) -> Network:
        """Return what was built, from its first tensor to its last."""
        names = list(self.tensors)
        return Network(name, self.tensors, names[0], names[-1], tuple(self.nodes))

    def _drawn(
        self, shape: tuple[int, ...], channels: int, summed: int, activation: str, gain: float = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights, their scales and a bias.

        The variance is that of He, 2 / summed before an activation and 1 / summed elsewhere, but for a factor for each
        channel, as batch norm leaves.
        """
        weight = self.rng.integers(-127, 128, shape, np.int8)
        spread = gain * np.sqrt((2 if activation else 1) / summed) / DEVIATION
        scale = f32(spread) * self.rng.uniform(0.5, 1.5, channels).astype(f32)
        reach = int(0.5 * DEVIATION * ACTIVATION * np.sqrt(summed))
        return weight, scale, self.rng.integers(-reach, reach + 1, channels, np.int32)

    def _windows(self, x: str, window: int, stride: int, pad: int) -> tuple[int, int, int]:
        """Return the batch, the rows and the columns of what windows over x give."""
        batch, height, width, _ = self.tensors[x].shape
        rows, columns = ((size + 2 * pad - window) // stride + 1 for size in (height, width))
        return batch, rows, columns

    def _add(self, node: Any, *shape: int) -> str:
        self.nodes.append(node)
        self.tensors[node.out] = Tensor(shape)
        return str(node.out)
