"""Networks layer by layer, with weights drawn from a seed."""

from typing import Any

import numpy as np

from programs.networks.graph import Add, Conv, Dense, Depthwise, GlobalAverage, MaxPool, Network, Node, Tensor

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

    def conv(
        self,
        out: str,
        x: str,
        channels: int,
        window: int,
        stride: int = 1,
        activation: str = "",
        depthwise: bool = False,
    ) -> str:
        """Add a convolution; an odd window has as much padding as keeps the size at stride 1."""
        batch, height, width, depth = self.tensors[x].shape
        pad = window // 2
        rows, columns = ((size + 2 * pad - window) // stride + 1 for size in (height, width))
        shape = (1, window, window, depth) if depthwise else (channels, window, window, depth)
        kind = Depthwise if depthwise else Conv
        drawn = self._drawn(shape, channels, window * window * (1 if depthwise else depth), activation)
        node = kind(out, x, *drawn, stride, pad, activation)
        return self._add(node, batch, rows, columns, channels)

    def dense(self, out: str, x: str, outputs: int, activation: str = "") -> str:
        rows, *others = self.tensors[x].shape
        size = int(np.prod(others))
        drawn = self._drawn((outputs, size), outputs, size, activation)
        return self._add(Dense(out, x, *drawn, activation), rows, outputs)

    def add(self, out: str, a: str, b: str, activation: str = "") -> str:
        return self._add(Add(out, a, b, activation), *self.tensors[a].shape)

    def maxpool(self, out: str, x: str, window: int, stride: int, pad: int = 0) -> str:
        batch, height, width, depth = self.tensors[x].shape
        rows, columns = ((size + 2 * pad - window) // stride + 1 for size in (height, width))
        return self._add(MaxPool(out, x, window, stride, pad), batch, rows, columns, depth)

    def average(self, out: str, x: str) -> str:
        batch, _, _, depth = self.tensors[x].shape
        return self._add(GlobalAverage(out, x), batch, 1, 1, depth)

    def network(self, name: str) -> Network:
        """Return what was built, from its first tensor to its last."""
        names = list(self.tensors)
        return Network(name, self.tensors, names[0], names[-1], tuple(self.nodes))

    def _drawn(
        self, shape: tuple[int, ...], channels: int, summed: int, activation: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights, their scales and a bias.

        The variance is that of He, 2 / summed before an activation and 1 / summed elsewhere, but for a factor for each
        channel, as batch norm leaves.
        """
        weight = self.rng.integers(-127, 128, shape, np.int8)
        spread = np.sqrt((2 if activation else 1) / summed) / DEVIATION
        scale = f32(spread) * self.rng.uniform(0.5, 1.5, channels).astype(f32)
        reach = int(0.5 * DEVIATION * ACTIVATION * np.sqrt(summed))
        return weight, scale, self.rng.integers(-reach, reach + 1, channels, np.int32)

    def _add(self, node: Any, *shape: int) -> str:
        self.nodes.append(node)
        self.tensors[node.out] = Tensor(shape)
        return str(node.out)
