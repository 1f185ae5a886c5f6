"""A network as a program, by `ratel.Builder`: a tensor for each activation, an instruction or a few for each node.

Activations share one tensor, `arena`: two that live at the same time lie apart, others may share a place.
"""

from typing import Any

import numpy as np

import ratel
from programs.networks.cores import Cut
from programs.networks.graph import Network
from programs.networks.images import write_images
from programs.networks.nodes import write
from programs.networks.placement import placed


def builder(
    network: Network,
    given: np.ndarray | None = None,
    chip: str = "hanguang800",
    cores: int = 1,
    images: int = 0,
    tasks: int | None = None,
) -> ratel.Builder:
    """Return the program of a network, with what its input holds where a run gives nothing.

    With `images` each core computes so many a task by itself, as `images.py` has it; else the cores share one, which is
    for what `cores.py` can cut.
    """
    b = ratel.Builder(network.name, chip, tasks=tasks)
    b.comment(f"{network.name} of programs/networks, written by emit.py.")
    if images:
        write_images(b, network, cores, images, given)
    elif cores == 1:
        tensors = declare(b, network, given)
        for node in network.nodes:
            write(b, network, tensors, node)
    else:
        Cut(b, network, cores).write(given)
    return b


def declare(b: ratel.Builder, network: Network, given: np.ndarray | None) -> dict[str, Any]:
    """Declare the activations, and return them by name."""
    shared = {name: t.bytes for name, t in network.tensors.items() if name not in (network.input, network.output)}
    places, size = placed(network, shared)
    arena = b.local("arena", "i8", size)
    tensors = {}
    for name, tensor in network.tensors.items():
        declared = name, tensor.dtype, tensor.shape
        if name == network.input:
            tensors[name] = b.input(*declared, scale=tensor.scale, default=given)
        elif name == network.output:
            tensors[name] = b.output(*declared, scale=tensor.scale)
        else:
            tensors[name] = b.local(*declared, scale=tensor.scale, at=(arena, places[name]))
    return tensors
