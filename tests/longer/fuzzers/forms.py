"""Texts that are spaced, broken into lines and commented as nobody would; what `fmt` makes of them means the same."""

import random
import re
import zlib
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from assembler.assemble import assemble
from assembler.syntax import nodes
from assembler.syntax.diagnostics import AssemblyError, Report
from assembler.syntax.format import format_text
from assembler.syntax.parser import parse_line
from assembler.syntax.source import SourceFile, logical_lines
from isa.errors import RatelError
from isa.program import Program
from tests.assembler.sources import GOOD, TWO_CORES
from tests.longer.fuzzers.texts import program_lines
from tests.longer.fuzzers.words import SHORT, changed

# What `fmt` may not look into: texts in quotes, comments, words and numbers, signs of two letters.
PIECES = re.compile(r'"(?:\\.|[^"\\])*"|;.*|[\w.]*\w|//|::|.')
BLANKS = ("", "", "", "", " ", " ", "   ", "\t")
BREAKS = ("\n", "\n  ", " ; ; (\n", "  \n\n", " ;\n", '; "\n\t')
COMMENTS = ("", "", "", ";", " ; a comment ; of two", "\t;;  ([", ' ; "')
BETWEEN = ("", "", "", "\n", "\n\n\n", "\n  ; alone", "\n;\n\n;")


class Forms:
    """Texts; those that parse are formatted, which changes no token, and again, which changes nothing."""

    def __init__(self) -> None:
        self._lines = program_lines()

    def case(self, chance: random.Random) -> str:
        if chance.random() < 0.01:
            lines = chance.choice((GOOD, TWO_CORES)).splitlines()
        elif chance.random() < 0.2:
            lines = chance.choice(SHORT).splitlines()
        else:
            # No program; but a text has a form without being one.
            lines = [chance.choice(self._lines) for _ in range(chance.randint(1, 3))]
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            k = chance.randrange(len(lines))
            lines[k] = changed(lines[k], chance, self._lines)
        return "".join(_respaced(line, chance) + chance.choice(BETWEEN) + "\n" for line in lines)

    def run(self, text: str) -> str:
        try:
            after = format_text(text, "case.npu")
        except AssemblyError as error:
            assert error.diagnostics and str(error)
            return error.diagnostics[0].code
        assert format_text(after, "case.npu") == after, "it is not what it is made of"
        assert _meaning(text) == _meaning(after), "a token is another"
        assert _comments(text) == _comments(after), "a comment is another"
        if zlib.crc32(text.encode("utf-8", "replace")) % 8:
            return "formatted"
        assert _assembled(text) == _assembled(after), "it assembles to something else"
        return "formatted, and assembled"


def _respaced(line: str, chance: random.Random) -> str:
    """Return a line with blanks between its pieces, and breaks in its brackets."""
    pieces, depth = [], 0
    for piece in PIECES.findall(line):
        depth += (piece in "([") - (piece in ")]")
        pieces.append(piece)
        if piece[0] == ";":
            return "".join(pieces)
        breaks = depth > 0 and chance.random() < 0.1
        pieces.append(chance.choice(BREAKS) if breaks else chance.choice(BLANKS) if chance.random() < 0.3 else "")
    return chance.choice(BLANKS) + "".join(pieces) + chance.choice(COMMENTS)


def _meaning(text: str) -> list[Any]:
    """Return the statements of a text, without where they stand."""
    file = SourceFile("case.npu", text)
    report = Report(file.name)
    statements = [_bare(parse_line(line, report)) for line in logical_lines(file, report)]
    report.raise_if_any()
    return statements


def _bare(node: Any) -> Any:
    if isinstance(node, tuple):
        return tuple(map(_bare, node))
    if isinstance(node, nodes.Word) and node.text[:1] == "(":
        # Wait bits, which are one word with the blanks in it.
        return re.sub(r"\s", "", node.text)
    if is_dataclass(node):
        return type(node).__name__, *(_bare(getattr(node, name)) for name in _names(type(node)))
    return node


@cache
def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind) if field.name != "span"]


def _comments(text: str) -> list[str]:
    """Return the comments of a text, in order."""
    found = (re.sub(r'"(?:\\.|[^"\\])*"', "", line).partition(";") for line in text.splitlines())
    return [f"{sign}{comment}".rstrip() for _, sign, comment in found if sign]


def _assembled(text: str) -> Any:
    """Return what a text means, but for its lines: its program, or the codes of what is wrong with it."""
    try:
        program = assemble(text, "case.npu")
    except AssemblyError as error:
        return sorted(one.code for one in error.diagnostics)
    except RatelError as error:
        return str(error)
    return _without_lines(program)


def _without_lines(program: Program) -> Any:
    cores = [[getattr(core, field.name) for field in fields(core) if field.name != "lines"] for core in program.cores]
    # Sources are known by the hash of their text, which is another.
    rest = [field.name for field in fields(program) if field.name not in ("cores", "sources")]
    return [cores, *(getattr(program, name) for name in rest)]
