"""Inputs: names, shapes, types, quantisation, and files that hold none."""

import contextlib
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from emulator.execute.inputs import count_tasks, prepare, read_tensor
from isa.chip import load_chip
from isa.dtypes import E4M3, E5M2, F32, I8, I32
from isa.errors import InputError, Trap
from isa.program import Core, Program, Symbol


def program_of(*symbols: Symbol, tasks: int = 1) -> Program:
    return Program("test", load_chip("edge"), "hardware", (Core((), (), (), symbols),), (), tasks)


X = Symbol("image", "input", "lm", 0, I8, (2, 3))
SCALED = Symbol("scaled", "input", "lm", 0, I8, (2, 2), (0.5,), 3)
DEFAULT = Symbol("known", "input", "lm", 0, I32, (2,), default=np.array([7, 8], "<i4").tobytes())
FLOATS = Symbol("floats", "input", "lm", 0, F32, (2,), (0.5,))
OUTPUT = Symbol("result", "output", "lm", 0, I8, (2,))


def test_exact_type_is_taken() -> None:
    value = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    prepared = prepare(program_of(X, OUTPUT), {"image": value})
    assert list(prepared) == ["image"] and (prepared["image"] == value).all()


def test_any_byte_order_and_layout() -> None:
    prepared = prepare(program_of(FLOATS, X), {"floats": np.array([1, 2], ">f4"), "image": np.ones((3, 2), np.int8).T})
    assert prepared["floats"].dtype == np.dtype("<f4") and prepared["floats"].tolist() == [1, 2]
    assert prepared["image"].flags.c_contiguous


def test_default_stands_in_and_gives_way() -> None:
    assert prepare(program_of(DEFAULT), {})["known"].tolist() == [7, 8]
    assert prepare(program_of(DEFAULT), {"known": np.array([1, 2], np.int32)})["known"].tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f2", ">f4"])
def test_floats_are_quantised(dtype: object) -> None:
    values = np.array([[0.25, 0.75], [-6e4, np.inf]], dtype)
    # Halves go to the even neighbour before the zero point is added.
    assert prepare(program_of(SCALED), {"scaled": values})["scaled"].tolist() == [[3, 5], [-128, 127]]


def test_scales_run_over_channels() -> None:
    symbol = Symbol("x", "input", "lm", 0, I8, (2, 2), (0.5, 2.0))
    assert prepare(program_of(symbol), {"x": np.array([[1.0, 1.0], [4.0, 4.0]])})["x"].tolist() == [[2, 0], [8, 2]]


WRONG = [
    ((X,), {}, "input image is missing\nhelp: give a tensor of shape [2, 3] and type int8"),
    ((SCALED,), {}, "input scaled is missing\nhelp: give a tensor of shape [2, 2] and type int8, or floats, which are"),
    (
        (replace(X, name="a$(b) c"),),
        {},
        "input a$(b) c is missing\nhelp: give a tensor of shape [2, 3] and type int8: --input 'a$(b) c'=FILE.npy, or",
    ),
    ((DEFAULT,), {"knwon": [1]}, "the program has no input 'knwon'\nhelp: did you mean `known`?"),
    ((DEFAULT,), {"q": [1]}, "the program has no input 'q'\nhelp: inputs: known"),
    ((OUTPUT,), {"q": [1]}, "the program has no input 'q'\nhelp: it has no inputs"),
    ((X,), {"image": np.zeros((3, 2), np.int8)}, "input image has shape [3, 2]\nhelp: give a tensor of shape [2, 3]"),
    ((X,), {"image": [[1, 2], [3]]}, "input image is not an array: "),
    (
        (X,),
        {"image": np.zeros((2, 3), np.int64)},
        "input image has type int64, expected int8\nhelp: convert it with .astype(np.int8)",
    ),
    (
        (X,),
        {"image": np.full((2, 3), 200)},
        "input image has type int64, expected int8\nhelp: its values, 200 to 200, do not fit int8 (-128 to 127)",
    ),
    (
        (X,),
        {"image": np.zeros((2, 3))},
        "input image has type float64, expected int8\nhelp: give the input a scale in the program to have floats",
    ),
    ((X,), {"image": np.full((2, 3), "a")}, "input image has type <U1, expected int8\nhelp: give a tensor of shape"),
    ((X,), {"image": np.full((2, 3), None)}, "input image has type object, expected int8"),
    ((FLOATS,), {"floats": np.zeros(2)}, "input floats has type float64, expected float32\nhelp: convert it with"),
    (
        (replace(X, dtype=E4M3),),
        {"image": np.zeros((2, 3))},
        "input image has type float64, expected float8_e4m3fn\nhelp: convert it with .astype(ml_dtypes.float8_e4m3fn)",
    ),
    (
        (replace(X, dtype=E5M2),),
        {"image": np.zeros((2, 3), "V1")},
        "input image has type |V1, expected float8_e5m2\nhelp: NumPy does not know the type of what it loads: add",
    ),
    (
        (Symbol("x", "input", "lm", 0, I8, (2, 3), (0.5, 2.0)),),
        {"x": np.zeros((2, 3))},
        "input x has 2 scales but 3 channels",
    ),
    (
        (SCALED,),
        {"scaled": np.array([[1, 2], [np.nan, np.nan]])},
        "input scaled has NaN at [1, 0], which has no quantised value",
    ),
]


