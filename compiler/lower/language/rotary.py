"""Rotary embedding: pairs of elements turned, out = round16(f32(x * cos) + f32(other * sin)), as onnxruntime has it.

A pair is two neighbours (interleaved), or an element of the first half and the one as far on in the second.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.floats import floats
from compiler.lower.lowering import Lowering
from compiler.lower.picking import gathered
from compiler.steps import View


class Turns(NamedTuple):
    """What elements are multiplied by, and what the others of their pairs: [batch or 1, 1, places, elements turned]."""

    cosines: View
    sines: View
    interleaved: bool


def embedding(low: Lowering, node: Node) -> None:
    """RotaryEmbedding of onnxruntime, of [batch, places, heads * size] or [batch, heads, places, size]."""
    if not node.domain:
        raise Refusal("it is ONNX's own; onnxruntime's is taken, as its exporter writes it")
    x = floats(low, node.reading(node.inputs[0]))[0]
    for name, value in (("is_packed_batching", 0), ("scale", 1.0)):
        if node.attributes.get(name, value) != value:
            raise Refusal(f"its {name} is {node.attributes[name]:g}; {value:g} is taken")
    heads = int(node.attributes.get("num_heads", 0))
    out = low.result(node)
    if x.rank == 3:
        heads = heads or x.shape[2] // (2 * low.value(node.inputs[2]).shape[-1])
        x, out = (by_heads(view, heads) for view in (x, out))
    rotate(low, out, x, turns_of(low, node, (2, 3), node.inputs[1], x.shape[2]))
    if x.dtype == "f32":
        low.note("2^-22 of both elements of a pair")


def by_heads(view: View, heads: int) -> View:
    """Return [batch, places, heads * size] as [batch, heads, places, size]."""
    batch, places, width = view.shape
    apart = view.reshaped((batch, places, heads, width // heads))
    assert apart is not None, "a dimension is always cut in two"
    return apart.permuted((0, 2, 1, 3))


def turns_of(low: Lowering, node: Node, tables: Sequence[int], positions: str | NDArray[Any], places: int) -> Turns:
    """Return the factors at positions: constant ones, or those that a value has, whose rows are gathered.

    Tables are inputs of the node, [positions, pairs]; made for all nodes alike.
    """
    interleaved = bool(node.attributes.get("interleaved", node.attributes.get("rotary_interleaved", 0)))
    cosines, sines = (low.known(node, place, "table of cosines or sines") for place in tables)
    known = positions if not isinstance(positions, str) else low.constant(positions)
    if known is not None:
        at = known.astype(np.int64)
        at = at + np.arange(places) if at.size == 1 and at.ndim < 2 else at
        at = at.reshape(-1, places)
        if at.min() < 0 or at.max() >= len(cosines):
            raise Refusal(f"it is turned by place {at.max()}, and its tables have {len(cosines)}")
    elif low.value(str(positions)).elements % places or (low.value(str(positions)).shape == (1,) and places > 1):
        raise Refusal("its position_ids is a first place that follows the data: give each place its own")

    def factors(kind: str) -> View:
        table = _whole(cosines, sines, interleaved)[kind == "sine"]
        if known is not None:
            return low.weight(table[at][:, None], kind)
        view = low.view(str(positions))
        rows = gathered(low, low.weight(table, kind), 0, low.reshaped(view, (view.elements,)))
        return low.reshaped(rows, (view.elements // places, 1, places, table.shape[1]))

    names = *(node.inputs[place] for place in tables), interleaved
    key = (*names, positions) if known is None else (*names, at.shape, at.tobytes())
    cosine, sine = (low.once((kind, *key), partial(factors, kind)) for kind in ("cosine", "sine"))
    return Turns(cosine, sine, interleaved)


def _whole(cosines: NDArray[Any], sines: NDArray[Any], interleaved: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return tables with a factor for each element: of the first of a pair the sine is taken off."""
    pairs = ((cosines, cosines), (-sines, sines))
    if interleaved:
        first, second = (np.stack(pair, -1).reshape(len(cosines), -1) for pair in pairs)
    else:
        first, second = (np.concatenate(pair, -1) for pair in pairs)
    return first, second


def rotate(low: Lowering, out: View, x: View, turns: Turns) -> None:
    """Write [batch, heads, places, size], turned; elements beyond those that are turned stay."""
    cosines, sines, interleaved = turns
    size = cosines.shape[-1]
    if size < x.shape[3]:
        low.move(out.sliced(3, size, x.shape[3] - size), x.sliced(3, size, x.shape[3] - size))
    out, x = (view.sliced(3, 0, size) for view in (out, x))
    straight, turned = (low.local("f32", x.shape, x.order, name) for name in ("straight", "turned"))
    write(low, straight, {"x": x, "mul": cosines})
    if interleaved:
        swapped = low.local(x.dtype, x.shape, x.order, "swapped")
        for k in (0, 1):
            low.move(swapped.sliced(3, k, size // 2, 2), x.sliced(3, 1 - k, size // 2, 2))
        write(low, turned, {"x": swapped, "mul": sines})
    else:
        for to, of in ((0, size // 2), (size // 2, 0)):
            half, by = (view.sliced(3, to, size // 2) for view in (turned, sines))
            write(low, half, {"x": x.sliced(3, of, size // 2), "mul": by})
    write(low, out, {"x": straight, "add": turned})
