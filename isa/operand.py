"""Operands: where a tensor lies, what it looks like, and how its address follows the loop counters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd, lcm, prod
from typing import NamedTuple

import numpy as np

from isa.dtypes import DType
from isa.kept import declared

# Each core has lm and cb; host is the host's memory behind PCIe, dev the chip's own DRAM, where it has one.
MEMORIES = ("lm", "cb", "host", "dev")
# All cores see the same.
SHARED = ("host", "dev")
MEMORY_MEANING = {
    "lm": "local memory of the core: tensors",
    "cb": "constant buffer of the core: biases, scales, tables",
    "host": "host memory, reached over PCIe",
    "dev": "device memory (DRAM), where the chip has it",
}

MAX_RANK = 4
MAX_TERMS = 4
# Counter 0 is the task number; structured loops use 1, 2, ... from the outside in.
MAX_LOOP_DEPTH = 7
TASK_COUNTER = 0
# Automatic placement aligns to this many bytes.
PLACEMENT_ALIGNMENT = 256


@dataclass(frozen=True, order=True)
class Term:
    """One affine term of an address: `stride * (counter mod modulus)` bytes; modulus 0 means no modulo."""

    counter: int
    modulus: int
    stride: int

    def at(self, count: int) -> int:
        """Return the term, in bytes, where its counter has the value `count`."""
        return self.stride * (count % self.modulus if self.modulus else count)

    def value(self, counters: Sequence[int]) -> int:
        """Return the term, in bytes, at the given counter values."""
        return self.at(counters[self.counter])


class Growth(NamedTuple):
    """How one dimension of a tensor grows with the task: by `step` elements times (task mod modulus)."""

    dimension: int
    modulus: int
    step: int

    def at(self, size: int, task: int) -> int:
        """Return the size in a task of a dimension that has `size` elements in task 0."""
        return size + self.step * (task % self.modulus)


# What a descriptor holds of them.
MOST_GROWTH = 2**16 - 1
# Terms of one counter whose moduli repeat after more iterations are bounded one by one, which may be too wide.
MOST_TURNS = 4096
# Sums of steps are tried so often before two tensors are compared run by run.
MOST_TRIES = 2**14


# A sum of terms, and the counters where it is taken.
Bound = tuple[int, dict[int, int]]


def extremes(terms: Iterable[Term], trips: Sequence[int]) -> tuple[Bound, Bound]:
    """Return the least and the greatest sum of terms over all iterations, each with the counters where it is taken.

    `trips[k]` is the trip count of counter k.
    """
    low, high = 0, 0
    at_low, at_high = dict[int, int](), dict[int, int]()
    by_counter: dict[int, list[Term]] = {}
    for term in terms:
        by_counter.setdefault(term.counter, []).append(term)
    for counter, mine in by_counter.items():
        period = lcm(*(term.modulus for term in mine if term.modulus))
        groups = [mine] if len(mine) == 1 or period <= MOST_TURNS else [[term] for term in mine]
        for group in groups:
            sums = {count: sum(term.at(count) for term in group) for count in turns(group, trips[counter])}
            at_low[counter], at_high[counter] = min(sums, key=sums.__getitem__), max(sums, key=sums.__getitem__)
            low, high = low + sums[at_low[counter]], high + sums[at_high[counter]]
    return (low, at_low), (high, at_high)


def turns(terms: Sequence[Term], trip: int) -> Iterable[int]:
    """Return values of a counter among which the sum of its terms has its extremes.

    For each remainder of the moduli's period the sum is linear, so its first and last iteration are enough.
    """
    if len(terms) == 1:
        return {0, min(trip, terms[0].modulus or trip) - 1}
    period = lcm(*(term.modulus for term in terms if term.modulus))
    return {*range(min(period, trip)), *range(max(trip - period, 0), trip)}


@dataclass(frozen=True)
class Operand:
    """A tensor as an instruction sees it.

    `address` is in bytes from the start of `memory`, at counters 0; `strides` are in elements, one a dimension;
    `terms` are sorted, with distinct (counter, modulus) and strides other than 0. `core` says whose memory it is, where
    that is another core's: None for the own, and for memories that all share. `stored` is the size in bytes of a weight
    that is compressed (isa/compressed.py) or, where `form` names one, in groups (isa/grouped.py); 0 for a dense tensor.
    `shape` is that of task 0 where a dimension has `growth`.
    """

    memory: str
    address: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    terms: tuple[Term, ...] = ()
    core: int | None = None
    stored: int = 0
    form: str = ""
    growth: Growth | None = None

    __getstate__ = declared

    def at(self, task: int) -> "Operand":
        """Return the operand as it is in a task; its address still follows the counters."""
        if self.growth is None:
            return self
        k, shape = self.growth.dimension, list(self.shape)
        shape[k] = self.growth.at(shape[k], task)
        return replace(self, shape=tuple(shape), growth=None)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of data moved when the operand is read or written once."""
        return self.stored or self.elements * self.dtype.bytes

    def span(self) -> tuple[int, int]:
        """Return the bounding byte interval [low, high) relative to the operand's address."""
        return self._span

    @cached_property
    def _span(self) -> tuple[int, int]:
        if self.stored:
            return 0, self.stored
        low = high = 0
        for size, stride in zip(self.shape, self.strides, strict=True):
            reach = (size - 1) * stride
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low * self.dtype.bytes, (high + 1) * self.dtype.bytes

    def address_range(self, trips: Sequence[int]) -> tuple[int, int]:
        """Return the least and greatest address over all iterations; `trips[k]` is counter k's trip count."""
        (low, _), (high, _) = extremes(self.terms, trips)
        return self.address + low, self.address + high

    def extent(self, trips: Sequence[int]) -> tuple[int, int]:
        """Return the byte interval [low, high) of the memory that the operand may touch in any iteration."""
        if self.growth is not None:
            return self.at(min(trips[TASK_COUNTER], self.growth.modulus) - 1).extent(trips)
        first, last = self._span
        if not self.terms:
            return self.address + first, self.address + last
        low, high = self.address_range(trips)
        return low + first, high + last

    def address_at(self, counters: Sequence[int]) -> int:
        """Return the byte address at the given counter values."""
        return self.address + sum(term.value(counters) for term in self.terms)


