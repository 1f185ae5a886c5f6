"""A network as a program, by `ratel.Builder`: a tensor for each activation, an instruction for each node.

Multipliers follow from the scales of the tensors; those that a runtime computes in another way are written out.
Activations share one tensor, `arena`: two whose lives overlap lie apart, others may share a place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import ratel
from programs.networks.graph import Add, Conv, Dense, Depthwise, GlobalAverage, MaxPool, Network, Node, inputs

f32 = np.float32
# Where tensors begin, as the assembler would have it.
ALIGNMENT = 256


def builder(network: Network, given: np.ndarray | None = None, chip: str = "hanguang800") -> ratel.Builder:
    """Return the network for one core, with what its input holds where a run gives nothing."""
    b = ratel.Builder(network.name, chip)
    tensors = declare(b, network, given)
    for node in network.nodes:
        write(b, network, tensors, node)
    return b


def declare(b: ratel.Builder, network: Network, given: np.ndarray | None) -> dict[str, Any]:
    """Declare the activations, and return them by name."""
    places = placed(network)
    arena = b.local("arena", "i8", end(network, places))
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


def write(b: ratel.Builder, network: Network, tensors: Mapping[str, Any], node: Node) -> None:
    """Write the instruction of a node."""
    scale = {name: tensor.scale for name, tensor in network.tensors.items()}
    out = tensors[node.out]

    def ratio(name: str) -> Any:
        return b.const(f"{node.out}_by_{name}", [f32(scale[name] / scale[node.out])], "f32")

    match node:
        case Conv() | Depthwise() | Dense():
            w = b.weight(f"{node.out}_weight", node.weight, scale=node.weight_scale)
            chain = {"bias": b.const(f"{node.out}_bias", node.bias), **activation(node.activation)}
            if getattr(node, "add", ""):
                chain["add"] = tensors[node.add]
            if isinstance(node, Dense):
                x = tensors[node.x]
                rows = (x.shape[0], node.weight.shape[1])
                if x.shape != rows:
                    x = b.local(f"{node.x}_rows", "i8", rows, scale=scale[node.x], at=x)
                b.matmul(out, x, w, transpose_w=True, **chain)
            else:
                multiply = b.dwconv if isinstance(node, Depthwise) else b.conv
                multiply(out, tensors[node.x], w, stride=node.stride, pad=node.pad, **chain)
        case Add():
            ratios = {"ew1_scale": ratio(node.b), "ew2_scale": ratio(node.a)}
            b.eltwise(out, tensors[node.b], add=tensors[node.a], **ratios, **activation(node.activation))
        case MaxPool():
            b.maxpool(out, tensors[node.x], window=node.window, stride=node.stride, pad=node.pad)
        case GlobalAverage():
            _, rows, columns, _ = network.tensors[node.x].shape
            multiplier = f32(scale[node.x] / f32(scale[node.out] * f32(rows * columns)))
            b.reduce(out, tensors[node.x], sum=True, scale=b.const(f"{node.out}_multiplier", [multiplier], "f32"))


def activation(name: str) -> dict[str, bool]:
    """Return the word of an activation; relu6 is the relu of a result whose greatest value is 6."""
    return {name.removesuffix("6"): True} if name else {}


def placed(network: Network) -> dict[str, int]:
    """Return where in the arena each activation lies, input and output aside: the first gap while it lives.

    It lives from the node that makes it to the last that reads it.
    """
    made = {node.out: k for k, node in enumerate(network.nodes)}
    last = {name: k for k, node in enumerate(network.nodes) for name in inputs(node)}
    places: dict[str, int] = {}
    for name, start in made.items():
        if name == network.output:
            continue
        size, at = network.tensors[name].bytes, 0
        # Those before that are still read when this is made.
        for other in sorted((held for held in places if last[held] >= start), key=places.__getitem__):
            if at + size <= places[other]:
                break
            after = places[other] + network.tensors[other].bytes
            at = max(at, after + -after % ALIGNMENT)
        places[name] = at
    return places


def end(network: Network, places: Mapping[str, int]) -> int:
    """Return the bytes that an arena needs."""
    return max((at + network.tensors[name].bytes for name, at in places.items()), default=1)
