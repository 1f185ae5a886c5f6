"""Attention of queries in groups, which share keys and values: GroupQueryAttention, whose lengths are constant.

    present = past, then the new keys, turned by their places; and the values, as they are
    score   = f32 sum of q * k, * scale, + 0 or FAR as the mask has it
    share   = round16(exp(score - the greatest of its row))
    out     = round16((f32 sum of share * v) / f32 sum of shares)

onnxruntime holds scores and shares in float32. Here shares are float16, which the tensor engine multiplies; their sum
is of what they are rounded to, so that they still are parts of a whole.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.graph import Node, Refusal
from compiler.lower.elementwise import write
from compiler.lower.language.rotary import Turns, by_heads, rotate, turns_of
from compiler.lower.lowering import Lowering
from compiler.lower.products import multiplies
from compiler.steps import View

# Added to scores that are not to count: exp of any score less another is 0 so far down.
FAR = -1e30
# Inputs and attributes that nothing is done about here; attributes have to be as they are said.
INPUTS = {9: "position_ids", 10: "attention_bias", 11: "head_sink", 12: "k_scale", 13: "v_scale"}
ATTRIBUTES = {
    "softcap": 0.0,
    "smooth_softmax": 0,
    "qk_output": 0,
    "k_quant_type": b"NONE",
    "v_quant_type": b"NONE",
}


@dataclass(frozen=True)
class Shapes:
    """Sizes of an attention: `past` places stand before `places` new ones; each of `groups` has `each` heads.

    What is kept has room for `length`.
    """

    batch: int
    places: int
    past: int
    length: int
    groups: int
    each: int
    size: int

    @property
    def total(self) -> int:
        return self.past + self.places


def grouped(low: Lowering, node: Node) -> None:
    """GroupQueryAttention: q, k and v packed or apart, with keys and values before or without, turned or not."""
    multiplies(low, node, node.inputs[0])
    _check(low, node)
    shapes = _shapes(low, node)
    q, k, v = _apart(low, node, shapes)
    turns = None
    if node.attributes.get("do_rotary", 0):
        turns = turns_of(low, node, (7, 8), np.array(shapes.past), shapes.places)
    keys = _present(low, node, 1, k, shapes, turns)
    values = _present(low, node, 2, v, shapes, None)
    if turns is not None:
        queries = low.local("f16", q.shape, name=f"{node.outputs[0]}_q")
        rotate(low, queries, q, turns)
        q = queries
    out = by_heads(low.result(node), shapes.groups * shapes.each)
    for number in range(shapes.batch):
        _mix(low, node, shapes, *(_inside(view, number) for view in (out, q, keys, values)))
    low.note(f"1 ulp of float16 and 2^-10 + {shapes.total} * 2^-24 of the greatest |v|")


def _check(low: Lowering, node: Node) -> None:
    for place, name in INPUTS.items():
        if node.input(place):
            raise Refusal(f"it has an input {name}, which no instruction takes: export it without")
    for name, value in ATTRIBUTES.items():
        if (given := node.attributes.get(name, value)) not in (value, -1 if name == "smooth_softmax" else value):
            raise Refusal(f"its {name} is {given}, which no instruction does: export it without")
    if any(node.outputs[3:]):
        raise Refusal("its scores are wanted (output_qk)")


def _shapes(low: Lowering, node: Node) -> Shapes:
    heads, groups = (int(node.attributes[name]) for name in ("num_heads", "kv_num_heads"))
    batch, places, width = low.value(node.outputs[0]).shape
    if low.constant(node.inputs[5]) is None:
        raise Refusal("its seqlens_k follows the data: say what the mask that it counts is: --always attention_mask=1")
    lengths = low.known(node, 5, "seqlens_k").reshape(-1)
    if (lengths != lengths[0]).any():
        raise Refusal(f"its sequences have different lengths (seqlens_k): {lengths.tolist()}")
    past = int(lengths[0]) + 1 - places
    held = low.value(node.inputs[3]).shape[2] if node.input(3) else 0
    if not 0 <= past <= held:
        raise Refusal(f"its seqlens_k is {lengths[0]}, with {places} new places behind {held}")
    length = max(int(low.known(node, 6, "total_sequence_length").reshape(-1)[0]), held)
    if past + places > length:
        raise Refusal(f"its seqlens_k is {lengths[0]}, and there is room for {length}")
    return Shapes(batch, places, past, length, groups, heads // groups, width // heads)


def _apart(low: Lowering, node: Node, shapes: Shapes) -> tuple[View, View, View]:
    """Return queries, keys and values as [batch, heads, places, size]."""
    heads = shapes.groups * shapes.each
    counts = (heads, shapes.groups, shapes.groups)
    views = [low.view(name) for name in node.inputs[:3] if name]
    if len(views) == 1:
        starts = np.cumsum([0, *counts]) * shapes.size
        views = [views[0].sliced(2, int(at), count * shapes.size) for at, count in zip(starts, counts)]
    q, k, v = (by_heads(view, count) for view, count in zip(views, counts, strict=True))
    return q, k, v


def _present(low: Lowering, node: Node, place: int, new: View, shapes: Shapes, turns: Turns | None) -> View:
    """Return what was there and the new, [batch, groups, total, size], in a result; what that has beyond is 0."""
    shape = (shapes.batch, shapes.groups, shapes.length, shapes.size)
    is_wanted = place < len(node.outputs) and node.outputs[place]
    out = low.result(node, place=place) if is_wanted else low.local("f16", shape, name="present")
    if shapes.past:
        low.move(out.sliced(2, 0, shapes.past), low.view(node.inputs[place + 2]).sliced(2, 0, shapes.past))
    to = out.sliced(2, shapes.past, shapes.places)
    if turns is None:
        low.move(to, new)
    else:
        rotate(low, to, new, turns)
    if shapes.length > shapes.total:
        low.fill(out.sliced(2, shapes.total, shapes.length - shapes.total), 0)
    return out.sliced(2, 0, shapes.total)


def _inside(view: View, k: int) -> View:
    return view.sliced(0, k, 1).inner()


def _mix(low: Lowering, node: Node, shapes: Shapes, out: View, q: View, keys: View, values: View) -> None:
    """Write one sequence, [heads, places, size]: heads of a group are a batch, or rows where each has one place."""
    groups, each, places = shapes.groups, shapes.each, shapes.places
    rows = (groups, each) if places == 1 else (groups, each, places)
    out, q = (low.reshaped(view, (*rows, shapes.size)) for view in (out, q))
    if places > 1:
        keys, values = (view.expanded(1) for view in (keys, values))
    name = node.outputs[0]
    scores = low.local("f32", (*rows, shapes.total), name=f"{name}_scores")
    shares = low.local("f16", scores.shape, name=f"{name}_shares")
    peaks, sums = (low.local("f32", (*rows, 1), name=f"{name}_{what}") for what in ("peaks", "sums"))
    scale = low.const(float(node.attributes.get("scale", 0)) or shapes.size**-0.5)
    mask = _mask(low, shapes, int(node.attributes.get("local_window_size", -1)))
    low.emit("matmul", scores, x=q, w=keys, transpose_w=True, ew1_scale=scale, add=mask)
    low.emit("reduce", peaks, x=scores, max=True)
    write(low, shares, {"x": scores, "sub": peaks}, exp=True)
    low.emit("reduce", sums, x=shares, sum=True)
    low.emit("matmul", out, x=shares, w=values, div=sums)


def _mask(low: Lowering, shapes: Shapes, window: int) -> View | None:
    """Return 0 where a place sees another, else FAR, [places, total]; None where each sees all.

    A place sees those up to itself, and of these `window` where that is not -1.
    """
    own = shapes.past + np.arange(shapes.places)[:, None]
    of = np.arange(shapes.total)
    seen: Any = of <= own
    if window >= 0:
        seen = seen & (of > own - window)
    if seen.all():
        return None
    key = ("mask", shapes.places, shapes.total, window)
    return low.once(key, lambda: low.weight(np.where(seen, np.float32(0), np.float32(FAR)), "mask"))