def region(core: int, memory: str) -> tuple[int, str]:
    """Return the key of a core's memory among those of all cores: what they share is kept as core 0's."""
    return (0 if memory in SHARED else core), memory


def packed_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the element strides of a dense row-major tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def dense(memory: str, address: int, dtype: DType, shape: Sequence[int], terms: tuple[Term, ...] = ()) -> Operand:
    """Return a dense row-major operand."""
    return Operand(memory, address, dtype, tuple(shape), packed_strides(shape), terms)


def runs(operand: Operand, address: int) -> tuple[np.ndarray, int]:
    """Return (sorted first bytes, length in bytes) of the contiguous runs that make up a tensor at `address`."""
    dims, length = _runs(operand)
    if operand.stored:
        return np.array([address], np.int64), length
    starts = np.zeros(1, np.int64)
    reach = length // operand.dtype.bytes
    for stride, size in dims:
        if stride >= reach:
            starts = np.add.outer(starts, stride * np.arange(size, dtype=np.int64)).ravel()
        else:
            # Runs may coincide: without doubles there are never more of them than elements in the span.
            held = 1
            while held < size:
                added = min(held, size - held)
                starts = np.union1d(starts, starts + added * stride)
                held += added
        reach += stride * (size - 1)
    return np.sort(address + operand.span()[0] + starts * operand.dtype.bytes), length


def run_length(operand: Operand) -> int:
    """Return the length in bytes of the contiguous runs that make up a tensor."""
    return _runs(operand)[1]


def _runs(operand: Operand) -> tuple[list[tuple[int, int]], int]:
    """Return how the runs of a tensor are spaced, (elements apart, how many), the nearest first, and their bytes."""
    if operand.stored:
        return [], operand.stored
    length = 1
    dims = sorted((abs(stride), size) for size, stride in zip(operand.shape, operand.strides, strict=True) if size > 1)
    while dims and dims[0][0] <= length:
        stride, size = dims.pop(0)
        length += stride * (size - 1)
    return dims, length * operand.dtype.bytes


def _reaches(steps: Sequence[tuple[int, int, int]], low: int, high: int) -> bool | None:
    """Return whether some sum of steps lies in low ... high: each (step, least, most) from least to most times.

    None where it would have to be tried too often. Tensors that are cut from others have steps that divide each other,
    or nearly so, and a few tries decide.
    """
    merged: dict[int, tuple[int, int]] = {}
    for step, least, most in steps:
        held = merged.get(step, (0, 0))
        merged[step] = held[0] + least, held[1] + most
    ordered = sorted(merged, reverse=True)
    # What the steps from one on can reach, and what divides all of that.
    reach, divisors = [(0, 0)], [0]
    for step in reversed(ordered):
        least, most = merged[step]
        reach.append((reach[-1][0] + step * least, reach[-1][1] + step * most))
        divisors.append(gcd(divisors[-1], step))
    reach.reverse()
    divisors.reverse()
    open_, tried = [(0, low, high)], 0
    while open_:
        at, low, high = open_.pop()
        low, high = max(low, reach[at][0]), min(high, reach[at][1])
        if low > high or (divisors[at] and -(-low // divisors[at]) * divisors[at] > high):
            continue
        if at == len(ordered) or (at == len(ordered) - 1):
            return True
        step, (least, most), rest = ordered[at], merged[ordered[at]], reach[at + 1]
        first, last = max(least, -(-(low - rest[1]) // step)), min(most, (high - rest[0]) // step)
        tried += max(last - first + 1, 0)
        if tried > MOST_TRIES:
            return None
        open_ += [(at + 1, low - count * step, high - count * step) for count in range(first, last + 1)]
    return False


def overlaps(a: Operand, a_address: int, b: Operand, b_address: int) -> bool:
    """Return whether two tensors of one memory share a byte, exactly, at the given addresses."""
    (a_low, a_high), (b_low, b_high) = a.span(), b.span()
    if a_address + a_high <= b_address + b_low or b_address + b_high <= a_address + a_low:
        return False
    (a_dims, a_length), (b_dims, b_length) = _runs(a), _runs(b)
    # A run of a begins this much before one of b, or after; bytes.
    ahead = a_address + a_low - b_address - b_low
    steps = [(stride * a.dtype.bytes, 0, size - 1) for stride, size in a_dims]
    steps += [(stride * b.dtype.bytes, 1 - size, 0) for stride, size in b_dims]
    found = _reaches(steps, 1 - a_length - ahead, b_length - 1 - ahead)
    if found is not None:
        return found
    (a_starts, _), (b_starts, _) = runs(a, a_address), runs(b, b_address)
    # The first run of b that ends after a run of a begins: does it begin before that run ends?
    after = np.searchsorted(b_starts, a_starts - b_length, side="right")
    within = after < len(b_starts)
    return bool(np.any(b_starts[after[within]] < a_starts[within] + a_length))
