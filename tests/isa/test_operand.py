"""Operands against sets of bytes and enumerated iterations."""

import tracemalloc
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.dtypes import F32, I8
from isa.operand import MAX_LOOP_DEPTH, Operand, Term, dense, extremes, overlaps, packed_strides, runs

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
trip_counts = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def operands(draw, trips=(1,)):
    shape = draw(shapes)
    strides = tuple(draw(st.integers(-7, 7)) for _ in shape)
    dtype = draw(st.sampled_from((I8, F32)))
    keys = draw(st.sets(st.tuples(st.integers(0, len(trips) - 1), st.sampled_from((0, 2, 3))), max_size=4))
    steps = st.integers(-40, 40).filter(bool)
    terms = tuple(Term(counter, modulus, dtype.bytes * draw(steps)) for counter, modulus in sorted(keys))
    return Operand("lm", dtype.bytes * draw(st.integers(0, 64)), dtype, shape, strides, terms)


def bytes_of(operand, address):
    """Return the set of bytes of a tensor at `address`, index by index."""
    size = operand.dtype.bytes
    found = set()
    for index in np.ndindex(operand.shape):
        first = address + size * sum(i * stride for i, stride in zip(index, operand.strides, strict=True))
        found.update(range(first, first + size))
    return found


@settings(max_examples=120)
@given(operands(), st.integers(0, 300))
def test_span_and_runs_are_the_bytes(operand, address):
    every = bytes_of(operand, address)
    low, high = operand.span()
    assert (address + low, address + high) == (min(every), max(every) + 1)
    starts, length = runs(operand, address)
    assert sorted(starts) == list(starts)
    assert {int(start) + k for start in starts for k in range(length)} == every


@settings(max_examples=150)
@given(operands(), st.integers(0, 120), operands(), st.integers(0, 120))
def test_overlaps_as_sets_of_bytes_do(a, a_address, b, b_address):
    expected = bool(bytes_of(a, a_address) & bytes_of(b, b_address))
    assert overlaps(a, a_address, b, b_address) == expected
    assert overlaps(b, b_address, a, a_address) == expected


def test_runs_that_coincide_take_memory_by_the_span():
    # 10**8 elements over 80 KB: each dimension steps by the same two bytes.
    folded = Operand("lm", 0, I8, (10_000, 10_000), (2, 2))
    tracemalloc.start()
    assert overlaps(folded, 0, dense("lm", 0, I8, (1,)), 39_996)
    assert not overlaps(folded, 0, dense("lm", 0, I8, (1,)), 39_995)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


@settings(max_examples=120)
@given(st.data(), trip_counts)
def test_addresses_against_every_iteration(data, trips):
    operand = data.draw(operands(trips))
    every = [operand.address_at(counters) for counters in product(*map(range, trips))]
    low, high = operand.address_range(trips)
    assert (low, high) == (min(every), max(every))
    assert operand.extent(trips) == (low + operand.span()[0], high + operand.span()[1])


@given(shapes)
def test_packed_strides_are_those_of_numpy(shape):
    assert packed_strides(shape) == np.empty(shape, np.int8).strides
    assert bytes_of(dense("lm", 0, I8, shape), 0) == set(range(int(np.prod(shape))))


def test_huge_trip_counts_are_not_enumerated():
    operand = Operand("lm", 0, I8, (1,), (1,), tuple(Term(k, 0, 2**61) for k in range(4)))
    trips = (2**31 - 1,) * (MAX_LOOP_DEPTH + 1)
    assert operand.address_range(trips) == (0, 4 * (2**31 - 2) * 2**61)


@settings(max_examples=150)
@given(st.data())
def test_extremes_are_those_of_all_iterations(data):
    trips = [data.draw(st.integers(1, 12)) for _ in range(3)]
    keys = st.tuples(st.integers(0, 2), st.sampled_from((0, 2, 3, 4)))
    terms = [Term(*key, data.draw(st.sampled_from((-7, -1, 2, 5)))) for key in data.draw(st.sets(keys, max_size=4))]
    sums = {c: sum(term.value(c) for term in terms) for c in product(*map(range, trips))}
    for (value, counters), expected in zip(extremes(terms, trips), (min, max), strict=True):
        assert value == expected(sums.values())
        assert value == sum(term.at(counters[term.counter]) for term in terms)
