"""A network's integers in plain NumPy, to the last bit: for a chip whose vector formats are fp32.

Shares nothing with the assembler or the emulator, so that it checks them. Sums of products are float64, in which they
are exact; what follows is float32, each operation rounded once.
"""

from collections.abc import Mapping

import numpy as np

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
from programs.training.vector import FP32, LIMITS, NUMPY, Chain, exp, gelu, reciprocal, rsqrt

f32, f64 = np.float32, np.float64
Values = dict[str, np.ndarray]


def run(network: Network, given: np.ndarray) -> Values:
    """Return all activations by name, stored integers, from that of the input."""
    values = {network.input: given}
    for node in network.nodes:
        values |= compute(network, node, values)
    return values


def compute(network: Network, node: Node, values: Mapping[str, np.ndarray]) -> Values:
    """Return what one node makes."""
    scale = {name: tensor.scale for name, tensor in network.tensors.items()}
    match node:
        case Conv() | Depthwise() | Dense():
            return {node.out: product(node, scale, values)}
        case Add():
            b = values[node.b] * f32(scale[node.b] / scale[node.out])
            v = multiply_add(values[node.a], f32(scale[node.a] / scale[node.out]), b)
            return {node.out: stored(v, relu=bool(node.activation))}
        case MaxPool():
            return {node.out: windows(values[node.x], node.window, node.stride, node.pad, -128).max(axis=(0, 1))}
        case GlobalAverage():
            x = values[node.x]
            total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int64).astype(f32)
            return {node.out: stored(total * (scale[node.x] / (scale[node.out] * f32(x.shape[1] * x.shape[2]))))}
        case Attention():
            return attend(node, scale, values)
        case LayerNorm():
            return normalise(node, scale, values)


def product(node: Conv | Depthwise | Dense, scale: Mapping[str, f32], values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a product and what follows: in one multiplication, or in real units where more than relu follows."""
    v, multiplier = sums(node, values[node.x]).astype(f32), scale[node.x] * node.weight_scale
    residual = getattr(node, "add", "")
    if node.activation == "gelu":
        return stored(gelu(v * multiplier) * (1 / scale[node.out]))
    if residual:
        v = multiply_add(values[residual], scale[residual], v * multiplier) * (1 / scale[node.out])
    else:
        v = v * (multiplier / scale[node.out])
    return stored(v, relu=bool(node.activation))


def attend(node: Attention, scale: Mapping[str, f32], values: Mapping[str, np.ndarray]) -> Values:
    def split(name: str) -> np.ndarray:
        """Return [steps, model] as [heads, steps, size of a head]."""
        x = values[name]
        return x.reshape(len(x), node.heads, -1).transpose(1, 0, 2).astype(f64)

    q, k, v = split(node.q), split(node.k), split(node.v)
    step = scale[node.scores]
    scores = stored((q @ k.swapaxes(1, 2)).astype(f32) * (scale[node.q] * scale[node.k] / step), dtype="i16")
    distance = multiply_add(scores.max(-1, keepdims=True), -step, scores * step)
    weight = stored(exp(distance) * (1 / EXP_SCALE), dtype="u8")
    share = reciprocal(weight.sum(-1, keepdims=True, dtype=np.int64).astype(f32) * EXP_SCALE)
    context = (weight.astype(f64) @ v).astype(f32) * (EXP_SCALE * scale[node.v]) * share * (1 / scale[node.out])
    return {node.scores: scores, node.out: stored(context).transpose(1, 0, 2).reshape(values[node.q].shape)}


def normalise(node: LayerNorm, scale: Mapping[str, f32], values: Mapping[str, np.ndarray]) -> Values:
    x, count = values[node.x], f32(values[node.x].shape[1])
    step = scale[node.centred]
    total = x.sum(1, keepdims=True, dtype=np.int64)
    difference = multiply_add(total, -(scale[node.x] / count), x * scale[node.x])
    centred = stored(difference * (1 / step), dtype="i16")
    squares = (centred.astype(np.int64) ** 2).sum(1, keepdims=True).astype(f32)
    inverse = rsqrt(multiply_add(squares, step * step / count, EPSILON))
    normal = stored(centred * step * inverse * (1 / scale[node.normal]), dtype="i16")
    v = multiply_add(normal, scale[node.normal] * node.gain, node.offset)
    return {node.centred: centred, node.normal: normal, node.out: stored(v * (1 / scale[node.out]))}


def sums(node: Conv | Depthwise | Dense, x: np.ndarray) -> np.ndarray:
    """Return the sums of products and the bias: whole numbers in float64."""
    if isinstance(node, Dense):
        return x.reshape(-1, node.weight.shape[1]).astype(f64) @ node.weight.T.astype(f64) + node.bias
    patches = windows(x, node.weight.shape[1], node.stride, node.pad, 0)
    *_, batch, rows, columns, channels = patches.shape
    total = np.zeros((batch * rows * columns, len(node.bias))) + node.bias
    for row in range(node.weight.shape[1]):
        for column in range(node.weight.shape[2]):
            pixels = patches[row, column].astype(f64).reshape(-1, channels)
            w = np.ascontiguousarray(node.weight[:, row, column], f64)
            total += pixels * w if isinstance(node, Depthwise) else pixels @ w.T
    return total.reshape(batch, rows, columns, -1)


def windows(x: np.ndarray, window: int, stride: int, pad: int, padding: int) -> np.ndarray:
    """Return a view [row and column in the window, then NHWC of the result] of an image and its padding."""
    edges = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    padded = np.pad(x, edges, constant_values=padding) if pad else x
    found = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2))[:, ::stride, ::stride]
    return np.moveaxis(found, (4, 5), (0, 1))


def multiply_add(x: np.ndarray, factor: np.ndarray | f32, term: np.ndarray | f32) -> np.ndarray:
    """Return x * factor + term, rounded once to float32."""
    return Chain(x, FP32).times_plus(factor, term).floats()


def stored(v: np.ndarray, relu: bool = False, dtype: str = "i8") -> np.ndarray:
    """Return float32 values as integers: rounded half to even, and clamped."""
    assert v.dtype == f32
    low, high = LIMITS[dtype]
    return np.clip(np.rint(v), 0 if relu else low, high).astype(NUMPY[dtype])
