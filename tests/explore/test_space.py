"""What varies: how it is said, the points of a grid, drawn points."""

import pytest

import ratel
from explore.space import grid, parameter, sample, space_of


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        ("te.channels", "64,128,256", (64, 128, 256)),
        ("memory.lm", "8M..64M/3", (8 << 20, 36 << 20, 64 << 20)),
        ("memory.lm_bytes", "64K..1M*4", (1 << 16, 1 << 18, 1 << 20)),
        ("te.latency", "10..20/3, 30, 10", (10, 15, 20, 30)),
        ("chip.frequency_mhz", "500..1000/3", (500.0, 750.0, 1000.0)),
        ("te.vector_format", "fp19,fp32", ("fp19", "fp32")),
        ("te.latency", range(3, 6), (3, 4, 5)),
        ("te.latency", 7, (7,)),
    ],
)
def test_values(key: str, text: object, values: tuple[object, ...]) -> None:
    (one,) = space_of({key: text}, networks=False)
    assert one.values == values and [type(value) for value in one.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({}, "nothing varies"),
        ({"te.latncy": "1"}, "did you mean `te.latency`"),
        ({"te.latency": "1..2..3"}, "no range"),
        ({"te.latency": "20..10"}, "not below"),
        ({"te.latency": "1..9/x"}, "no range"),
        ({"te.latency": "1..9/1"}, "from 2"),
        ({"te.latency": "1..9*1"}, "factor above 1"),
        ({"te.latency": "12x"}, "no number"),
        ({"te.latency": "-1"}, "from 0"),
        ({"te.latency": []}, "no values"),
        ({"te.vector_format": "fp16"}, "fp24"),
        ({"te.latency": iter(int, 1)}, "over 10,000 values"),
        ({"memory.lm": "1M", "memory.lm_bytes": "2M"}, "varies twice"),
        ({"batch": "1,2"}, "of networks"),
        ({"chip.name": "a"}, "nothing called"),
    ],
)
def test_what_is_wrong_is_said(vary: dict[str, object], said: str) -> None:
    with pytest.raises(ratel.InputError, match=said):
        space_of(vary, networks=False)


def test_grids_and_samples() -> None:
    space = space_of({"te.latency": "1..3/3", "pe.latency": "5,6"}, networks=False)
    points = grid(space)
    assert len(points) == 6 and points[1] == {"te.latency": 1, "pe.latency": 6}
    assert sample(space, 6, 0) == points
    drawn = sample(space, 4, 0)
    assert drawn == sample(space, 4, 0) and len({tuple(point.values()) for point in drawn}) == 4
    some = (parameter("te.latency", "1..3"),)
    with pytest.raises(ratel.InputError, match="say how many"):
        grid(some)
    assert len(sample(some, 100, 1)) == 3
