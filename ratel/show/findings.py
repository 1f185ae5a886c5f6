"""Findings of the checker for people, rendered like the assembler's errors."""

from collections.abc import Sequence

from assembler.syntax.diagnostics import Span, render
from emulator.checker.findings import Finding, Verdict
from emulator.plan.plan import Plan
from isa.diagnostic import Diagnostic, Note, Place

MOST_SHOWN = 20


def print_verdict(verdict: Verdict, odd: Sequence[Diagnostic[Span]] = ()) -> None:
    """Print what is odd about a text, and findings, on stderr, and the verdict: on stdout where all is well."""
    from ratel.show.tables import to_stderr

    plan = verdict.plan
    for one in odd[:MOST_SHOWN]:
        to_stderr(render(one) + "\n")
    if (more := len(odd) - MOST_SHOWN) > 0:
        to_stderr(f"and {more:,} more of the text, which --json shows")
    print_findings(verdict)
    name, both = plan.program.name, (*odd, *verdict.findings)
    errors = sum(one.is_error for one in both)
    counts = (errors, "error"), (len(both) - errors, "warning")
    found = ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)
    if verdict.passed and not errors:
        print(f"{name}: proven free of races and deadlocks, {plan.program.order} order" + (f"; {found}" * bool(found)))
    else:
        what = "order" if verdict.verdict == "not proven" else "the rest of the order"
        open_ = f"; {what} not proven: {verdict.why}" if verdict.why else ""
        to_stderr(f"{name}: {found or 'nothing found'}{open_}")


def print_findings(verdict: Verdict) -> None:
    """Print the findings of a verdict on stderr, the first of them, and what was not looked at."""
    from ratel.show.tables import to_stderr

    for finding in verdict.findings[:MOST_SHOWN]:
        to_stderr(rendered(verdict.plan, finding) + "\n")
    if (more := len(verdict.findings) - MOST_SHOWN) > 0:
        to_stderr(f"and {more:,} findings more, which --json shows")
    for said in verdict.unseen:
        to_stderr(f"not looked at: {said}")


def warn_of_order(plan: Plan) -> None:
    """Print a line on stderr where a plan that was scheduled has a race, or is not soon proven to have none."""
    from emulator.checker.check import order_soon
    from ratel.api import not_proven
    from ratel.show.tables import to_stderr

    verdict = order_soon(plan)
    if verdict.errors:
        name = plan.program.name
        to_stderr(f"warning: {name} has a race, so what it computes in these cycles is open: `ratel check` shows it")
    elif unproven := not_proven(verdict):
        to_stderr(f"warning: {unproven}")


def rendered(plan: Plan, finding: Finding) -> str:
    """Return a finding as lines of text: the place with a caret, the help, the other places."""
    if finding.place is None:
        help = f"\nhelp: {finding.help}" if finding.help else ""
        return f"{finding.severity}[{finding.code}]: {finding.message}{help}"
    notes = tuple(Note(message, span(plan, place)) for message, place in finding.notes)
    place = span(plan, finding.place)
    return render(Diagnostic(finding.code, place, finding.message, finding.help, notes, severity=finding.severity))


def span(plan: Plan, place: Place) -> Span:
    """Return where in the text an instruction stands, all of its statement."""
    line = plan.cores[place.core].line(place.index)
    text = line.text or plan.cores[place.core].core.code[place.index].row.mnemonic
    return Span(line.file, line.number, 1, len(text) + 1, text)
