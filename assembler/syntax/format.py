"""The formatter: one spelling of spaces, indentation and blank lines. It moves no token, so it changes no meaning."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from assembler.syntax import nodes
from assembler.syntax.diagnostics import Report, TooMany
from assembler.syntax.hints import WAITS
from assembler.syntax.parser import TOKEN, parse_line
from assembler.syntax.source import LogicalLine, SourceFile, logical_lines, split_comment

INDENT = "    "
# Comments beside code are aligned where no line of the run is longer.
ALIGN_WIDTH = 88
OPERATORS = {"+", "-", "*", "/", "//", "%"}
TIGHT_OPERATORS = {"*", "/", "//"}
CLAUSES = {"scale", "zero", "axes", "buffers", "stored", "min", "atol", "source"}


def format_text(text: str, path: str | Path | None = None) -> str:
    """Return a text in canonical form; raise AssemblyError, which calls it by `path`, when a line does not parse."""
    file = SourceFile((Path(path).name if path is not None else "") or "<text>", text)
    report = Report(file.name)
    lines: list[LogicalLine] = []
    statements: list[nodes.Statement] = []
    with suppress(TooMany):
        lines += logical_lines(file, report)
        statements += (parse_line(line, report) for line in lines)
    report.raise_if_any()
    rows: list[tuple[str, str]] = []
    depth, done = 0, 0
    for line, statement in zip(lines, statements, strict=True):
        rows += _between(file.lines[done : line.first - 1], depth)
        opens, closes = _nesting(statement)
        depth = max(0, depth - closes)
        comments = [split_comment(raw)[1] for raw in file.lines[line.first - 1 : line.first - 1 + len(line.codes)]]
        rows += zip(_code(line, statement, depth), map(str.rstrip, comments), strict=True)
        depth += opens
        done = line.first - 1 + len(line.codes)
    rows += _between(file.lines[done:], depth)
    return _joined(rows)


def _between(lines: Iterable[str], depth: int) -> Iterable[tuple[str, str]]:
    """Yield lines without code: blank ones, and comments at the depth of what follows."""
    for line in lines:
        comment = line.strip()
        yield (INDENT * depth if comment else "", comment)


def _nesting(statement: nodes.Statement) -> tuple[int, int]:
    """Return how many levels a statement opens after itself, and closes before itself."""
    match statement:
        case nodes.Macro() | nodes.Repeat():
            return 1, 0
        case nodes.EndMacro() | nodes.EndRepeat():
            return 0, 1
        case nodes.Instruction(mnemonic=nodes.Word(text="loop")):
            return 1, 0
        case nodes.Instruction(mnemonic=nodes.Word(text="brnz")):
            return 0, 1
    return 0, 0


def _code(line: LogicalLine, statement: nodes.Statement, depth: int) -> list[str]:
    """Return the code of each physical line of a statement."""
    tokens = _tokens(line)
    spaces = _spaces([text for text, _ in tokens], statement)
    rows = [""] * len(line.codes)
    # Lines before the first token have comments of what was written elsewhere.
    first = tokens[0][1]
    for (text, row), space in zip(tokens, spaces, strict=True):
        if rows[row]:
            rows[row] += " " * space + text
        else:
            inner = row > first and text not in ")]"
            rows[row] = INDENT * (depth + inner) + text
    return [code or INDENT * (depth + (row > first)) for row, code in enumerate(rows)]


def _tokens(line: LogicalLine) -> list[tuple[str, int]]:
    """Return each token with the physical line that it stands in."""
    tokens, start = [], 0
    waits = re.match(rf"\s*({WAITS})", line.text)
    if waits:
        # Written as one, in the line where they close: behind it no bracket would be open.
        tokens.append(("".join(waits[1].split()), _row(line, waits.end() - 1)))
        start = waits.end()
    return tokens + [(match[0], _row(line, match.start())) for match in TOKEN.finditer(line.text, start)]


def _row(line: LogicalLine, position: int) -> int:
    """Return the physical line that a character stands in."""
    return bisect_right(line.starts, position) - 1


def _spaces(tokens: list[str], statement: nodes.Statement) -> list[bool]:
    """Return whether a space stands before each token."""
    declares = isinstance(statement, nodes.Tensor | nodes.Check | nodes.Constant)
    wide = _wide_colons(tokens)
    depth = 0
    spaces: list[bool] = []
    for k, token in enumerate(tokens):
        before = tokens[k - 1] if k else ""
        equal_tight = not declares or (k > 1 and tokens[k - 2] in CLAUSES)
        if token in "([":
            depth += 1
        if not before or before in ("(", "[") or token in (",", ")", "]"):
            space = False
        elif token == "=":
            space = declares and before not in CLAUSES
        elif before == "=":
            space = not equal_tight
        elif token == ":":
            space = before == "," or k in wide
        elif before == ":":
            space = k - 1 in wide
        elif before == ",":
            space = True
        elif {token, before} & TIGHT_OPERATORS or (before in OPERATORS and _unary(tokens, k - 1)):
            space = False
        elif token == "[":
            space = before == "strides" or (isinstance(statement, nodes.Check) and depth == 1)
        else:
            space = True
        if token in ")]":
            depth -= 1
        spaces.append(space)
    return spaces


def _unary(tokens: list[str], k: int) -> bool:
    """Whether the operator at `k` has no left side."""
    return k == 0 or tokens[k - 1] in ("(", "[", ",", "=", ":", "at") or tokens[k - 1] in OPERATORS


def _wide_colons(tokens: list[str]) -> set[int]:
    """Return the colons with spaces around them: those of an index that calculates."""
    wide: set[int] = set()
    # For each open bracket, the colons of the index so far, and whether it holds an operator.
    stack: list[tuple[list[int], bool]] = [([], False)]
    for k, token in enumerate(tokens):
        colons, calculates = stack[-1]
        if token in ("(", "["):
            stack.append(([], False))
        elif token in (",", ")", "]"):
            if calculates:
                wide.update(colons)
            if token == ",":
                stack[-1] = ([], False)
            else:
                stack.pop()
                outer, inner = stack[-1]
                stack[-1] = (outer, inner or (token == ")" and calculates))
        elif token == ":":
            colons.append(k)
        elif token in OPERATORS:
            stack[-1] = (colons, True)
    return wide


def _joined(rows: list[tuple[str, str]]) -> str:
    """Return rows of code and comment as text: comments of a run aligned, blank lines single."""
    lines: list[str] = []
    k = 0
    while k < len(rows):
        run = k
        while run < len(rows) and rows[run][0].strip() and rows[run][1]:
            run += 1
        if run > k:
            width = max(len(code) for code, _ in rows[k:run])
            lines += [
                f"{code.ljust(width) if width <= ALIGN_WIDTH else code}  {comment}" for code, comment in rows[k:run]
            ]
            k = run
            continue
        code, comment = rows[k]
        line = f"{code}  {comment}".rstrip() if code.strip() else f"{code}{comment}".rstrip()
        if line or (lines and lines[-1]):
            lines.append(line)
        k += 1
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n" if lines else ""
