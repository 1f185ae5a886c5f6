"""Expectations inside of programs: under each bad line stands what is said about it.

    conv out, x, w9
    ;            ^^ error[E201]: unknown name `w9`

of a program without errors what is odd, as a warning.

Carets stand in the columns of the span; where it starts in column 1, the `;` stands for the first caret. Programs and
the files that they include are annotated alike.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from assembler.assemble import assemble_for
from assembler.syntax.diagnostics import AssemblyError, Diagnostic

FOLDER = Path(__file__).parent / "diagnostics"
ANNOTATION = re.compile(r"\s*;( *)(\^*) (error|warning)\[([EW]\d+)\]: (.*)")
# file, line, first column, end column, code, message
Expectation = tuple[str, int, int, int, str, str]


def programs() -> list[Path]:
    return sorted(FOLDER.glob("*.npu"))


def read(path: Path) -> str:
    """Return a file's text; what is no UTF-8 is annotated byte by byte."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def diagnose(path: Path) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a program, or, where nothing is, odd."""
    try:
        return assemble_for(read(path), path).warnings
    except AssemblyError as error:
        return error.diagnostics


def found(path: Path) -> set[Expectation]:
    """Return the diagnostics of a program."""
    return {(d.span.file, d.span.line, d.span.column, d.span.end, d.code, d.message) for d in diagnose(path)}


def expected(path: Path, names: Iterable[str]) -> set[Expectation]:
    """Return the annotations of a program and of the files with these names."""
    result = set()
    for name in {path.name, *names}:
        line = 0
        for number, text in enumerate(read(path.parent / name).split("\n"), 1):
            match = ANNOTATION.match(text)
            if match is None:
                line = number
                continue
            start = match.start(1) + 1 + len(match[1]) if match[1] else match.start(1)
            end = match.end(2) + 1
            result.add((name, line, start, end, match[4], match[5]))
    return result


def bless(path: Path) -> None:
    """Write what the assembler says into a program and the files that it includes."""
    names = {d.span.file for d in diagnose(path)} | {path.name}
    for name in names:
        kept = [line for line in read(path.parent / name).split("\n") if not ANNOTATION.match(line)]
        _write(path.parent / name, kept)
    for name in names:
        lines = read(path.parent / name).split("\n")
        notes: dict[int, list[str]] = {}
        for diagnostic in diagnose(path):
            if diagnostic.span.file == name:
                notes.setdefault(diagnostic.span.line, []).append(_annotation(diagnostic))
        blessed = [row for number, line in enumerate(lines, 1) for row in (line, *notes.get(number, ()))]
        # Without a newline at its end, a file would take the annotation into its last line.
        _write(path.parent / name, blessed if blessed[-1] == "" else [*blessed, ""])


def _annotation(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    assert span.column != 2, "column 2 cannot be annotated: indent the line, or do not"
    carets = "^" * (span.end - span.column)
    place = f";{carets[1:]}" if span.column == 1 else f";{' ' * (span.column - 2)}{carets}"
    return f"{place} {diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
