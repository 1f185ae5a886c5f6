"""Points that no other beats in all goals, and what each parameter is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explore.space import Parameter

# Values of a parameter that are told apart; more are put together, in parts of as many points.
MOST_LEVELS = 12


def front(values: Sequence[Sequence[float]]) -> list[int]:
    """Return the places of those that no other is as good as in all goals, and better in one; the least first.

    `values` [points, goals] are minimised. Of equal ones all are there.
    """
    found = np.array(values, float)
    if not found.size:
        return []
    # Sorted by the first goal, then by the next, equal ones as one: whatever beats a point stands before it.
    different, which = np.unique(found, axis=0, return_inverse=True)
    held, kept = np.empty_like(different), list[int]()
    for place, one in enumerate(different):
        if not (held[: len(kept)] <= one).all(axis=1).any():
            held[len(kept)] = one
            kept.append(place)
    which = which.reshape(-1)
    on_front = np.flatnonzero(np.isin(which, kept))
    return on_front[np.argsort(which[on_front], kind="stable")].tolist()


@dataclass(frozen=True)
class Level:
    """A value of a parameter, or several together: the mean of a goal over the points that have it, and the least."""

    words: str
    mean: float
    least: float
    points: int


@dataclass(frozen=True)
class Effect:
    """What a parameter is worth to a goal: the `share` of its variance that goes with the parameter alone (0 to 1).

    Of a grid all points of a level differ in the same ways; of drawn points nearly so; where was searched the good ones
    are more.
    """

    key: str
    share: float
    levels: tuple[Level, ...]


def effects(space: Sequence[Parameter], points: Sequence[Mapping[str, Any]], goal: Sequence[float]) -> list[Effect]:
    """Return the main effect of each parameter on a goal, the largest first; `goal` has a number for each point."""
    numbers = np.array(goal, float)
    total = float(((numbers - numbers.mean()) ** 2).sum()) if len(numbers) else 0.0
    found = []
    for one in space:
        levels = []
        between = 0.0
        for words, places in _levels(one, [point[one.key] for point in points]):
            mine = numbers[places]
            between += len(mine) * float(mine.mean() - numbers.mean()) ** 2
            levels.append(Level(words, float(mine.mean()), float(mine.min()), len(mine)))
        found.append(Effect(one.key, between / total if total else 0.0, tuple(levels)))
    return sorted(found, key=lambda effect: -effect.share)


def _levels(parameter: Parameter, held: Sequence[Any]) -> list[tuple[str, list[int]]]:
    """Return the values of a parameter that points have, in words, each with the places of those points."""
    order = {value: k for k, value in enumerate(parameter.values)}
    distinct = sorted(set(held), key=lambda value: order.get(value, value))
    if len(distinct) <= MOST_LEVELS:
        return [(parameter.said(value), [k for k, one in enumerate(held) if one == value]) for value in distinct]
    sorted_places = sorted(range(len(held)), key=lambda k: order.get(held[k], held[k]))
    parts = [part.tolist() for part in np.array_split(np.array(sorted_places), MOST_LEVELS) if len(part)]
    return [(f"{parameter.said(held[part[0]])} to {parameter.said(held[part[-1]])}", part) for part in parts]
