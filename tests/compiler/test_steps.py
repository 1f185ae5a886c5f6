"""Views against NumPy's: permuted, sliced, expanded, reshaped, collapsed."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compiler.steps import Tensor, View, collapsed

SIZES = st.sampled_from((1, 1, 2, 3, 4, 6))


def seen(view: View, flat: np.ndarray) -> np.ndarray:
    strides = [stride * flat.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides)


def factors(data: Any, count: int) -> list[int]:
    """Draw sizes whose product is `count`."""
    found = []
    while count > 1:
        size = data.draw(st.sampled_from([size for size in range(2, count + 1) if count % size == 0]))
        found.append(size)
        count //= size
        if data.draw(st.booleans()):
            found.append(1)
    return found or [1]


@given(st.data())
def test_views_are_numpys(data: Any) -> None:
    tensor = Tensor("t", "i32", tuple(data.draw(st.lists(SIZES, min_size=1, max_size=5))))
    flat = np.arange(tensor.elements, dtype=np.int32)
    view, array = tensor.view(), flat.reshape(tensor.shape)
    for _ in range(data.draw(st.integers(1, 5))):
        axis = data.draw(st.integers(0, view.rank - 1))
        match data.draw(st.sampled_from(("permuted", "sliced", "expanded", "reshaped"))):
            case "permuted":
                axes = data.draw(st.permutations(range(view.rank)))
                view, array = view.permuted(axes), array.transpose(axes)
            case "sliced":
                step = data.draw(st.sampled_from((1, 2, -1)))
                taken = range(view.shape[axis])[data.draw(st.integers(0, view.shape[axis] - 1)) :: step]
                places: list[Any] = [slice(None)] * view.rank
                places[axis] = slice(taken[0], None if taken[-1] + step < 0 else taken[-1] + step, step)
                view, array = view.sliced(axis, taken[0], len(taken), step), array[tuple(places)]
            case "expanded":
                view, array = view.expanded(axis), np.expand_dims(array, axis)
            case "reshaped":
                shape = factors(data, view.elements)
                try:
                    wanted = array.reshape(shape, copy=False)
                except ValueError:
                    # NumPy moves elements there, too.
                    assert view.reshaped(shape) is None
                    continue
                found = view.reshaped(shape)
                assert found is not None
                view, array = found, wanted
        assert np.array_equal(seen(view, flat), array)
    (least,) = collapsed(view)
    assert np.array_equal(seen(least, flat).reshape(-1), array.transpose(view.order).reshape(-1))
    assert least.rank <= max(view.rank, 4)


@given(st.data())
def test_views_collapse_together(data: Any) -> None:
    """An operand that is broadcast, and one that lies in another order."""
    shape = data.draw(st.lists(SIZES, min_size=1, max_size=5))
    out = Tensor("out", "i32", tuple(shape)).view()
    small = tuple(size if data.draw(st.booleans()) else 1 for size in shape)
    axes = data.draw(st.permutations(range(len(shape))))
    turned = (
        Tensor("x", "i32", tuple(small[k] for k in axes)).view().permuted([axes.index(k) for k in range(len(axes))])
    )
    one, other = collapsed(out, turned)
    assert len(one.shape) == len(other.shape) <= max(len(shape), 1)
    flat = [np.arange(view.tensor.elements, dtype=np.int32) for view in (one, other)]
    wanted = np.broadcast_to(seen(turned, flat[1]), shape)
    assert np.array_equal(np.broadcast_to(seen(other, flat[1]), one.shape).reshape(-1), wanted.reshape(-1))
