"""What a Builder writes as nodes is what its text says: the same program, or the same diagnostics."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ratel
from assembler.assemble import assemble_for
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, Report
from assembler.syntax.parser import parse
from assembler.syntax.printer import printed
from assembler.syntax.source import SourceFile
from emulator.explain.annotate import annotate
from isa.chip import load_chip
from isa.errors import InputError
from tests.assembler.builder import builder_mistakes
from tests.assembler.builder.test_builder import MISTAKES, network, sections

Call = Callable[[Any, Any, Any], Any]

# Each takes a Builder, tensors of it, and the counter of an open loop.
CALLS: dict[str, Call] = {
    "conv": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=1, relu=True),
    "words": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=(1, 1, 1, 1), clip=(-1, 6.5), wait="tm"),
    "slices": lambda b, t, i: b.copy(t.t[i % 2], t.t[1 - i % 2, 0:8, :8]),
    "steps": lambda b, t, i: b.copy(t.t[0, 7:None:-1], t.t[1, ::-1]),
    "calculated": lambda b, t, i: b.copy(t.t[(i + 1) % 2], t.t[i * 3 - i * 2 : i + 1, 0:8]),
    "raw": lambda b, t, i: b.fill(b.operand("i8", (4, 4), "lm", i * 64 + 0x4000, (8, 1)), value=-1.0),
    "numbers": lambda b, t, i: b.fill(b.local(None, "f32", 4), value=-1e-20),
    "nan": lambda b, t, i: b.fill(b.local(None, "f32", 4), value=-np.inf),
    "data": lambda b, t, i: b.const(None, [[1, -2], [3, 4]], "i32"),
    "alias": lambda b, t, i: b.local(None, "i8", (64,), at=(t.t, 64)),
    "scales": lambda b, t, i: b.weight(None, np.ones((4, 2), np.int8), scale=np.float32([1, 2, 3, 4]), zero=-0.0),
    "none": lambda b, t, i: b.weight(None, None, "i8", (2, 2)),
    "check": lambda b, t, i: b.check(t.y, within=-1, atol=1),
    "comment": lambda b, t, i: b.comment("; said\nin two lines"),
    "macro": lambda b, t, i: b.include("<llm.npu>").causal_mask(b.local(None, "f32", 8), tokens=4),
    # What is wrong, or what no text says.
    "macro of another type": lambda b, t, i: b.include("<llm.npu>").softmax(t.t, t.t, t.t),
    "macro of too many": lambda b, t, i: b.include("<llm.npu>").causal_mask(t.t, 1, 2, 3),
    "no indices": lambda b, t, i: b.fill(t.t[()]),
    "below": lambda b, t, i: b.fill(t.t[-1]),
    "beyond": lambda b, t, i: b.fill(t.t[i + 7]),
    "length": lambda b, t, i: b.fill(t.t[:, i : i - 1]),
    "fraction": lambda b, t, i: b.fill(t.t[i / 2.5 - 1]),
    "of another sign": lambda b, t, i: b.fill(t.t[i % -3]),
    "negative": lambda b, t, i: b.fill(t.t[0, -i]),
    "deep": lambda b, t, i: b.fill(t.t[nested(i, 34)]),
    "far too deep": lambda b, t, i: b.fill(t.t[nested(i, 200)]),
    "rather deep": lambda b, t, i: b.fill(t.t[nested(i, 12)]),
    "no shape": lambda b, t, i: b.fill(b.operand("i8", (), "lm", 0)),
    "odd type": lambda b, t, i: b.local(None, "a type", 4),
    "odd memory": lambda b, t, i: b.local(None, "i8", 4, memory="l m"),
    "odd raw": lambda b, t, i: b.fill(b.operand("i 8", (4,), "lm", 0)),
    "odd kind": lambda b, t, i: b.declare("flag", "f"),
    "odder kind": lambda b, t, i: b.declare("a flag", "g"),
    "odd wait": lambda b, t, i: b.fill(t.t, wait="tt"),
    "text": lambda b, t, i: b.fill(t.t, value="no word"),
    "half a character": lambda b, t, i: b.fill(t.t, value="\ud800"),
    "texts": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=("a b", 1)),
    "one text": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=["a b"]),
    "nested": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=((1, 1), (1, 1))),
    "list in tuple": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=([1], 1)),
    "nothing": lambda b, t, i: b.conv(t.y, t.x, t.w, pad=()),
    "raw in tuple": lambda b, t, i: b.conv(t.y, t.x, t.w, clip=(b.operand("i8", 4, "lm", 0), 1)),
    "place of a slice": lambda b, t, i: b.local(None, "i8", 4, at=(t.t[0], 4)),
    "place of a raw": lambda b, t, i: b.local(None, "i8", 4, at=b.operand("i8", 4, "lm", 64)),
    "place in words": lambda b, t, i: b.local(None, "i8", 4, at="a place"),
    "zero points": lambda b, t, i: b.local(None, "i8", 4, zero=(1, 2)),
    "deep data": lambda b, t, i: b.const(None, [[[[[[[[[[1]]]]]]]]]], "i32", (1,)),
    "counter": lambda b, t, i: b.fill(t.t, value=i - i - 3),
    "negative size": lambda b, t, i: b.local(None, "i8", (-4,)),
    "attribute": lambda b, t, i: b.fill(t.t, valu=1),
    "shapes": lambda b, t, i: b.copy(t.t[0], t.t[1, 0:4]),
    "surplus": lambda b, t, i: b.copy(t.t[0], t.t[1], "relu"),
    "keywords": lambda b, t, i: b.copy(b.local("strides", "i8", 4), b.local("at", "i8", 4)),
    "twice": lambda b, t, i: b.local("t", "i8", 4),
    "loop": lambda b, t, i: b.loop(0, "n"),
}


def nested(i: Any, depth: int) -> Any:
    return i if not depth else (nested(i, depth - 1) + 1) % (depth + 7)


def written(calls: list[Call], name: str = "drawn") -> Any:
    """Return a Builder with what the calls wrote; what is refused at once is left out."""
    b = ratel.Builder(name, chip="edge")
    tensors = builder_mistakes.tensors(b)
    with b.loop(2, "i") as i:
        for call in calls:
            with suppress(AssemblyError):
                call(b, tensors, i)
    return b


def without_origin(found: Diagnostic) -> tuple[Any, ...]:
    """Return what a diagnostic says of the text; the notes' places are those of Python."""
    if found.notes and found.notes[0].message == "it was written here":
        found = replace(found, notes=found.notes[1:])
    help = "" if "close" in found.help else found.help
    return found.code, found.place, found.message, found.label, help, [note.message for note in found.notes]


