"""Diagnostics: one thing that is wrong, or odd, as a value, whoever finds it; printing is for who shows it.

What is odd is a warning: it makes no result wrong where it was meant. `strictly` makes errors of warnings.

    Diagnostic[str]            of an instruction's operand or attribute, by its name ("" for the whole), of a tensor
    Diagnostic[Place]          of an instruction of a program: semaphores that do not pair up, a deadlock
    Diagnostic[Span]           of a text, assembler/syntax/diagnostics.py, which also prints them
    Finding                    of the checker, emulator/checker/findings.py: a Diagnostic with edits that mend it
    Diagnostic[None]           of what has no place, or says it in words

Whoever knows more of the place makes one diagnostic from another: the assembler points into the text at the operand of
which isa/verify.py says what is wrong. An error (isa/errors.py) carries the diagnostics that it is raised for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

# Whether it makes a program wrong, is odd and wrong only where it was not meant, or is only said.
Severity = Literal["error", "warning", "note"]
Where = TypeVar("Where", covariant=True)
Found = TypeVar("Found", bound="Diagnostic[Any]")


@dataclass(frozen=True)
class Place:
    """An instruction: core, index in its code; loop counters, the task first, where one execution is meant."""

    core: int
    index: int
    counters: tuple[int, ...] = ()


class Note(NamedTuple, Generic[Where]):
    """A further place that has to do with a diagnostic, and what it has to do with it."""

    message: str
    place: Where

    @property
    def span(self) -> Where:
        """The place, by the name that it has in a text."""
        return self.place


@dataclass(frozen=True)
class Diagnostic(Generic[Where]):
    """What is wrong at a place.

    `code` is one of a catalogue of whoever says it: E101 and its like, or a word. `message` says what is wrong, `help`
    how to mend it, `label` what was expected, in a few words that stand at the place.
    """

    code: str
    place: Where
    message: str
    help: str = ""
    notes: tuple[Note[Where], ...] = ()
    label: str = field(default="", kw_only=True)
    severity: Severity = field(default="error", kw_only=True)

    @property
    def is_error(self) -> bool:
        """Whether it makes a program wrong, not only odd."""
        return self.severity == "error"

    @property
    def span(self) -> Where:
        """The place, by the name that it has in a text."""
        return self.place


def strictly(found: Iterable[Found]) -> tuple[Found, ...]:
    """Return diagnostics with each warning as an error."""
    return tuple(replace(one, severity="error") if one.severity == "warning" else one for one in found)
