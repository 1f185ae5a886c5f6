"""Diagnostics of a text: the codes, places in the text, their collection, error and warning; rendering is last."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from isa.diagnostic import Diagnostic, Note, strictly
from isa.errors import RatelError, RatelWarning, warn_outside

# Every code that the assembler gives, and what it means: E for errors, W for warnings.
CODES = {
    "E101": "something stands where it cannot",
    "E102": "brackets do not match",
    "E103": "a text in quotes is not finished, or has an unknown escape",
    "E104": "a number is malformed",
    "E105": "brackets are nested too deep",
    "E106": "unknown directive",
    "E107": "a wait is malformed",
    "E201": "unknown name",
    "E202": "a name is declared twice",
    "E203": "unknown instruction",
    "E204": "an instruction has no such operand or attribute",
    "E205": "a name means something else than is needed here",
    "E206": "a directive stands twice",
    "E207": "a word is none of those possible",
    "E301": "an operand or an attribute is missing",
    "E302": "too many operands, or one given twice",
    "E303": "an operand is in the wrong memory",
    "E304": "an operand has the wrong type",
    "E305": "shapes do not fit",
    "E306": "a slice reaches beyond its tensor",
    "E307": "a slice is malformed",
    "E308": "an expression cannot follow loop counters in this way",
    "E309": "a value is out of range, or of the wrong kind",
    "E310": "an operand's strides are not possible here",
    "E311": "stages of the chain do not go together",
    "E312": "loops do not match",
    "E313": "the end of the program is missing, or not last",
    "E314": "an expression has no value",
    "E401": "a memory is full",
    "E402": "data overlaps other data",
    "E403": "unknown chip, or the chip lacks a memory",
    "E404": "an address is not possible",
    "E405": "the code is too large",
    "E501": "a file cannot be read",
    "E502": "a file is not a tensor (.npy)",
    "E503": "data has the wrong shape",
    "E504": "data has the wrong type, or is out of its range",
    "E505": "data is missing, or not taken here",
    "E506": "too much data",
    "E601": "a scale or a zero point is not possible",
    "E602": "the scales of an instruction do not go together",
    "E603": "a check does not fit",
    "E701": "a block (.macro, .repeat) is not closed, not open, or in the wrong place",
    "E702": "a macro's parameters and arguments do not match",
    "E703": "a file cannot be included",
    "E704": "macros and includes are nested too deep",
    "E705": "the expansion, or a statement, is too long",
    "E801": "the sections of cores do not follow one another",
    "E802": "there is no such core, semaphore or barrier",
    "E803": "a semaphore or a barrier is used by the wrong queues",
    "E804": "the chip has fewer cores, semaphores or barriers",
    "W401": "inputs, or outputs, share bytes",
    "W402": "a weight or a constant is written",
    "W403": "nothing reads a tensor that has data",
    "W601": "a scale is left out: a result has none, though what it is made of has",
    "W602": "a scale is left out: integers, or a sum, have none, and are read beside scales",
}

# After this many, more are hardly read: looked for, and shown.
MAX_DIAGNOSTICS, MAX_SHOWN = 100, 20


@dataclass(frozen=True, slots=True)
class Span:
    """Columns [column, end) of a line, both from 1; `text` is the whole line."""

    file: str
    line: int
    column: int
    end: int
    text: str


class AssemblyError(RatelError):
    """Raised with everything that is wrong with a text, in the order of its lines; its message shows the first."""

    diagnostics: tuple[Diagnostic[Span], ...]

    def __init__(self, diagnostics: Iterable[Diagnostic[Span]]) -> None:
        found = tuple(diagnostics)
        super().__init__(rendered(found, "error"), "", found)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # Python's own would hand on the message alone.
        return type(self), (self.diagnostics,)

    @property
    def printed(self) -> str:
        """What is printed for a person: each error is rendered already, with its place."""
        return str(self)


class AssemblyWarning(RatelWarning):
    """Says what is odd about a text that assembles, and wrong where it was not meant; `diagnostic` is it as a value.

    It can be made of its text alone, as whoever hands warnings from one process to another does.
    """

    def __init__(self, message: str, diagnostic: Diagnostic[Span] | None = None) -> None:
        super().__init__(message)
        self.diagnostic = diagnostic

    @property
    def printed(self) -> str:
        """What is printed for a person: it is rendered already, with its place."""
        return str(self)


def refuse_if_strict(odd: Sequence[Diagnostic[Span]], strict: bool) -> None:
    """Raise AssemblyError with warnings as errors, where there are any and `strict` asks for it."""
    if strict and odd:
        raise AssemblyError(strictly(odd))


def issue(odd: Sequence[Diagnostic[Span]], strict: bool) -> None:
    """Issue warnings as Python's, at the line that called from outside of the packages; raise them where `strict`."""
    refuse_if_strict(odd, strict)
    for one in odd:
        warn_outside(AssemblyWarning(render(one), one))


