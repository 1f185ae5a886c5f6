"""What is read of .npy files: what NumPy saves, and of headers that lie no more than is there."""

import io
import os
import re
import struct
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from isa.dtypes import OF_ML_DTYPES
from isa.npy import NoTensor, npy, read_npy


def file_of(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


@pytest.mark.parametrize("dtype", ["i1", "<i4", ">i4", "<f2", "?", "<c8", "<f4,<i2", *OF_ML_DTYPES])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_saves(dtype: str, shape: tuple[int, ...], order: Any) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    noise = np.random.default_rng(1).bytes(int(np.prod(shape)) * kind.itemsize)
    array = np.asarray(np.frombuffer(bytearray(noise), kind).reshape(shape), order=order)
    content = io.BytesIO()
    np.save(content, array)
    found = read_npy(io.BytesIO(content.getvalue() + b"more"))
    assert found.shape == shape and found.dtype == kind and found.tobytes() == array.tobytes()


NUMBERS = "'descr': '<i4', 'fortran_order': False"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # NumPy divides by the size of its elements, and the process is gone.
        (file_of("{'descr': {}, 'fortran_order': False, 'shape': (-1,)}", b"s"), "its elements are no numbers"),
        (file_of("{'descr': '<U0', 'fortran_order': False, 'shape': (4,)}", b"s"), "its elements are no numbers"),
        (file_of("{'descr': '2<i4', 'fortran_order': False, 'shape': (1,)}", bytes(8)), "its elements are no numbers"),
        (file_of("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"c"), "it holds Python objects"),
        (file_of(f"{{{NUMBERS}, 'shape': (-1,)}}", bytes(4)), "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': (True, 4.0)}}", bytes(4)), "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': ({2**62}, 0, {2**62})}}"), "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': {(1,) * 33}}}", bytes(4)), "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': (__import__('os').abort(),)}}", bytes(4)), "its header is damaged"),
        (file_of("(" * 9000), "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': (1,)}}", bytes(4), version=3), "its header is damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "its header is damaged"),
        (file_of(f"{{{NUMBERS}, 'shape': (2,)}}", bytes(7)), "it is cut off"),
        # What it claims, no computer has: it is not asked for.
        (file_of(f"{{{NUMBERS}, 'shape': ({2**61}, {2**61})}}", bytes(8)), "it is cut off"),
    ],
)
def test_headers_that_lie(content: bytes, said: str) -> None:
    with pytest.raises(NoTensor, match=f"^is no tensor: {re.escape(said)}$"):
        read_npy(io.BytesIO(content))


def test_a_pipe() -> None:
    """Of which no more is read than the tensor has."""
    taken, given = os.pipe()
    array = np.arange(2**16, dtype=np.int32)

    def write() -> None:
        with os.fdopen(given, "wb") as file:
            file.write(npy(array))

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(taken, "rb") as file:
        assert np.array_equal(read_npy(file), array)
    writer.join()


def test_what_never_ends() -> None:
    with open("/dev/zero", "rb") as file, pytest.raises(NoTensor, match=r"is no \.npy file"):
        read_npy(file)
