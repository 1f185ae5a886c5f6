"""Storage types of tensor elements."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class DType:
    """A storage type: `code` in encodings, `name` in text, `bytes` an element, `numpy` its host form.

    `low` and `high` are the least and greatest values of an integer type, both 0 for a floating one.
    """

    code: int
    name: str
    bytes: int
    low: int
    high: int
    numpy: np.dtype = field(compare=False)

    @property
    def is_float(self) -> bool:
        return self.low == self.high

    def __str__(self) -> str:
        return self.name


I8 = DType(1, "i8", 1, -128, 127, np.dtype("int8"))
I32 = DType(2, "i32", 4, -(2**31), 2**31 - 1, np.dtype("<i4"))
F32 = DType(3, "f32", 4, 0, 0, np.dtype("<f4"))

DTYPES = {dtype.name: dtype for dtype in (I8, I32, F32)}
DTYPE_OF_CODE = {dtype.code: dtype for dtype in DTYPES.values()}


def dtype_of_array(array: np.ndarray) -> DType | None:
    """Return the storage type that holds exactly this array's element type, or None."""
    for dtype in DTYPES.values():
        if array.dtype.newbyteorder("=") == dtype.numpy.newbyteorder("="):
            return dtype
    return None
