"""Intervals of bytes, against sets of bytes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from isa.intervals import Intervals, covers, meets, union

ENDS = st.tuples(st.integers(0, 30), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair)))


@given(st.lists(ENDS, max_size=12), ENDS)
def test_what_intervals_cover_together(intervals: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    covered = {byte for low, high in intervals for byte in range(low, high)}
    united = union(intervals)
    assert [byte for low, high in united for byte in range(low, high)] == sorted(covered)
    assert all(low < high for low, high in united)
    assert all(one[1] < other[0] for one, other in pairwise(united))
    bytes_ = set(range(*asked))
    if bytes_:
        assert meets(united, *asked) == bool(bytes_ & covered)
        assert covers(united, *asked) == (bytes_ <= covered)


@given(st.lists(ENDS, max_size=40), ENDS, st.integers(-1, 40))
def test_those_that_one_meets(intervals: list[tuple[int, int]], asked: tuple[int, int], after: int) -> None:
    held = Intervals()
    for number, (low, high) in enumerate(intervals):
        held.add(number, low, high)
    met = [k for k, (low, high) in enumerate(intervals) if k > after and low < asked[1] and asked[0] < high]
    assert held.meeting(after, *asked).tolist() == met
