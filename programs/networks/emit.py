"""A network as a program, by `ratel.Builder`: a tensor for each activation, an instruction or a few for each node.

Multipliers follow from the scales of the tensors; those that a runtime computes in another way are written out.

On several cores each computes a slice of every node's output channels, and holds the weights of those alone. What a
product sums over all channels has to be whole: before it, every core copies its slice to the others and signals that it
is there. Pooling works channel by channel, so it needs no exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ratel
from programs.networks.graph import (
    EPSILON,
    EXP_SCALE,
    Add,
    Attention,
    Conv,
    Dense,
    Depthwise,
    GlobalAverage,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    inputs,
)
from programs.networks.placement import placed

f32 = np.float32
Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What one of several cores computes."""

    core: int
    cores: int

    def channels(self, count: int) -> slice:
        return slice(count * self.core // self.cores, count * (self.core + 1) // self.cores)

    def of(self, tensor: Any) -> Any:
        """Return the core's channels of a tensor: the last dimension."""
        if self.cores == 1:
            return tensor
        return tensor[(slice(None),) * (len(tensor.shape) - 1) + (self.channels(tensor.shape[-1]),)]


WHOLE = Part(0, 1)


def builder(
    network: Network, given: np.ndarray | None = None, chip: str = "hanguang800", cores: int = 1
) -> ratel.Builder:
    """Return the program of a network, with what its input holds where a run gives nothing.

    On several cores only what is a chain: each node reads the result of the one before.
    """
    b = ratel.Builder(network.name, chip)
    b.comment(f"{network.name} of programs/networks, written by emit.py.")
    if cores == 1:
        tensors = declare(b, network, placed(network, range(len(network.nodes))), given)
        for node in network.nodes:
            write(b, network, tensors, node)
    else:
        share(b, network, given, cores)
    return b


def share(b: ratel.Builder, network: Network, given: np.ndarray | None, cores: int) -> None:
    """Write the program of a chain of nodes for several cores; input and output are core 0's."""
    before = (network.input, *(node.out for node in network.nodes))
    assert all(inputs(node) == (x,) for node, x in zip(network.nodes, before, strict=False)), "expected a chain"
    summed = {node.x for node in network.nodes if isinstance(node, Conv | Dense)} | {network.output}
    exchanged = [k for k, node in enumerate(network.nodes) if node.out in summed]
    # ready[one, other]: a slice of one core's lies in the other's memory.
    pairs = [(one, other) for one in range(cores) for other in range(cores) if one != other]
    ready = {pair: b.declare("semaphore", f"ready{pair[0]}_{pair[1]}") for pair in pairs}
    parts = [Part(core, cores) for core in range(cores)]
    places, tensors = placed(network, exchanged), []
    for part in parts:
        with b.core(part.core):
            tensors.append(declare(b, network, places, given, part))

    def send(name: str, one: Part, other: Part, whole: bool = False) -> None:
        """Copy a core's slice of an activation to another core, or all of it, and say that it is there."""
        pieces = [tensors[part.core][name] for part in (other, one)]
        with b.core(one.core):
            b.copy(*(pieces if whole else map(one.of, pieces)))
            b.signal(ready[one.core, other.core], me=True)

    def receive(one: Part, other: Part) -> None:
        with b.core(other.core):
            b.wait(ready[one.core, other.core], te=True)

    for part in parts[1:]:
        send(network.input, parts[0], part, whole=True)
    for part in parts[1:]:
        receive(parts[0], part)
    for k, node in enumerate(network.nodes):
        for part in parts:
            with b.core(part.core):
                write(b, network, tensors[part.core], node, part)
        if k in exchanged:
            takers = parts[:1] if node.out == network.output else parts
            moves = [(one, other) for one in parts for other in takers if one != other]
            for one, other in moves:
                send(node.out, one, other)
            for one, other in moves:
                receive(one, other)


def declare(
    b: ratel.Builder,
    network: Network,
    placement: tuple[dict[str, int], int],
    given: np.ndarray | None,
    part: Part = WHOLE,
) -> Tensors:
    """Declare the activations on one core, and return them by name."""
    places, size = placement
    arena = b.local("arena", "i8", size)
    tensors = {}
    for name, tensor in network.tensors.items():
        declared = name, tensor.dtype, tensor.shape
        if part.core == 0 and name == network.input:
            tensors[name] = b.input(*declared, scale=tensor.scale, default=given)
        elif part.core == 0 and name == network.output:
            tensors[name] = b.output(*declared, scale=tensor.scale)
        else:
            tensors[name] = b.local(*declared, scale=tensor.scale, at=(arena, places[name]) if name in places else None)
    return tensors


def write(b: ratel.Builder, network: Network, tensors: Tensors, node: Node, part: Part = WHOLE) -> None:
    """Write what one core does for a node."""
    scale = {name: tensor.scale for name, tensor in network.tensors.items()}
    out = part.of(tensors[node.out])

    def constant(name: str, value: f32) -> Any:
        return b.const(f"{node.out}_{name}", [value], "f32")

    match node:
        case Conv() | Depthwise() | Dense():
            multiply(b, tensors, node, part)
        case Add():
            a, other = (part.of(tensors[name]) for name in (node.a, node.b))
            chain = {
                "ew1_scale": constant("b_ratio", f32(scale[node.b] / scale[node.out])),
                "ew2_scale": constant("a_ratio", f32(scale[node.a] / scale[node.out])),
            }
            b.eltwise(out, other, add=a, **chain, **activation(node.activation))
        case MaxPool():
            b.maxpool(out, part.of(tensors[node.x]), window=node.window, stride=node.stride, pad=node.pad)
        case GlobalAverage():
            _, rows, columns, _ = network.tensors[node.x].shape
            multiplier = constant("multiplier", f32(scale[node.x] / f32(scale[node.out] * f32(rows * columns))))
            b.reduce(out, part.of(tensors[node.x]), sum=True, scale=multiplier)
        case Attention():
            attend(b, tensors, node)
        case LayerNorm():
            normalise(b, tensors, node)


def multiply(b: ratel.Builder, tensors: Tensors, node: Conv | Depthwise | Dense, part: Part) -> None:
    channels = part.channels(len(node.bias))
    weight = node.weight[..., channels] if isinstance(node, Depthwise) else node.weight[channels]
    w = b.weight(f"{node.out}_weight", weight, scale=node.weight_scale[channels])
    chain = {"bias": b.const(f"{node.out}_bias", node.bias[channels]), **activation(node.activation)}
    if getattr(node, "add", ""):
        chain["add"] = part.of(tensors[node.add])
    out, x = part.of(tensors[node.out]), tensors[node.x]
    match node:
        case Dense():
            rows = (x.shape[0], weight.shape[1])
            if x.shape != rows:
                x = b.local(f"{node.x}_rows", "i8", rows, scale=x.scale, at=x)
            b.matmul(out, x, w, transpose_w=True, **chain)
        case Conv():
            b.conv(out, x, w, stride=node.stride, pad=node.pad, **chain)
        case Depthwise():
            b.dwconv(out, part.of(x), w, stride=node.stride, pad=node.pad, **chain)


def attend(b: ratel.Builder, tensors: Tensors, node: Attention) -> None:
    """Write self-attention: products in a loop over the heads, whose columns are slices, the rest for all at once."""
    out, q, k, v, scores = (tensors[name] for name in (node.out, node.q, node.k, node.v, node.scores))
    steps, size = q.shape[0], q.shape[1] // node.heads
    peak = b.local(f"{node.out}_peak", "i16", (node.heads, steps, 1), scale=scores.scale)
    weight = b.local(f"{node.out}_weight", "u8", scores.shape, scale=EXP_SCALE)
    total = b.local(f"{node.out}_total", "i32", peak.shape, scale=EXP_SCALE)
    share = b.local(f"{node.out}_share", "f32", peak.shape)
    with b.loop(node.heads) as head:
        columns = slice(head * size, head * size + size)
        b.matmul(scores[head], q[:, columns], k[:, columns], transpose_w=True)
    b.reduce(peak, scores, max=True)
    b.eltwise(weight, scores, sub=peak, exp=True)
    b.reduce(total, weight, sum=True)
    b.eltwise(share, total, reciprocal=True)
    with b.loop(node.heads) as head:
        columns = slice(head * size, head * size + size)
        b.matmul(out[:, columns], weight[head], v[:, columns], mul=share[head])


def normalise(b: ratel.Builder, tensors: Tensors, node: LayerNorm) -> None:
    """Write a layer norm; a product of each row with itself sums the squares."""
    out, x, centred, normal = (tensors[name] for name in (node.out, node.x, node.centred, node.normal))
    steps, model = x.shape
    total = b.local(f"{node.out}_total", "i32", (steps, 1), scale=f32(x.scale / f32(model)))
    inverse = b.local(f"{node.out}_inverse", "f32", (steps, 1, 1))
    # A matrix of one row for each step.
    rows = b.local(f"{node.out}_rows", "i16", (steps, 1, model), scale=centred.scale, at=centred)
    mean = b.const(f"{node.out}_mean", [f32(f32(centred.scale * centred.scale) / f32(model))], "f32")
    epsilon = b.const(f"{node.out}_epsilon", [EPSILON], "f32")
    b.reduce(total, x, sum=True)
    b.eltwise(centred, x, sub=total)
    b.matmul(inverse, rows, rows, transpose_w=True, ew1_scale=mean, ew1_bias=epsilon, rsqrt=True)
    b.eltwise(normal, centred, mul=inverse[:, 0])
    b.eltwise(
        out,
        normal,
        ew1_scale=b.const(f"{node.out}_gain", normal.scale * node.gain),
        ew1_bias=b.const(f"{node.out}_offset", node.offset),
        ew3_scale=b.const(f"{node.out}_step", [f32(1 / out.scale)], "f32"),
    )


def activation(name: str) -> dict[str, bool]:
    """Return the word of an activation; relu6 is the relu of a result whose greatest value is 6."""
    return {name.removesuffix("6"): True} if name else {}
