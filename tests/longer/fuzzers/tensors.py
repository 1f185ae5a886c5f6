"""Tensors in .npy files whose header says what is not there, or what NumPy itself would not write; and right ones."""

import io
import pickle
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from assembler.assemble import assemble
from assembler.files import FileProblem, Folder
from assembler.syntax.diagnostics import AssemblyError
from emulator.execute.inputs import prepare, read_tensor
from isa.errors import InputError, Trap

DTYPES = ("i1", "u1", "<i2", ">i2", "<i4", ">i4", "<i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "?", "<c8")
DTYPES += ("V2", "V3", "<U3", "S2", "<M8[s]", "<f4,<i2", "O")
SHAPES = (*[(2, 4)] * 8, *[(4,)] * 4, (), (0,), (8,), (4, 2), (1, 4), (2, 2, 4), (0, 4), (2, 0), (3, 1, 2, 4))
SHAPES += ((1,) * 32,)
SIZES = (*range(9), -1, -4, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30)
WRITTEN = ("None", "True", "'4'", "4.0", "()", "(4)", "(4,)", "[4]", "{}", "4", "(2, 4", "b'4'", "1e999", "-1", "'<i4'")
WRITTEN += ("'|i1'", "'=f4'", "[('a', '<f4')]", "'O'", "'|O'", "'x'", "'<f4' * 9", "__import__('os')", "(" * 90)
WRITTEN += ("'i1,i1'", "'<f4' if 1 else 0", '"\x00"', "'" + "x" * 70_000 + "'")
MAGICS = (b"\x93NUMPX", b"\x93NUMP", b"PK\x03\x04", b"", b"\x80\x04", b"\0" * 6, b"#include")
SIZES_OF_HEADERS = (0, 1, 10, 54, 118, 2**16 - 1, 2**20, 2**31 - 1, 2**32 - 1)
# A program that takes such a file in each of the ways in which a text names one.
PROGRAMS = [
    f".chip edge\n.input x {kind}[2, 4]{scale} = 1\n.output y {kind}[2, 4]{scale}\n{more}\ncopy y, x\nend\n"
    for kind, scale, more in (
        ("i8", " scale=0.1", '.weight w i8[2, 4] = "case.npy"'),
        ("f32", "", '.const c f32[4] scale="case.npy" = 1'),
        ("f32", "", '.check y within "case.npy" atol=0.5'),
        ("i8", " scale=0.1 zero=3", '.check y top1 "case.npy" min=0.5'),
        ("bf16", "", '.const c bf16[2, 4] = "case.npy"'),
        ("e5m2", "", '.const c e5m2[2, 4] = "case.npy"'),
    )
]
PROGRAMS.append('.chip edge\n.input x i8[2, 4] scale=0.1 = "case.npy"\n.output y i8[2, 4] scale=0.1\ncopy y, x\nend\n')


class Tensors:
    """Bytes of a .npy file, read as an input of a run and as a file that a text names; the two agree."""

    def __init__(self) -> None:
        warnings.simplefilter("ignore")
        inputs = ("i8[2, 4] scale=0.1", "f32[2, 4]", "f16[2, 4]", "bf16[2, 4]", "e4m3[2, 4]", "e5m2[2, 4]", "i32[4]")
        texts = [f".chip edge\n.input x {one} = 1\n.local y i8[4]\nfill y, value=1\nend\n" for one in inputs]
        self._programs = [assemble(text, "case.npu") for text in texts]

    def case(self, chance: random.Random) -> bytes:
        array = self._array(chance)
        if chance.random() < 0.1:
            return _damaged(_saved(array), chance)
        data = array.tobytes("A") if array.dtype != object else pickle.dumps(array.tolist())
        fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
        header = {"descr": repr(np.lib.format.dtype_to_descr(array.dtype)), "fortran_order": repr(fortran)}
        header["shape"] = repr(array.shape)
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            match chance.randrange(6):
                case 0:
                    sizes = chance.choices(SIZES, k=chance.choice((0, 1, 2, 2, 3, 70)))
                    header["shape"] = repr(tuple(sizes))
                case 1:
                    header["descr"] = repr(chance.choice(DTYPES))
                case 2:
                    header[chance.choice(("descr", "shape", "fortran_order", "more"))] = chance.choice(WRITTEN)
                case 3:
                    header.pop(chance.choice(sorted(header)))
                case 4:
                    header["fortran_order"] = chance.choice(("True", "False", "1", "None"))
                case 5:
                    data = data[: chance.randint(0, len(data))] + bytes(chance.choice((0, 0, 1, 64)))
            if not header:
                break
        said = "{" + ", ".join(f"{key!r}: {value}" for key, value in header.items()) + "}"
        return _damaged(_file(said, data, chance), chance) if chance.random() < 0.3 else _file(said, data, chance)

    def _array(self, chance: random.Random) -> np.ndarray:
        dtype, shape = np.dtype(chance.choice(DTYPES)), chance.choice(SHAPES)
        count = int(np.prod(shape))
        if dtype.hasobject:
            return np.full(shape, None)
        array = np.frombuffer(chance.randbytes(count * dtype.itemsize), dtype).reshape(shape)
        return np.asfortranarray(array) if chance.random() < 0.3 else array

    def run(self, data: bytes) -> str:
        path = Path("case.npy")
        path.write_bytes(data)
        try:
            array: np.ndarray | None = read_tensor(path)
        except (InputError, Trap) as error:
            # Trap for what the header says would need more memory than is free.
            assert error.message and "\n" not in error.message
            array = None
        try:
            named: np.ndarray | None = Folder(Path()).array("case.npy", "case.npy")
        except FileProblem as problem:
            assert str(problem)
            named = None
        assert (array is None) == (named is None)
        if array is not None and named is not None:
            assert array.dtype == named.dtype and array.shape == named.shape and array.tobytes() == named.tobytes()
            assert not array.dtype.hasobject and array.nbytes <= len(data)
        chosen = zlib.crc32(data)
        outcome = "damaged" if array is None else "valid"
        if array is not None:
            for program in self._programs:
                try:
                    (prepared,) = prepare(program, {"x": array}, len(array) if array.ndim == 3 else 1).values()
                    outcome = "valid, and an input"
                    assert prepared.size == array.size
                except (InputError, Trap) as error:
                    assert error.message
        if chosen % 64 == 0:
            try:
                assemble(PROGRAMS[chosen // 64 % len(PROGRAMS)], "case.npu")
                outcome += ", assembled"
            except AssemblyError as error:
                assert all(one.message for one in error.diagnostics)
        return outcome


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _file(header: str, data: bytes, chance: random.Random) -> bytes:
    version = chance.choice((1, 1, 1, 1, 2, 3))
    text = header.encode("utf-8" if version == 3 else "latin-1", "replace")
    length, form = (2, "<H") if version == 1 else (4, "<I")
    text += b" " * (-(len(text) + 9 + length) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, len(text) % 2 ** (8 * length)) + text + data


def _damaged(file: bytes, chance: random.Random) -> bytes:
    match chance.randrange(6):
        case 0:
            return file[: chance.randint(0, len(file))]
        case 1:
            return chance.choice(MAGICS) + file[6:]
        case 2:
            return file[:6] + bytes([chance.choice((0, 1, 2, 3, 4, 255)), chance.choice((0, 1, 255))]) + file[8:]
        case 3:
            return file[:8] + struct.pack("<I", chance.choice(SIZES_OF_HEADERS))[: chance.choice((2, 4))] + file[10:]
        case 4:
            return b""
    at = chance.randrange(min(len(file), 128) or 1)
    return file[:at] + chance.randbytes(chance.choice((1, 1, 4))) + file[at + 1 :]