def agree(b: Any) -> bool:
    """Assert that nodes and text mean the same program, or that the same is wrong with them; return whether it is."""
    results: list[Any] = []
    for make in (b.build, lambda: assemble_for(b.text(), held=b.files).program):
        try:
            results.append(sections(make()))
        except AssemblyError as error:
            results.append([without_origin(found) for found in error.diagnostics])
    assert results[0] == results[1]
    return isinstance(results[0], list)


@pytest.mark.parametrize("name", CALLS)
def test_each_call(name: str) -> None:
    b = written([CALLS[name]])
    # All but two are written, whatever is wrong with them.
    assert (b.text() != written([]).text()) == (name not in ("length", "far too deep"))
    agree(b)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(CALLS)), max_size=8), st.sampled_from(["drawn", "größer", "\ud800", 'a "b"\n']))
def test_drawn_calls(names: list[str], name: str) -> None:
    agree(written([CALLS[called] for called in names], name))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda function: function.__name__)
def test_mistakes(mistake: Any) -> None:
    b = ratel.Builder("wrong", chip="edge")
    refused = False
    try:
        mistake(b, builder_mistakes.tensors(b))
    except AssemblyError:
        refused = True
    assert agree(b) or refused


def test_more_mistakes_than_are_looked_for() -> None:
    agree(written([CALLS["no shape"], CALLS["texts"], CALLS["below"]] * 60))


def test_what_is_printed_is_parsed_to_the_same() -> None:
    text = network().text()
    report = Report()
    statements = parse(SourceFile("net", text), report)
    lines = [line.strip() for line in text.splitlines() if line and not line.strip().startswith(";")]
    assert [printed(statement) for statement in statements] == lines and not report.found


@pytest.mark.slow
def test_statements_have_no_limit() -> None:
    b = ratel.Builder(chip="edge")
    for _ in range(250_001):
        b.declare("barrier")
    with pytest.raises(AssemblyError) as caught:
        b.build()
    assert {found.code for found in caught.value.diagnostics} == {"E804"}


