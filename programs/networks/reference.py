"""A network's integers in plain NumPy, to the last bit: for a chip whose vector formats are fp32.

Shares nothing with the assembler or the emulator, so that it checks them. Sums of products are float64, in which they
are exact; what follows is float32, each operation rounded once.
"""

from collections.abc import Mapping

import numpy as np

from programs.networks.graph import Add, Conv, Dense, Depthwise, GlobalAverage, MaxPool, Network, Node

f32, f64 = np.float32, np.float64
LOWEST = -128


def run(network: Network, given: np.ndarray) -> dict[str, np.ndarray]:
    """Return all activations by name, stored integers, from that of the input."""
    values = {network.input: given}
    for node in network.nodes:
        values[node.out] = compute(network, node, values)
    return values


def compute(network: Network, node: Node, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the result of one node."""
    scale = {name: tensor.scale for name, tensor in network.tensors.items()}
    out = scale[node.out]
    match node:
        case Conv() | Depthwise() | Dense():
            v = sums(node, values[node.x]).astype(f32)
            multiplier = scale[node.x] * node.weight_scale
            residual = getattr(node, "add", "")
            if residual:
                v = multiply_add(values[residual], scale[residual], v * multiplier) * (1 / out)
            else:
                v = v * (multiplier / out)
            return stored(v, node.activation)
        case Add():
            b = values[node.b] * f32(scale[node.b] / out)
            return stored(multiply_add(values[node.a], f32(scale[node.a] / out), b), node.activation)
        case MaxPool():
            return windows(values[node.x], node.window, node.stride, node.pad, LOWEST).max(axis=(0, 1))
        case GlobalAverage():
            x = values[node.x]
            total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int64).astype(f32)
            return stored(total * (scale[node.x] / (out * f32(x.shape[1] * x.shape[2]))))


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


def multiply_add(x: np.ndarray, factor: f32, term: np.ndarray) -> np.ndarray:
    """Return x * factor + term for whole x of 16 bits, rounded once to float32.

    The product is exact in float64. Their sum is rounded to odd there: where it is not exact, to the neighbour whose
    last bit is 1, so that the second rounding, to float32, cannot mistake it for a tie.
    """
    product, other = x.astype(f64) * f64(factor), term.astype(f64)
    total = product + other
    # The error of the sum, exact (Knuth).
    part = total - product
    error = (product - (total - part)) + (other - part)
    even = (np.ascontiguousarray(total).view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(f32)


def stored(v: np.ndarray, activation: str = "") -> np.ndarray:
    """Return float32 values as i8: rounded half to even, and clamped."""
    assert v.dtype == f32
    return np.clip(np.rint(v), 0 if activation in ("relu", "relu6") else LOWEST, 127).astype(np.int8)
