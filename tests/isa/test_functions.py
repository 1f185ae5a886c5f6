"""Special functions against float64, over a dense sample of all float32."""

import math

import numpy as np
import pytest

from isa import functions

f32 = np.float32


def exact_sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def exact_silu(x):
    return x * exact_sigmoid(np.maximum(x, -700))


def exact_gelu(x):
    return 0.5 * x * np.vectorize(math.erfc)(-x / math.sqrt(2))


# The function, the exact one, and a bound on the error in units in the last place of float32. Over every 151st float32
# the greatest errors are 1.19 (exp), 1.99 (tanh, at 0.531), 2.28 (sigmoid, at -15.54), 2.79 (silu, at -2.03), 6.46
# (gelu, at 0.058, where the tail's polynomial ends) and 0.5 (reciprocal, rsqrt).
MEASURED = {
    "exp": (functions.exp, np.exp, 1.25),
    "tanh": (functions.tanh, np.tanh, 2.25),
    "sigmoid": (functions.sigmoid, exact_sigmoid, 2.5),
    "silu": (functions.silu, exact_silu, 3.0),
    "gelu": (functions.gelu, exact_gelu, 7.0),
    "reciprocal": (functions.reciprocal, lambda x: 1 / x, 0.5),
    "rsqrt": (functions.rsqrt, lambda x: 1 / np.sqrt(x), 0.501),
}


def sample() -> np.ndarray:
    """Return every 3001st float32 pattern that is finite, and every 7th where the functions bend."""
    patterns = np.arange(0, 2**32, 3001, dtype=np.uint64).astype(np.uint32)
    bend = np.arange(f32(0.01).view(np.uint32), f32(110).view(np.uint32), 701, dtype=np.uint32)
    x = np.concatenate([patterns, bend, bend | np.uint32(0x80000000)]).view(f32)
    return x[np.isfinite(x)]


@pytest.mark.parametrize("name", MEASURED)
def test_error_in_units_in_the_last_place(name):
    function, exact, most = MEASURED[name]
    x = sample()
    with np.errstate(all="ignore"):
        result = function(x)
        expected = exact(x.astype(np.float64))
        nearest = expected.astype(f32)
    assert result.dtype == f32
    finite = np.isfinite(nearest)
    assert np.array_equal(result[~finite], nearest[~finite], equal_nan=True)
    with np.errstate(all="ignore"):
        error = np.abs(result[finite] - expected[finite]) / np.spacing(np.abs(nearest[finite])).astype(np.float64)
    assert error.max() <= most, f"{error.max():.3f} at {x[finite][error.argmax()]!r}"


def test_special_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], f32)
    with np.errstate(all="ignore"):
        assert np.array_equal(functions.exp(x), np.array([np.nan, np.inf, 0, 1, 1], f32), equal_nan=True)
        assert np.array_equal(functions.sigmoid(x), np.array([np.nan, 1, 0, 0.5, 0.5], f32), equal_nan=True)
        assert np.array_equal(functions.tanh(x), np.array([np.nan, 1, -1, 0, 0], f32), equal_nan=True)
        inf = np.inf
        for function, expected in {
            functions.silu: [np.nan, inf, -0.0, 0.0, -0.0],
            functions.gelu: [np.nan, inf, -0.0, 0.0, -0.0],
            functions.reciprocal: [np.nan, 0.0, -0.0, inf, -inf],
            functions.rsqrt: [np.nan, 0.0, np.nan, inf, -inf],
        }.items():
            assert np.array_equal(function(x), np.array(expected, f32), equal_nan=True)
            assert np.array_equal(np.signbit(function(x))[3:], np.signbit(expected)[3:])


@pytest.mark.parametrize("name", ("sigmoid", "tanh"))
def test_bounds_and_symmetry(name):
    x = np.abs(sample())
    with np.errstate(all="ignore"):
        above, below = (MEASURED[name][0](side) for side in (x, -x))
    if name == "tanh":
        assert np.array_equal(above, -below)
        assert above.min() >= 0 and above.max() == 1
    else:
        assert above.min() >= 0.5 and above.max() == 1
        assert below.min() >= 0 and below.max() <= 0.5
