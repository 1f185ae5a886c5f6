"""Findings: what the checker says of a program, as values; rendering is the front door's, with the assembler's errors.

    Plan --+--> races.find_races --> race_report    accesses that nothing orders
           +--> synchronisation                     deadlocks, semaphores left signalled, waits that order nothing
           +--> initialisation                      what is read and never written, written and never read
           +--> overflow, float_sums                accumulators that are too narrow, sums that are too long
           `--> check.check                         all of them, and the verdict

A finding stands at an instruction; what else it concerns are its notes. Its edits mend it where they are applied to
the text (assembler/syntax/edits.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from emulator.plan.plan import Plan
from isa.diagnostic import Diagnostic, Note, Place

# Every code that the checker gives, and what it means.
CODES: Mapping[str, str] = {
    "C101": "two accesses race",
    "C201": "a wait orders nothing",
    "C301": "no core can go on (deadlock)",
    "C302": "a semaphore is signalled too often",
    "C401": "bytes are read that nothing has written",
    "C402": "an output is never written, or not all of it",
    "C403": "what is written is never read",
    "C404": "a tensor is read whose bytes another tensor's writer has overwritten",
    "C405": "a program has no output",
    "C501": "an accumulator can overflow",
    "C502": "a sum of floats can stop growing",
}

# Changes of a text that mend it, and what they do (assembler/syntax/edits.py applies them).
EDITS: Mapping[str, str] = {
    "add wait": "adds the wait bits of these letters",
    "drop wait": "takes the wait bits of these letters away",
    "before": "puts this line before it",
    "after": "puts this line behind it",
    "drop": "takes the line away",
    "split sum": "makes a product of so many parts, each added to the next",
    "flip parity": "writes the other of two buffers",
    "declare": "puts this line before all cores and tensors",
    "place freely": "takes the address from the declaration of this tensor of the core",
}


@dataclass(frozen=True)
class Edit:
    """A change of the text at an instruction's line; what `text` is depends on its kind, one of EDITS.

    For "declare" and "place freely" the index means nothing.
    """

    core: int
    index: int
    kind: str
    text: str = ""


@dataclass(frozen=True)
class Finding(Diagnostic[Place | None]):
    """What is wrong at a place, or odd; None where it is of no instruction.

    A "warning" makes no result wrong by itself. `help` says how to mend it in words, `edits` in the text, all of them
    together; `instead` are edits that would mend it, too, if it was meant otherwise.
    """

    notes: tuple[Note[Place], ...] = ()
    edits: tuple[Edit, ...] = ()
    instead: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the checker says.

    `verdict` is about the order of `plan`: "proven" free of races and deadlocks, "race", "deadlock", or "not proven";
    `why` says what kept it from being followed to its end, so that of a "race" others may be missing. Findings also say
    what else is wrong or odd, but for what is `unseen`, in words; `passed` where nothing is wrong and the order is
    proven.
    """

    plan: Plan = field(repr=False, compare=False)
    verdict: Literal["proven", "race", "deadlock", "not proven"]
    findings: tuple[Finding, ...] = ()
    why: str = ""
    unseen: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are wrong, not only odd."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def passed(self) -> bool:
        """Whether the order is proven and nothing is wrong."""
        return self.verdict == "proven" and not self.errors

    def summary(self) -> dict[str, Any]:
        """Return what `check --json` prints, ready for json: findings with the lines of their places."""
        return {
            "program": self.plan.program.name,
            "verdict": self.verdict,
            "why": self.why,
            "unseen": self.unseen,
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "place": finding.place and self._placed(finding.place),
                    "message": finding.message,
                    "help": finding.help,
                    "notes": [{"message": message, "place": self._placed(place)} for message, place in finding.notes],
                    "edits": [vars(edit) for edit in finding.edits],
                    "instead": [vars(edit) for edit in finding.instead],
                }
                for finding in self.findings
            ],
        }

    def _placed(self, place: Place) -> dict[str, Any]:
        line = self.plan.cores[place.core].line(place.index)
        return {**vars(place), "file": line.file, "line": line.number, "text": line.text}
