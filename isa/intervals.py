"""Intervals of bytes, [low, high): what some of them cover together, and which of many one meets."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

# First byte, last byte + 1.
Interval = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the bytes of intervals as intervals that do not meet, nor touch, in order."""
    found: list[Interval] = []
    for low, high in sorted(intervals):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        elif low < high:
            found.append((low, high))
    return found


def meets(united: Sequence[Interval], low: int, high: int) -> bool:
    """Return whether any byte of [low, high) is in what `union` has given."""
    at = bisect_right(united, high - 1, key=lambda interval: interval[0])
    return at > 0 and united[at - 1][1] > low


def covers(united: Sequence[Interval], low: int, high: int) -> bool:
    """Return whether all bytes of [low, high), which has one, are in what `union` has given."""
    at = bisect_right(united, low, key=lambda interval: interval[0])
    return at > 0 and united[at - 1][1] >= high


class Intervals:
    """Intervals that are added one by one, each with a number; the numbers rise."""

    def __init__(self) -> None:
        self._rows, self._count = np.zeros((16, 3), np.int64), 0

    def add(self, number: int, low: int, high: int) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = number, low, high
        self._count += 1

    def meeting(self, after: int, low: int, high: int) -> np.ndarray:
        """Return the numbers, greater than `after`, of the intervals that overlap [low, high)."""
        first = np.searchsorted(self._rows[: self._count, 0], after, side="right")
        numbers, lows, highs = self._rows[first : self._count].T
        return numbers[(lows < high) & (low < highs)]
