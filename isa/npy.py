"""Tensors in .npy files, read without trust: what a header says is held against what there is before NumPy takes it.

NumPy itself fails at headers in many ways: it divides by the size of elements that have none, which ends the process,
takes the memory that a header claims before it reads, and opens pickles unless told not to.
"""

import io
import warnings
from collections.abc import Callable
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from isa.dtypes import E5M2, type_as_read

MAGIC = b"\x93NUMPY"
# NumPy writes e5m2 by a name that it does not read.
E5M2_NAME, UNNAMED = b"'descr': '<f1'", b"'descr': '|V1'"
# Of a header with all before it: what NumPy reads of one that it does not trust.
MAX_HEADER_BYTES = 10_000
MAX_DIMENSIONS = 32
PIECE_BYTES = 2**24


class NoTensor(ValueError):
    """Raised for a file that holds no tensor; says of the file what it is, as in "is no .npy file"."""


class Header(NamedTuple):
    """What the header of a .npy file says, and the bytes that were read behind it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    at: int

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape)

    def array(self, data: Any) -> np.ndarray:
        """Return the tensor in the bytes behind the header; raise NoTensor where there are fewer."""
        if len(data) < self.nbytes:
            raise NoTensor("is no tensor: it is cut off")
        try:
            if self.nbytes == 0:
                return np.empty(self.shape, self.dtype)
            flat = np.frombuffer(data, self.dtype, self.nbytes // self.dtype.itemsize)
            return flat.reshape(self.shape, order="F" if self.is_fortran else "C")
        except ValueError as error:
            # A size of 0 beside sizes whose product no address has.
            raise NoTensor("is no tensor: its header is damaged") from error


def read_npy(file: BinaryIO, look: Callable[[Header], None] = lambda header: None) -> np.ndarray:
    """Return the tensor of an open .npy file, or of a pipe; raise NoTensor where there is none.

    No more is taken of memory than there is in the file. `look` is called with the header before the data are read, and
    raises where they shall not be.
    """
    begin = file.read(MAX_HEADER_BYTES)
    header = header_of(begin)
    look(header)
    data = bytearray(begin[header.at :])
    while len(data) < header.nbytes and (piece := file.read(min(header.nbytes - len(data), PIECE_BYTES))):
        data += piece
    return header.array(data)


def npy(array: np.ndarray) -> bytes:
    """Return what a .npy file of an array holds."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
    return content.getvalue()


def header_of(begin: bytes) -> Header:
    """Return the header that a .npy file begins with; raise NoTensor where it is not right."""
    if begin.startswith(b"PK"):
        raise NoTensor("is an archive of tensors, not one tensor")
    if not begin.startswith(MAGIC):
        raise NoTensor("is no .npy file")
    e5m2 = begin.find(E5M2_NAME)
    file = io.BytesIO(begin.replace(E5M2_NAME, UNNAMED, 1))
    try:
        version = np.lib.format.read_magic(file)
        # The third is for names of fields, and tensors have none.
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        with warnings.catch_warnings():
            # Of files that Python 2 has written.
            warnings.simplefilter("ignore")
            shape, is_fortran, dtype = read(file)
    except Exception as error:  # It is text that NumPy evaluates, and that makes it raise almost anything.
        raise NoTensor("is no tensor: its header is damaged") from error
    if dtype.hasobject:
        raise NoTensor("is no tensor: it holds Python objects")
    if dtype.itemsize == 0 or dtype.subdtype is not None:
        raise NoTensor("is no tensor: its elements are no numbers")
    if len(shape) > MAX_DIMENSIONS or not all(0 <= size < 2**63 for size in shape):
        raise NoTensor("is no tensor: its header is damaged")
    is_e5m2 = 0 <= e5m2 < file.tell()
    return Header(E5M2.numpy if is_e5m2 else type_as_read(dtype), shape, is_fortran, file.tell())
