"""The front has no dominated point and leaves none out; main effects add up where they are all there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explore.front import effects, front
from explore.space import grid, space_of

VALUES = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40)


def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b)) and a != b


@given(VALUES)
def test_front_is_what_nothing_beats(values: list[tuple[int, ...]]) -> None:
    found = front(values)
    assert len(set(found)) == len(found)
    assert set(found) == {k for k, one in enumerate(values) if not any(beats(other, one) for other in values)}
    assert [values[k] for k in found] == sorted(values[k] for k in found)


def test_main_effects() -> None:
    space = space_of({"te.latency": "1,2,3", "pe.latency": range(24), "te.vector_format": "fp32,fp24"}, networks=False)
    points = grid(space)
    found = effects(space, points, [10 * point["te.latency"] + point["pe.latency"] for point in points])
    assert [one.key for one in found] == ["te.latency", "pe.latency", "te.vector_format"]
    assert found[2].share == 0 and [level.words for level in found[2].levels] == ["fp32", "fp24"]
    assert [level.points for level in found[0].levels] == [48] * 3 and len(found[1].levels) == 12
    assert sum(one.share for one in found) == pytest.approx(1, abs=0.01)
