"""The chip's vector arithmetic in plain NumPy, for what programs are expected to give.

A second statement of the manual's formulas: it shares nothing with the emulator, so that it checks it.
"""

from collections.abc import Callable

import numpy as np

f32 = np.float32
Function = Callable[[np.ndarray], np.ndarray]

# Fraction bits of the vector formats.
FP32, FP24 = 23, 15
LIMITS = {"i8": (-128, 127), "u8": (0, 255), "i16": (-32768, 32767)}
NUMPY = {"i8": np.int8, "u8": np.uint8, "i16": np.int16}

# A polynomial fitted to e**(a**2 / 2) (1 + erf(-a / sqrt 2)) / 2, highest power first, less a factor of its variable.
GELU_TERMS = (
    *(-0.020628888, 0.11246602, -0.22828767, 0.1918871, -0.0795123),
    *(0.09620658, 0.07837166, 0.11023946, 0.119571306, 0.119686715),
)


class Chain:
    """Values on their way through the chain: each operation is done in float64 and rounded to the format's bits."""

    def __init__(self, values: np.ndarray | float, bits: int) -> None:
        fraction, exponent = np.frexp(np.asarray(values, np.float64))
        self.values = np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1)
        self.bits = bits

    def times(self, factor: "Chain | np.ndarray | float") -> "Chain":
        """Multiply by a constant, rounded to the format as it is loaded, or by another chain's values."""
        return Chain(self.values * self._rounded(factor), self.bits)

    def times_plus(self, factor: "Chain | np.ndarray | float", term: "Chain | np.ndarray | float") -> "Chain":
        """Multiply by a factor and add a term, rounded once: EW1's two constants, or EW2's scale with its addition.

        The product is exact in float64; of the sum, the part that float64 cannot hold counts where the rest is a tie.
        """
        product, term = self.values * self._rounded(factor), self._rounded(term)
        total = product + term
        back = total - product
        lost = (product - (total - back)) + (term - back)
        _, exponent = np.frexp(total)
        steps = np.ldexp(total, self.bits + 1 - exponent)
        tie = np.abs(steps - np.trunc(steps)) == 0.5
        away = np.nextafter(total, np.copysign(np.inf, lost))
        return Chain(np.where(tie & (lost != 0), away, total), self.bits)

    def apply(self, function: Function) -> "Chain":
        """Apply a special function, which computes in float32."""
        return Chain(function(self.values.astype(f32)), self.bits)

    def stored(self, dtype: str) -> np.ndarray:
        """Return the values as integers: rounded half to even, then clamped."""
        return np.clip(np.rint(self.values), *LIMITS[dtype]).astype(NUMPY[dtype])

    def floats(self) -> np.ndarray:
        return self.values.astype(f32)

    def _rounded(self, other: "Chain | np.ndarray | float") -> np.ndarray:
        return (other if isinstance(other, Chain) else Chain(other, self.bits)).values


def exp(x: np.ndarray, rest: np.ndarray | float = 0) -> np.ndarray:
    """Return e**(x + rest) = 2**n e**(r + rest), n = rne(x / ln 2), by seven terms of Taylor; for |x| < 87."""
    n = np.rint(x * f32(1 / np.log(2)))
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440054690583e-4)
    r = r + rest
    value = np.full_like(r, 1 / 5040)
    for divisor in (720, 120, 24, 6, 2, 1, 1):
        value = value * r + f32(1 / divisor)
    return np.ldexp(value, n.astype(np.int32))


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def tanh(x: np.ndarray) -> np.ndarray:
    """Return tanh x: by six terms of Taylor below 0.35, else from e**2|x|."""
    z = x * x
    value = np.full_like(z, -1382 / 155925)
    for term in (62 / 2835, -17 / 315, 2 / 15, -1 / 3):
        value = value * z + f32(term)
    a = np.abs(x)
    return np.where(a < f32(0.35), x + x * (z * value), np.copysign(1 - 2 / (exp(a + a) + 1), x))


def reciprocal(x: np.ndarray) -> np.ndarray:
    return 1 / x


def rsqrt(x: np.ndarray) -> np.ndarray:
    """Return 1 / sqrt x, calculated in float64."""
    return (1 / np.sqrt(x.astype(np.float64))).astype(f32)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x (1 + erf(x / sqrt 2)) / 2, by the tail T(a) = (1 + erf(-a / sqrt 2)) / 2 of a = |x|, for |x| < 12.

    T(a) is e**(-a**2 / 2) times a polynomial of 1 / (1 + 0.3 a); a**2 / 2 is taken in two parts, the greater exact: a
    less all but its upper 12 bits.
    """
    a = np.abs(x)
    t = 1 / (1 + f32(0.3) * a)
    tail = np.full_like(t, GELU_TERMS[0])
    for term in GELU_TERMS[1:]:
        tail = tail * t + f32(term)
    tail = tail * t
    upper = (a.view(np.int32) & ~0xFFF).view(f32)
    e = exp(-(upper * upper) * f32(0.5), -((a - upper) * (a + upper)) * f32(0.5))
    return np.where(x < 0, e * (tail * x), x * (1 - e * tail))
