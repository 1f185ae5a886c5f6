"""What is measured: single layers of the networks, and the networks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from programs.networks.catalogue import CORES, NETWORKS, network, seeded_input
from programs.networks.graph import MaxPool, Network
from programs.networks.onnx_model import adds_integers
from programs.networks.seeded import Layers

# Of the input of a single layer, and of its result, which reaches further.
SCALE, SCALE_OUT = 0.05, 0.15
# What a turn of a layer and of a network amounts to, in multiply-adds, and the fewest and most computations in it:
# enough for what is set up before the first, which is taken off, to be small beside them.
LAYER_TURN, NETWORK_TURN = 2e9, 40e9
TURN_LEAST, TURN_MOST = 6, 200


@dataclass(frozen=True, eq=False)
class Workload:
    """A network (of one layer, maybe), its input, and how much work a computation is.

    With `sums` it is also compiled so that each takes a product before that is rounded. It takes so many `cores` of the
    chip; with more than one of `threads` it is also run by so many of the host's.
    """

    name: str
    network: Network
    x: np.ndarray
    sums: bool = False
    cores: int = 1
    threads: int = 1
    turn: float = LAYER_TURN

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
        layer("max pool 3x3/2, 64, 112x112", (1, 112, 112, 64), lambda made, x: made.maxpool("y", x, 3, 2, 1)),
        layer("add, 256, 56x56", (1, 56, 56, 256), lambda made, x: made.add("y", x, x, "relu")),
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


def layer(name: str, shape: tuple[int, ...], add: Callable[[Layers, str], str]) -> Workload:
    """Return the layer that `add` adds to the input of a shape."""
    made = Layers(seed=1)
    add(made, made.input("x", *shape))
    described = made.network(name)
    pooled = isinstance(described.nodes[0], MaxPool)
    described = described.scaled({"x": SCALE, "y": SCALE if pooled else SCALE_OUT})
    return Workload(name, described, seeded_input(described))


def conv(size: int, depth: int, channels: int, window: int, stride: int = 1) -> Workload:
    name = f"conv {window}x{window}{f'/{stride}' if stride > 1 else ''}, {depth} to {channels}, {size}x{size}"
    shape = (1, size, size, depth)
    return layer(name, shape, lambda made, x: made.conv("y", x, channels, window, stride, "relu"))


def depthwise(size: int, depth: int, stride: int = 1) -> Workload:
    name = f"depthwise 3x3{f'/{stride}' if stride > 1 else ''}, {depth}, {size}x{size}"
    shape = (1, size, size, depth)
    return layer(name, shape, lambda made, x: made.depthwise("y", x, 3, stride, "relu"))


def matmul(rows: int, summed: int, outputs: int) -> Workload:
    return layer(f"matmul {rows} x {summed} x {outputs}", (rows, summed), lambda made, x: made.dense("y", x, outputs))
