"""Storage types of tensor elements."""

from dataclasses import dataclass, field
from functools import cached_property
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
        """Its host form. That of bfloat16 is not NumPy's own: what has it is loaded when it is asked for."""
        if self.host == "bfloat16":
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        return np.dtype(self.host)

    @property
    def is_float(self) -> bool:
        return self.low == self.high

    @property
    def is_quantised(self) -> bool:
        """Whether values of this type may have a zero point: integers of 8 and 16 bits."""
        return not self.is_float and self.bytes <= 2

    def nearest(self, value: float) -> float:
        """Return what a floating type holds of a number: rounded to float32, and once more to 16 bits; half to even."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float32(value).astype(self.numpy))

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

DTYPES = {dtype.name: dtype for dtype in (I8, U8, I16, I32, F16, BF16, F32)}
DTYPE_OF_CODE = {dtype.code: dtype for dtype in DTYPES.values()}


def type_as_read(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that the header of a .npy file means: NumPy writes bfloat16 as two bytes without a name."""
    return BF16.numpy if dtype == np.dtype("V2") else dtype


def dtype_of(numpy: np.dtype[Any]) -> DType | None:
    """Return the storage type that holds exactly the elements of an array of this type, or None."""
    for dtype in DTYPES.values():
        if numpy.newbyteorder("=") == dtype.numpy.newbyteorder("="):
            return dtype
    return None
