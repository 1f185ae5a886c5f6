"""What only moves elements: mostly views, which move nothing."""

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering


def same(low: Lowering, node: Node) -> None:
    """Identity, Dropout, and what gives the same elements other dimensions: Reshape, Flatten, Squeeze, Unsqueeze."""
    if len([name for name in node.outputs if name]) > 1:
        raise Refusal("its second output is wanted")
    name, source = node.outputs[0], node.inputs[0]
    shape = low.value(name).shape
    if low.source_of(source) != source:
        low.postpone(name, low.source_of(source), shape)
        return
    view = low.view(source).reshaped(shape)
    if view is None:
        low.postpone(name, source, shape)
    else:
        low.views[name] = view


def transpose(low: Lowering, node: Node) -> None:
    given = low.view(node.inputs[0])
    low.views[node.outputs[0]] = given.permuted(node.attributes.get("perm") or range(given.rank)[::-1])


def concat(low: Lowering, node: Node) -> None:
    parts = [low.view(name) for name in node.inputs]
    axis = int(node.attributes["axis"]) % parts[0].rank
    largest = max(parts, key=lambda view: view.elements)
    out = low.result(node, largest.order)
    at = 0
    for part in parts:
        if part.elements:
            low.move(out.sliced(axis, at, part.shape[axis]), part)
        at += part.shape[axis]


def split(low: Lowering, node: Node) -> None:
    given = low.view(node.inputs[0])
    axis, at = int(node.attributes.get("axis", 0)) % given.rank, 0
    for name in node.outputs:
        size = low.value(name).shape[axis]
        low.views[name] = given.sliced(axis, at, size)
        at += size


def slices(low: Lowering, node: Node) -> None:
    view = low.view(node.inputs[0])
    starts, ends = (low.known(node, k, "range").reshape(-1).tolist() for k in (1, 2))
    axes = low.known(node, 3, "axes").reshape(-1).tolist() if node.input(3) else range(len(starts))
    steps = low.known(node, 4, "steps").reshape(-1).tolist() if node.input(4) else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis %= view.rank
        taken = range(view.shape[axis])[_clamped(start) : _clamped(end) : step]
        if not taken:
            raise Refusal("its result is empty")
        view = view.sliced(axis, taken[0], len(taken), step)
    low.views[node.outputs[0]] = view


def _clamped(at: int) -> int | None:
    return None if at <= -(2**31) else int(np.clip(at, -(2**31), 2**31))
