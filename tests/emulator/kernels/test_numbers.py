"""Rounding to the shorter vector formats in float32 alone: as exact as float64 where magnitudes are moderate."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numba.core import types

from emulator.jit.compile import hot
from emulator.jit.intrinsics import intrinsic
from emulator.kernels.microkernel import number, pointer, repeated
from emulator.kernels.numbers import rounding_factor
from emulator.kernels.requantise import LANES, Vectors
from isa.formats import FRACTION_BITS, multiply_add, round_to

f32, f64 = np.float32, np.float64
COUNT = 100_000


def in_vectors(step: str, count: int) -> Any:
    """Return the compiled form of a step of Vectors on `count` arrays, of whole vectors: (arrays, fraction, out)."""

    @intrinsic
    def on_vector(_: Any, arrays: Any, factor: Any, out: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given, factor, out, at = arguments
            v, kinds = Vectors(builder), signature.args
            here = builder.mul(at, number(4))
            read = []
            for k in range(count):
                kind = v.words if kinds[0][k].dtype == types.int32 else v.floats
                array = builder.extract_value(given, k)
                read.append(v.read(pointer(context, builder, kinds[0][k], array, here), kind, None))
            made = getattr(v, step)(*read, repeated(builder, factor, LANES))
            v.write(made, pointer(context, builder, kinds[2], out, here), None)
            return context.get_dummy_value()

        return types.void(arrays, factor, out, at), generate

    @hot
    def on_all(arrays: Any, fraction: int, out: np.ndarray) -> None:
        for at in range(0, out.size, LANES):
            on_vector(arrays, rounding_factor(fraction), out, at)

    def run(*arrays: Any) -> None:
        *given, fraction, out = arrays
        # Whole vectors: what is short of one is repeated.
        more = -out.size % LANES
        whole = np.empty(out.size + more, f32)
        on_all(tuple(np.concatenate([array, array[:more]]) for array in given), fraction, whole)
        out[:] = whole[: out.size]

    return run


integers, products, sums = (
    in_vectors("short_integer", 1),
    in_vectors("short_product", 2),
    in_vectors("short_multiply_add", 3),
)


def numbers(rng: np.random.Generator, fraction: int, low: int, high: int) -> np.ndarray:
    """Return numbers of a format: any, powers of two, just below them, of few bits; exponents low to high; some 0."""
    any_bits = rng.integers(2**fraction, 2 ** (fraction + 1), COUNT)
    below = 2 ** (fraction + 1) - rng.integers(1, 4, COUNT)
    kinds = [any_bits, np.full(COUNT, 2**fraction), below, any_bits >> 6 << 6]
    significand = np.choose(rng.integers(0, 4, COUNT), kinds) * rng.choice([-1, 0, 1], COUNT, p=[0.49, 0.02, 0.49])
    return np.ldexp(significand.astype(f64), rng.integers(low, high + 1, COUNT) - fraction).astype(f32)


@pytest.mark.parametrize("vector_format", ["fp24", "fp19"])
def test_integers_at_ties_and_beside_them(vector_format: str) -> None:
    fraction, rng = FRACTION_BITS[vector_format], np.random.default_rng(1)
    shift = rng.integers(0, 30 - fraction, COUNT)
    ties = ((rng.integers(2**fraction, 2 ** (fraction + 1), COUNT) * 2 + 1) << shift) + rng.integers(-1, 2, COUNT)
    ends = np.array([-(2**31), 2**31 - 1, 0, 2**24, -(2**24), 2**24 - 1, 1 - 2**24])
    n = np.concatenate([ties, -ties, rng.integers(-(2**31), 2**31, COUNT), ends]).astype(np.int32)
    found = np.empty(n.size, f32)
    integers(n, fraction, found)
    assert np.array_equal(found, round_to(n.astype(f64), vector_format))


@pytest.mark.parametrize("vector_format", ["fp24", "fp19"])
def test_products_from_the_least_normal_to_the_greatest(vector_format: str) -> None:
    """Exponents reach as far as `rounding_term` says; ties are products of few bits."""
    fraction, rng = FRACTION_BITS[vector_format], np.random.default_rng(2)
    for low, high in ((-3, 3), (-62, 56)):
        a, b = (numbers(rng, fraction, low, high) for _ in range(2))
        found = np.empty(COUNT, f32)
        products(a, b, fraction, found)
        assert np.array_equal(found, round_to(a.astype(f64) * b.astype(f64), vector_format))


def beside(rng: np.random.Generator, products: np.ndarray, fraction: int) -> np.ndarray:
    """Return numbers of a format that add up with products to ties, to what lies beside them, or to nearly nothing."""
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log2(np.abs(products))).clip(-40, 60).astype(int)
    size = exponent + rng.integers(-40, 20, COUNT)
    tie = np.ldexp(np.rint(np.ldexp(products, fraction - exponent)) + 0.5, exponent - fraction) - products
    anything = np.ldexp(rng.choice([-1.0, 1.0], COUNT) * rng.integers(1, 2 ** (fraction + 1), COUNT), size - fraction)
    name = {FRACTION_BITS[name]: name for name in FRACTION_BITS}[fraction]
    return round_to(np.choose(rng.integers(0, 3, COUNT), [tie, -products, anything]), name).astype(f32)


@pytest.mark.parametrize("vector_format", ["fp24", "fp19"])
def test_sums_of_products_at_ties_and_beside_them(vector_format: str) -> None:
    fraction, rng = FRACTION_BITS[vector_format], np.random.default_rng(3)
    twice = 0
    for low, high in ((-3, 3), (-40, 40)):
        a, b = rng.integers(-255, 256, COUNT).astype(f32), numbers(rng, fraction, low, high)
        exact = a.astype(f64) * b.astype(f64)
        c = beside(rng, exact, fraction)
        found = np.empty(COUNT, f32)
        sums(a, b, c, fraction, found)
        assert np.array_equal(found, multiply_add(a.astype(f64), b.astype(f64), c.astype(f64), vector_format))
        # What makes the difference is there: a sum rounded to float32 before is another one.
        twice += np.count_nonzero(found != round_to((exact + c).astype(f32).astype(f64), vector_format))
        for k in range(500):
            total = Fraction(float(a[k])) * Fraction(float(b[k])) + Fraction(float(c[k]))
            error = abs(Fraction(float(found[k])) - total)
            for neighbour in round_to(found[k] * (1 + np.array([-1.0, 1.0]) * 2.0**-fraction), vector_format):
                assert error <= abs(Fraction(float(neighbour)) - total)
    assert twice > COUNT // 1000
