"""Slices of the Builder's tensors are NumPy's: the same elements in the same order, or a declared error."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ratel
from assembler.syntax.diagnostics import AssemblyError
from isa.dtypes import DTYPES
from isa.instruction import Instruction
from isa.interpret import view
from isa.operand import MAX_LOOP_DEPTH

TRIPS = 3


def elements(instruction: Instruction, shape: tuple[int, ...], i: int = 0) -> np.ndarray:
    """Return what of a tensor, whose elements are numbered, an instruction fills in iteration i."""
    out = instruction.operand("out")
    assert out is not None
    memory = np.arange(np.prod(shape), dtype=DTYPES["i32"].numpy).view(np.uint8)
    return view(out, {"lm": memory}, [0, i] + [0] * (MAX_LOOP_DEPTH - 1))


def filled(shape: tuple[int, ...], index: Any) -> np.ndarray:
    b = ratel.Builder("slices", chip="edge")
    b.fill(b.output("y", "i32", shape, at=0)[index])
    return elements(b.build().cores[0].code[0], shape)


ends = st.none() | st.integers(-16, 16) | st.sampled_from([-(10**30), 10**30])


@given(st.data())
def test_constant_slices(data: st.DataObject) -> None:
    shape = data.draw(npst.array_shapes(max_dims=3, max_side=11))
    wild = st.builds(slice, ends, ends, ends.filter(lambda step: step != 0))
    index = data.draw(npst.basic_indices(shape) | st.tuples(*[wild | st.integers(-1, 0)] * len(shape)))
    expected = np.arange(np.prod(shape)).reshape(shape)[index]
    items = index if isinstance(index, tuple) else (index,)
    if not expected.size or not expected.ndim or not all(size for size in expected.shape):
        with pytest.raises(AssemblyError) as caught:
            filled(shape, index)
        assert {found.code for found in caught.value.diagnostics} == {"E307"}, items
        return
    found = filled(shape, index)
    assert found.shape == expected.shape and np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(5, None, -1), [5, 4, 3, 2, 1, 0]),
        (slice(None, 5, -1), [10, 9, 8, 7, 6]),
        (slice(-3, None), [8, 9, 10]),
        (slice(None, None, -4), [10, 6, 2]),
        (slice(0, 6, 2), [0, 2, 4]),
        (slice(5, None, -2), [5, 3, 1]),
        (slice(-100, 100, 5), [0, 5, 10]),
    ],
)
def test_slices_by_hand(index: slice, expected: list[int]) -> None:
    assert filled((11,), index).tolist() == expected


@given(st.data())
def test_slices_that_follow_a_counter(data: st.DataObject) -> None:
    """Where each iteration takes as many elements, from inside the tensor, the text can say it: then it has to."""
    size, rate = data.draw(st.integers(6, 11)), data.draw(st.integers(-2, 2))
    draw = st.integers(-3, 11)
    moving = st.tuples(st.just(rate), draw)
    start, stop = data.draw(moving), data.draw(moving | st.none())
    step = data.draw(st.none() | st.integers(-3, 3).filter(bool))

    def at(end: tuple[int, int] | None, i: Any) -> Any:
        return None if end is None else i * end[0] + end[1]

    b = ratel.Builder("slices", chip="edge")
    try:
        y = b.output("y", "i32", (size,), at=0)
        with b.loop(TRIPS) as i:
            b.fill(y[at(start, i) : at(stop, i) : step])
        code = b.build().cores[0].code
    except AssemblyError as error:
        assert {found.code for found in error.diagnostics} <= {"E306", "E307"}
        places = [at(end, i) for end, i in product((start, stop), range(TRIPS))]
        counts = {len(range(size)[at(start, i) : at(stop, i) : step]) for i in range(TRIPS)}
        plain = all(place is not None and 0 <= place < size for place in places)
        assert not plain or counts == {0}
        return
    for i in range(TRIPS):
        expected = np.arange(size)[at(start, i) : at(stop, i) : step]
        assert elements(code[1], (size,), i).tolist() == expected.tolist()
