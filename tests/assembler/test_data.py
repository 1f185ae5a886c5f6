"""Data files: what is taken, and that no broken one gets further than a diagnostic."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assembler.assemble import assemble
from assembler.disassemble import disassemble
from assembler.files import Folder
from assembler.syntax.diagnostics import AssemblyError
from isa.dtypes import E4M3, E5M2, DType
from isa.program import Program


def weight(folder: Path, array: np.ndarray, dtype: str, shape: str) -> Program:
    np.save(folder / "w.npy", array)
    return assemble(f'.chip edge\n.weight w {dtype}{shape} = "w.npy"\nend\n', folder / "p.npu")


@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
def test_floats_of_a_byte(tmp_path: Path, dtype: DType) -> None:
    """As files, and as numbers: rounded, up to the greatest, of which the text of a disassembly has the same bytes."""
    every = np.arange(256, dtype=np.uint8)
    (segment,) = weight(tmp_path, every.view(dtype.numpy), str(dtype), "[256]").cores[0].segments
    assert segment.data == every.tobytes()
    infinite = ["inf"] if dtype == E5M2 else []
    numbers = ", ".join(["0.3", "-0.0", str(dtype.greatest), *infinite])
    text = f".chip edge\n.weight w {dtype}[{3 + len(infinite)}] = [{numbers}]\nend\n"
    program = assemble(text)
    expected = np.array([0.3, -0.0, dtype.greatest, *map(float, infinite)], dtype.numpy)
    assert program.cores[0].segments[0].data == expected.tobytes()
    again = disassemble(program)
    assert "[0.3125, -0.0, " in again
    assert assemble(again).cores[0].segments == program.cores[0].segments
    for beyond in (dtype.greatest * 1.2, *(() if infinite else ("-inf",))):
        with pytest.raises(AssemblyError, match=f"is beyond {dtype}"):
            assemble(f".chip edge\n.weight w {dtype}[1] = {beyond}\nend\n")


@pytest.mark.parametrize("dtype", ["i1", "<i4", ">i4", "<f4", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_files_of_any_byte_order_and_layout(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype, order=order)  # type: ignore[call-overload]
    name = {"i1": "i8", "<i4": "i32", ">i4": "i32", "<f4": "f32", ">f4": "f32"}[dtype]
    (segment,) = weight(tmp_path, array, name, "[3, 4]").cores[0].segments
    assert segment.data == np.arange(12).astype(dtype.replace(">", "<")).tobytes()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((3, 4), np.uint8), "E504"),
        (np.zeros((3, 4), np.int64), "E504"),
        (np.zeros((3, 4), np.float64), "E504"),
        (np.zeros((3, 4), bool), "E504"),
        (np.zeros((3, 4), "U3"), "E504"),
        (np.zeros((3, 4), [("a", "i1")]), "E504"),
        (np.zeros((4, 3), np.int8), "E503"),
        (np.zeros(12, np.int8), "E503"),
        (np.zeros((), np.int8), "E503"),
        (np.zeros((0, 4), np.int8), "E503"),
    ],
)
def test_other_types_and_shapes_are_refused(tmp_path: Path, array: np.ndarray, code: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        weight(tmp_path, array, "i8", "[3, 4]")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [code]


@pytest.mark.parametrize(
    ("tasks", "label"),
    [("", "expected [2]"), (".tasks 4\n", "expected [4, 2], one for each task, or [2], the same for all")],
)
def test_a_batch_of_another_length_says_what_is_possible(tmp_path: Path, tasks: str, label: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.int8))
    with pytest.raises(AssemblyError) as caught:
        assemble(f'.chip edge\n{tasks}.input x i8[2] = "x.npy"\nend\n', tmp_path / "p.npu")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("E503", label)
    assert diagnostic.help == "`.tasks 3` makes these the inputs of 3 tasks"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_broken_files_are_diagnostics(tmp_path: Path, data: st.DataObject) -> None:
    np.save(tmp_path / "good.npy", np.arange(12, dtype=np.int8))
    content = bytearray((tmp_path / "good.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "w.npy").write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        assemble('.chip edge\n.weight w i8[12] = "w.npy"\nend\n', tmp_path / "p.npu")
    except AssemblyError as error:
        assert {diagnostic.code for diagnostic in error.diagnostics} <= {"E501", "E502", "E503", "E504"}


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("a pickle was opened",))

    for content in (pickle.dumps(Trap()), b"\x93NUMPY" + pickle.dumps(Trap())):
        (tmp_path / "w.npy").write_bytes(content)
        with pytest.raises(AssemblyError) as caught:
            assemble('.chip edge\n.weight w i8[12] = "w.npy"\nend\n', tmp_path / "p.npu")
        assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E502"]


def test_an_enormous_header_claims_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.arange(10, dtype=np.int8))
    content = (tmp_path / "good.npy").read_bytes().replace(b"(10,), }   ", b"(10**9, 10**9)}")
    (tmp_path / "w.npy").write_bytes(content.replace(b"(10,), }          ", b"(9999999999999,), }"))
    with pytest.raises(AssemblyError) as caught:
        assemble('.chip edge\n.weight w i8[12] = "w.npy"\nend\n', tmp_path / "p.npu")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E502"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_labels_of_any_integer_type(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "labels.npy", np.arange(6).reshape(shape).astype(dtype))
    text = '.chip edge\n.output y f32[2, 3, 10]\n.check y top1 "labels.npy" min=0.5\nend\n'
    (check,) = assemble(text, tmp_path / "p.npu").checks
    assert check.expected == np.arange(6, dtype="<i4").tobytes()
    assert (check.source, check.bound) == ("labels.npy", 0.5)


def test_scales_from_files(tmp_path: Path) -> None:
    for dtype in (np.float32, np.float64):
        np.save(tmp_path / "s.npy", np.array([0.1, 0.2], dtype))
        program = assemble('.chip edge\n.input x i8[3, 2] scale="s.npy"\nend\n', tmp_path / "p.npu")
        assert program.cores[0].symbol("x").scale == (float(np.float32(0.1)), float(np.float32(0.2)))


def test_lists_nested_flat_and_single_values() -> None:
    for data in ("[[1, 2], [3, 4]]", "[1, 2, 3, 4]", "[1, 2,\n  3, 4, ]", "[[1, 2,], [1 + 2, 2*2]]"):
        (segment,) = assemble(f".chip edge\n.const c i32[2, 2] = {data}\nend\n").cores[0].segments
        assert np.frombuffer(segment.data, "<i4").tolist() == [1, 2, 3, 4]
    (segment,) = assemble(".chip edge\n.const c f32[3] = -1.5\nend\n").cores[0].segments
    assert np.frombuffer(segment.data, "<f4").tolist() == [-1.5] * 3
    (segment,) = assemble(".chip edge\n.const c f32[3] = [nan, inf, -inf]\nend\n").cores[0].segments
    assert str(np.frombuffer(segment.data, "<f4").tolist()) == "[nan, inf, -inf]"


def test_inputs_without_a_default_have_none() -> None:
    symbol = assemble(".chip edge\n.input x i8[3]\nend\n").cores[0].symbol("x")
    assert symbol.default is None
    symbol = assemble(".chip edge\n.input x i8[3] = [1, 2, 3]\nend\n").cores[0].symbol("x")
    assert symbol.default == b"\1\2\3"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), '"w.npy" is no tensor: it is cut off'),
        (lambda path: np.save(path, np.ones((4, 2), np.int8)), '"w.npy" was changed while it was read'),
        (lambda path: path.unlink(), '"w.npy" does not exist'),
    ],
)
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[Path], Any], said: str
) -> None:
    np.save(tmp_path / "w.npy", np.ones((2, 4), np.int8))
    header = Folder.header

    def then_changed(self: Folder, inside: str, name: str) -> Any:
        found = header(self, inside, name)
        what(tmp_path / "w.npy")
        return found

    monkeypatch.setattr(Folder, "header", then_changed)
    with pytest.raises(AssemblyError) as caught:
        assemble('.chip edge\n.weight w i8[2, 4] = "w.npy"\nend\n', str(tmp_path / "p.npu"))
    assert [one.message for one in caught.value.diagnostics] == [said]
