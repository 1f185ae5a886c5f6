"""A network cut over several cores, for weights that do not fit one: a chain of 3x3 convolutions, pools and matrices.

Images are cut into bands of rows: each core has all weights of the convolutions, and of what they read a halo of its
neighbours' rows. Fully connected layers, which have most of the weights, are cut by their outputs: each core has the
weights of its own, and reads the whole of the layer before. After each layer the cores copy to each other what the next
one needs; a semaphore for each pair of cores says that it is there. Input and output are core 0's.

Bands follow from those of the last image, so that no window of a pool lies in two: VGG-16's last image has 7 rows,
which four cores share as 1, 2, 2 and 2.
"""

from itertools import pairwise, permutations, takewhile
from typing import Any

import numpy as np

import ratel
from programs.networks.graph import Conv, Dense, MaxPool, Network, inputs
from programs.networks.nodes import rows, weights
from programs.networks.placement import placed


class Cut:
    """Who computes, and who holds, which part of each activation; parts are ranges of rows, of columns behind Dense."""

    def __init__(self, b: ratel.Builder, network: Network, cores: int) -> None:
        chain = (network.input, *(node.out for node in network.nodes))
        assert all(inputs(node) == (x,) for node, x in zip(network.nodes, chain, strict=False)), "expected a chain"
        self.b, self.network, self.cores = b, network, range(cores)
        self.ready = {pair: b.declare("semaphore", f"ready{pair[0]}_{pair[1]}") for pair in permutations(self.cores, 2)}
        self.reader = {node.x: node for node in network.nodes}
        self.made = self._made(cores)
        self.tensors: list[dict[str, Any]] = []

    def _made(self, cores: int) -> dict[str, list[tuple[int, int]]]:
        """Return the part of each activation that each core computes."""

        def even(size: int) -> list[int]:
            return [size * core // cores for core in range(cores + 1)]

        images = list(takewhile(lambda node: not isinstance(node, Dense), self.network.nodes))
        tensors = self.network.tensors
        bounds = {node.out: even(tensors[node.out].shape[1]) for node in self.network.nodes[len(images) :]}
        bounds[images[-1].out] = even(tensors[images[-1].out].shape[1])
        for node in reversed(images):
            step = node.stride if isinstance(node, MaxPool) else 1
            bounds[node.x] = [*(bound * step for bound in bounds[node.out][:-1]), tensors[node.x].shape[1]]
        assert all(low < high for found in bounds.values() for low, high in pairwise(found)), "a core has no rows"
        return {name: list(pairwise(found)) for name, found in bounds.items()}

    def held(self, core: int, name: str) -> tuple[int, int]:
        """Return the part of an activation that a core has a place for."""
        reader, size = self.reader.get(name), self.network.tensors[name].shape[1]
        if isinstance(reader, Dense) or (core == 0 and name in (self.network.input, self.network.output)):
            return 0, size
        low, high = self.made[name][core]
        halo = reader.pad if isinstance(reader, Conv) else 0
        return max(0, low - halo), min(size, high + halo)

    def write(self, given: np.ndarray | None) -> None:
        """Write the program: `given` is what the input holds where a run gives nothing."""
        self.declare(given)
        self.spread_input()
        for node in self.network.nodes:
            self.compute(node)
            self.exchange(node.out)

    def declare(self, given: np.ndarray | None) -> None:
        """Declare what each core holds of each activation.

        What all cores send each other, the image before the first Dense and what follows, has places of its own: a
        core may be as far behind another as it has cores between them.
        """
        b, network = self.b, self.network
        own = {network.input, *(node.x for node in network.nodes if isinstance(node, Dense)), network.output}
        # The others are known to be done with what comes before when their part of these is there.
        ends = [k for k, node in enumerate(network.nodes) if isinstance(self.reader.get(node.out), Conv | Dense)]
        for core in self.cores:
            shapes = {}
            for name, tensor in network.tensors.items():
                low, high = self.held(core, name)
                shapes[name] = (tensor.shape[0], high - low, *tensor.shape[2:])
            sizes = {name: int(np.prod(shape)) for name, shape in shapes.items() if name not in own}
            places, size = placed(network, sizes, ends)
            with b.core(core):
                arena, held = b.local("arena", "i8", size), {}
                for name, tensor in network.tensors.items():
                    declared = name, tensor.dtype, shapes[name]
                    if core == 0 and name == network.input:
                        held[name] = b.input(*declared, scale=tensor.scale, default=given)
                    elif core == 0 and name == network.output:
                        held[name] = b.output(*declared, scale=tensor.scale)
                    else:
                        at = (arena, places[name]) if name in places else None
                        held[name] = b.local(*declared, scale=tensor.scale, at=at)
            self.tensors.append(held)

    def part(self, core: int, name: str, low: int, high: int) -> Any:
        """Return a part of an activation, as a core holds it."""
        start = self.held(core, name)[0]
        return self.tensors[core][name][:, low - start : high - start]

    def spread_input(self) -> None:
        for core in self.cores[1:]:
            self._send(self.network.input, 0, core, *self.held(core, self.network.input))
        for core in self.cores[1:]:
            self._receive(0, core)

    def exchange(self, name: str) -> None:
        """Have each core send what it made of an activation to those that hold it too."""
        moves = []
        for one, other in self.ready:
            (low, high), (first, last) = self.made[name][one], self.held(other, name)
            low, high = max(low, first), min(high, last)
            if low < high:
                moves.append((one, other))
                self._send(name, one, other, low, high)
        for one, other in moves:
            self._receive(one, other)

    def _send(self, name: str, one: int, other: int, low: int, high: int) -> None:
        with self.b.core(one):
            self.b.copy(self.part(other, name, low, high), self.part(one, name, low, high))
            self.b.signal(self.ready[one, other], me=True)

    def _receive(self, one: int, other: int) -> None:
        with self.b.core(other):
            self.b.wait(self.ready[one, other], te=True)

    def compute(self, node: Any) -> None:
        for core in self.cores:
            low, high = self.made[node.out][core]
            out, size = self.part(core, node.out, low, high), self.network.tensors[node.x].shape[1]
            with self.b.core(core):
                match node:
                    case Conv():
                        assert node.stride == 1
                        first, last = low - node.pad, high + node.pad
                        x = self.part(core, node.x, max(0, first), min(size, last))
                        pad = (max(0, -first), node.pad, max(0, last - size), node.pad)
                        w, chain = weights(self.b, self.tensors[core], node)
                        self.b.conv(out, x, w, pad=pad, **chain)
                    case MaxPool():
                        assert node.window == node.stride and not node.pad
                        x = self.part(core, node.x, low * node.stride, high * node.stride)
                        self.b.maxpool(out, x, window=node.window, stride=node.stride)
                    case Dense():
                        x = self.tensors[core][node.x]
                        w, chain = weights(self.b, self.tensors[core], node, slice(low, high))
                        self.b.matmul(out, rows(self.b, self.tensors[core], x, node), w, transpose_w=True, **chain)
                    case _:
                        raise TypeError(f"{type(node).__name__} is not cut over cores")
