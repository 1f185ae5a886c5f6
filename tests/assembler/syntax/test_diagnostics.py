"""Every diagnostic stands where its text says, with its words; see annotations.py."""

import re
from pathlib import Path

import pytest

from assembler.assemble import assemble
from assembler.syntax.diagnostics import CODES, AssemblyError, Diagnostic, Note, Span, render
from tests.assembler.syntax import annotations


@pytest.mark.parametrize("path", annotations.programs(), ids=lambda path: path.stem)
def test_annotations_equal_diagnostics(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--bless"):
        annotations.bless(path)
    found = annotations.found(path)
    assert found, "a program without diagnostics is no test"
    assert found == annotations.expected(path, {name for name, *_ in found})


def test_every_code_occurs() -> None:
    texts = "".join(annotations.read(path) for path in annotations.FOLDER.rglob("*.npu"))
    assert set(re.findall(r"(?:error\[(?=E)|warning\[(?=W))([EW]\d+)\]", texts)) == CODES.keys()


def test_rendering_points_at_the_place() -> None:
    span = Span("net.npu", 12, 16, 18, "    conv   a1, x, w1, bias=b1")
    note = Note("in the expansion of `layer`, called here", Span("net.npu", 130, 5, 10, "    layer a1"))
    diagnostic = Diagnostic("E305", span, "`w` has shape [1]", "look here\nand there", (note,), label="expected [2]")
    assert render(diagnostic) == "\n".join(
        [
            "error[E305]: `w` has shape [1]",
            "   --> net.npu:12:16",
            "    |",
            " 12 |     conv   a1, x, w1, bias=b1",
            "    |                ^^ expected [2]",
            "    = help: look here",
            "      and there",
            "note: in the expansion of `layer`, called here",
            "   --> net.npu:130:5",
            "    |",
            "130 |     layer a1",
            "    |     ^^^^^",
        ]
    )


def test_long_lines_are_cut_around_the_caret() -> None:
    text = "x" * 1000
    lines = render(Diagnostic("E101", Span("a", 1, 501, 503, text), "m")).splitlines()
    assert len(lines[3]) < 200
    assert lines[4].index("^") <= len(lines[3]) and lines[4].count("^") == 2


def test_all_errors_come_at_once_and_in_order() -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble("conv a\n.local x i9[1]\ncopy y, z\n", "p.npu")
    assert [(d.code, d.span.line) for d in caught.value.diagnostics] == [
        ("E201", 1),
        ("E207", 2),
        ("E313", 3),
        ("E201", 3),
        ("E201", 3),
    ]
    assert "5 errors" in str(caught.value)


def test_a_hundred_errors_are_enough() -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble("\n".join(f"copy a{k}, b{k}" for k in range(500)))
    assert len(caught.value.diagnostics) == 100


def test_macro_errors_show_both_places() -> None:
    text = ".local a i8[4]\n.local b i8[5]\n.macro move to, from\n    copy to, from\n.endmacro\nmove a, b\nend\n"
    with pytest.raises(AssemblyError) as caught:
        assemble(text, "p.npu")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span.line == 4
    assert [note.span.line for note in diagnostic.notes] == [6]


def test_a_statement_has_a_length_that_can_be_parsed() -> None:
    """A tree of each word and number is 1 KB: data of millions of them belong into a file."""
    text = ".chip edge\n.weight w i8[{0}] = [{1}]\nend\n"
    with pytest.raises(AssemblyError) as caught:
        assemble(text.format(60_000, ", ".join(["1"] * 60_000)))
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line) == ("E705", 2) and "FILE.npy" in found.help
    assert assemble(text.format(2_000, ", ".join(["1"] * 2_000))).cores[0].segments[0].data == b"\1" * 2_000
