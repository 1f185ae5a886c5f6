"""Families: executions of one instruction that differ in loop counters alone, and whether two of them meet at a byte.

A loop in steady state is not walked on: what one of its iterations executes stands for the rest, as a Family with a
Level for the loop. Of two families it is asked for a pair of members that

    touch a byte together, and
    (1) follows of x < number of y         x does not follow y,
    (2) number of y <= issued before x     y comes first in the walk.

All three are linear in the counters t of x and s of y but for the moduli of addresses, whose terms repeat. Where both
have a level at the same depth and move by the same bytes an iteration, all but the terms with moduli depend on s - t
alone: then the distance s - t is chosen first, which (1) and (2) or the bytes confine, and of t one value for each
remainder. Otherwise s and t are chosen each by itself. What cannot lead to a common byte, or fails (1) or (2), is cut
off by the extremes of what is still open.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import lcm

from isa.operand import MOST_TURNS, TASK_COUNTER, Operand, Term, overlaps

# Choices that a search makes at most before it gives up, and that all of a program make together, some 4 us each; to
# set up a search is worth so many, and to compare two executions.
MOST_CHOICES, MOST_EFFORT, SET_UP, BARE = 50_000, 5_000_000, 25, 5


class Undecided(Exception):
    """Raised where a search was given up."""


class Effort:
    """What the searches of one program may still cost together."""

    def __init__(self) -> None:
        self._left = MOST_EFFORT

    def spend(self, choices: int) -> None:
        self._left -= choices
        if self._left < 0:
            raise Undecided("too many accesses would have to be compared byte by byte")


@dataclass(frozen=True, slots=True)
class Level:
    """A loop of which a family has `count` iterations on end.

    An iteration executes `steps[q]` instructions of queue q, and what its executions follow grows by `moves[q]`.
    """

    depth: int
    count: int
    steps: tuple[int, ...]
    moves: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Executions of the instruction `index` of a core, in a queue; the numbers are those of the first of them.

    `number` counts the queue from 1. `follows[q]` is how many of queue q have finished when it starts, for sure;
    `issued[q]` how many have been walked before it. `counters` are the loops', the task first.
    """

    core: int
    index: int
    queue: int
    number: int
    counters: tuple[int, ...]
    follows: tuple[int, ...]
    issued: tuple[int, ...]
    levels: tuple[Level, ...] = ()

    @property
    def last(self) -> int:
        """The greatest number in its queue."""
        return self.number + sum((level.count - 1) * level.steps[self.queue] for level in self.levels)

    def repeated(self, depth: int, count: int, steps: tuple[int, ...], entry: Sequence[int]) -> "Family":
        """Return the next `count` iterations of a loop, of which this is one.

        What it follows moves on with the loop where it is of the loop: greater than `entry`, all issued before that.
        """
        moves = tuple(step if follows > before else 0 for step, follows, before in zip(steps, self.follows, entry))
        counters = list(self.counters)
        counters[depth] += 1
        return replace(
            self,
            number=self.number + steps[self.queue],
            counters=tuple(counters),
            follows=tuple(map(sum, zip(self.follows, moves))),
            issued=tuple(map(sum, zip(self.issued, steps))),
            levels=(*self.levels, Level(depth, count, steps, moves)),
        )

    def member(self, at: dict[int, int]) -> "Family":
        """Return the one execution that is so many iterations on at each depth."""
        counters = list(self.counters)
        counters[TASK_COUNTER] += at.get(TASK_COUNTER, 0)
        number, follows = self.number, list(self.follows)
        for level in self.levels:
            counters[level.depth] += at[level.depth]
            number += at[level.depth] * level.steps[self.queue]
            follows = [f + at[level.depth] * move for f, move in zip(follows, level.moves)]
        return replace(self, number=number, counters=tuple(counters), follows=tuple(follows), levels=())

    def up_to(self, number: int) -> "Family":
        """Return the last execution whose number is not greater, from `self.number` on."""
        at, left = {}, number - self.number
        for level in sorted(self.levels, key=lambda level: level.depth):
            step = level.steps[self.queue]
            at[level.depth] = min(level.count - 1, left // step)
            left -= at[level.depth] * step
        return self.member(at)


@dataclass(frozen=True, slots=True)
class _Sum:
    """What `count` steps of a counter add to an address: `linear` bytes each, and what repeats after `period` steps."""

    linear: int
    terms: tuple[Term, ...]
    base: int
    period: int
    count: int
    # Extremes of what repeats, and of all.
    repeating: tuple[int, int]
    all: tuple[int, int]

    def at(self, step: int) -> int:
        return self.linear * step + sum(term.at(self.base + step) - term.at(self.base) for term in self.terms)


def _sum(operand: Operand, counters: Sequence[int], depth: int, count: int) -> _Sum:
    mine = [term for term in operand.terms if term.counter == depth] if count > 1 else []
    terms = tuple(term for term in mine if term.modulus)
    linear = sum(term.stride for term in mine if not term.modulus)
    period = lcm(*(term.modulus for term in terms))
    if period > MOST_TURNS:
        raise Undecided(f"an address repeats after {period:,} iterations")
    bare = _Sum(0, terms, counters[depth], period, count, (0, 0), (0, 0))
    repeating = [bare.at(step) for step in range(min(period, count))]
    ends = [linear * step + bare.at(step) for step in {*_ends(range(count), period)}]
    return replace(bare, linear=linear, repeating=(min(repeating), max(repeating)), all=(min(ends), max(ends)))


def _ends(steps: range, period: int) -> Iterable[int]:
    """Return the first and the last step of each remainder by the period; all where there are no more."""
    return steps if len(steps) <= 2 * period else (*steps[:period], *steps[-period:])


def _confined(steps: range, factor: int, low: int | None, high: int | None) -> range:
    """Return the steps whose product with a factor is from `low` to `high`, inclusive; None for no limit."""
    if factor < 0:
        factor, low, high = -factor, None if high is None else -high, None if low is None else -low
    if factor == 0:
        return steps if (low is None or low <= 0) and (high is None or high >= 0) else range(0)
    first = steps.start if low is None else max(steps.start, -(-low // factor))
    stop = steps.stop if high is None else min(steps.stop, high // factor + 1)
    return range(first, max(first, stop))


class _Depth:
    """What one depth adds, for counters t of x and s of y from 0: bytes from x to y, and to the slacks of (1), (2)."""

    def __init__(self, depth: int, x: Family, x_operand: Operand, y: Family, y_operand: Operand, tasks: int) -> None:
        at_x = next((level for level in x.levels if level.depth == depth), None)
        at_y = next((level for level in y.levels if level.depth == depth), None)
        self.depth, self.both = depth, depth == TASK_COUNTER
        self.x = _sum(x_operand, x.counters, depth, tasks if self.both else at_x.count if at_x else 1)
        self.y = _sum(y_operand, y.counters, depth, tasks if self.both else at_y.count if at_y else 1)
        self.move, self.issue = (at_x.moves[y.queue], at_x.steps[y.queue]) if at_x else (0, 0)
        self.step = at_y.steps[y.queue] if at_y else 0
        self.period = lcm(self.x.period, self.y.period)
        if self.period > MOST_TURNS:
            raise Undecided(f"an address repeats after {self.period:,} iterations")
        self.tied = self.x.count > 1 and self.y.count > 1 and self.x.linear == self.y.linear
        self.low, self.high = self.y.all[0] - self.x.all[1], self.y.all[1] - self.x.all[0]
        self.unfollowed, self.earlier = (self.y.count - 1) * self.step, (self.x.count - 1) * self.issue

    def bytes(self, t: int, s: int) -> int:
        return self.y.at(s) - self.x.at(t)

    def choices(
        self, search: "_Search", low: int, high: int, unfollowed: int, earlier: int
    ) -> Iterator[tuple[int, int]]:
        """Yield (t, s) that may add bytes from `low` to `high`, and at least so much to the slacks."""
        if self.both:
            (x_low, x_high), (y_low, y_high) = self.x.repeating, self.y.repeating
            slope = self.y.linear - self.x.linear
            ts = _confined(range(self.x.count), slope, low - y_high + x_low, high - y_low + x_high)
            yield from ((t, t) for t in (ts if slope else ts[: self.period]))
        elif self.tied:
            for distance in self._distances(search, low, high, unfollowed, earlier):
                ts = range(max(0, -distance), min(self.x.count, self.y.count - distance))
                if search.ordered:
                    ts = _confined(ts, self.step - self.move, unfollowed - self.step * distance, None)
                    ts = _confined(ts, self.issue - self.step, earlier + self.step * distance, None)
                moving = self.step != self.move or self.issue != self.step
                yield from ((t, t + distance) for t in search.cut(_ends(ts, self.period), ts, moving))
        else:
            ss = self._single(search, self.y, low + self.x.all[0], high + self.x.all[1])
            if search.ordered:
                ss = _confined(ss, self.step, unfollowed, self.earlier - earlier)
            for s in ss if self.y.linear else search.cut(_ends(ss, self.period), ss, self.step != 0):
                at = self.y.at(s)
                ts = self._single(search, self.x, at - high, at - low)
                if search.ordered:
                    ts = _confined(ts, self.move, None, self.step * s - unfollowed)
                    ts = _confined(ts, self.issue, earlier + self.step * s, None)
                moving = self.move != 0 or self.issue != 0
                few = ts if self.x.linear else search.cut(_ends(ts, self.period), ts, moving)
                yield from ((t, s) for t in few)

    def _distances(self, search: "_Search", low: int, high: int, unfollowed: int, earlier: int) -> Iterable[int]:
        """Return distances s - t of a tied depth."""
        found = range(1 - self.x.count, self.y.count)
        (x_low, x_high), (y_low, y_high) = self.x.repeating, self.y.repeating
        found = _confined(found, self.x.linear, low - y_high + x_low, high - y_low + x_high)
        if search.ordered:
            most = self.x.count - 1
            found = _confined(found, self.step, unfollowed - max(0, self.step - self.move) * most, None)
            found = _confined(found, -self.step, earlier - max(0, self.issue - self.step) * most, None)
        if self.x.linear or len(found) <= 2 * self.period:
            return found
        # Of distances that differ by the period, the least leaves most values to t.
        middle = min(max(0, found.start), found.stop)
        before, after = range(found.start, middle), range(middle, found.stop)
        least = (*after[: self.period], *before[-self.period :])
        return search.cut(least, found, self.step != 0)

    @staticmethod
    def _single(search: "_Search", sum_: _Sum, low: int, high: int) -> range:
        return _confined(range(sum_.count), sum_.linear, low - sum_.repeating[1], high - sum_.repeating[0])


class _Search:
    """One search for a common byte; `ordered` where (1) and (2) are asked for; `all_` where nothing is to be cut."""

    def __init__(
        self,
        x: Family,
        x_operand: Operand,
        y: Family,
        y_operand: Operand,
        effort: Effort,
        tasks: int,
        ordered: bool,
        all_: bool = False,
    ) -> None:
        effort.spend(SET_UP)
        self._effort = effort
        depths = {level.depth for level in (*x.levels, *y.levels)} | ({TASK_COUNTER} if tasks > 1 else set())
        self.depths = [_Depth(depth, x, x_operand, y, y_operand, tasks) for depth in sorted(depths)]
        self.ordered, self.was_cut, self._all = ordered, False, all_
        self._operands, self._left, self._known = (x_operand, y_operand), MOST_CHOICES, dict[int, bool]()
        self._unfollowed, self._earlier = y.number - x.follows[y.queue] - 1, x.issued[y.queue] - y.number
        self._bytes = y_operand.address_at(y.counters) - x_operand.address_at(x.counters)
        (x_low, x_high), (y_low, y_high) = x_operand.span(), y_operand.span()
        self._low, self._high = x_low - y_high + 1, x_high - y_low - 1

    def cut(self, few: Iterable[int], all_: range, moving: bool) -> Iterable[int]:
        """Return `few` of all steps, where the others give the same bytes; all where that is asked for.

        `moving` steps differ in (1) and (2), so that one of the others may be the only one in order.
        """
        if self.ordered and moving and len(tuple(few)) < len(all_):
            self.was_cut = True
            return all_ if self._all else few
        return few

    def first(self) -> dict[int, tuple[int, int]] | None:
        """Return the (t, s) of each depth for a pair with a common byte, or None."""
        return self._from(0, self._bytes, self._unfollowed, self._earlier)

    def _from(self, k: int, bytes_: int, unfollowed: int, earlier: int) -> dict[int, tuple[int, int]] | None:
        rest = self.depths[k:]
        if bytes_ + sum(d.high for d in rest) < self._low or bytes_ + sum(d.low for d in rest) > self._high:
            return None
        if self.ordered and (
            unfollowed + sum(d.unfollowed for d in rest) < 0 or earlier + sum(d.earlier for d in rest) < 0
        ):
            return None
        if not rest:
            if bytes_ not in self._known:
                self._known[bytes_] = overlaps(self._operands[0], 0, self._operands[1], bytes_)
            return {} if self._known[bytes_] else None
        depth, *others = rest
        low = self._low - bytes_ - sum(d.high for d in others)
        high = self._high - bytes_ - sum(d.low for d in others)
        least = -unfollowed - sum(d.unfollowed for d in others), -earlier - sum(d.earlier for d in others)
        for t, s in depth.choices(self, low, high, *least):
            self._left -= 1
            self._effort.spend(1)
            if self._left < 0:
                raise Undecided("too many pairs of iterations may touch a byte together")
            found = self._from(
                k + 1,
                bytes_ + depth.bytes(t, s),
                unfollowed + depth.step * s - depth.move * t,
                earlier + depth.issue * t - depth.step * s,
            )
            if found is not None:
                return {depth.depth: (t, s), **found}
        return None


def common_byte(
    x: Family, x_operand: Operand, y: Family, y_operand: Operand, effort: Effort, tasks: int = 1
) -> tuple[Family, Family] | None:
    """Return a member of x and one of y, of the same of `tasks` tasks, with a common byte, (1) and (2); None for none.

    Raises Undecided.
    """
    if not x.levels and not y.levels and tasks == 1:
        effort.spend(BARE)
        addresses = x_operand.address_at(x.counters), y_operand.address_at(y.counters)
        return (x, y) if overlaps(x_operand, addresses[0], y_operand, addresses[1]) else None
    search = _Search(x, x_operand, y, y_operand, effort, tasks, ordered=True)
    found = search.first()
    if found is None and search.was_cut:
        unordered = _Search(x, x_operand, y, y_operand, effort, tasks, ordered=False)
        if unordered.first() is not None:
            # Bytes are shared, in whatever order: what was cut may decide.
            found = _Search(x, x_operand, y, y_operand, effort, tasks, ordered=True, all_=True).first()
    if found is None:
        return None
    at_x, at_y = ({depth: pair[k] for depth, pair in found.items()} for k in (0, 1))
    return x.member(at_x), y.member(at_y)
