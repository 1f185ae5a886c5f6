"""Storage types of tensor elements."""

from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite, isnan
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DType:
    """A storage type: `code` in encodings, `name` in text, `bytes` an element, `host` what NumPy calls it.

    `low` and `high` are the least and greatest values of an integer type, both 0 for a floating one.
    """

    code: int
    name: str
    bytes: int
    low: int
    high: int
    host: str = field(compare=False)

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """Its host form. Some are not NumPy's own: what has them is loaded when they are asked for."""
        if self.host in OF_ML_DTYPES:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, self.host))
        return np.dtype(self.host)

    @property
    def is_float(self) -> bool:
        return self.low == self.high

    @property
    def is_quantised(self) -> bool:
        """Whether values of this type may have a zero point: integers of 8 and 16 bits."""
        return not self.is_float and self.bytes <= 2

    @cached_property
    def greatest(self) -> float:
        """The greatest value that is finite."""
        if not self.is_float:
            return self.high
        import ml_dtypes

        return float(ml_dtypes.finfo(self.numpy).max)

    @property
    def least(self) -> float:
        """What no value is less than: an infinity where the type has them."""
        if not self.is_float:
            return self.low
        return -self.greatest if self.name == "e4m3" else -inf

    def nearest(self, value: float) -> float | None:
        """Return what a floating type holds of a number: rounded to float32, and once more to the type; half to even.

        None for what is beyond its greatest: what would become an infinity that it is not, or NaN.
        """
        with np.errstate(over="ignore", under="ignore"):
            held = float(np.float32(value).astype(self.numpy))
        return held if isfinite(held) or held == value or isnan(value) else None

    def __str__(self) -> str:
        return self.name


I8 = DType(1, "i8", 1, -128, 127, "int8")
I32 = DType(2, "i32", 4, -(2**31), 2**31 - 1, "<i4")
F32 = DType(3, "f32", 4, 0, 0, "<f4")
U8 = DType(4, "u8", 1, 0, 255, "uint8")
I16 = DType(5, "i16", 2, -(2**15), 2**15 - 1, "<i2")
# Storage only: whoever computes with them converts them to float32 first, and rounds once to store.
F16 = DType(6, "f16", 2, 0, 0, "<f2")
BF16 = DType(7, "bf16", 2, 0, 0, "bfloat16")
# OCP 8-bit Floating Point 1.0: e4m3 has no infinity, one NaN of each sign, and ends at 448; e5m2 is f16's upper half.
E4M3 = DType(8, "e4m3", 1, 0, 0, "float8_e4m3fn")
E5M2 = DType(9, "e5m2", 1, 0, 0, "float8_e5m2")
OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")

DTYPES = {dtype.name: dtype for dtype in (I8, U8, I16, I32, E4M3, E5M2, F16, BF16, F32)}
DTYPE_OF_CODE = {dtype.code: dtype for dtype in DTYPES.values()}


def type_as_read(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that the header of a .npy file means: NumPy writes bfloat16 and e4m3 as bytes without a name."""
    unnamed = {np.dtype("V1"): E4M3, np.dtype("V2"): BF16}
    return unnamed[dtype].numpy if dtype in unnamed else dtype


def dtype_of(numpy: np.dtype[Any]) -> DType | None:
    """Return the storage type that holds exactly the elements of an array of this type, or None."""
    for dtype in DTYPES.values():
        if numpy.newbyteorder("=") == dtype.numpy.newbyteorder("="):
            return dtype
    return None
