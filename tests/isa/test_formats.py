"""Vector formats against NumPy's float32 and against exact rational arithmetic."""

from fractions import Fraction
from math import copysign, inf, isinf, isnan, nan

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isa.formats import FRACTION_BITS, multiply_add, round_to


def round_exactly(value: Fraction, bits: int) -> float:
    """Return a rational rounded to `bits` fraction bits, half to even, as the definition has it."""
    if value == 0:
        return 0.0
    magnitude = abs(value)
    exponent = -126
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - bits)
    # Fraction rounds half to even.
    rounded = round(magnitude / unit) * unit
    result = inf if rounded >= 2**128 else float(rounded)
    return -result if value < 0 else result


def rounded(value: float, vector_format: str) -> float:
    return float(round_to(np.float64(value), vector_format))


doubles = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-(2.0**128), 2.0**128, allow_nan=False),
    st.floats(-(2.0**-120), 2.0**-120),
)


@given(doubles)
def test_fp32_is_numpys_cast(value):
    with np.errstate(over="ignore"):
        expected = np.float64(value).astype(np.float32)
    assert rounded(value, "fp32") == float(expected)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(value=doubles)
@example(value=2.0**128)
@example(value=-1.7976931348623157e308)
@example(value=5e-324)
def test_rounding_is_exact(vector_format, value):
    expected = round_exactly(Fraction(value), FRACTION_BITS[vector_format])
    result = rounded(value, vector_format)
    assert result == expected
    assert copysign(1, result) == copysign(1, value)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(st.integers(-150, 127), st.integers(0, 2**24), st.sampled_from((-1, 1)), st.integers(-1, 1))
def test_ties_and_their_neighbours(vector_format, exponent, fraction, sign, beside):
    bits = FRACTION_BITS[vector_format]
    unit = Fraction(2) ** (max(exponent, -126) - bits)
    tie = sign * (fraction % 2 ** (bits + 1) + Fraction(1, 2)) * unit
    value = float(tie)
    assert Fraction(value) == tie
    value = value if beside == 0 else float(np.nextafter(value, inf * beside))
    assert rounded(value, vector_format) == round_exactly(Fraction(value), bits)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_the_ends_of_the_range(vector_format):
    bits = FRACTION_BITS[vector_format]
    greatest, least = 2.0**128 - 2.0 ** (127 - bits), 2.0 ** (-126 - bits)
    halfway = 2.0**128 - 2.0 ** (126 - bits)
    assert rounded(greatest, vector_format) == greatest
    assert rounded(halfway, vector_format) == inf
    assert rounded(float(np.nextafter(halfway, 0)), vector_format) == greatest
    assert rounded(-halfway, vector_format) == -inf
    assert rounded(least, vector_format) == least
    assert rounded(least / 2, vector_format) == 0
    assert rounded(float(np.nextafter(least / 2, 1)), vector_format) == least
    assert rounded(least * 1.5, vector_format) == 2 * least
    assert isinf(rounded(inf, vector_format)) and isnan(rounded(nan, vector_format))
    assert copysign(1, rounded(-0.0, vector_format)) == -1


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(value=doubles)
def test_rounding_twice_changes_nothing(vector_format, value):
    once = rounded(value, vector_format)
    assert rounded(once, vector_format) == once
    assert float(np.float32(once)) == once


floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(a=floats32, b=floats32)
def test_an_operation_in_float64_rounded_once_is_the_exact_one(vector_format, a, b):
    bits = FRACTION_BITS[vector_format]
    a, b = rounded(a, vector_format), rounded(b, vector_format)
    if isinf(a) or isinf(b):
        return
    exact_a, exact_b = Fraction(a), Fraction(b)
    assert rounded(a * b, vector_format) == round_exactly(exact_a * exact_b, bits)
    assert rounded(a + b, vector_format) == round_exactly(exact_a + exact_b, bits)
    assert rounded(a - b, vector_format) == round_exactly(exact_a - exact_b, bits)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(scale=floats32, count=st.integers(1, 65535 * 255))
def test_a_scale_divided_by_a_count_is_the_exact_quotient(vector_format, scale, count):
    scale = rounded(scale, vector_format)
    if not isinf(scale):
        expected = round_exactly(Fraction(scale) / count, FRACTION_BITS[vector_format])
        assert rounded(scale / count, vector_format) == expected


def numbers(bits: int) -> st.SearchStrategy:
    """Numbers of a format, often such that a product with a sum lies beside a tie."""
    mantissas = st.one_of(st.integers(0, 2 ** (bits + 1) - 1), st.integers(0, 3), st.just(2**bits + 1))
    return st.builds(
        lambda sign, mantissa, exponent: sign * mantissa * 2.0**exponent,
        st.sampled_from((-1.0, 1.0)),
        mantissas,
        st.one_of(st.integers(-40, 40), st.integers(-126 - bits, 127 - bits)),
    )


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@given(data=st.data())
def test_a_product_and_a_sum_are_rounded_once(vector_format, data):
    bits = FRACTION_BITS[vector_format]
    a, b, c = (data.draw(numbers(bits)) for _ in range(3))
    assert_rounded_once(a, b, c, vector_format)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@pytest.mark.parametrize("sign", [1, -1])
def test_what_lies_beside_a_tie_is_not_taken_for_one(vector_format, sign):
    """(1 + u)(1 + v) lies midway between two numbers where uv is half a unit; a term of 2**-90 decides."""
    bits = FRACTION_BITS[vector_format]
    a, b = 1 + 2.0 ** -((bits + 1) // 2), 1 + 2.0 ** -(bits // 2 + 1)
    for c in (0.0, 2.0**-90, 2.0**-bits, 1.5 * 2.0**-90):
        assert_rounded_once(a, sign * b, c, vector_format)
        assert_rounded_once(a, sign * b, -c, vector_format)


def assert_rounded_once(a, b, c, vector_format):
    result = float(multiply_add(np.float64(a), np.float64(b), np.float64(c), vector_format))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert result == round_exactly(exact, FRACTION_BITS[vector_format])
    # An exact 0 has the sign that IEEE gives the sum.
    assert exact != 0 or copysign(1, result) == copysign(1, a * b + c)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_a_product_and_a_sum_of_no_numbers(vector_format):
    with np.errstate(invalid="ignore"):
        given = [np.array(values) for values in ([inf, inf, nan, 1, inf], [1, 0, 1, 1, 1], [1, 1, 1, -inf, -inf])]
        result = multiply_add(*given, vector_format)
    np.testing.assert_array_equal(result, [inf, nan, nan, -inf, nan])
