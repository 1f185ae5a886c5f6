"""What is measured: single layers of the networks, and the networks."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from programs.networks.catalogue import CORES, NETWORKS, network, seeded_input
from programs.networks.graph import GlobalAverage, MaxPool, Network
from programs.networks.onnx_model import adds_integers
from programs.networks.seeded import Layers

# Of the input of a single layer; of its result, which reaches further; of a mean, which does not reach so far.
SCALE, SCALE_OUT, SCALE_MEAN = 0.05, 0.15, 0.01
# What a turn of a layer and of a network amounts to, in multiply-adds, and the fewest and most computations in it:
# enough for what is set up before the first, which is taken off, to be small beside them.
LAYER_TURN, NETWORK_TURN = 2e9, 40e9
TURN_LEAST, TURN_MOST = 6, 200
# Kinds of layers: what bounds those of one is alike.
PRODUCTS, DEPTHWISE, POOL, ELEMENTS = "products", "depthwise", "pooling", "element-wise"


@dataclass(frozen=True, eq=False)
class Workload:
    """A network (of one layer, maybe), its input, and how much work a computation is.

    Layers have a kind. With `sums` it is also compiled so that each takes a product before that is rounded. It takes so
    many `cores` of the chip; with more than one of `threads` it is also run by so many of the host's.
    """

    name: str
    network: Network
    x: np.ndarray
    sums: bool = False
    cores: int = 1
    threads: int = 1
    turn: float = LAYER_TURN
    kind: str = ""

    @property
    def moved(self) -> int:
        """Bytes that a computation reads and writes, each once: input, output, weights."""
        ends = (self.network.tensors[name].shape for name in (self.network.input, self.network.output))
        return sum(map(prod, ends)) + self.network.weight_bytes()

    @property
    def work(self) -> int:
        """Multiply-adds, or elements read where there are none."""
        return self.network.macs() or self.x.size

    @property
    def unit(self) -> str:
        return "GMAC/s" if self.network.macs() else "G elements/s"

    @property
    def count(self) -> int:
        """How many computations make a turn."""
        return min(max(TURN_LEAST, round(self.turn / self.work)), TURN_MOST)


def layers() -> list[Workload]:
    """Return layers of ResNet-50, MobileNetV2 and BERT."""
    return [
        conv(224, 3, 64, 7, 2),
        conv(56, 64, 64, 1),
        conv(56, 64, 64, 3),
        conv(56, 64, 256, 1),
        conv(28, 128, 128, 3),
        conv(28, 512, 128, 1),
        conv(14, 256, 256, 3),
        conv(14, 1024, 256, 1),
        conv(7, 512, 512, 3),
        conv(7, 512, 2048, 1),
        depthwise(112, 96, 2),
        depthwise(56, 144),
        depthwise(14, 384),
        matmul(128, 768, 768),
        matmul(128, 768, 3072),
        matmul(128, 3072, 768),
        layer(POOL, "max pool 3x3/2, 64, 112x112", (1, 112, 112, 64), lambda made, x: made.maxpool("y", x, 3, 2, 1)),
        layer(POOL, "average, 2048, 7x7", (1, 7, 7, 2048), lambda made, x: made.average("y", x)),
        added("add, 256, 56x56", (1, 56, 56, 256)),
    ]


def networks() -> list[Workload]:
    """Return the networks of programs/networks at full size."""
    return [whole(network(name), CORES.get(name, 1)) for name in NETWORKS]


def resnet50() -> Workload:
    return whole(network("resnet50"))


def whole(described: Network, cores: int = 1) -> Workload:
    """Return a network as a workload."""
    x, sums = seeded_input(described), adds_integers(described)
    return Workload(described.name, described, x, sums, cores, 2, NETWORK_TURN)


def layer(kind: str, name: str, shape: tuple[int, ...], add: Callable[[Layers, str], str]) -> Workload:
    """Return the layer, of a kind, that `add` adds to the input of a shape."""
    made = Layers(seed=1)
    add(made, made.input("x", *shape))
    described = made.network(name)
    out = {MaxPool: SCALE, GlobalAverage: SCALE_MEAN}.get(type(described.nodes[-1]), SCALE_OUT)
    described = described.scaled({**dict.fromkeys(described.tensors, SCALE), "y": out})
    return Workload(name, described, seeded_input(described), kind=kind)


def added(name: str, shape: tuple[int, ...]) -> Workload:
    """Return the sum of an input and a constant, which is read as an activation is."""
    return layer(ELEMENTS, name, shape, lambda made, x: made.add("y", x, made.constant("r", *shape), "relu"))


def conv(size: int, depth: int, channels: int, window: int, stride: int = 1) -> Workload:
    name = f"conv {window}x{window}{f'/{stride}' if stride > 1 else ''}, {depth} to {channels}, {size}x{size}"
    shape = (1, size, size, depth)
    return layer(PRODUCTS, name, shape, lambda made, x: made.conv("y", x, channels, window, stride, "relu"))


def depthwise(size: int, depth: int, stride: int = 1) -> Workload:
    name = f"depthwise 3x3{f'/{stride}' if stride > 1 else ''}, {depth}, {size}x{size}"
    shape = (1, size, size, depth)
    return layer(DEPTHWISE, name, shape, lambda made, x: made.depthwise("y", x, 3, stride, "relu"))


def matmul(rows: int, summed: int, outputs: int) -> Workload:
    name = f"matmul {rows} x {summed} x {outputs}"
    return layer(PRODUCTS, name, (rows, summed), lambda made, x: made.dense("y", x, outputs))
