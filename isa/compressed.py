"""Compressed weights: a bit mask, and the elements that are not 0.

The mask has one bit for each element, row-major, the least significant bit of a byte first, 1 where the stored value is
other than 0 (whatever the zero point), in ceil(n / 8) bytes; zeros up to a multiple of the element's size; then the
values that the mask tells of, in order. Values that the bytes lack are 0, and surplus ones count for nothing.
"""

import numpy as np

from isa.dtypes import DType


def mask_bytes(elements: int, dtype: DType) -> int:
    """Return the bytes in front of the values: the mask, filled up to the element's size."""
    mask = -(-elements // 8)
    return mask + -mask % dtype.bytes


def legal_sizes(elements: int, dtype: DType) -> range:
    """Return the sizes in bytes that the compressed form of so many elements can have."""
    low = mask_bytes(elements, dtype)
    return range(low, low + elements * dtype.bytes + 1, dtype.bytes)


def compress(data: bytes, dtype: DType) -> bytes:
    """Return the compressed form of a dense tensor."""
    elements = np.frombuffer(data, dtype.numpy)
    mask = np.packbits(elements != 0, bitorder="little").tobytes()
    return mask.ljust(mask_bytes(elements.size, dtype), b"\0") + elements[elements != 0].tobytes()


def expand(stored: bytes | np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Return the dense tensor of a compressed form, whatever its mask says."""
    raw = np.frombuffer(stored, np.uint8)
    elements = np.zeros(shape, dtype.numpy)
    mask = np.unpackbits(raw[: -(-elements.size // 8)], count=elements.size, bitorder="little")
    values = np.frombuffer(raw[mask_bytes(elements.size, dtype) :].tobytes(), dtype.numpy)
    places = np.flatnonzero(mask)[: values.size]
    elements.reshape(-1)[places] = values[: places.size]
    return elements
