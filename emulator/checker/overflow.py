"""Overflow: products whose sums can pass the accumulator's 32 bits, for some input of the declared type.

A sum of K products (x - x_zero) (w - w_zero) and a bias is greatest where each x is the end of its type that its weight
makes greatest. Weights and biases that the program holds and nothing writes are taken as they are, other weights as
their type allows; where they follow counters, those of each iteration go together. Products of 16 bits have an
accumulator of 64, which no sum passes.

An i32 result that is added to i32 values, and a sum of such, is bounded by its types and by all that those are made of.
A bias that the program writes is bounded by whatever is moved to where it lies: by the constants that it streams.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import lcm, prod
from typing import Any

import numpy as np

from emulator.checker.findings import Edit, Finding
from emulator.checker.race_report import when
from emulator.plan.plan import Plan
from isa.compressed import expand
from isa.diagnostic import Place
from isa.dtypes import I16, I32, DType
from isa.instruction import Instruction, products_of_sum
from isa.memory import shortage
from isa.operand import Operand, region
from isa.program import Segment

# Counters, the first channel there that passes, and what it can reach.
Worst = tuple[tuple[int, ...], int, int]
# Pairs of addresses of one instruction, and weights of a program, each time counted: 20 ns each.
MOST_PAIRS, MOST_WEIGHTS = 2**16, 2**26
# Weights become 64 bits so many at a time.
PIECE = 2**18


def can_overflow(plan: Plan) -> tuple[list[Finding], list[str]]:
    """Return the products whose accumulator some input makes overflow; and in words those that were not looked at."""
    sums = _Sums(plan)
    findings, unseen = [], []
    for part in plan.cores:
        trips = part.core.trips(plan.tasks)
        for index, instruction in enumerate(part.core.code):
            if not _is_product(instruction) and not _is_sum(instruction):
                continue
            try:
                worst = sums.worst(part.number, instruction, trips[index])
            except _Unknown as unknown:
                unseen.append(f"whether a sum of {part.where(index)} can overflow, for {unknown}")
                continue
            if worst is not None:
                counters, channel, value = worst
                findings.append(_finding(plan, Place(part.number, index, counters), instruction, channel, value))
    return findings, unseen


def _finding(plan: Plan, place: Place, instruction: Instruction, channel: int, value: int) -> Finding:
    bound = I32.high if value > 0 else I32.low
    parts = -(-abs(value) // abs(bound))
    edits: tuple[Edit, ...] = ()
    if instruction.row.mnemonic == "matmul":
        edits = (Edit(place.core, place.index, "split sum", str(parts)),)
    reach = f"the sum of channel {channel} can reach {value:,}{when(plan, place)}"
    return Finding(
        "C501",
        place,
        f"{reach}, but the accumulator wraps at {bound:,}",
        f"sum in {parts} parts, each into f32, adding the one before (`add=`); or use smaller weights",
        (),
        edits,
    )


class _Unknown(Exception):
    """Raised where it cannot be said whether sums overflow; why is its text."""


def _is_product(instruction: Instruction) -> bool:
    return any(spec.name == "w" for spec in instruction.row.operands)


def _is_sum(instruction: Instruction) -> bool:
    """Whether it is a `reduce` that sums integers, wrapped to 32 bits."""
    out = instruction.operand("out") if instruction.row.mnemonic == "reduce" else None
    return out is not None and out.dtype == I32 and instruction.word("op") == "sum"


class _Sums:
    """The sums of a program's products, by the constants that it holds."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._held, self._left = plan, _Constants(plan), MOST_WEIGHTS

    def worst(self, core: int, instruction: Instruction, trips: Sequence[int]) -> Worst | None:
        """Return the first channel whose sum can pass 32 bits in some iteration, and what it can reach; None for none.

        Raises _Unknown.
        """
        if not _is_product(instruction):
            self._check_sum(core, instruction, trips)
            return None
        x, w, bias = (instruction.operand(name) for name in ("x", "w", "bias"))
        assert x is not None and w is not None
        if x.dtype == I16 or x.dtype.is_float:
            return None
        out = instruction.operand("out")
        if out is not None and _taken(instruction, out) is not None:
            if self._kept.most(core, out, trips) > I32.high:
                raise _Unknown("it adds i32 sums: by their types they can pass 32 bits, taken together")
            return None
        if self.by_types(core, instruction, trips, self._kept) <= I32.high:
            return None
        w_zero = int(instruction.attribute("w_zero")[0])
        of_x, of_w = _ends(x.dtype, int(instruction.attribute("x_zero")[0])), _ends(w.dtype, w_zero)
        biases = self._biases(core, bias, trips, self._kept)
        if not self._held.is_written(core, x, trips) and self._held.tensor(core, x, 0) is not None:
            raise _Unknown("x is a constant, too: the worst that its type allows is not there")
        is_held = not self._held.is_written(core, w, trips)
        sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        moving = bias if len(biases) > 1 else None
        for (at_w, at_bias), counters in _together((w if is_held else None, moving), trips).items():
            if at_w not in sums:
                factors = self._factors(core, instruction, w, at_w) if is_held else None
                if factors is None:
                    each = products_of_sum(instruction)
                    sums[at_w] = _reach(np.array(of_w)[:, None, None], 0, (each * of_x[0], each * of_x[1]))
                else:
                    _make_room("the sums of its channels", (len(sums) + 1) * factors.shape[-1] * 2 * np.int64().nbytes)
                    sums[at_w] = _reach(factors, w_zero, of_x)
            low, high = biases[at_bias]
            least, most = sums[at_w][0] + low, sums[at_w][1] + high
            passes = np.flatnonzero((least < I32.low) | (most > I32.high))
            if len(passes):
                channel = int(passes[0])
                return counters, channel, int(most[channel] if most[channel] > I32.high else least[channel])
        return None

    @cached_property
    def _kept(self) -> "_Kept":
        return _Kept(self._plan, self.by_types)

    def _check_sum(self, core: int, instruction: Instruction, trips: Sequence[int]) -> None:
        """Raise _Unknown where a `reduce` can pass 32 bits, by the values that it sums."""
        x, out = instruction.operand("x"), instruction.operand("out")
        assert x is not None and out is not None
        most = self._kept.most(core, x, trips) if x.dtype == I32 else max(map(abs, _ends(x.dtype, 0)))
        if x.elements // out.elements * most > I32.high:
            raise _Unknown(f"it adds {x.elements // out.elements:,} integers that reach {most:,} by their types")

    def by_types(self, core: int, instruction: Instruction, trips: Sequence[int], kept: "_Kept") -> int:
        """Return what a sum of products and its bias reach at most, by the types of the factors; raise _Unknown."""
        x, w, bias = (instruction.operand(name) for name in ("x", "w", "bias"))
        assert x is not None and w is not None
        factors = [
            max(map(abs, _ends(operand.dtype, int(instruction.attribute(name)[0]))))
            for name, operand in (("x_zero", x), ("w_zero", w))
        ]
        biases = self._biases(core, bias, trips, kept)
        return products_of_sum(instruction) * prod(factors) + max(int(np.abs(each).max()) for each in biases.values())

    def _biases(
        self, core: int, bias: Operand | None, trips: Sequence[int], kept: "_Kept"
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the least and the greatest bias of each channel, or of all, by what counters add to its address.

        0 where there is none; one for all counters where the program writes it.
        """
        if bias is not None and self._held.is_written(core, bias, trips):
            most = np.array([kept.most_moved(core, bias, trips)])
            return {0: (-most, most)}
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for (at,) in _together((bias,), trips):
            _make_room("its biases", (len(found) + 1) * (bias.elements if bias else 1) * np.int64().nbytes)
            known = None if bias is None else self._held.tensor(core, bias, at)
            values = np.zeros(1, np.int64) if known is None else known.astype(np.int64)
            found[at] = values, values
        return found

    def _factors(self, core: int, instruction: Instruction, w: Operand, at: int) -> np.ndarray | None:
        """Return the weights of an iteration, [sums, products, channels], or None where they are not held."""
        # Some are copied to be seen so.
        _make_room("a copy of its weights", w.elements * w.dtype.bytes)
        factors = self._held.tensor(core, w, at)
        if factors is None:
            return None
        self._left -= factors.size
        if self._left < 0:
            raise _Unknown("there are too many weights, in all iterations")
        match instruction.row.mnemonic:
            case "matmul":
                if instruction.attribute("transpose_w")[0]:
                    factors = factors.swapaxes(-1, -2)
                return factors.reshape(-1, *factors.shape[-2:])
            case "dwconv":
                return factors.reshape(1, -1, factors.shape[-1])
        return factors.reshape(factors.shape[0], -1).T[None]


def _taken(instruction: Instruction, out: Operand) -> Operand | None:
    """Return the operand whose i32 values go into the i32 values of a result, each into one; None for none."""
    name = "ew2" if _is_product(instruction) else "x"
    words = [instruction.word(spec.name) for spec in instruction.row.choices]
    if name == "x" and (not instruction.row.keeps(words) or "argmax" in words or out != instruction.operand("out")):
        return None
    operand = instruction.operand(name) if any(spec.name == name for spec in instruction.row.operands) else None
    return operand if operand is not None and operand.dtype == out.dtype == I32 else None


def _make_room(what: str, size: int) -> None:
    """Raise _Unknown where there is not the memory for what is looked at."""
    short = shortage({what: size})
    if short:
        raise _Unknown(short)


def _reach(factors: np.ndarray, zero: int, of_x: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest that the sums of each channel can be, [channels] int64.

    `factors` are [sums, products, channels], `of_x` the ends of what each is multiplied by. The greatest takes the
    upper end where a factor is positive and the lower one where it is negative, so the sums of either are enough.
    """
    sums, products, channels = factors.shape
    least, most = np.empty(channels, np.int64), np.empty(channels, np.int64)
    # Along the channels first, then as many products and sums as there is room for.
    wide = min(channels, PIECE)
    deep = min(products, PIECE // wide)
    high = min(sums, PIECE // (wide * deep))
    for channel in range(0, channels, wide):
        of_channels = slice(channel, channel + wide)
        lows, highs = [], []
        for first in range(0, sums, high):
            plus: Any = 0
            minus: Any = 0
            for product in range(0, products, deep):
                piece = factors[first : first + high, product : product + deep, of_channels].astype(np.int64) - zero
                plus = plus + np.maximum(piece, 0).sum(axis=1)
                minus = minus + np.minimum(piece, 0).sum(axis=1)
            lows.append((plus * of_x[0] + minus * of_x[1]).min(axis=0))
            highs.append((plus * of_x[1] + minus * of_x[0]).max(axis=0))
        least[of_channels], most[of_channels] = np.min(lows, axis=0), np.max(highs, axis=0)
    return least, most


def _ends(dtype: DType, zero: int) -> tuple[int, int]:
    return int(dtype.low) - zero, int(dtype.high) - zero


def _together(operands: Sequence[Operand | None], trips: Sequence[int]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return what the counters add to the addresses of operands, together, each with counters for which they do.

    Raises _Unknown where there are too many.
    """
    found = {(0,) * len(operands): (0,) * len(trips)}
    for counter, count in enumerate(trips):
        terms = [[term for term in operand.terms if term.counter == counter] if operand else [] for operand in operands]
        moduli = [term.modulus for each in terms for term in each]
        # Those with a modulus repeat together.
        values = range(count if 0 in moduli else min(count, lcm(*moduli)))
        if len(values) * len(found) > MOST_PAIRS:
            raise _Unknown("it has too many iterations")
        steps: dict[tuple[int, ...], int] = {}
        for n in values:
            steps.setdefault(tuple(sum(term.at(n) for term in each) for each in terms), n)
        found = {
            tuple(map(sum, zip(at, step))): (*counters[:counter], n, *counters[counter + 1 :])
            for at, counters in found.items()
            for step, n in steps.items()
        }
    return found


class _Constants:
    """What a program holds and nothing writes: no instruction in any iteration, and no input."""

    def __init__(self, plan: Plan) -> None:
        written: dict[tuple[int, str], list[tuple[int, int]]] = {}
        self._segments: dict[tuple[int, str], list[tuple[int, int, bytes]]] = {}
        for part in plan.cores:
            for instruction, trips in zip(part.core.code, part.core.trips(plan.tasks)):
                for kind, operand in instruction.accesses():
                    if kind == "write":
                        written.setdefault(_place(part.number, operand), []).append(operand.extent(trips))
            for symbol in part.core.symbols:
                if symbol.kind == "input":
                    end = symbol.address + symbol.buffers * symbol.bytes
                    written.setdefault(region(part.number, symbol.memory), []).append((symbol.address, end))
            for segment in part.core.segments:
                held = segment.address, segment.end, segment.data
                self._segments.setdefault(region(part.number, segment.memory), []).append(held)
        self._written = {place: np.array(found) for place, found in written.items()}
        for segments in self._segments.values():
            segments.sort()

    def is_written(self, core: int, operand: Operand, trips: Sequence[int]) -> bool:
        """Return whether something may write an operand's bytes, in some iteration."""
        low, high = operand.extent(trips)
        written = self._written.get(_place(core, operand))
        return written is not None and bool(((written[:, 0] < high) & (low < written[:, 1])).any())

    def tensor(self, core: int, operand: Operand, at: int) -> np.ndarray | None:
        """Return an operand's tensor, `at` bytes on, that one segment has whole; or None."""
        low, high = (operand.address + at + end for end in operand.span())
        segments = self._segments.get(_place(core, operand), [])
        # They share no byte.
        k = bisect_right(segments, low, key=lambda segment: segment[0])
        if not k or high > segments[k - 1][1]:
            return None
        first, _, held = segments[k - 1]
        data = np.frombuffer(held, np.uint8)[low - first : high - first]
        if operand.stored:
            return expand(data, operand.dtype, operand.shape)
        values = data.view(operand.dtype.numpy)[-operand.span()[0] // operand.dtype.bytes :]
        strides = [stride * operand.dtype.bytes for stride in operand.strides]
        return np.lib.stride_tricks.as_strided(values, operand.shape, strides)


def _place(core: int, operand: Operand) -> tuple[int, str]:
    return region(core if operand.core is None else operand.core, operand.memory)


class _Kept:
    """How large the i32 values are that a program keeps and adds to.

    Bytes that i32 operands share, and those of which values go into others, are a pool. Each value of a pool was put
    there once, whole, and went through each execution that adds to it once at most; so it is no larger than the largest
    of the first, and all that may be added.
    """

    def __init__(self, plan: Plan, by_types: Callable[[int, Instruction, Sequence[int], "_Kept"], int]) -> None:
        makers: list[tuple[int, Instruction, Operand, tuple[int, ...]]] = []
        others: dict[tuple[int, str], list[tuple[int, int]]] = {}
        self._ends: dict[tuple[int, str], list[int]] = {}
        spans: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for part in plan.cores:
            for instruction, trips in zip(part.core.code, part.core.trips(plan.tasks)):
                for kind, operand in instruction.accesses():
                    place, extent = _place(part.number, operand), operand.extent(trips)
                    if operand.dtype == I32:
                        spans.setdefault(place, []).append(extent)
                        if kind == "write":
                            makers.append((part.number, instruction, operand, trips))
                    elif kind == "write":
                        others.setdefault(place, []).append(extent)
        # The first byte of each stretch that operands share, by its place, and the pool of each.
        self._firsts: dict[tuple[int, str], list[int]] = {}
        self._numbers: dict[tuple[int, str], int] = {}
        self._pools: list[int] = []
        for place, extents in spans.items():
            self._firsts[place], self._ends[place] = _merged(extents)
            self._numbers[place] = len(self._pools)
            self._pools += range(len(self._pools), len(self._pools) + len(self._firsts[place]))
        for core, instruction, out, trips in makers:
            taken = _taken(instruction, out)
            if taken is not None:
                self._pools[self._pool(core, taken, trips)] = self._pool(core, out, trips)
        self._first, self._added = [0] * len(self._pools), [0] * len(self._pools)
        self._why: dict[int, str] = {}
        for place, extents in others.items():
            self._doubt(place, extents, "what is no i32 is written there, too")
        for part in plan.cores:
            for symbol in part.core.of_kind("input"):
                place, end = region(part.number, symbol.memory), symbol.address + symbol.buffers * symbol.bytes
                self._doubt(place, [(symbol.address, end)], f"`{symbol.name}`, an input, may have any value")
            for segment in part.core.segments:
                self._hold(region(part.number, segment.memory), segment)
        products = [maker for maker in makers if _is_product(maker[1])]
        self._products = {self._pool(core, out, trips) for core, _, out, trips in products}
        # Products last: of their biases is known then what is moved there.
        for maker in sorted(makers, key=lambda maker: _is_product(maker[1])):
            self._enter(*maker, by_types)

    def most(self, core: int, operand: Operand, trips: Sequence[int]) -> int:
        """Return what an i32 value of an operand reaches at most; raise _Unknown."""
        pool = self._pool(core, operand, trips)
        if pool in self._why:
            raise _Unknown(f"it adds i32 sums: {self._why[pool]}")
        return self._first[pool] + self._added[pool]

    def most_moved(self, core: int, bias: Operand, trips: Sequence[int]) -> int:
        """Return what a bias that is written reaches at most, where none is a sum of products; raise _Unknown."""
        pool = self._pool(core, bias, trips)
        why = "it is a sum of products" if pool in self._products else self._why.get(pool)
        if why is not None:
            raise _Unknown(f"the program writes its bias: {why}")
        return self._first[pool] + self._added[pool]

    def _enter(
        self,
        core: int,
        instruction: Instruction,
        out: Operand,
        trips: Sequence[int],
        by_types: Callable[[int, Instruction, Sequence[int], "_Kept"], int],
    ) -> None:
        """Enter what an instruction puts into a pool by one of its results, or adds to it."""
        pool, taken = self._pool(core, out, trips), _taken(instruction, out)
        if _is_product(instruction):
            try:
                most = by_types(core, instruction, trips, self)
            except _Unknown as unknown:
                self._why[pool] = str(unknown)
                return
            if taken is not None:
                self._added[pool] += prod(trips) * most
                return
        elif taken is not None:
            return
        elif instruction.row.mnemonic == "fill":
            most = abs(int(instruction.attribute("value")[0]))
        else:
            # Of a sum, all that it adds; of what a `reduce` or `topk` finds, the place.
            x = instruction.operand("x")
            assert x is not None
            if x.dtype == I32 and _is_sum(instruction):
                self._why[pool] = "sums of i32 sums are among them"
                return
            most = x.elements * (max(map(abs, _ends(x.dtype, 0))) if _is_sum(instruction) else 1)
        self._first[pool] = max(self._first[pool], most)

    def _hold(self, place: tuple[int, str], segment: Segment) -> None:
        """Enter the values that a program holds from the start."""
        for k in range(*self._meeting(place, segment.address, segment.end)):
            low, high = max(segment.address, self._firsts[place][k]), min(segment.end, self._ends[place][k])
            pool = self._root(self._numbers[place] + k)
            if low % I32.bytes or high % I32.bytes:
                self._why[pool] = "what is no i32 is there from the start"
                continue
            held = np.frombuffer(segment.data, I32.numpy, (high - low) // I32.bytes, low - segment.address)
            self._first[pool] = max(self._first[pool], int(held.max()), -int(held.min()))

    def _doubt(self, place: tuple[int, str], extents: list[tuple[int, int]], why: str) -> None:
        """Note of the pools that share bytes with any of some extents that their values are not known."""
        for low, high in zip(*_merged(extents)):
            for k in range(*self._meeting(place, low, high)):
                self._why[self._root(self._numbers[place] + k)] = why

    def _meeting(self, place: tuple[int, str], low: int, high: int) -> tuple[int, int]:
        """Return the first stretch that shares a byte with [low, high), and the one behind the last."""
        if place not in self._firsts:
            return 0, 0
        return bisect_right(self._ends[place], low), bisect_left(self._firsts[place], high)

    def _pool(self, core: int, operand: Operand, trips: Sequence[int]) -> int:
        place = _place(core, operand)
        return self._root(self._numbers[place] + bisect_right(self._firsts[place], operand.extent(trips)[0]) - 1)

    def _root(self, k: int) -> int:
        while self._pools[k] != k:
            self._pools[k] = k = self._pools[self._pools[k]]
        return k


def _merged(extents: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the first bytes and the ends of the stretches that extents [low, high) make up, none sharing a byte."""
    firsts: list[int] = []
    ends: list[int] = []
    for low, high in sorted(extents):
        if ends and low < ends[-1]:
            ends[-1] = max(ends[-1], high)
        else:
            firsts.append(low)
            ends.append(high)
    return firsts, ends
