"""Special functions in float32: the operations of isa/functions.py, in the same order, and so the same bits."""

from typing import Any

import numpy as np

from emulator.jit.compile import inlined
from emulator.kernels.numbers import f32, u32


@inlined
def exp_factors(x: Any, rest: Any) -> tuple[Any, Any]:
    """Return two factors of e**(x + rest) in float32: x = n ln 2 + r, 2**n times a polynomial of r + rest."""
    x = f32(-120.0) if x < f32(-120.0) else x
    x = f32(89.0) if x > f32(89.0) else x
    n = np.rint((x if x == x else f32(0)) * f32(1.4426950408889634))
    r = ((x - n * f32(0.693359375)) - n * f32(-2.12194440054690583e-4)) + rest
    p = f32(1 / 5040)
    p = p * r + f32(1 / 720)
    p = p * r + f32(1 / 120)
    p = p * r + f32(1 / 24)
    p = p * r + f32(1 / 6)
    p = p * r + f32(1 / 2)
    p = p * r + f32(1)
    p = p * r + f32(1)
    half = np.floor(n * f32(0.5))
    low = np.int32((np.int32(half) + np.int32(127)) << np.int32(23)).view(np.float32)
    high = np.int32((np.int32(n - half) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * low, high


@inlined
def exp(x: Any) -> Any:
    """Return e**x in float32."""
    value, scale = exp_factors(x, f32(0))
    return value * scale


@inlined
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e**-x) in float32, by way of e**-|x|."""
    e = exp(-np.abs(x))
    return (e if x < f32(0) else f32(1)) / (f32(1) + e)


@inlined
def tanh(x: Any) -> Any:
    """Return tanh x in float32: a polynomial where x is small, else 1 - 2 / (e**2|x| + 1) with the sign of x."""
    z = x * x
    p = f32(-1382 / 155925)
    p = p * z + f32(62 / 2835)
    p = p * z + f32(-17 / 315)
    p = p * z + f32(2 / 15)
    p = p * z + f32(-1 / 3)
    small = x + x * (z * p)
    a = np.abs(x)
    large = np.copysign(f32(1) - f32(2) / (exp(a + a) + f32(1)), x)
    return small if a < f32(0.35) else large


@inlined
def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) in float32, as x e**-|x| / (1 + e**-|x|) below 0."""
    value, scale = exp_factors(-np.abs(x), f32(0))
    below = (value * (f32(-120.0) if x < f32(-120.0) else x)) * scale
    return (below if x < f32(0) else x) / (f32(1) + value * scale)


@inlined
def gelu(x: Any) -> Any:
    """Return x (1 + erf(x / sqrt 2)) / 2 in float32, by way of the share of the normal distribution beyond |x|."""
    a = np.abs(x)
    a = f32(15) if a > f32(15) else a
    t = f32(1) / (f32(1) + f32(0.3) * a)
    tail = f32(-0.020628888)
    tail = tail * t + f32(0.11246602)
    tail = tail * t + f32(-0.22828767)
    tail = tail * t + f32(0.1918871)
    tail = tail * t + f32(-0.0795123)
    tail = tail * t + f32(0.09620658)
    tail = tail * t + f32(0.07837166)
    tail = tail * t + f32(0.11023946)
    tail = tail * t + f32(0.119571306)
    tail = tail * t + f32(0.119686715)
    tail = tail * t
    upper = u32(f32(a).view(np.uint32) & u32(0xFFFFF000)).view(np.float32)
    value, scale = exp_factors(-(upper * upper) * f32(0.5), -((a - upper) * (a + upper)) * f32(0.5))
    below = (value * (tail * (f32(-15) if x < f32(-15) else x))) * scale
    return below if x < f32(0) else x * (f32(1) - (value * tail) * scale)


@inlined
def unit(a: Any) -> Any:
    """Return a held between 0 and 1; NaN stays."""
    a = f32(0) if a < f32(0) else a
    return f32(1) if a > f32(1) else a