class Failed(Exception):
    """Ends the work on one statement or operand; what is wrong has been reported."""


class TooMany(Exception):
    """Ends the assembly: MAX_DIAGNOSTICS are reported."""


class Report:
    """Collects diagnostics, errors apart from warnings; the same one at the same place counts once.

    `guessing` is set where names may be missing because a file or a block could not be read: from then on, unknown
    names and a missing end are not worth a message.
    """

    def __init__(self, main: str = "") -> None:
        self.main = main
        self.found: dict[tuple[str, Span, str], Diagnostic[Span]] = {}
        self._odd: dict[tuple[str, Span, str], Diagnostic[Span]] = {}
        self.guessing = False

    def error(
        self, code: str, span: Span, message: str, label: str = "", help: str = "", notes: Sequence[Note[Span]] = ()
    ) -> Failed:
        """Record an error and return an exception to raise where the work cannot go on."""
        return self.add(Diagnostic(code, span, message, help, tuple(notes), label=label))

    def warning(
        self, code: str, span: Span, message: str, label: str = "", help: str = "", notes: Sequence[Note[Span]] = ()
    ) -> None:
        """Record a warning."""
        assert code in CODES
        found = Diagnostic(code, span, message, help, tuple(notes), label=label, severity="warning")
        self._odd.setdefault((code, span, message), found)

    @property
    def warnings(self) -> tuple[Diagnostic[Span], ...]:
        """What is odd, in the order of the text."""
        return tuple(sorted(self._odd.values(), key=self._place))

    def add(self, found: Diagnostic[Span]) -> Failed:
        """Record an error and return an exception to raise where the work cannot go on."""
        assert found.code in CODES
        self.found.setdefault((found.code, found.place, found.message), found)
        if len(self.found) >= MAX_DIAGNOSTICS:
            raise TooMany
        return Failed()

    def raise_if_any(self) -> None:
        if self.found:
            raise AssemblyError(sorted(self.found.values(), key=self._place))

    def _place(self, found: Diagnostic[Span]) -> tuple[bool, str, int, int, str]:
        """Return a key that sorts by place, the main file first."""
        span = found.place
        return span.file != self.main, span.file, span.line, span.column, found.code


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return `a, b or c`."""
    *rest, final = list(words) or ["nothing"]
    return f"{', '.join(rest)} {last} {final}" if rest else final


def rendered(found: Sequence[Diagnostic[Span]], noun: str) -> str:
    """Return diagnostics as text, the first of them, and how many there are of what `noun` calls them."""
    count, more = len(found), len(found) - MAX_SHOWN
    summary = f"{count} {noun}{'s' if count != 1 else ''}" + (f", {more} more than are shown" if more > 0 else "")
    return "\n\n".join([*map(render, found[:MAX_SHOWN]), summary])


def render(diagnostic: Diagnostic[Span]) -> str:
    """Return a diagnostic as lines of text, with a caret under the place."""
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    margin = " " * max(len(str(span.line)) for span in [diagnostic.place, *(note.place for note in diagnostic.notes)])
    lines += _place(diagnostic.place, diagnostic.label, margin)
    lines += [f"{margin} = help: {line}" if k == 0 else f"{margin}   {line}" for k, line in _help(diagnostic.help)]
    for note in diagnostic.notes:
        lines += [f"note: {note.message}", *_place(note.place, "", margin)]
    return "\n".join(lines)


def _help(text: str) -> Iterable[tuple[int, str]]:
    return enumerate(text.splitlines())


# Wide lines are cut to a window around the caret.
_WIDTH = 160


def _place(span: Span, label: str, margin: str) -> list[str]:
    first = max(0, span.column - _WIDTH // 2) if len(span.text) > _WIDTH else 0
    shown = span.text[first : first + _WIDTH]
    # One column a character, whatever it is: a caret must stay under its place.
    shown = "".join(character if character.isprintable() else " " for character in shown).rstrip()
    carets = "^" * max(1, min(span.end, first + _WIDTH + 1) - span.column)
    pointer = f"{' ' * (span.column - 1 - first)}{carets} {label}".rstrip()
    return [
        f"{margin}--> {span.file}:{span.line}:{span.column}",
        f"{margin} |",
        f"{str(span.line).rjust(len(margin))} | {shown}".rstrip(),
        f"{margin} | {pointer}",
    ]
