"""Special functions in float32, each operation rounded once, in this order, with no fused multiply-add.

These are definitions: a kernel that does the same operations agrees bit for bit on any host. Against the exact
functions they are within a few units in the last place of float32 (a test says how many).
"""

import numpy as np

f32 = np.float32

LOG2_E = f32(1.4426950408889634)
# ln 2 in two parts; the first has zeros at its end, so that n * LN2_HIGH is exact for |n| < 2**9.
LN2_HIGH = f32(0.693359375)
LN2_LOW = f32(-2.12194440054690583e-4)
# Taylor: 1 / k! for k = 7 ... 0; |r| <= ln 2 / 2, so the next term is below 6e-9.
EXP_TERMS = tuple(f32(1 / k) for k in (5040, 720, 120, 24, 6, 2, 1, 1))
# Beyond these exp is 0, or infinity, in float32; and so is what it is multiplied by below.
EXP_LOW, EXP_HIGH = f32(-120.0), f32(89.0)
# Taylor of (tanh(x) / x - 1) / x**2 in x**2, used below TANH_SMALL, where the next term is about 1e-8.
TANH_TERMS = tuple(f32(t) for t in (-1382 / 155925, 62 / 2835, -17 / 315, 2 / 15, -1 / 3))
TANH_SMALL = f32(0.35)
# Fitted to M(a) = e**(a**2 / 2) * (1 - erf(a / sqrt 2)) / 2 for 0 <= a <= 15, as t times a polynomial of
# t = 1 / (1 + TAIL_STEP * a): within 4e-9 of it. Beyond 15, M(a) e**(-a**2 / 2) is 0 in float32 even times a.
TAIL_STEP, TAIL_END = f32(0.3), f32(15)
TAIL_TERMS = tuple(
    f32(t)
    for t in (
        -0.020628888,
        0.11246602,
        -0.22828767,
        0.1918871,
        -0.0795123,
        0.09620658,
        0.07837166,
        0.11023946,
        0.119571306,
        0.119686715,
    )
)


def power_of_two(n: np.ndarray) -> np.ndarray:
    """Return 2**n as float32 for integers -126 <= n <= 127, by setting the exponent field."""
    return ((n.astype(np.int32) + 127) << 23).astype(np.int32).view(f32)


def exp_factors(x: np.ndarray, rest: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return two factors of e**(x + rest), for a small `rest`: neither overflows nor is subnormal.

    x = n ln 2 + r, and 2**n times the polynomial of r + rest; half of n goes to each factor.
    """
    x = np.where(x < EXP_LOW, EXP_LOW, np.where(x > EXP_HIGH, EXP_HIGH, x)).astype(f32)
    n = np.rint(np.where(np.isnan(x), f32(0), x) * LOG2_E)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    r = r if rest is None else r + rest
    value = np.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        value = value * r + term
    half = np.floor(n * f32(0.5))
    return value * power_of_two(half), power_of_two(n - half)


def exp(x: np.ndarray) -> np.ndarray:
    """Return e**x."""
    value, scale = exp_factors(x)
    return value * scale


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e**-x), by way of e**-|x|, which never overflows."""
    e = exp(-np.abs(x))
    return np.where(x < f32(0), e / (f32(1) + e), f32(1) / (f32(1) + e))


def tanh(x: np.ndarray) -> np.ndarray:
    """Return tanh x: a polynomial where x is small, else 1 - 2 / (e**2|x| + 1) with the sign of x."""
    z = x * x
    value = np.full_like(z, TANH_TERMS[0])
    for term in TANH_TERMS[1:]:
        value = value * z + term
    small = x + x * (z * value)
    a = np.abs(x)
    large = np.copysign(f32(1) - f32(2) / (exp(a + a) + f32(1)), x)
    return np.where(a < TANH_SMALL, small, large)


def silu(x: np.ndarray) -> np.ndarray:
    """Return x / (1 + e**-x), as x e**-|x| / (1 + e**-|x|) below 0: x meets a factor that is not yet subnormal."""
    value, scale = exp_factors(-np.abs(x))
    below = (value * np.where(x < EXP_LOW, EXP_LOW, x)) * scale
    return np.where(x < f32(0), below, x) / (f32(1) + value * scale)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x (1 + erf(x / sqrt 2)) / 2: below 0 x M(|x|) e**(-x**2 / 2), above it x less that share.

    x**2 / 2 is taken in two parts, the greater exact: a is split into its upper 12 bits and the rest.
    """
    a = np.abs(x)
    a = np.where(a > TAIL_END, TAIL_END, a)
    t = f32(1) / (f32(1) + TAIL_STEP * a)
    tail = np.full_like(t, TAIL_TERMS[0])
    for term in TAIL_TERMS[1:]:
        tail = tail * t + term
    tail = tail * t
    upper = (a.view(np.uint32) & np.uint32(0xFFFFF000)).view(f32)
    value, scale = exp_factors(-(upper * upper) * f32(0.5), -((a - upper) * (a + upper)) * f32(0.5))
    below = (value * (tail * np.where(x < -TAIL_END, -TAIL_END, x))) * scale
    return np.where(x < f32(0), below, x * (f32(1) - (value * tail) * scale))


def reciprocal(x: np.ndarray) -> np.ndarray:
    """Return 1 / x."""
    return f32(1) / x


def rsqrt(x: np.ndarray) -> np.ndarray:
    """Return 1 / sqrt x: in float64, each operation rounded, then to float32."""
    return (1 / np.sqrt(x.astype(np.float64))).astype(f32)
