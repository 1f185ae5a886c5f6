"""Weights in groups: products with them, and rows picked of them (MatMulNBits, GatherBlockQuantized).

They are whole numbers of 4 or 8 bits, in blocks of a row, each with a scale and perhaps a zero point. They become
float16 as the network is compiled, each rounded once: w = round16((q - zero) * scale). `Groups` is what a file has;
`expanded` makes dense weights of it: a form of groups in the chip's own memory would take its place.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering
from compiler.lower.picking import gathered
from compiler.lower.products import multiplies, product, sum_error
from compiler.steps import View

BITS = (4, 8)


@dataclass(frozen=True)
class Groups:
    """Weights in groups: numbers [n, k], scales and zero points [n, groups], and the group of each of the k."""

    numbers: NDArray[np.uint8]
    scales: NDArray[Any]
    zeros: NDArray[Any]
    group: NDArray[Any]


def matmul(low: Lowering, node: Node) -> None:
    """MatMulNBits: x by weights in groups, [n, k] in the file."""
    multiplies(low, node, node.inputs[0])
    k, n = int(node.attributes["K"]), int(node.attributes["N"])
    order = low.known(node, 4, "order of groups").astype(np.int64).reshape(-1)[:k] if node.input(4) else None
    if order is not None and not 0 <= order.min() <= order.max() < ceil(k / int(node.attributes["block_size"])):
        raise Refusal("its order of groups (g_idx) has groups that are not there")
    groups = _groups(low, node, 1, 2, (n, k), order)
    bias = low.known(node, 5, "bias").astype(np.float32) if node.input(5) else None
    product(low, node, low.view(node.inputs[0]), expanded(low, node, groups, turned=True), bias=bias)
    low.note(f"{sum_error(low, node)}; and 2^-11 of that sum, for weights are rounded to float16")


def gather(low: Lowering, node: Node) -> None:
    """GatherBlockQuantized: rows of a table in groups, at places that follow the data."""
    axes = [int(node.attributes.get(name, value)) for name, value in (("gather_axis", 0), ("quantize_axis", 1))]
    data, k = low.known(node, 0, "table"), low.value(node.outputs[0]).shape[-1]
    if data.ndim != 2 or data.dtype != np.uint8 or axes not in ([0, 1], [0, -1]):
        raise Refusal("its table is taken as rows of bytes, in groups along them (gather_axis 0, quantize_axis 1)")
    table = expanded(low, node, _groups(low, node, 0, 2, (len(data), k), None))
    places = low.view(node.inputs[1])
    rows = gathered(low, table, 0, low.reshaped(places, (places.elements,)))
    low.views[node.outputs[0]] = low.reshaped(rows, low.value(node.outputs[0]).shape)


def _groups(
    low: Lowering, node: Node, data: int, scale: int, shape: tuple[int, int], order: NDArray[Any] | None
) -> Groups:
    """Return weights as the file has them, one number an element, from inputs of a node; zero points behind scales."""
    (n, k), block = shape, int(node.attributes.get("block_size", 128))
    bits = int(node.attributes.get("bits", 4))
    if bits not in BITS:
        raise Refusal(f"its weights have {bits} bits (bits); 4 and 8 are taken")
    count = ceil(k / block)
    numbers = _apart(low.known(node, data, "weight").reshape(n, -1), bits)[:, :k]
    scales = low.known(node, scale, "scale").reshape(n, count)
    zeros = np.full((n, count), 2 ** (bits - 1))
    if node.input(scale + 1):
        zeros = low.known(node, scale + 1, "zero point")
        zeros = (_apart(zeros.reshape(n, -1), bits) if zeros.dtype == np.uint8 else zeros.reshape(n, -1))[:, :count]
    return Groups(numbers, scales, zeros, np.arange(k) // block if order is None else order)


def _apart(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return bytes as numbers: two of 4 bits in each, the low one first."""
    if bits == 8:
        return data
    return np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], -1)


def expanded(low: Lowering, node: Node, groups: Groups, turned: bool = False) -> View:
    """Return weights as dense ones of float16, [n, k], or turned; where several nodes read them, once."""

    def dense() -> View:
        zeros, scales = (one.astype(np.float32)[:, groups.group] for one in (groups.zeros, groups.scales))
        with np.errstate(over="ignore"):
            found = ((groups.numbers - zeros) * scales).astype(np.float16)
        if not np.isfinite(found).all():
            raise Refusal("its weights pass what float16 holds")
        return low.weight(np.ascontiguousarray(found.T if turned else found), name)

    constants = [name for name in node.inputs if name and low.constant(name) is not None]
    name = constants[0]
    return low.once(("groups", turned, *constants, groups.numbers.shape, str(node.attributes.get("bits"))), dense)
