"""A network on each of several cores, which take images of their own: for throughput.

A core works on two images at a time, layer by layer in turn, so that the latency of one's instruction passes behind
the other's. The front of a network, up to its first pool, is a pair of images ahead, with places of its own for each of
four images: the pooling engine works on the next pair while the tensor engine is busy with this one.
"""

from collections import ChainMap
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

import ratel
from programs.networks.graph import MaxPool, Network, Node, outputs
from programs.networks.nodes import write
from programs.networks.placement import placed

AT_ONCE = 2


def write_images(b: ratel.Builder, network: Network, cores: int, images: int, given: np.ndarray | None) -> None:
    """Write the program in which each core computes `images` images a task: an even number of them."""
    assert images % AT_ONCE == 0, "images come in pairs"
    assert network.tensors[network.input].shape[0] == 1, "expected a network for one image"
    for core in range(cores):
        with b.core(core):
            _write_core(b, network, core, images, given)


def _write_core(b: ratel.Builder, network: Network, core: int, images: int, given: np.ndarray | None) -> None:
    front, body = halves(network)
    source, result = network.tensors[network.input], network.tensors[network.output]
    default = None if given is None else np.repeat(given, images, axis=0)
    clauses = {"scale": source.scale, "default": default, "buffers": 2}
    x = b.input(f"images{core}", source.dtype, (images, *source.shape[1:]), **clauses)
    y = b.output(f"scores{core}", result.dtype, (images, *result.shape[1:]), scale=result.scale, buffers=2)

    constants: dict[str, Any] = {}
    made = {name for node in front for name in outputs(node)}
    ahead = [_activations(b, network, made, f"front{k}") for k in range(2 * AT_ONCE)]
    others = network.tensors.keys() - made - {network.input, network.output}
    behind = [_activations(b, network, others, f"body{k}") for k in range(AT_ONCE)]

    def pair(first: int) -> list[ChainMap[str, Any]]:
        """Return the tensors of a pair of images, and the constants in front of them, where new ones go."""
        found = []
        for k in range(first, first + AT_ONCE):
            ends = {network.input: x[k : k + 1], network.output: y[k : k + 1]}
            found.append(ChainMap(constants, ends, ahead[k % len(ahead)], behind[k % len(behind)]))
        return found

    for first in range(0, images + AT_ONCE, AT_ONCE):
        turns = _in_turn(front, pair(first)) if first < images else []
        turns += _in_turn(body, pair(first - AT_ONCE)) if first else []
        for node, tensors in turns:
            write(b, network, tensors, node)


def _in_turn(nodes: Sequence[Node], images: Sequence[Any]) -> list[tuple[Node, Any]]:
    return [(node, image) for node in nodes for image in images]


def halves(network: Network) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Return the nodes up to the first pool, and those behind it; without a pool all are behind."""
    pools = [k for k, node in enumerate(network.nodes) if isinstance(node, MaxPool)]
    cut = pools[0] + 1 if pools else 0
    return network.nodes[:cut], network.nodes[cut:]


def _activations(b: ratel.Builder, network: Network, names: Collection[str], suffix: str) -> dict[str, Any]:
    """Declare these activations of an image at work, in one arena."""
    kept = {name: tensor for name, tensor in network.tensors.items() if name in names}
    places, size = placed(network, {name: tensor.bytes for name, tensor in kept.items()})
    arena = b.local(f"arena_{suffix}", "i8", size)
    return {
        name: b.local(f"{name}_{suffix}", tensor.dtype, tensor.shape, scale=tensor.scale, at=(arena, places[name]))
        for name, tensor in kept.items()
    }
