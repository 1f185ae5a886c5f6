"""Findings of the checker for people, rendered like the assembler's errors, and for machines."""

from dataclasses import asdict
from typing import Any

from assembler.diagnostics import Diagnostic, Note, Span, render
from emulator.findings import Finding, Place, Verdict
from emulator.plan import Plan


def rendered(plan: Plan, finding: Finding) -> str:
    """Return a finding as lines of text: the place with a caret, the help, the other places."""
    if finding.place is None:
        return f"error[{finding.code}]: {finding.message}" + (f"\nhelp: {finding.help}" if finding.help else "")
    notes = tuple(Note(message, span(plan, place)) for message, place in finding.notes)
    return render(Diagnostic(finding.code, span(plan, finding.place), finding.message, "", finding.help, notes))


def span(plan: Plan, place: Place) -> Span:
    """Return where in the text an instruction stands, all of its statement."""
    line = plan.cores[place.core].line(place.index)
    text = line.text or plan.cores[place.core].core.code[place.index].row.mnemonic
    return Span(line.file, line.number, 1, len(text) + 1, text)


def summary(plan: Plan, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for JSON: findings with the lines of their places."""

    def placed(place: Place | None) -> dict[str, Any] | None:
        if place is None:
            return None
        line = plan.cores[place.core].line(place.index)
        return {**asdict(place), "file": line.file, "line": line.number, "text": line.text}

    findings = [
        {
            **asdict(finding),
            "place": placed(finding.place),
            "notes": [{"message": message, "place": placed(place)} for message, place in finding.notes],
        }
        for finding in verdict.findings
    ]
    return {"program": plan.program.name, "verdict": verdict.verdict, "why": verdict.why, "findings": findings}
