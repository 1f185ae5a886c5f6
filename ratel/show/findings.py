"""Findings of the checker for people, rendered like the assembler's errors."""

from assembler.syntax.diagnostics import Span, render
from emulator.checker.findings import Finding, Verdict
from emulator.plan.plan import Plan
from isa.diagnostic import Diagnostic, Note, Place

MOST_SHOWN = 20


def print_verdict(verdict: Verdict) -> None:
    """Print findings on stderr, and the verdict: on stdout where all is well."""
    from ratel.show.tables import to_stderr

    plan = verdict.plan
    for finding in verdict.findings[:MOST_SHOWN]:
        to_stderr(rendered(plan, finding) + "\n")
    if (more := len(verdict.findings) - MOST_SHOWN) > 0:
        to_stderr(f"and {more:,} findings more, which --json shows")
    for said in verdict.unseen:
        to_stderr(f"not looked at: {said}")
    name, errors = plan.program.name, len(verdict.errors)
    advice = len(verdict.findings) - errors
    found = ", ".join(
        f"{count} {word}{'s' * (count > 1 and word == 'error')}"
        for count, word in ((errors, "error"), (advice, "advice"))
        if count
    )
    if verdict.passed:
        print(f"{name}: proven free of races and deadlocks, {plan.program.order} order" + (f"; {found}" * bool(found)))
    else:
        what = "order" if verdict.verdict == "not proven" else "the rest of the order"
        open_ = f"; {what} not proven: {verdict.why}" if verdict.why else ""
        to_stderr(f"{name}: {found or 'nothing found'}{open_}")


def rendered(plan: Plan, finding: Finding) -> str:
    """Return a finding as lines of text: the place with a caret, the help, the other places."""
    word = "advice" if finding.is_advice else "error"
    if finding.place is None:
        return f"{word}[{finding.code}]: {finding.message}" + (f"\nhelp: {finding.help}" if finding.help else "")
    notes = tuple(Note(message, span(plan, place)) for message, place in finding.notes)
    return render(Diagnostic(finding.code, span(plan, finding.place), finding.message, finding.help, notes), word)


def span(plan: Plan, place: Place) -> Span:
    """Return where in the text an instruction stands, all of its statement."""
    line = plan.cores[place.core].line(place.index)
    text = line.text or plan.cores[place.core].core.code[place.index].row.mnemonic
    return Span(line.file, line.number, 1, len(text) + 1, text)
