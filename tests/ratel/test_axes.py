"""Axes: the order in which the host has the dimensions of inputs and outputs, wherever it gives or takes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from isa.object_file import from_bytes, to_bytes, to_sections
from ratel.cli.main import main

# The chip has NHWC, the host NCHW.
NCHW = """
.chip edge
.input  x u8[1, 2, 3, 4] scale=[0.5, 0.25, 1, 2] zero=7 axes=[0, 3, 1, 2]
.output y u8[1, 2, 3, 4] scale=[0.5, 0.25, 1, 2] zero=7 axes=(0, 3, 1, 2)
.local  held u8[1, 2, 3, 4] scale=[0.5, 0.25, 1, 2] zero=7
copy held, x
copy y, held
end
"""


@st.composite
def moved(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a program of an input that is an output, with axes each; the input, and what lies on the chip and comes."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    orders = [draw(st.permutations(range(len(shape)))) for _ in range(2)]
    tasks, buffers = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    on_chip = np.arange(tasks * np.prod(shape), dtype=np.int16).reshape(tasks, *shape)
    x, y = (np.stack([np.transpose(one, order) for one in on_chip]) for order in orders)
    same = draw(st.booleans()) or tasks == 1
    default = (x[0] if same else x).tolist()
    on_chip, x, y = (on_chip[:1], x[:1], np.stack([y[0]] * tasks)) if same else (on_chip, x, y)
    return (
        f"""
.chip edge
.tasks {tasks}
.input x i16{shape} axes={list(orders[0])} buffers={buffers} = {default}
.output y i16{shape} axes={list(orders[1])} in host
.check y exact {(y if tasks > 1 else y[0]).tolist()}
store y, x
end
""",
        x,
        y,
        on_chip,
    )


@settings(max_examples=25, deadline=None)
@given(moved())
def test_what_the_host_gives_and_takes_is_transposed(drawn: tuple[str, np.ndarray, np.ndarray, np.ndarray]) -> None:
    text, x, y, on_chip = drawn
    program = ratel.assemble(text)
    # Where nothing is given there is the default, which the text has in the host's order, too.
    for inputs in ({}, {"x": x if len(x) > 1 else x[0]}):
        run = ratel.run(program, inputs, dumps=["x"])
        assert run.passed and run.checks and run.outputs["y"].tolist() == (y if len(y) > 1 else y[0]).tolist()
        assert run.outputs["y"].flags.c_contiguous
        # A dump is what lies on the chip.
        assert run.dumps["x"].tolist() == on_chip[-1].tolist()
    assert from_bytes(to_bytes(program)) == program
    again, sections = to_sections(ratel.assemble(ratel.disassemble(program))), to_sections(program)
    assert {**again, "debug": b""} == {**sections, "debug": b""}


def test_floats_are_quantised_by_the_channels_of_the_declared_tensor(tmp_path: Path) -> None:
    program, x = ratel.assemble(NCHW), np.random.default_rng(3).normal(20, 30, (2, 1, 4, 2, 3)).astype(np.float32)
    expected = ratel.quantise.to_integers(x, [0.5, 0.25, 1, 2], 7, "u8", axis=2)
    with ratel.Session(program, tasks=1) as session:
        for given, right in ((x[0], expected[0]), (x[1].astype(">f4"), expected[1]), (x, expected)):
            assert np.array_equal(session.run({"x": given}).outputs["y"], right)
    # A default in a file, of one task and of two.
    text, path = NCHW.replace("axes=[0, 3, 1, 2]", 'axes=[0, 3, 1, 2] = "x.npy"', 1), tmp_path / "x.npy"
    for given, right, tasks in ((x[0], expected[0], ""), (x, expected, ".tasks 2\n")):
        np.save(path, given)
        assert np.array_equal(ratel.run(ratel.assemble(tasks + text, path)).outputs["y"], right)
    with pytest.raises(ratel.AssemblyError, match=r"expected \[1, 4, 2, 3\]"):
        ratel.assemble(text, path)
    assert ratel.time(program).cycles == ratel.time(ratel.assemble(NCHW.replace(" axes=[0, 3, 1, 2]", ""))).cycles


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, 4, 3, 2), np.uint8), r"input x has shape \[1, 4, 3, 2\]\nhelp: give a tensor of shape \[1, 4, 2"),
        (
            np.zeros((1, 2, 3, 4), np.uint8),
            r"input x has shape \[1, 2, 3, 4\]\nhelp: that is the program's order, from which axes=\[0, 3, 1, 2\] make",
        ),
        (np.where(np.arange(24) == 16, np.nan, 0).reshape(1, 4, 2, 3), r"input x has NaN at \[0, 2, 1, 1\]"),
        (np.zeros((1, 4, 2, 3), np.int16), "input x has type int16, expected uint8"),
    ],
)
def test_what_is_wrong_is_said_in_the_order_of_the_host(given: np.ndarray, message: str) -> None:
    with pytest.raises(ratel.InputError, match=message):
        ratel.run(ratel.assemble(NCHW), {"x": given})


def test_a_class_is_of_the_last_dimension_of_the_host() -> None:
    text = """
.chip edge
.output y f32[3, 2] axes=[1, 0]
.weight w f32[3, 2] = [[1, 8], [5, 2], [3, 4]]   ; the host gets [[1, 5, 3], [8, 2, 4]]
.check y top1 [1, 0] min=1
.check y within [[1, 5, 3], [8, 2, 4]] atol=0
copy y, w
end
"""
    run = ratel.run(ratel.assemble(text))
    assert run.passed and [check.value for check in run.checks] == [1.0, 0.0]


def test_the_command_line_has_the_order_of_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, x, y = tmp_path / "nchw.npu", tmp_path / "x.npy", tmp_path / "y.npy"
    source.write_text(NCHW)
    values = np.arange(24, dtype=np.uint8).reshape(1, 4, 2, 3)
    np.save(x, values)
    arguments = ["run", str(source), "--input", f"x={x}", "--expect", f"y={x}", "--output", f"y={y}", "--dump", "held"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "y: as expected" in shown and "y u8[1, 4, 2, 3]" in shown and "held [1, 2, 3, 4]" in shown
    assert np.array_equal(np.load(y), values)
    values[0, 3, 1, 0] += 1
    np.save(x, np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
    assert main(arguments) == 1
    assert "give a tensor of shape [1, 4, 2, 3] and type uint8" in capsys.readouterr().err


@pytest.mark.parametrize("axes", [(2, 0, 1), [2, 0, 1], np.array([2, 0, 1])])
def test_a_builder_declares_them(axes: Any) -> None:
    b, values = ratel.Builder("permuted", chip="edge"), np.arange(24, dtype=np.int8).reshape(4, 2, 3)
    x = b.input("x", "i8", (2, 3, 4), axes=axes, default=values)
    b.copy(b.output("y", "i8", x.shape, axes=axes), x)
    assert ".output y i8[2, 3, 4] axes=[2, 0, 1]" in b.text()
    assert np.array_equal(ratel.run(b.build()).outputs["y"], values)


def test_a_builder_says_what_are_none() -> None:
    with pytest.raises(ratel.AssemblyError, match="`axes` is a dict"):
        ratel.Builder("wrong").input("x", "i8", (2, 3), axes={})  # type: ignore[arg-type]
    b = ratel.Builder("wrong", chip="edge")
    b.input("x", "i8", (2, 3), axes=(1, 1))
    with pytest.raises(ratel.AssemblyError, match=r"E305.*`axes` is no order of the dimensions of \[2, 3\]"):
        b.build()
