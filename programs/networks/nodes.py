"""A network as a program, by `ratel.Builder`: a tensor for each activation, an instruction or a few for each node.

Multipliers follow from the scales of the tensors; those that a runtime computes in another way are written out. What a
node needs besides activations is declared when it is first written, and kept with them.
"""

from collections.abc import Callable, MutableMapping
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
)

f32 = np.float32
Tensors = MutableMapping[str, Any]


def once(tensors: Tensors, declare: Callable[..., Any], name: str, *given: Any, **clauses: Any) -> Any:
    """Return the tensor of a name; declare it if it is not there yet."""
    if name not in tensors:
        tensors[name] = declare(name, *given, **clauses)
    return tensors[name]


def write(b: ratel.Builder, network: Network, tensors: Tensors, node: Node) -> None:
    """Write what a node does."""
    scale = {name: tensor.scale for name, tensor in network.tensors.items()}
    out = tensors[node.out]

    def constant(name: str, value: f32) -> Any:
        return once(tensors, b.const, f"{node.out}_{name}", [value], "f32")

    match node:
        case Conv() | Depthwise() | Dense():
            multiply(b, tensors, node)
        case Add():
            a, other = tensors[node.a], tensors[node.b]
            chain = {
                "ew1_scale": constant("b_ratio", f32(scale[node.b] / scale[node.out])),
                "ew2_scale": constant("a_ratio", f32(scale[node.a] / scale[node.out])),
            }
            b.eltwise(out, other, add=a, **chain, **activation(node.activation))
        case MaxPool():
            b.maxpool(out, tensors[node.x], window=node.window, stride=node.stride, pad=node.pad)
        case GlobalAverage():
            _, rows, columns, _ = network.tensors[node.x].shape
            multiplier = constant("multiplier", f32(scale[node.x] / f32(scale[node.out] * f32(rows * columns))))
            b.reduce(out, tensors[node.x], sum=True, scale=multiplier)
        case Attention():
            attend(b, tensors, node)
        case LayerNorm():
            normalise(b, tensors, node)


def multiply(b: ratel.Builder, tensors: Tensors, node: Conv | Depthwise | Dense) -> None:
    out, x = tensors[node.out], tensors[node.x]
    w, chain = weights(b, tensors, node)
    if getattr(node, "add", ""):
        chain["add"] = tensors[node.add]
    match node:
        case Dense():
            b.matmul(out, rows(b, tensors, x, node), w, transpose_w=True, **chain)
        case Conv():
            b.conv(out, x, w, stride=node.stride, pad=node.pad, **chain)
        case Depthwise():
            b.dwconv(out, x, w, stride=node.stride, pad=node.pad, **chain)


def weights(
    b: ratel.Builder, tensors: Tensors, node: Conv | Depthwise | Dense, outputs: slice = slice(None)
) -> tuple[Any, dict[str, Any]]:
    """Return the weights of a node, or of some of its outputs, and what the chain needs."""
    w = once(tensors, b.weight, f"{node.out}_weight", node.weight[outputs], scale=node.weight_scale[outputs])
    bias = once(tensors, b.const, f"{node.out}_bias", node.bias[outputs])
    return w, {"bias": bias, **activation(node.activation)}


def rows(b: ratel.Builder, tensors: Tensors, x: Any, node: Dense) -> Any:
    """Return what a fully connected layer reads as a matrix."""
    shape = (x.shape[0], node.weight.shape[1])
    return x if x.shape == shape else once(tensors, b.local, f"{x.name}_rows", "i8", shape, scale=x.scale, at=x)


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
