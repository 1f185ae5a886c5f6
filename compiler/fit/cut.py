"""A part of a step: which part of each operand makes which part of the result.

An operand's dimension follows one of the result's (the same range of it, or the pixels under its windows), or it is
needed whole. So a step can be cut along any dimension of its result that its operands follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.lower.resizing import COORDINATES, ROUNDINGS
from compiler.steps import Step, View
from isa.reference import coordinates, nearest

# (first, size) of a dimension.
Range = tuple[int, int]


@dataclass(frozen=True)
class Follows:
    """A dimension of an operand that follows a dimension of the result.

    It does so through windows where `reach` is not 0; each of its elements stands `times` in the result.
    """

    axis: int
    stride: int = 1
    reach: int = 0
    before: int = 0
    times: int = 1


POOLS = ("maxpool", "avgpool")
Rules = dict[str, tuple[Follows | None, ...]]


def rules(step: Step) -> tuple[Rules, tuple[int, ...]]:
    """Return how each operand follows the result, and along which of its dimensions the step can be cut."""
    out, x = step.out, step.operands.get("x")
    found: Rules = {}
    for name, view in step.operands.items():
        if name == "table":
            found[name] = (None,)
        elif view.tensor.kind == "const":
            # A vector: one for each channel, or one for all; whole multipliers have a dimension in front.
            alone = [None] * (view.rank - 1)
            found[name] = (*alone, Follows(out.rank - 1) if view.shape[-1] > 1 else None)
        else:
            found[name] = _same(view, out.rank)
    axes = tuple(range(out.rank))
    match step.mnemonic:
        case "conv" | "dwconv":
            assert x is not None
            w = step.operands["w"]
            found["x"] = (Follows(0), *_windows(step, w.shape[1:3]), None)
            found["w"] = (Follows(3), None, None, None)
            if step.mnemonic == "dwconv":
                found["x"] = (*found["x"][:3], Follows(3))
                found["w"] = (None, None, None, Follows(3))
            elif step.attributes.get("groups"):
                axes = (0, 1, 2)
        case "matmul":
            assert x is not None
            w = step.operands["w"]
            m, n = out.rank - 2, out.rank - 1
            found["x"] = (*_same(x, out.rank)[:-2], *_pair(Follows(m), None, bool(step.attributes.get("transpose_x"))))
            found["w"] = (*_same(w, out.rank)[:-2], *_pair(None, Follows(n), bool(step.attributes.get("transpose_w"))))
        case mnemonic if mnemonic in POOLS:
            window = step.attributes["window"]
            found["x"] = (Follows(0), *_windows(step, window), Follows(3))
            if step.attributes.get("count_pad") and step.attributes.get("ceil"):
                # Where the last windows end is not to be told from a part of x.
                axes, found["x"] = (0, 3), (Follows(0), None, None, Follows(3))
        case "reduce":
            assert x is not None
            found["x"] = tuple(Follows(k) if x.shape[k] == out.shape[k] else None for k in range(x.rank))
            axes = tuple(k for k in axes if x.shape[k] == out.shape[k])
        case "resize":
            times = repeats(step)
            found["x"], axes = (Follows(0), Follows(1, times=times) if times else None, None, Follows(3)), (0, 3)
        case "gather":
            assert x is not None
            along = int(step.attributes.get("axis") or 0)
            found["x"] = tuple(None if k == along else Follows(k) for k in range(x.rank))
            found["index"] = (Follows(along),)
        case "eltwise" | "copy" | "fill":
            pass
        case _:
            axes = ()
    beyond = {rule.axis for rule in found.get("x", ()) if rule is not None and _lies_beyond(step, rule)}
    return found, tuple(axis for axis in axes if out.shape[axis] > 1 and axis not in beyond)


def repeats(step: Step) -> int:
    """Return how many times each row of x stands in the result of a `resize`, which can be cut in so many; 0 of others.

    These rows are the same in any part: coordinates go by the ratio of the sizes, but for those that align the corners.
    """
    if step.mnemonic != "resize" or "align_corners" in step.attributes:
        return 0
    rows, of_x = step.out.shape[1], step.operands["x"].shape[1]
    word = next((word for word in COORDINATES if word in step.attributes), COORDINATES[0])
    rounding = next((word for word in ROUNDINGS if word in step.attributes), ROUNDINGS[0])
    times = rows // of_x
    if of_x == 1 or times * of_x != rows or "nearest" not in step.attributes:
        return 0
    places = nearest(rounding, *coordinates(word, rows, of_x), of_x)
    return times if np.array_equal(places, np.arange(rows) // times) else 0


def _lies_beyond(step: Step, rule: Follows) -> bool:
    """Return whether windows lie in the padding, whole: no part of the operand makes their part of the result."""
    before, behind = (step.attributes.get("pad") or (0, 0, 0, 0))[rule.axis - 1 :: 2] if rule.reach else (0, 0)
    return bool(rule.reach) and max(before, behind) >= rule.reach


def _same(view: View, rank: int) -> tuple[Follows | None, ...]:
    """Return the rule of an operand that is broadcast to the result."""
    return tuple(Follows(rank - view.rank + k) if size > 1 else None for k, size in enumerate(view.shape))


def _windows(step: Step, window: Sequence[int]) -> tuple[Follows, Follows]:
    strides, dilations = (step.attributes.get(name) or (1, 1) for name in ("stride", "dilation"))
    top, left, *_ = step.attributes.get("pad") or (0, 0)
    rows, columns = ((size - 1) * dilation + 1 for size, dilation in zip(window, dilations))
    return Follows(1, strides[0], rows, top), Follows(2, strides[1], columns, left)


def _pair(rows: Follows | None, columns: Follows | None, is_turned: bool) -> tuple[Follows | None, ...]:
    return (columns, rows) if is_turned else (rows, columns)


def part(step: Step, ranges: Mapping[int, Range], rules: Rules) -> Step:
    """Return the step that makes these ranges of the result's dimensions; the others are whole."""
    whole = {axis: ranges.get(axis, (0, size)) for axis, size in enumerate(step.out.shape)}
    operands, attributes = {}, dict(step.attributes)
    for name, view in step.operands.items():
        for k, rule in enumerate(rules[name]):
            if rule is None or (rule.axis not in ranges and not rule.reach):
                continue
            first, size = whole[rule.axis]
            if rule.reach:
                begin = first * rule.stride - rule.before
                end = begin + (size - 1) * rule.stride + rule.reach
                before, behind = max(-begin, 0), max(end - view.shape[k], 0)
                _pad(attributes, rule.axis - 1, before, behind)
                first, size = begin + before, end - behind - (begin + before)
            assert first % rule.times == size % rule.times == 0, "it is cut between what is repeated"
            first, size = first // rule.times, size // rule.times
            view = view.sliced(k, first, size)
        operands[name] = view
    if "pad" in attributes and not any(attributes["pad"]):
        del attributes["pad"]
    if step.mnemonic in POOLS and not step.attributes.get("count_pad"):
        # The last windows are in the ranges.
        attributes.pop("ceil", None)
    return replace(step, operands=operands, attributes=attributes)


def _pad(attributes: dict[str, Any], side: int, before: int, behind: int) -> None:
    pad = list(attributes.get("pad") or (0, 0, 0, 0))
    pad[side], pad[side + 2] = before, behind
    attributes["pad"] = tuple(pad)