@pytest.mark.parametrize(("symbols", "given", "message"), WRONG)
def test_wrong_inputs(symbols: tuple, given: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare(program_of(*symbols), given)
    assert str(caught.value).startswith(message)


def test_all_that_is_wrong_is_named() -> None:
    with pytest.raises(InputError) as caught:
        prepare(program_of(X, SCALED), {"imag": 1, "scaled": 1})
    assert caught.value.message.splitlines() == [
        "the program has no input 'imag'",
        "input image is missing",
        "input scaled has shape []",
    ]
    assert len(caught.value.help.splitlines()) == 3


def test_batches_count_the_tasks() -> None:
    program, one, two = program_of(X, DEFAULT, tasks=5), np.zeros((2, 3), np.int8), np.zeros((2, 2, 3), np.int8)
    assert count_tasks(program, {}, None) == count_tasks(program, {"image": one}, None) == 5
    assert count_tasks(program, {"image": two}, None) == count_tasks(program, {"image": two}, 2) == 2
    assert count_tasks(program, {"image": one}, 7) == 7
    assert prepare(program_of(X), {"image": two}, 2)["image"].shape == (2, 2, 3)
    assert (
        prepare(program_of(SCALED), {"scaled": np.full((3, 2, 2), 0.25)}, 3)["scaled"].tolist()
        == [[[3, 3], [3, 3]]] * 3
    )


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        (
            {"image": np.zeros((2, 2, 3)), "known": np.zeros((4, 2))},
            None,
            "the inputs disagree on the number of tasks: image is a batch of 2, known is a batch of 4\nhelp: give",
        ),
        ({"known": np.zeros((4, 2))}, 3, "the inputs disagree on the number of tasks: the run has 3 tasks, known is a"),
        ({"known": np.zeros((0, 2))}, None, "known: a batch of 0\nhelp: a stream has 1 to "),
        ({}, 0, "0 is no number of tasks\nhelp: give a whole number, 1 to "),
        ({}, "4", "'4' is no number of tasks"),
    ],
)
def test_wrong_batches(given: dict, asked: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        count_tasks(program_of(X, DEFAULT), given, asked)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_a_default_of_each_task() -> None:
    symbol = Symbol("x", "input", "lm", 0, I8, (2,), default=bytes([1, 2, 3, 4, 5, 6]))
    assert prepare(program_of(symbol), {}, 3)["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(
        InputError, match=r"the default of input x is for 3 tasks, but the run has 2\nhelp: give a tens"
    ):
        prepare(program_of(symbol), {}, 2)
    with pytest.raises(InputError, match=r"input x has shape \[4, 2\]\nhelp: .* in front"):
        prepare(program_of(symbol), {"x": np.zeros((4, 2), np.int8)}, 3)


def test_read_tensor(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.int8).reshape(2, 3))
    assert read_tensor(tmp_path / "x.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no .npy file"),
        (b"text", "is no .npy file"),
        (b"\x93NUMPY", "is no tensor: its header is damaged"),
        (b"PK\x03\x04", "is an archive of tensors, not one tensor"),
    ],
)
def test_files_without_a_tensor(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path} {said}")):
        read_tensor(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(InputError, match="is no tensor: it holds Python objects"):
        read_tensor(tmp_path / "x.npy")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_tensor(tmp_path / "absent.npy")
    with pytest.raises(InputError, match="cannot read"):
        read_tensor(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        read_tensor("a\0b")


@settings(max_examples=200, deadline=None, database=None)
@given(st.data())
def test_damaged_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    np.save(path, np.arange(40, dtype=np.int8))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 130))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(60, len(content)))])
    with contextlib.suppress(InputError):
        assert isinstance(read_tensor(path), np.ndarray)


def test_lists_of_whole_numbers_are_taken_where_they_fit() -> None:
    assert prepare(program_of(X), {"image": [[1, 2, 3], [4, 5, -128]]})["image"].dtype == np.int8
    with pytest.raises(InputError, match="its values, 1 to 500, do not fit int8"):
        prepare(program_of(X), {"image": [[1, 2, 3], [4, 5, 500]]})
    with pytest.raises(InputError, match="has type int64"):
        prepare(program_of(X), {"image": np.ones((2, 3), np.int64)})


@pytest.mark.parametrize("given", [[1], "x", {3: 1}], ids=str)
def test_inputs_without_names_are_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"the inputs are|the program has no input 3"):
        ratel.run(ratel.assemble(".chip edge\n.input x i8[4] = 0\n.output y i8[4]\ncopy y, x\nend"), given)  # type: ignore[arg-type]


def test_a_wrong_index_names_its_task() -> None:
    text = ".chip edge\n.input x i8[3, 4] = 0\n.input i i32[2] buffers=2\n.output y i8[2, 4]\ngather y, x, i\nend"
    with pytest.raises(Trap, match=r"in task 1, index\[1\] is 3, but"):
        ratel.run(ratel.assemble(text), {"i": np.array([[0, 1], [2, 3]], np.int32)})


def test_scales_that_fit_no_channel_quantise_nothing() -> None:
    symbol = Symbol("x", "input", "lm", 0, I8, (2, 3), (0.5, 2.0))
    with pytest.raises(InputError, match="x has 2 scales but 3 channels"):
        prepare(program_of(symbol), {"x": np.ones((2, 3))})
    assert prepare(program_of(symbol), {"x": np.ones((2, 3), np.int8)})


@given(st.floats(-1e6, 1e6, width=32), st.integers(-12, 12), st.integers(-128, 127))
def test_quantise_rounds_once_half_to_even(x: float, exponent: int, zero: int) -> None:
    # By a power of two, division is exact: what is left is the rounding, which Fraction has too.
    symbol = Symbol("x", "input", "lm", 0, I8, (1,), (2.0**exponent,), zero)
    expected = min(max(round(Fraction(x) / Fraction(2) ** exponent) + zero, -128), 127)
    assert symbol.quantise(np.array([x])).tolist() == [expected]
