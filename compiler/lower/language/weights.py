"""Products with weights in groups: MatMulNBits.

Its weights are whole numbers of 4 or 8 bits, in blocks of a column, each with a scale and perhaps a zero point. They
become float16 as the network is compiled, each rounded once: w = round16((q - zero) * scale). `packed` says what a file
has; `expanded` makes dense weights of it: a form of groups in the chip's own memory would take its place.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering
from compiler.lower.products import multiplies, product, sum_error
from compiler.steps import View

BITS = (4, 8)


@dataclass(frozen=True)
class Groups:
    """Weights in groups: numbers [n, groups, block], and a scale and a zero point, [n, groups], for each block."""

    numbers: NDArray[np.uint8]
    scales: NDArray[Any]
    zeros: NDArray[Any]


def matmul(low: Lowering, node: Node) -> None:
    """MatMulNBits: x by weights in groups, [n, k] in the file."""
    multiplies(low, node, node.inputs[0])
    if node.input(4):
        raise Refusal("its weights are in an order of their own (g_idx): export it without")
    groups = packed(low, node)
    bias = low.known(node, 5, "bias").astype(np.float32) if node.input(5) else None
    product(low, node, low.view(node.inputs[0]), expanded(low, node, groups), bias=bias)
    low.note(f"{sum_error(low, node)}; and 2^-11 of that sum, for weights are rounded to float16")


def packed(low: Lowering, node: Node) -> Groups:
    """Return the weights of a node as the file has them, one number an element."""
    k, n, block = (int(node.attributes[name]) for name in ("K", "N", "block_size"))
    bits = int(node.attributes.get("bits", 4))
    if bits not in BITS:
        raise Refusal(f"its weights have {bits} bits (bits); 4 and 8 are taken")
    count = ceil(k / block)
    numbers = _apart(low.known(node, 1, "weights").reshape(n, count, -1), bits)
    scales = low.known(node, 2, "scales").reshape(n, count)
    if not node.input(3):
        return Groups(numbers, scales, np.full((n, count), 2 ** (bits - 1)))
    zeros = low.known(node, 3, "zero points")
    if zeros.dtype == np.uint8:
        zeros = _apart(zeros.reshape(n, -1), bits)
    return Groups(numbers, scales, zeros.reshape(n, -1)[:, :count])


def _apart(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return bytes as numbers: two of 4 bits in each, the low one first."""
    if bits == 8:
        return data
    return np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], -1)


def expanded(low: Lowering, node: Node, groups: Groups) -> View:
    """Return weights as dense ones of float16, [k, n] side by side along n; where several nodes read them, once."""
    k = int(node.attributes["K"])

    def dense() -> View:
        zeros = groups.zeros[..., None].astype(np.float32)
        with np.errstate(over="ignore"):
            whole = (groups.numbers - zeros) * groups.scales[..., None].astype(np.float32)
            found = whole.reshape(len(whole), -1)[:, :k].T.astype(np.float16)
        if not np.isfinite(found).all():
            raise Refusal("its weights pass what float16 holds")
        return low.weight(np.ascontiguousarray(found), node.inputs[1])

    return low.once(("groups", *node.inputs[1:4], k), dense)
