"""Whatever the text: a Program or an AssemblyError, and nothing else; and quickly."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError, render
from assembler.syntax.format import format_text
from assembler.syntax.parser import TOKEN
from isa.object_file import from_bytes, to_bytes
from tests.assembler.sources import GOOD, TWO_CORES

TOKENS = sorted(
    set(TOKEN.findall(GOOD + TWO_CORES)) | {"-1", "99999999999", "%", "//", "/", "inf", "nan", "in", "strides", "task"}
)


def survives(text: str) -> None:
    """Assemble and format; a program that comes out is a valid one."""
    try:
        program = assemble(text, "p.npu")
        from_bytes(to_bytes(program))
    except AssemblyError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            assert diagnostic.message and render(diagnostic)
            assert 1 <= diagnostic.span.column < diagnostic.span.end
    try:
        formatted = format_text(text)
    except AssemblyError:
        return
    assert format_text(formatted) == formatted


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text)


@given(st.text(alphabet='abi8[]()=:,.;"\\ \n\t+-*/%019xKM_#{}', max_size=120))
def test_any_text_of_its_letters(text: str) -> None:
    survives(text)


@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=10).map(" ".join), max_size=6).map("\n".join))
def test_any_tokens(text: str) -> None:
    survives(f".chip edge\n.local a i8[2, 4, 8, 8, 8]\n.local l i8[8, 8]\n{text}\nend\n")


@settings(max_examples=100)
@given(st.data())
def test_mutations_of_a_good_program(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from((GOOD, TWO_CORES))).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        k = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(("drop", "double", "swap", "token", "letter", "cut")))
        if action == "drop":
            del lines[k]
        elif action == "double":
            lines.insert(k, lines[k])
        elif action == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[k], lines[other] = lines[other], lines[k]
        elif action == "cut":
            lines[k] = lines[k][: data.draw(st.integers(0, len(lines[k])))]
        elif action == "letter":
            at = data.draw(st.integers(0, len(lines[k])))
            lines[k] = lines[k][:at] + data.draw(st.characters()) + lines[k][at + data.draw(st.integers(0, 1)) :]
        else:
            tokens = TOKEN.findall(lines[k]) or [""]
            tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(st.sampled_from(TOKENS))
            lines[k] = " ".join(tokens)
    survives("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "\ufeffend",
        "end\r\n",
        "\x0c\nend",
        "end\x85",
        "\ud800",
        '.name "\ud800"\nend',
        '.name "\\ud800\\u0000"\nend',
        "." * 10000,
        ".core 0\nend\n" * 70,
        ".repeat k, 65\n.core k\nend\n.endrepeat",
        ".core 0\nend\n.core 99999999999999999999\nend",
        ".core 0\nfill core" + "9" * 5000 + ".t\nend",
        ".semaphore a\nsignal core0.a, me\nend",
        "(" * 100000,
        "[" * 100000 + "\n" + "]" * 100000,
        "-" * 100000,
        ".equ A = " + "-" * 100000 + "1",
        ".equ A = " + "1*" * 10000 + "1",
        ".equ A = " + "9" * 100000,
        ".equ A = 0x" + "f" * 100000,
        ".equ A = 1e" + "9" * 1000,
        ".equ A = 1." + "0" * 100000,
        ".equ A = 1.5 % 0.0",
        ".equ A = 1e308 * 10 - 1e308 * 10",
        ".equ A = inf - inf\n.equ B = nan // 1\n.equ C = inf // 1\n.equ D = inf % 2",
        ".equ A = 9223372036854775807 / 1e-300",
        ".equ A = -9223372036854775807 - 9223372036854775807",
        ".local a i8[2147483647]\nend",
        ".local a i8[2147483647, 2147483647, 2147483647, 2147483647, 2147483647]\nend",
        ".chip edge\n.local a i8[8] at 4611686018427387904\nend",
        ".chip edge\n.weight a i8[2147483647] in host = 1\nend",
        ".chip edge\nfill i8[2147483647, 2147483647] in lm at 0\nend",
        ".chip edge\nfill i8[2, 2] in lm at 0 strides [9223372036854775807, 1]\nend",
        ".chip edge\nfill i8[2] in lm at 9223372036854775807\nend",
        ".chip edge\nfill i8[2] in lm at -5\nend",
        ".chip edge\nloop i, 2147483647\nfill i8[2] in lm at i*9223372036854775807\nbrnz i\nend",
        ".chip edge\nfill i8[2] in lm at 0, value=1e400\nend",
        ".chip edge\nfill i8[2] in lm at 0, value=nan\nend",
        ".chip edge\nfill f32[2] in lm at 0, value=inf\nend",
        ".chip edge\nfill f32[2] in lm at 0, value=9223372036854775807\nend",
        ".chip edge\nfill f32[2] in lm at task*4, value=1\nend",
        '.chip "a\\u0000b.toml"\nend',
        '.chip ".."\nend',
        '.chip "x/../../y.toml"\nend',
        ".chip a" + "b" * 10000 + "\nend",
        '.include "' + "a" * 10000 + '"\nend',
        '.include "a\\u0000b"\nend',
        '.include "\\ud800"\nend',
        '.include ""\nend',
        '.weight w i8[1] = ""\nend',
        '.weight w i8[1] = "a\\u0000"\nend',
        '.weight w i8[1] = "hex:zz"\nend',
        '.weight w i8[1] = "hex:\ud800"\nend',
        ".repeat k, 1\n" * 70 + ".endrepeat\n" * 70,
        ".macro m a\n.endmacro\nm " + "(" * 30 + "1" + ")" * 30 + "\nend",
        "loop i, 2\n" * 3000,
        "brnz i\n" * 3000,
        "x" * 100000,
        "a b c d e\n" * 1000,
        '.check y exact "x" source=3\nend',
        ".order\n.chip\n.name\n.scales\n.equ\n.include\n.check\n.macro\n.repeat\n.data\n.local",
    ],
)
def test_extremes(text: str) -> None:
    survives(text)


def test_a_large_program_is_fast_enough() -> None:
    body = "fill t[0:4], value=1\n" * 2000
    assert len(assemble(f".local t i8[8]\n{body}end\n").cores[0].code) == 2001


def test_assembling_needs_no_numba() -> None:
    """And starts fast: what is imported is NumPy, lark and this."""
    code = (
        "import sys; from assembler.assemble import assemble; assemble('.chip edge\\nend\\n');"
        "print([m for m in ('numba', 'rich', 'emulator', 'ratel') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
