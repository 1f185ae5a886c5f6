"""A built program is the one that its text assembles to, and the one that was drawn; mistakes name the Python line."""

import inspect
import re
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ratel
from assembler.assemble import assemble, assemble_for
from assembler.builder.builder import Builder
from assembler.syntax.diagnostics import AssemblyError
from assembler.syntax.format import format_text
from isa.dtypes import BF16
from isa.instruction import Instruction
from isa.object_file import to_sections
from isa.operand import Operand
from isa.program import Program, Symbol
from isa.row import ENGINES, WAIT_LETTERS
from isa.table import MNEMONICS, ROWS
from ratel.testing.instructions import instructions
from ratel.testing.programs import programs
from tests.assembler.builder import builder_mistakes
from tests.assembler.test_disassemble import program_of

BUILT = [row.mnemonic for row in ROWS if row.engine != "seq"]


def sections(program: Program) -> dict[str, bytes]:
    """Return the sections of the object, without lines and the names of the files that checks compare with."""
    checks = tuple(replace(check, source="") for check in program.checks)
    found = to_sections(replace(program, checks=checks))
    del found["debug"]
    return found


def rebuilt(program: Program) -> Builder:
    """Return a Builder to which every part of a program for one core was given by a call."""
    (core,) = program.cores
    b = Builder(program.name, program.chip, program.order, scales="explicit", tasks=program.tasks)
    tokens: dict[str, list[Any]] = {}
    for kind, names in (("semaphore", program.semaphores), ("barrier", program.barriers)):
        tokens[kind] = [b.declare(kind, name) for name in names]
    handles = {symbol.name: declared(b, symbol) for symbol in core.symbols}
    for segment in core.segments:
        b.data(np.frombuffer(segment.data, np.int8), segment.memory, segment.address)
    for check in program.checks:
        symbol = core.symbol(check.output)
        is_label = check.kind == "top1"
        held = check.expected
        expected = np.frombuffer(held, "<i4") if is_label else of_tasks(symbol, held, symbol.host_shape)
        bound = {"top1": "min", "within": "atol"}.get(check.kind)
        b.check(handles[check.output], **{check.kind: expected}, **({bound: check.bound} if bound else {}))
    loops: list[tuple[Any, Any]] = []
    for instruction in core.code:
        match instruction.row.mnemonic:
            case "loop":
                loop = b.loop(int(instruction.attribute("count")[0]))
                loops.append((loop, loop.__enter__()))
            case "brnz":
                loops.pop()[0].__exit__()
            case "end":
                pass
            case mnemonic:
                counters = [b.task, *(counter for _, counter in loops)]
                getattr(b, mnemonic)(**arguments(b, instruction, counters, tokens))
    return b