def test_lines_are_those_of_the_origin() -> None:
    b = ratel.Builder("net", chip="edge")
    x, y = b.input("x", "i8", (64,)), b.output("y", "i8", (64,))
    held = b.local("held", "i8", (64,))
    with b.origin("models/net.onnx", 7, "Copy_7"):
        b.copy(held, x)
        with b.origin("models/net.onnx", 8, "Copy_8"):
            b.copy(y, held)
        b.copy(held, x)
    b.fill(held)
    program = b.build()
    found = [(line.file, line.number, line.text) for line in program.cores[0].lines[:4]]
    first, second = ("models/net.onnx", 7, "Copy_7"), ("models/net.onnx", 8, "Copy_8")
    assert found[:3] == [first, second, first] and found[3][2] == "b.fill(held)"
    timeline = ratel.time(program)
    assert ("models/net.onnx", 7) in {(entry.file, entry.line) for entry in timeline.critical_path}
    lines = [(line.file, line.number, line.text) for line in annotate(timeline)]
    assert lines[:2] == [first, second]


def test_diagnostics_speak_of_the_origin() -> None:
    b = ratel.Builder("net", chip="edge")
    with b.origin("models/net.onnx", 7, "Conv_7"):
        b.fill(b.local("t", "i8", 4), valu=3)
    with pytest.raises(AssemblyError) as caught:
        b.build()
    text = str(caught.value)
    assert "fill t, valu=3" in text and "note: it was written here\n --> models/net.onnx:7:1\n" in text
    assert "7 | Conv_7\n  | ^^^^^^" in text


def test_no_line_of_python_is_among_those_of_an_origin() -> None:
    """Not that of `build()` either, which the end of the program would have."""
    b = ratel.Builder("net", chip="edge")
    with b.origin("net.onnx", 1, "Copy_1"):
        b.copy(b.output("y", "i8", 64), b.input("x", "i8", 64))
    assert {line.file for line in b.build().cores[0].lines} == {"net.onnx"}


NO_PLACES = [(None, 1, ""), ("", 1, ""), ("a", -1, ""), ("a", 0, ""), ("a", 1.5, ""), ("a", 1, None), ("a", 1, "b\nc")]


@pytest.mark.parametrize("place", NO_PLACES)
def test_an_origin_that_is_none(place: Any) -> None:
    with pytest.raises(AssemblyError) as caught:
        ratel.Builder().origin(*place)
    assert caught.value.diagnostics[0].code == "E309"


def test_many_arrays_and_loops_are_kept_apart() -> None:
    chip = load_chip("edge").replace(memory__ib_bytes=2**24)
    b = ratel.Builder("net")
    arrays = [np.full(4, k, np.int8) for k in range(100)]
    y = b.output("y", "i8", 4)
    for array in [*arrays, *arrays]:
        with b.loop(2):
            b.copy(y, b.weight(None, array))
    assert len(b.files) == 100
    program = b.build(chip)
    assert [segment.data[0] for segment in program.cores[0].segments] == [*range(100), *range(100)]


def test_a_check_of_no_name_is_told_as_the_text_has_it() -> None:
    b = ratel.Builder(chip="edge")
    b.check(b.output("y", "i8", (4, 8)), **{"a b": 0})
    with pytest.raises(AssemblyError) as built:
        b.build()
    with pytest.raises(AssemblyError) as assembled:
        ratel.assemble(b.text())
    assert [found.code for found in built.value.diagnostics] == [found.code for found in assembled.value.diagnostics]
    assert built.value.diagnostics[0].code == "E101"


def test_errors_are_pickled_with_all_they_found() -> None:
    with pytest.raises(AssemblyError) as caught:
        ratel.assemble("bad")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.diagnostics == caught.value.diagnostics


def test_python_objects_are_not_saved(tmp_path: Path) -> None:
    """And nothing else is, then."""
    b = ratel.Builder(chip="edge")
    b.weight("w", np.zeros((4, 8), np.int8))
    b.input("x", "i8", (4, 8), scale=np.array([0.5] * 8, dtype=object))
    with pytest.raises(InputError, match=r"x_scale.npy cannot be written: the array holds Python objects"):
        b.save(tmp_path / "p.npu")
    assert not list(tmp_path.iterdir())
