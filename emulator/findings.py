"""Findings: what the checker says of a program, as values; rendering is the front door's, with the assembler's errors.

    Plan --+--> races.find_races      accesses that nothing orders
           +--> ...                   one file for each kind of finding, each a function from a Plan to findings
           +--> check.check           all of them, and the verdict

A finding stands at an instruction; what else it concerns are its notes. Its edits mend it where they are applied to
the text.
"""

from dataclasses import dataclass
from typing import Literal

# Every code that the checker gives, and what it means. C1 and C3 make a program wrong, as C2 and C4 to C5 may.
CODES = {
    "C101": "two accesses race",
    "C201": "a wait orders nothing",
    "C301": "no core can go on (deadlock)",
    "C302": "a semaphore is left signalled",
    "C303": "a semaphore is signalled too often before it is waited for",
    "C401": "bytes are read that nothing has written",
    "C402": "an output is never written, or not all of it",
    "C403": "what is written is never read",
    "C404": "tensors overlap",
    "C501": "an accumulator overflows",
    "C502": "results saturate",
}
# What is odd and does not make results wrong.
ADVICE = frozenset({"C201", "C302", "C403", "C404", "C502"})


@dataclass(frozen=True)
class Place:
    """An instruction: core, index in its code; loop counters, the task first, where one execution is meant."""

    core: int
    index: int
    counters: tuple[int, ...] = ()


@dataclass(frozen=True)
class Edit:
    """A change of the text of an instruction's line.

    "add wait" and "drop wait" change wait bits, `text` being their letters; "before" and "after" put a line `text`
    there; "replace" puts `text` in place of the statement.
    """

    core: int
    index: int
    kind: Literal["add wait", "drop wait", "before", "after", "replace"]
    text: str


@dataclass(frozen=True)
class Finding:
    """What is wrong, or odd, at a place; None where it is of no instruction. `help` says how to mend it in words."""

    code: str
    place: Place | None
    message: str
    help: str = ""
    notes: tuple[tuple[str, Place], ...] = ()
    edits: tuple[Edit, ...] = ()

    @property
    def is_advice(self) -> bool:
        return self.code in ADVICE


@dataclass(frozen=True)
class Verdict:
    """Whether a program is "proven", has a "race" (any error among the findings), or is "not proven", and `why` not."""

    verdict: Literal["proven", "race", "not proven"]
    findings: tuple[Finding, ...] = ()
    why: str = ""
