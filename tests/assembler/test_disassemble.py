"""Disassembled text assembles to the same program: every section of the object but the debug one is equal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assembler.assemble import assemble
from assembler.disassemble import disassemble, disassemble_files
from isa.chip import load_chip
from isa.dtypes import F32, I8
from isa.errors import RatelError
from isa.instruction import Instruction, build
from isa.object_file import to_sections
from isa.operand import Term
from isa.program import Core, Line, Program, Segment, Symbol
from isa.table import MNEMONICS
from ratel.testing.instructions import instructions
from ratel.testing.programs import programs, programs_of_cores
from tests.assembler.sources import GOOD, TWO_CORES


def sections(program: Program) -> dict[str, bytes]:
    found = to_sections(program)
    del found["debug"]
    return found


def program_of(*code: Instruction, segments: tuple[Segment, ...] = (), symbols: tuple[Symbol, ...] = ()) -> Program:
    code = (*code, build("end"))
    lines = tuple(Line("p", 1, "") for _ in code)
    return Program("p", load_chip("edge"), "hardware", (Core(code, lines, segments, symbols),))


def test_many_labels_stand_in_the_text() -> None:
    """As bytes, from where numbers would be too long for people."""
    rows = ", ".join(str(k % 3) for k in range(300))
    program = assemble(f".output y i8[300, 3]\n.check y top1 [{rows}] min=0.5\nfill y, value=1\nend\n")
    text = disassemble(program)
    assert 'top1 "hex:' in text and sections(assemble(text))["chckdata"] == sections(program)["chckdata"]


def test_good_text_round_trips() -> None:
    program = assemble(GOOD)
    text = disassemble(program)
    assert sections(assemble(text)) == sections(program)
    assert disassemble(assemble(text)) == text


STREAM = """\
.chip edge
.tasks 3
.input x i8[2, 4] buffers=2 = [[[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4], [5, 6, 7, 8]], [[0, 0, 0, 0], [0, 0, 0, 9]]]
.input each i8[1, 4] buffers=16 in dev = [1, 2, 3, 4]
.input flat i8[2, 1] = [1, 2, 3, 4, 5, 6]
.output y i8[2, 4] buffers=2
.output z i8[4] in host
.check y exact 1
.check y top1 [0, 1, 2, 3, 0, 1] min=0
.check z within [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]] atol=3
.local t i8[2, 4]
.local view i8[2, 2, 4] at x
load t[0:1], each
eltwise y, x, add=t
loop i, 2
    copy t[i], x[i]
    copy t[1], view[task % 2, i]
    copy y[task % 2], x[1 - task % 2]
brnz i
store z, x[0]
end
"""


def test_streams_round_trip() -> None:
    program = assemble(STREAM)
    x, each, flat = (program.cores[0].symbol(name) for name in ("x", "each", "flat"))
    assert (x.buffers, x.address, each.address, flat.address) == (2, 0, 0, 256)
    assert [len(symbol.default or b"") for symbol in (x, each, flat)] == [24, 4, 6]
    text = disassemble(program)
    assert sections(assemble(text)) == sections(program) and ".tasks 3" in text.splitlines()
    body = STREAM[STREAM.index("load t") :].splitlines()
    assert text.splitlines()[-len(body) :] == [
        line.replace("1 - task % 2", "1 - (task % 2)").replace("view[task % 2, i]", "x[i]") for line in body
    ]


def test_each_task_has_its_buffer() -> None:
    code = assemble(STREAM).cores[0].code
    assert [operand.terms for operand in code[1].operands[:2] if operand] == [(Term(0, 2, 8),)] * 2
    assert code[0].operands[1].terms == (Term(0, 16, 4),)
    # The line's own `task % 2` and the buffer's are one term: y + 12 bytes, x + 4 + 4 bytes.
    out, x = code[5].operands[:2]
    assert (out.terms, x.terms, x.address) == ((Term(0, 2, 12),), (Term(0, 2, 4),), 4)


def test_text_reads_like_text() -> None:
    text = disassemble(assemble(GOOD))
    for line in (
        "    conv a[i % 2], x[i*4 : +4], w, bias=b, ew3_scale=f32[8] in cb at 0x500, pad=1, relu",
        "        (w.tm) maxpool y[j : +1, 0:4, 0:7:2], y[j : +1], window=2, stride=2",
        "eltwise z, l, add=f, clip=(0, 6.5)",
        "transpose l, l, perm=(1, 0)",
    ):
        assert line in text.splitlines()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(programs(), programs_of_cores()))
def test_programs_round_trip(program: Program) -> None:
    assert sections(assemble(disassemble(program))) == sections(program)


@pytest.mark.parametrize("mnemonic", [name for name in MNEMONICS if name not in ("loop", "brnz", "end")])
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_instructions_round_trip(mnemonic: str, data: st.DataObject) -> None:
    instruction = data.draw(instructions(mnemonic))
    program = program_of(instruction)
    if instruction.row.engine == "sync":
        names = tuple(f"s{k}" for k in range(4))
        program = replace(
            program_of(replace(instruction, attributes=((3,), instruction.attributes[1]))), barriers=names
        )
        program = replace(program, semaphores=names)
    assert sections(assemble(disassemble(program))) == sections(program)


def test_large_data_goes_to_files(tmp_path: Path) -> None:
    program = assemble(
        ".chip edge\n.input x i8[300] = ["
        + "1, 2, 3, " * 100
        + "]\n.weight w f32[257] = ["
        + "0.1, nan, " * 128
        + "1]\n"
        ".output y f32[2, 300]\n.check y exact [" + "1, 2, " * 300 + "]\nend\n"
    )
    text, files = disassemble_files(program)
    assert set(files) == {"x.npy", "w.npy", "y_check0.npy"}
    assert text == disassemble(program, tmp_path)
    assert sections(assemble(text, tmp_path / "q.npu")) == sections(program)
    assert sections(assemble(disassemble(program))) == sections(program)


def test_no_file_has_a_name_that_reads_as_an_option() -> None:
    (core,) = assemble(".weight w i8[300] = [" + "1, 2, 3, " * 100 + "]\nend\n").cores
    program = Program(
        "p", load_chip("edge"), "hardware", (replace(core, symbols=(replace(core.symbols[0], name="-rf"),)),)
    )
    assert set(disassemble_files(program)[1]) == {"_rf.npy"}


def test_compressed_weights_go_to_files_dense(tmp_path: Path) -> None:
    """A large one has fewer bytes than its data: its file has the shape of the declaration."""
    w = np.arange(64 * 64).reshape(64, 64) % 5 // 4
    np.save(tmp_path / "w.npy", w.astype(np.int8))
    text = """