def of_tasks(symbol: Symbol, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the tensor, or those of several tasks."""
    tensors = np.frombuffer(data, symbol.dtype.numpy).reshape(-1, *shape)
    return tensors if len(tensors) > 1 else tensors[0]


def declared(b: Builder, symbol: Symbol) -> Any:
    scale = symbol.scale[0] if len(symbol.scale) == 1 else list(symbol.scale) or None
    where = {"scale": scale, "zero": symbol.zero, "at": symbol.address}
    if symbol.kind == "const":
        return b.const(symbol.name, None, symbol.dtype.name, symbol.shape, **where)
    where["memory"] = symbol.memory
    if symbol.kind == "weight":
        where["stored"] = symbol.form or symbol.stored or None
        return b.weight(symbol.name, None, symbol.dtype.name, symbol.shape, **where)
    if symbol.kind != "local":
        where |= {"buffers": symbol.buffers, "axes": symbol.axes or None}
    if symbol.default is not None:
        where["default"] = symbol.to_host(of_tasks(symbol, symbol.default, symbol.shape))
    return getattr(b, symbol.kind)(symbol.name, symbol.dtype.name, symbol.shape, **where)


def arguments(
    b: Builder, instruction: Instruction, counters: list[Any], tokens: dict[str, list[Any]]
) -> dict[str, Any]:
    row = instruction.row

    def handle(operand: Operand) -> Any:
        address = sum(
            ((counters[t.counter] % t.modulus if t.modulus else counters[t.counter]) * t.stride for t in operand.terms),
            start=operand.address,
        )
        held = operand.dtype.name, operand.shape, operand.memory, address, operand.strides
        return b.operand(*held, stored=operand.form or operand.stored or None)

    given = {
        spec.name: None if operand is None else handle(operand)
        for spec, operand in zip(row.operands, instruction.operands, strict=True)
    }
    for spec, value in zip(row.attributes, instruction.attributes, strict=True):
        given[spec.name] = value[0] if spec.count == 1 else value
        if spec.declared:
            given[spec.name] = tokens[spec.declared][int(value[0])]
    for choice in row.choices:
        word = choice.words[int(given.pop(choice.name))]
        for name in {name for names in choice.takes.values() for name in names} - set(choice.takes.get(word, ())):
            given.pop(name)
        taken = [given.pop(name) for name in choice.takes.get(word, ())]
        if word != "none":
            given[word] = True if not taken else taken[0] if len(taken) == 1 else tuple(taken)
    letters = {engine: letter for letter, engine in WAIT_LETTERS.items()}
    given["wait"] = "".join(letters[engine] for bit, engine in enumerate(ENGINES) if instruction.waits >> bit & 1)
    return given


def of_text(b: Builder) -> Program:
    return assemble_for(b.text(), held=b.files).program


@pytest.mark.parametrize("mnemonic", BUILT)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_instructions_are_built(mnemonic: str, data: st.DataObject) -> None:
    instruction = data.draw(instructions(mnemonic))
    if instruction.row.engine == "sync":
        instruction = replace(instruction, attributes=((0,), *instruction.attributes[1:]))
    program = replace(program_of(instruction), semaphores=("s",), barriers=("b",))
    assert sections(rebuilt(program).build()) == sections(program)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_programs_are_built(program: Program) -> None:
    b = rebuilt(program)
    built = b.build()
    assert sections(built) == sections(program) == sections(of_text(b))
    assert format_text(b.text()) == b.text()


def network() -> Builder:
    """Build a program of every kind of statement."""
    rng = np.random.default_rng(1)
    b = ratel.Builder("net", chip="edge", order="compiler")
    x = b.input("x", "i8", (8, 8, 8, 4), scale=np.float32(0.05), zero=3, default=rng.normal(size=(8, 8, 8, 4)))
    w = b.weight("w", rng.integers(-9, 10, (8, 3, 3, 4), np.int8), scale=rng.uniform(0.1, 0.2, 8))
    c = b.const(None, [1, -2, 3, 4, 5, 6, 7, 8], "i32")
    y = b.output("y", "i8", (8, 8, 8, 8), scale=0.1)
    z = b.output("z", "bf16", (4,), memory="dev")
    a = b.local("a", "i8", [2, 4, 8, 8, 8], scale=0.1)
    flat = b.local("flat", "i8", (2, 2048), at=(a, 0), scale=[0.1])
    d = b.weight(None, rng.normal(size=4).astype(BF16.numpy), memory="dev")
    f = b.local(None, "bf16", 4)
    b.comment("four images at once,\ninto two buffers")
    with b.loop(2) as i:
        b.conv(a[i % 2], x[i * 4 : i * 4 + 4], w, bias=c, pad=1, clip=(0, 6.5))
        b.copy(y[i * 4 : i * 4 + 4], a[i % 2], wait="t")
        with b.loop(np.int64(3), "column") as column:
            b.fill(flat[1 - i % 2, np.int64(8) * column + 2 : 8 * column + 10 : 2], value=np.int8(-1), wait="tm")
            b.maxpool(y[..., 0:4], y[..., 4:8], window=1, stride=(1, 1))
    b.load(f, d)
    b.store(z, f)
    b.check(y, exact=rng.integers(-9, 10, (8, 8, 8, 8), np.int8))
    b.check(y, within=0, atol=127)
    b.check(y, top1=[0] * 512, min=0.5)
    return b


def test_text_of_a_network() -> None:
    text = network().text()
    assert format_text(text) == text
    for line in (
        '.input x i8[8, 8, 8, 4] scale=0.05 zero=3 = "net_x.npy"',
        '.weight w i8[8, 3, 3, 4] scale="net_w_scale.npy" = "net_w.npy"',
        ".const const1 i32[8] = [1, -2, 3, 4, 5, 6, 7, 8]",
        ".local flat i8[2, 2048] scale=[0.1] at a + 0",
        "; into two buffers",
        "loop i, 2",
        "    conv a[i % 2], x[i*4 : +4], w, bias=const1, pad=1, clip=(0, 6.5)",
        "    (w.t) copy y[i*4 : +4], a[i % 2]",
        "        (w.tm) fill flat[1 - i % 2, column*8 + 2 : +8 : 2], value=-1",
        "        maxpool y[:, :, :, 0:4], y[:, :, :, 4:8], window=1, stride=(1, 1)",
        "    brnz column",
        ".check y within 0 atol=127",
    ):
        assert line in text.splitlines()


def test_text_and_files_assemble_to_the_same(tmp_path: Path) -> None:
    b = network()
    b.save(tmp_path / "saved.npu")
    saved = assemble((tmp_path / "saved.npu").read_text(), tmp_path / "saved.npu")
    built = b.build()
    assert replace(saved, cores=(), sources=()) == replace(built, cores=())
    assert sections(saved) == sections(built) == sections(of_text(b))
    assert ratel.run(saved, check=False).outputs["y"].tobytes() == ratel.run(built, check=False).outputs["y"].tobytes()


def test_lines_are_those_of_python() -> None:
    lines = network().build().cores[0].lines
    assert {line.file for line in lines} == {Path(__file__).name}
    first = lines[1]
    source, start = inspect.getsourcelines(network)
    assert source[first.number - start].strip() == first.text
    assert first.text.startswith("b.conv(a[i % 2]")
    assert ratel.time(network().build()).critical_path[0].file in (Path(__file__).name, "")


def test_another_chip() -> None:
    b = ratel.Builder(chip="edge")
    b.fill(b.output("y", "i8", 4), value=1)
    assert b.build().chip == ratel.load_chip("edge")
    other = ratel.load_chip("hanguang800", te__latency=7)
    assert b.build("hanguang800").chip == ratel.load_chip("hanguang800")
    assert b.build(other).chip == ratel.Builder(chip=other).build().chip == other


def test_results_can_be_passed_on() -> None:
    b = ratel.Builder(chip="edge")
    y = b.output("y", "i8", 4)
    assert b.copy(y, b.fill(b.local(None, "i8", 4))) is y


def test_rows_of_a_tensor() -> None:
    b = ratel.Builder(chip="edge")
    t = b.local("t", "i8", (3, 4))
    assert len(t) == 3 and [row.text for row in t] == ["t[0]", "t[1]", "t[2]"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda i: i * 32 + 4, "i*32 + 4"),
        (lambda i: 4 + 32 * i - 4, "i*32"),
        (lambda i: 1 - i % 2, "1 - i % 2"),
        (lambda i: -(i % 2) * 3, "-((i % 2)*3)"),
        (lambda i: -i, "-(i)"),
        (lambda i: (i + 1) % 2 * 8, "((i + 1) % 2)*8"),
        (lambda i: i - i, "0"),
        (lambda i: 2 * (i * 3 - 1), "i*6 - 2"),
        (lambda i: np.int32(2) * i + np.uint8(7), "i*2 + 7"),
        (lambda i: i // 2 + i / 4, "i//2 + i/4"),
        (lambda i: 7 // (i * 2), "7//(i*2)"),
    ],
)
def test_expressions(make: Any, text: str) -> None:
    b = ratel.Builder()
    with b.loop(4, "i") as i:
        assert str(make(i)) == text


def test_help_says_what_the_table_says() -> None:
    for mnemonic in BUILT:
        row, method = MNEMONICS[mnemonic], getattr(Builder, mnemonic)
        assert method.__doc__.startswith(row.meaning) and row.formula.splitlines()[0] in method.__doc__
        parameters = inspect.signature(method).parameters
        required = [spec.name for spec in row.operands if not spec.optional]
        assert list(parameters)[: 1 + len(required)] == ["self", *required] and list(parameters)[-1] == "wait"
        for spec in row.operands + row.attributes:
            assert spec.name in parameters or any(spec.name in str(c.takes) or c is spec for c in row.choices)
            assert spec.meaning in method.__doc__
    conv = inspect.signature(Builder.conv).parameters
    assert conv["relu"].default is False and conv["stride"].default == 1 and conv["x_zero"].default is None


def test_large_data_is_not_copied_until_it_is_built() -> None:
    array = np.ones((20, 1000, 1000), np.int8)
    tracemalloc.start()
    b = ratel.Builder()
    b.weight("w", array, memory="host")
    b.text()
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    (segment,) = b.build().cores[0].segments
    # The bytes of the program, once.
    assert tracemalloc.get_traced_memory()[1] < 1.2 * array.nbytes == 1.2 * len(segment.data)
    tracemalloc.stop()
    assert b.files["program_w.npy"] is array


def test_weights_are_compressed() -> None:
    b = ratel.Builder()
    b.weight("w", np.eye(64, dtype=np.int8), compressed=True)
    assert b.text().splitlines()[-2] == '.weight w i8[64, 64] compressed = "program_w.npy"'
    assert len(b.build().cores[0].segments[0].data) == 64 * 64 // 8 + 64


def test_names_of_files_differ_by_more_than_case() -> None:
    b = ratel.Builder("a b/c")
    for name in ("x", "X"):
        b.weight(name, np.ones(3, np.int8))
    assert list(b.files) == ["a_b_c_x.npy", "a_b_c_X_2.npy"]
    assert len(b.build().cores[0].segments) == 2


def test_cores_are_written_in_turns() -> None:
    b = ratel.Builder("two")
    ready, weights = b.declare("semaphore", "ready"), np.ones((64, 64), np.int8)
    with b.core(0):
        x = b.input("x", "i8", (4, 64))
        b.weight("w", weights)
    with b.core(1):
        inbox, out = b.local("inbox", "i8", (2, 4, 64)), b.output("out", "i8", (4, 64))
        b.weight("w", weights)
    with b.core(0), b.loop(2) as i:
        b.copy(inbox[i], x)
        b.signal(ready, me=True)
    with b.core(1):
        b.wait(ready, me=True)
        b.wait(ready, me=True)
        b.copy(out, inbox[1])
    b.check(out, exact=0)
    assert b.text().splitlines()[3:] == [
        ".semaphore ready",
        ".core 0",
        ".input x i8[4, 64]",
        '.weight w i8[64, 64] = "two_w.npy"',
        "loop i, 2",
        "    copy core1.inbox[i], x",
        "    signal ready, me",
        "brnz i",
        "end",
        ".core 1",
        ".local inbox i8[2, 4, 64]",
        ".output out i8[4, 64]",
        '.weight w i8[64, 64] = "two_w.npy"',
        "wait ready, me",
        "wait ready, me",
        "copy out, inbox[1]",
        ".check out exact 0",
        "end",
    ]
    program = b.build()
    assert sections(program) == sections(of_text(b))
    assert [line.text for line in program.cores[0].lines[1:3]] == ["b.copy(inbox[i], x)", "b.signal(ready, me=True)"]
    assert (ratel.run(program, {"x": np.full((4, 64), 3, np.int8)}).outputs["out"] == 3).all()


MISTAKES = [
    function
    for name, function in inspect.getmembers(builder_mistakes, inspect.isfunction)
    if function.__module__ == builder_mistakes.__name__ and name != "tensors"
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda function: function.__name__)
def test_mistakes_are_answered(mistake: Any) -> None:
    b = ratel.Builder("wrong", chip="edge")
    diagnostics = []
    try:
        mistake(b, builder_mistakes.tensors(b))
    except AssemblyError as error:
        diagnostics += error.diagnostics
    try:
        b.build()
    except AssemblyError as error:
        diagnostics += error.diagnostics
    file = Path(builder_mistakes.__file__).name
    spans = [d.span if d.span.file == file else d.notes[0].span for d in diagnostics]
    found = {(span.line, f"error[{d.code}]: {d.message}") for d, span in zip(diagnostics, spans, strict=True)}
    assert found == expected(mistake)


def expected(function: Any) -> set[tuple[int, str]]:
    """Return (line, message) of each annotation: it stands under the last line of its statement."""
    source, first = inspect.getsourcelines(function)
    result, line, opened = set(), 0, 0
    for number, text in enumerate(source, first):
        match = re.fullmatch(r"\s*# (error\[E\d+\]: .*)\n", text)
        if match:
            result.add((line, match[1]))
        elif not opened:
            line = number
        opened += text.count("(") - text.count(")")
    return result


def test_a_mistake_is_shown_with_both_lines() -> None:
    b = ratel.Builder("wrong", chip="edge")
    t = builder_mistakes.tensors(b)
    b.fill(t.t, valu=3)
    with pytest.raises(AssemblyError) as caught:
        b.build()
    text = str(caught.value)
    assert " --> <text>:8:9" in text and "fill t, valu=3" in text and "did you mean `value`?" in text
    assert "note: it was written here" in text and f"{Path(__file__).name}:" in text and "b.fill(t.t, valu=3)" in text


def test_help_speaks_python() -> None:
    b = ratel.Builder("wrong", chip="edge")
    with pytest.raises(AssemblyError) as caught:
        b.weight("w", np.ones(3))
    assert "quantise.weights(array)" in caught.value.diagnostics[0].help
    b.loop(2)
    with pytest.raises(AssemblyError) as caught:
        b.build()
    assert caught.value.diagnostics[0].help == "write `with b.loop(...):`, which closes it"


def test_types_of_numpy_are_told_by_the_name_that_is_meant() -> None:
    b = Builder("p", chip="edge")
    for dtype, meant in ((np.int8, 'did you mean "i8"?'), (np.dtype("float32"), 'did you mean "f32"?'), (int, "")):
        with pytest.raises(AssemblyError) as caught:
            b.local("j", dtype, 4)
        assert caught.value.diagnostics[0].help == meant
    for array, wanted in ((np.arange(4), 'array.astype("int32")'), (np.ones(4), 'array.astype("float32"), or')):
        with pytest.raises(AssemblyError, match=re.escape(f"convert it: {wanted}")):
            b.const(None, array)


def test_a_builder_and_its_arrays_go_with_the_last_who_holds_them() -> None:
    """At once: weights are large, and what goes round in circles waits for the collector."""
    b, data = Builder("p", chip="edge"), np.ones((2, 8), np.int8)
    gone = [weakref.ref(one) for one in (b, data)]
    w, y = b.weight("w", data), b.output("y", "i8", (2, 8))
    with b.loop(2) as i:
        b.copy(y[i], w[b.task % 2])
    b.build()
    del b, data, w, y, i
    assert [one() for one in gone] == [None, None]
