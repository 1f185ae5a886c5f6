"""What compiled functions take: aliases for type checkers (numba infers types of its own), and names of columns."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

# One row of numbers, a table of rows, tables in order; and numbers that are no row's columns.
Row = NDArray[np.int64]
Matrix = NDArray[np.int64]
Tables = NDArray[np.int64]
Words = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Columns(IntEnum):
    """The columns of a row: numbers from 0, or from those of another row that it begins with; for numba constants."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return last_values[-1] + 1 if last_values else 0
