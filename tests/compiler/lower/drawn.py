"""What tests of operators draw: types, shapes, arrays, and layouts in which a tensor comes."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from tests.compiler.oracle import noise

BYTES = ("int8", "uint8")
TYPES = (*BYTES, "int32", "float32")
few = settings(max_examples=12, deadline=None, derandomize=True)


def shapes(ranks: tuple[int, int] = (1, 4), most: int = 6) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, most), min_size=ranks[0], max_size=ranks[1]).map(tuple)


def arrays(
    shape: Sequence[int] | st.SearchStrategy[tuple[int, ...]], types: Sequence[str] = TYPES
) -> st.SearchStrategy[np.ndarray]:
    of = shape if isinstance(shape, st.SearchStrategy) else st.just(tuple(shape))
    return st.builds(noise, st.integers(0, 2**31), st.sampled_from(types), of)


def axes(rank: int, least: int = 0) -> st.SearchStrategy[list[int]]:
    """Draw some dimensions, each once, from the front or from the end."""
    places = st.lists(st.integers(0, rank - 1), min_size=least, max_size=rank, unique=True)
    return st.tuples(places, st.booleans()).map(lambda pair: [k - rank if pair[1] else k for k in pair[0]])


def scales() -> st.SearchStrategy[np.ndarray]:
    return st.floats(2**-7, 1, width=32).map(np.float32).map(np.asarray)


def zeros(dtype: str) -> st.SearchStrategy[np.ndarray]:
    info = np.iinfo(dtype)
    return st.integers(info.min, info.max).map(lambda zero: np.array(zero, dtype))
