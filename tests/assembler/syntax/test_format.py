"""The formatter changes spaces only."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError
from assembler.syntax.format import format_text
from assembler.syntax.parser import TOKEN
from assembler.syntax.source import _STATEMENT, split_comment
from isa.object_file import to_sections
from tests.assembler.sources import GOOD

# With breaks inside of wait bits, too.
WAITING = GOOD.replace("(w.tm)", "( w . tm )")
MEANING = to_sections(assemble(GOOD))


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("", ""),
        ("\n\n  \n", ""),
        ("end", "end\n"),
        ("\n\nend\n\n\n", "end\n"),
        ("; a\n\n\n\n;b", "; a\n\n;b\n"),
        ("loop i,4\nfill a\n; c\nbrnz i", "loop i, 4\n    fill a\n    ; c\nbrnz i\n"),
        ("(w . tp)copy a,b", "(w.tp) copy a, b\n"),
        ("( w .; why\n\nt ; so\n)copy a,b ; this", "; why\n\n; so\n(w.t) copy a, b  ; this\n"),
        ("copy a [ i*4:+4 , 0 : 2,::2,: ] , b", "copy a[i*4 : +4, 0:2, ::2, :], b\n"),
        ("copy a[1-i%2],b[-1]", "copy a[1 - i % 2], b[-1]\n"),
        ("copy a[(i+1)%2:+4],b", "copy a[(i + 1) % 2 : +4], b\n"),
        ("conv y,x,w,pad = ( 0,0 ,1, -1 ),clip=(-1,2)", "conv y, x, w, pad=(0, 0, 1, -1), clip=(-1, 2)\n"),
        (".equ A=1+2*3//4", ".equ A = 1 + 2*3//4\n"),
        (".equ A=-(1-2)", ".equ A = -(1 - 2)\n"),
        (".input a i8[1,2]axes = [1 ,0] = [1,2]", ".input a i8[1, 2] axes=[1, 0] = [1, 2]\n"),
        (".local a i8 [ 4 ]scale = 0.1 zero= 3 in lm at 0x10=1", ".local a i8[4] scale=0.1 zero=3 in lm at 0x10 = 1\n"),
        ('.check y exact[1,2]source="x;y"', '.check y exact [1, 2] source="x;y"\n'),
        (".macro m a,b = 1\nfill a\n.endmacro", ".macro m a, b=1\n    fill a\n.endmacro\n"),
        ("copy i8[4]in lm at 3+i*2 strides[1],b", "copy i8[4] in lm at 3 + i*2 strides [1], b\n"),
        ("fill a ;x\nfill bbb;y\n\nfill c ; z", "fill a    ;x\nfill bbb  ;y\n\nfill c  ; z\n"),
        (".const c i32[2]=[1 , ; one\n2 ; two\n]", ".const c i32[2] = [1,  ; one\n    2                  ; two\n]\n"),
        (".semaphore   a\n.core 1+0\n(w.t)signal a ,me", ".semaphore a\n.core 1 + 0\n(w.t) signal a, me\n"),
        ("copy core1.t [ i%2 ],i8[4]in core2.lm at 0", "copy core1.t[i % 2], i8[4] in core2.lm at 0\n"),
        ("brnz i\nbrnz i\nend", "brnz i\nbrnz i\nend\n"),
    ],
)
def test_canonical_form(text: str, formatted: str) -> None:
    assert format_text(text) == formatted
    assert format_text(formatted) == formatted


def test_good_text_keeps_its_meaning() -> None:
    formatted = format_text(GOOD)
    assert format_text(formatted) == formatted
    before, after = to_sections(assemble(GOOD)), to_sections(assemble(formatted))
    assert {name for name in before if before[name] != after[name]} <= {"debug"}


def test_text_that_does_not_parse() -> None:
    with pytest.raises(AssemblyError) as caught:
        format_text("conv a b\nend\n")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E101"]


def test_names_need_not_exist() -> None:
    assert format_text("frobnicate  a,b") == "frobnicate a, b\n"


@settings(max_examples=15)
@given(st.data())
def test_any_spacing_comes_to_the_same(data: st.DataObject) -> None:
    """Spaces drawn between the tokens of each line are all one to the formatter."""
    spaces = st.sampled_from(("", " ", "  ", "\t"))
    lines = []
    for line in GOOD.replace(";", "\n;").splitlines():
        tokens = [line.strip()] if line.strip().startswith(";") else TOKEN.findall(line)
        drawn = data.draw(st.lists(spaces, min_size=len(tokens), max_size=len(tokens)))
        text = ""
        for token, space in zip(tokens, drawn, strict=True):
            glued = text[-1:].isalnum() and (token[0].isalnum() or token[0] in "_.")
            text += (space or (" " if glued or text[-1:] == "_" else "")) + token
        lines.append(text)
    formatted = format_text("\n".join(lines))
    assert format_text(formatted) == formatted
    before, after = to_sections(assemble(GOOD)), to_sections(assemble(formatted))
    assert {name for name in before if before[name] != after[name]} <= {"debug"}


def breaks(text: str) -> list[int]:
    """Return where in a text a line may be broken: before tokens in brackets that do not look like a statement."""
    places, depth, start = [], 0, 0
    for line in text.splitlines(keepends=True):
        code = split_comment(line)[0]
        for token in TOKEN.finditer(code):
            if depth and not _STATEMENT.match(code[token.start() :]):
                places.append(start + token.start())
            depth += (token[0] in "([") - (token[0] in ")]")
        start += len(line)
    return places


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.sampled_from(breaks(WAITING)), st.sampled_from(["\n", "\n\n", " ; said\n", "\n  ; said ( \n  "]), max_size=40
    )
)
def test_any_line_breaks_keep_their_meaning(drawn: dict[int, str]) -> None:
    """A text whose lines are broken, wherever they may be, is the same program before and after."""
    places = sorted(drawn)
    pieces = [WAITING[start:end] for start, end in pairwise([0, *places, len(WAITING)])]
    text = "".join(drawn.get(place, "") + piece for place, piece in zip([-1, *places], pieces, strict=True))
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    for written in (text, formatted):
        sections = to_sections(assemble(written))
        assert {name for name in sections if sections[name] != MEANING[name]} <= {"debug"}


def test_errors_name_the_file() -> None:
    with pytest.raises(AssemblyError) as caught:
        format_text("conv a b\nend\n", "folder/bad.npu")
    assert "--> bad.npu:1:8" in str(caught.value)
