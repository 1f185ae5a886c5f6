"""Source files and their logical lines: comments taken away, lines joined while a bracket is open."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from assembler.syntax.diagnostics import Note, Report, Span
from isa.visible import is_visible

MAX_NESTING = 32
CLOSERS = {"(": ")", "[": "]"}
# A text in quotes. Here and in what else is looked for in foreign text, groups repeat possessively: else re would keep,
# for each turn of a group, some hundred bytes to come back to.
QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_MARK = re.compile(rf'{QUOTED}|["();\[\]]')
# Half of a UTF-16 pair: Python texts may hold one, files and object files cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = " \t\r\f"
# Two words in a row, a directive or a wait never stand inside brackets: the bracket before them was forgotten.
_STATEMENT = re.compile(r"\s*(\.[A-Za-z]|\(\s*w\s*\.|[^\W\d][\w.]*[ \t]+[^\W\d]|end\s*(;|$))")


class SourceFile:
    """A file's text by lines; `name` is what messages call it, `path` what other names in it are relative to."""

    def __init__(self, name: str, text: str, path: str = "") -> None:
        self.name = name
        self.path = path or name
        self.lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]

    def span(self, line: int, start: int, end: int) -> Span:
        """Return the span of characters [start, end) of a line from 1; it is at least one column wide."""
        text = self.lines[line - 1]
        return Span(self.name, line, start + 1, max(start + 1, min(end, len(text))) + 1, text)


@dataclass
class LogicalLine:
    """One statement's text: the code of physical lines from `first` on, joined by newlines, without comments."""

    file: SourceFile
    first: int
    codes: list[str]
    starts: list[int] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.text = "\n".join(self.codes)
        position = 0
        for code in self.codes:
            self.starts.append(position)
            position += len(code) + 1

    def span(self, start: int, end: int) -> Span:
        """Return the span of characters [start, end) of the text, cut to the line in which it starts."""
        k = bisect_right(self.starts, start) - 1
        return self.file.span(self.first + k, start - self.starts[k], min(end - self.starts[k], len(self.codes[k])))

    @property
    def whole(self) -> Span:
        """The statement's first line, from its first character to its last."""
        code = self.codes[0]
        return self.file.span(self.first, len(code) - len(code.lstrip()), len(code.rstrip()))


def split_comment(line: str) -> tuple[str, str]:
    """Return a line's code and its comment (from the `;` on, or "")."""
    for mark in _MARK.finditer(line):
        if mark[0] == ";":
            return line[: mark.start()], line[mark.start() :]
    return line, ""


def logical_lines(file: SourceFile, report: Report) -> Iterator[LogicalLine]:
    """Yield the logical lines that hold code; one with a bad bracket or quote is reported and marked as broken."""
    line = 0
    while line < len(file.lines):
        first, codes, opened, broken = line, [], list[tuple[str, Span]](), False
        while line < len(file.lines):
            text = file.lines[line]
            if opened and _STATEMENT.match(text):
                break
            code, _ = split_comment(text)
            line += 1
            codes.append(code)
            if surrogate := _SURROGATE.search(text):
                report.error("E101", file.span(line, *surrogate.span()), "half of a character stands here")
                broken = True
            elif odd := _odd_character(code):
                character = code[odd - 1]
                message = f"U+{ord(character):04X} {'is no space here' if character.isspace() else 'cannot stand here'}"
                help = "replace it with an ordinary one" if character.isspace() else "it is invisible: delete it"
                report.error("E101", file.span(line, odd - 1, odd), message, "", help)
                broken = True
            broken = not _brackets(file, line, code, opened, report) or broken
            if broken or not opened:
                break
        if opened and not broken:
            bracket, span = opened[-1]
            where = "before the next statement" if line < len(file.lines) else "before the end of the file"
            report.error("E102", span, f"`{bracket}` is never closed", f"expected `{CLOSERS[bracket]}` {where}")
            broken = True
        logical = LogicalLine(file, first + 1, codes, broken=broken)
        if logical.text.strip() or broken:
            yield logical


def _odd_character(code: str) -> int:
    """Return the column of the first character outside of quotes that nobody sees, other than usual blanks; else 0."""
    if is_visible(code):
        return 0
    bare = re.sub(QUOTED, lambda text: "x" * len(text[0]), code)
    return next((k for k, character in enumerate(bare, 1) if not (is_visible(character) or character in _BLANKS)), 0)


def _brackets(file: SourceFile, line: int, code: str, opened: list[tuple[str, Span]], report: Report) -> bool:
    """Follow the brackets of one physical line; return whether they, and the quotes, are right."""
    for mark in _MARK.finditer(code):
        span = file.span(line, mark.start(), mark.end())
        if mark[0] in CLOSERS:
            opened.append((mark[0], span))
            if len(opened) > MAX_NESTING:
                report.error("E105", span, f"brackets are nested deeper than {MAX_NESTING}")
                return False
        elif mark[0] in ")]":
            if not opened:
                report.error("E102", span, f"`{mark[0]}` closes nothing", "no bracket is open here")
                return False
            bracket, place = opened.pop()
            if CLOSERS[bracket] != mark[0]:
                note = Note(f"`{bracket}` was opened here", place)
                message = f"`{mark[0]}` does not close `{bracket}`"
                report.error("E102", span, message, f"expected `{CLOSERS[bracket]}`", notes=(note,))
                return False
        elif mark[0] == '"':
            report.error("E103", span, "the text in quotes is not finished", 'expected `"` on the same line')
            return False
    return True
