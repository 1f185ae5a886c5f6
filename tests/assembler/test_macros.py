"""Macros, repetitions and includes: what they unfold to."""

from pathlib import Path

import pytest

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError
from isa.program import Program
from tests.assembler.sources import code_of, diagnostics_of

TENSORS = ".local a i8[8]\n.local b i8[8]\n.local f f32[8]\n.const t f32[256] = 0\n"


def same(text: str, other: str) -> bool:
    return code_of(TENSORS + text) == code_of(TENSORS + other)


def test_parameters_by_position_name_and_default() -> None:
    macro = ".macro set to, first=0, last=8, value=first + 1\nfill to[first : last], value=value\n.endmacro\n"
    assert diagnostics_of(f"{TENSORS}{macro}set a\nend")[0][0] == "E201"
    macro = macro.replace("value=first + 1", "value=1")
    assert same(f"{macro}set a", "fill a, value=1")
    assert same(f"{macro}set a, 2", "fill a[2:8], value=1")
    assert same(f"{macro}set b, last=4, value=7", "fill b[0:4], value=7")


def test_a_parameter_may_be_a_slice_a_word_a_list_or_a_name() -> None:
    assert same(".macro m t, sf\neltwise t, t, sf\n.endmacro\nm f[2:4], tanh", "eltwise f[2:4], f[2:4], tanh")
    assert same(".macro m sf\neltwise f, f, table=sf\n.endmacro\nm t", "eltwise f, f, table=t")
    assert same(".macro m q\neltwise f, f, add=q\n.endmacro\nm f", "eltwise f, f, add=f")
    assert same(".macro m q\neltwise f, f, clip=q\n.endmacro\nm (0, 6)", "eltwise f, f, clip=(0, 6)")
    assert same(".macro m name, n\n.local name i8[n]\nfill name\n.endmacro\nm c, 8", ".local c i8[8]\nfill c")
    assert same(
        ".macro m values\n.const c i32[2] = values\nfill a\n.endmacro\nm [1, 2]", ".const c i32[2] = [1, 2]\nfill a"
    )
    assert same(".macro m i\nloop i, 4\nfill a[i : +1]\nbrnz i\n.endmacro\nm k", "loop k, 4\nfill a[k : +1]\nbrnz k")


def test_none_leaves_an_operand_or_a_word_out() -> None:
    macro = ".macro m sf=none, scale=none\neltwise f, f, sf, ew1_scale=scale\n.endmacro\n"
    assert same(f"{macro}m", "eltwise f, f")
    assert same(f"{macro}m relu", "eltwise f, f, relu")
    assert same(f"{macro}m scale=t[0:1]", "eltwise f, f, ew1_scale=t[0:1]")
    macro = ".macro m more=none\neltwise f, f, add=more\n.endmacro\n"
    assert same(f"{macro}m", "eltwise f, f") and same(f"{macro}m f", "eltwise f, f, add=f")


def test_arguments_mean_what_they_mean_where_they_stand() -> None:
    """A parameter of the inner macro of the same name as the outer one's argument."""
    text = ".macro inner a, b\ncopy a, b\n.endmacro\n.macro outer a, b\ninner b, a\n.endmacro\nouter a[0:4], b[4:8]"
    assert same(text, "copy b[4:8], a[0:4]")


def test_loop_counters_pass_through() -> None:
    text = ".macro m to, k\nfill to[k : +1]\n.endmacro\nloop i, 4\nm a, i*2\nbrnz i"
    assert same(text, "loop i, 4\nfill a[i*2 : +1]\nbrnz i")


def test_arguments_are_values_not_text() -> None:
    assert same(".macro m k\nfill a, value=k*2\n.endmacro\nm 1 + 2", "fill a, value=6")


def test_repetitions_nest_and_count() -> None:
    text = ".repeat i, 2\n.repeat j, 2\nfill a[i*4 + j*2 : +2], value=i - j\n.endrepeat\n.endrepeat"
    lines = [f"fill a[{i * 4 + j * 2} : +2], value={i - j}" for i in range(2) for j in range(2)]
    assert same(text, "\n".join(lines))
    assert same(".repeat i, 0\nnonsense\n.endrepeat", "")


def test_repetitions_count_by_constants_declared_before() -> None:
    assert same(".equ N = 2\n.repeat i, N + 1\nfill a\n.endrepeat", "fill a\nfill a\nfill a")


def test_doubling_arguments_take_no_exponential_time() -> None:
    macros = ".macro m0 v\nfill a, value=v - v\n.endmacro\n"
    macros += "".join(f".macro m{k} v\nm{k - 1} v + v - v\n.endmacro\n" for k in range(1, 50))
    assert same(f"{macros}m49 1", "fill a, value=0")


def test_deep_arguments_are_a_diagnostic() -> None:
    deep = "(1 + " * 31 + "v" + ")" * 31
    macros = ".macro m0 v\nfill a, value=v\n.endmacro\n"
    macros += "".join(f".macro m{k} v\nm{k - 1} {deep}\n.endmacro\n" for k in range(1, 60))
    found = diagnostics_of(f".chip edge\n{TENSORS}{macros}m59 1\nend")
    assert found and {code for code, _ in found} <= {"E105", "E309"}


def test_many_small_expansions_are_limited() -> None:
    macros = ".macro m0\n.endmacro\n" + "".join(f".macro m{k}\nm{k - 1}\nm{k - 1}\n.endmacro\n" for k in range(1, 40))
    assert [code for code, _ in diagnostics_of(f"{macros}m39\nend")] == ["E705"]


def files(folder: Path, **texts: str) -> Program:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.npu"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return assemble(texts["main"], folder / "main.npu")


def test_includes_are_relative_to_their_file(tmp_path: Path) -> None:
    program = files(
        tmp_path,
        main='.chip edge\n.include "parts/a.npu"\nfill x\nend\n',
        parts__a='.include "b.npu"\n.include "../c.npu"\n',
        parts__b=".local x i8[4]\n",
        c="fill x, value=3\n",
    )
    assert [(line.file, line.number, line.text) for line in program.cores[0].lines] == [
        ("c.npu", 1, "fill x, value=3"),
        ("main.npu", 3, "fill x"),
        ("main.npu", 4, "end"),
    ]
    assert program.name == "main"


def test_circles_of_includes_end(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError) as caught:
        files(tmp_path, main='.include "a.npu"\nend\n', a='.include "b.npu"\n', b='.include "main.npu"\n')
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E703" and "main.npu -> a.npu -> b.npu -> main.npu" in diagnostic.help


def test_a_missing_file_causes_no_second_error(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError) as caught:
        files(tmp_path, main='.include "layers.npu"\nlayer y, x\ncopy y, x\nend\n')
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E501"]


def test_lines_of_a_macro_are_those_of_its_body() -> None:
    program = assemble(".chip edge\n.local a i8[4]\n.macro m\n  fill a ; here\n.endmacro\nm\nend\n", "p/net.npu")
    assert [(line.file, line.number, line.text) for line in program.cores[0].lines] == [
        ("net.npu", 4, "fill a ; here"),
        ("net.npu", 7, "end"),
    ]
    assert program.name == "net"


def test_a_huge_repetition_is_refused_before_it_begins() -> None:
    text = ".repeat k, 9223372036854775807\nfill b, value=k\n.endrepeat\nend"
    (diagnostic,) = diagnostics_of(text)
    assert diagnostic[0] == "E705"
