"""Vector formats: floating-point numbers of 1 sign, 8 exponent and n fraction bits.

fp32 is IEEE binary32; fp24 (15 fraction bits) is the vector format of Hanguang 800's tensor engine, fp19 (10) that of
its pooling engine. All have binary32's exponent range, subnormals, infinities and NaN, so float32 holds every value.
An operation is done in float64 and rounded once, half to even: float64 has more than twice the fraction bits, and two
to spare, so that the result is the exact one rounded once. That holds for sums, products, quotients and roots of two
numbers; for a product and a sum as one operation the sum in float64 is rounded to odd.
"""

import numpy as np

FRACTION_BITS = {"fp32": 23, "fp24": 15, "fp19": 10}
LEAST_EXPONENT = -126
OVERFLOW = 2.0**128


def round_to(values: np.ndarray, vector_format: str) -> np.ndarray:
    """Return float64 `values` rounded to the format, half to even, as float64; any shape."""
    values = np.asarray(values, np.float64)
    finite = np.where(np.isfinite(values), values, 0.0)
    # |v| = m * 2**e with 0.5 <= m < 1, so the last fraction bit weighs 2**(e - 1 - bits), or that of a subnormal.
    exponent = np.maximum(np.frexp(finite)[1] - 1, LEAST_EXPONENT) - FRACTION_BITS[vector_format]
    with np.errstate(over="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(finite, -exponent)), exponent)
    rounded = np.where(np.abs(rounded) >= OVERFLOW, np.copysign(np.inf, rounded), rounded)
    return np.where(np.isfinite(values), rounded, values)


def multiply_add(a: np.ndarray, b: np.ndarray, c: np.ndarray, vector_format: str) -> np.ndarray:
    """Return a * b + c rounded once to the format, of numbers of the format as float64; shapes broadcast.

    The product is exact in float64. The sum is rounded to odd: to the neighbour whose last bit is 1 where it is inexact
    (its error is exact, by the two-sum of Knuth), so that no value beside a tie becomes one before the last rounding.
    """
    product = np.asarray(a * b, np.float64)
    total = np.asarray(product + c)
    part = total - product
    error = (product - (total - part)) + (c - part)
    even = (total.view(np.int64) & 1) == 0
    # Where a term is infinite or NaN the error is NaN, and the total stands.
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return round_to(np.where(even & (np.abs(error) > 0), odd, total), vector_format)