.chip edge
.input x i8[1, 64]
.weight w i8[64, 64] compressed = "w.npy"
.output y i8[1, 64]
matmul y, x, w
end
"""
    program = assemble(text, tmp_path / "a.npu")
    again = tmp_path / "again.npu"
    again.write_text(disassemble(program, tmp_path))
    assert np.array_equal(np.load(tmp_path / "w.npy"), w)
    assert sections(assemble(again.read_text(), again)) == sections(program)


def test_files_of_equal_names_stay_apart(tmp_path: Path) -> None:
    long = "[" + "1, 2, " * 200 + "]"
    program = assemble(
        f'.chip edge\n.input x i8[400] = {long}\n.input X i8[400] = {long}\n.input "x " i8[400] = {long}\nend\n'
    )
    text, files = disassemble_files(program)
    assert len({name.lower() for name in files}) == 3
    assert sections(assemble(disassemble(program, tmp_path), tmp_path / "q.npu")) == sections(program)
    assert text == disassemble(program, tmp_path)


def test_names_of_any_kind() -> None:
    names = (
        "relu",
        "task",
        "i",
        "in",
        "at",
        "i8",
        "none",
        "a b",
        "",
        '"',
        "\t",
        "é",
        "conv",
        "window",
        "global",
    )
    symbols = tuple(Symbol(name, "local", "lm", 16 * k, I8, (4,)) for k, name in enumerate(names))
    fills = [build("fill", out=symbol.as_operand()) for symbol in symbols]
    loop = [build("loop", counter=1, count=2), *fills, build("brnz", counter=1)]
    program = replace(program_of(*loop, symbols=symbols), name='"\\\t\0é')
    assert sections(assemble(disassemble(program))) == sections(program)


def test_data_that_no_symbol_owns() -> None:
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7FC00000, 0x80000000], "<u4").tobytes()
    symbols = (
        Symbol("a", "weight", "lm", 0, I8, (4,)),
        Symbol("b", "const", "cb", 16, F32, (4,)),
        Symbol("c", "weight", "lm", 0, I8, (4,)),
        Symbol("d", "input", "lm", 64, F32, (4,), default=odd),
        Symbol("e", "input", "lm", 2, I8, (4,), default=b"\1\2\3\4"),
    )
    segments = (
        Segment("cb", 16, odd),
        Segment("lm", 0, b"\1\2\3\4"),
        Segment("lm", 0, b"\5\6\7\x08"),
        Segment("dev", 3, b""),
        Segment("dev", 5, b"\xff\xfe"),
        Segment("lm", 64, bytes(16)),
    )
    program = program_of(segments=segments, symbols=symbols)
    assert sections(assemble(disassemble(program))) == sections(program)


def test_several_cores_read_like_text() -> None:
    program = assemble(TWO_CORES)
    assert disassemble(program) == TWO_CORES
    assert [len(core.code) for core in program.cores] == [8, 8]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    program = assemble(".chip edge\n.input x i8[300] = [" + "1, 2, 3, " * 100 + "]\nend\n")
    with pytest.raises(RatelError, match="cannot write"):
        disassemble(program, tmp_path / "nowhere")


def test_large_data_in_the_text_is_bytes() -> None:
    program = assemble('.input x i8[600] = 1\n.weight w i8[600] = "hex:' + "0102" * 300 + '"\ncopy x, w\nend\n')
    text = disassemble(program)
    assert "hex:0102" in text and len(text) < 2000
    assert assemble(text).cores[0].segments == program.cores[0].segments
