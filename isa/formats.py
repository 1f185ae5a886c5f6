"""Vector formats: floating-point numbers of 1 sign, 8 exponent and n fraction bits.

fp32 is IEEE binary32; fp24 (15 fraction bits) is the vector format of Hanguang 800's tensor engine, fp19 (10) that of
its pooling engine. All have binary32's exponent range, subnormals, infinities and NaN, so float32 holds every value.
An operation is done in float64 and rounded once, half to even: float64 has more than twice the fraction bits, and two
to spare, so that the result is the exact one rounded once.
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
