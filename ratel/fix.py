"""Fixing: the edits of the checker's findings applied to a program's text, one after another, as long as they help.

An edit helps if the text assembles, and the checker then finds less: that it can prove nothing weighs most, then
deadlocks, wrong data, races, and semaphores left signalled. What it does not find less with is left as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from assembler.syntax.edits import CannotEdit, LineEdit, declaration, edited, first_section
from assembler.syntax.format import format_text
from emulator.checker.check import check, fixes
from emulator.checker.findings import Edit, Verdict
from emulator.checker.overflow import length
from emulator.checker.synchronisation import useless_waits
from emulator.plan.plan import Plan
from isa.errors import RatelError

MOST_ROUNDS, MOST_TRIED = 100, 16
# The codes by their weight, heaviest first.
WEIGHTS = (("C301",), ("C401", "C402", "C404", "C501"), ("C101",), ("C302",))
# What has been done by the edits that --fix makes of one line, `{}` being an edit's text.
SAID = {
    "add wait": "the wait bit `{}` added",
    "drop wait": "the wait bit `{}` taken away",
    "before": "put before it: {}",
    "after": "put behind it: {}",
    "flip parity": "the other of the two buffers written",
    "place freely": "its address taken away",
}


@dataclass(frozen=True)
class Fixed:
    """A text with edits applied, each as "line NUMBER: what was done", and what the checker says of it."""

    text: str
    done: list[str]
    plan: Plan
    verdict: Verdict


def fix(text: str, file: str, planned: Callable[[str], Plan], waits: bool = False) -> Fixed:
    """Apply the edits that help; with `waits` wait bits that order nothing then go, too.

    `file` is the text's name in its lines, `planned` assembles and loads a text.
    """
    standard = _standard(text)
    plan = planned(text)
    fixed = Fixed(text, [], plan, check(plan))

    def better() -> Iterator[Fixed]:
        for edits in fixes(fixed.verdict.findings)[:MOST_TRIED]:
            tried = _edited(fixed, edits, file, planned, standard)
            if tried is not None and _badness(tried.verdict) < _badness(fixed.verdict):
                yield tried

    for _ in range(MOST_ROUNDS):
        best = min(better(), key=lambda tried: _badness(tried.verdict), default=None)
        if best is None:
            break
        fixed = best
    if waits and fixed.verdict.verdict == "proven":
        for finding in useless_waits(fixed.plan):
            tried = _edited(fixed, finding.edits, file, planned, standard)
            # A line of a macro is several instructions, not all of which may do without.
            if tried is not None and tried.verdict.verdict == "proven":
                fixed = tried
    return fixed


def _edited(
    fixed: Fixed, edits: Sequence[Edit], file: str, planned: Callable[[str], Plan], standard: bool
) -> Fixed | None:
    """Return a text with edits applied, in the standard form if it was; None where they cannot be."""
    try:
        lines = [line for edit in edits for line in _line_edits(fixed, file, edit)]
        text = edited(fixed.text, lines)
        text = format_text(text) if standard else text
        plan = planned(text)
        verdict = check(plan)
    except (CannotEdit, RatelError):
        return None
    said = [f"line {line.number}: {_said(line, fixed.text)}" for line in lines]
    return Fixed(text, [*fixed.done, *said], plan, verdict)


def _said(line: LineEdit, text: str) -> str:
    """Return in words what an edit does to its line of a text."""
    if line.kind == "drop":
        return f"taken away: {text.splitlines()[line.number - 1].strip()}"
    if line.kind == "split sum":
        length, parts = map(int, line.text.split())
        return f"the sum of {length:,} products cut into {parts} parts"
    return SAID[line.kind].format(line.text)


def _badness(verdict: Verdict) -> tuple[int, ...]:
    codes = [finding.code for finding in verdict.findings]
    counts = (sum(codes.count(code) for code in of_weight) for of_weight in WEIGHTS)
    return bool(verdict.why), *counts


def _standard(text: str) -> bool:
    try:
        return format_text(text) == text
    except RatelError:
        return False


def _line_edits(fixed: Fixed, file: str, edit: Edit) -> list[LineEdit]:
    """Return where in the text an edit of an instruction falls."""
    if edit.kind == "declare":
        return [LineEdit(first_section(fixed.text), "before", edit.text)]
    if edit.kind == "place freely":
        return [LineEdit(declaration(fixed.text, edit.core, edit.text), edit.kind)]
    core = fixed.plan.cores[edit.core].core
    line = core.lines[edit.index]
    if line.file != file:
        raise CannotEdit(f"the line is of {line.file}")
    if edit.kind != "split sum":
        return [LineEdit(line.number, edit.kind, edit.text)]
    instruction = core.code[edit.index]
    x, w, out = (instruction.operand(name) for name in ("x", "w", "out"))
    assert x is not None and w is not None and out is not None
    name = next((s.name for s in core.symbols if (s.memory, s.address) == (out.memory, out.address)), "")
    shape = ", ".join(map(str, out.shape))
    return [
        LineEdit(declaration(fixed.text, edit.core, name), "after", f".local {name}_part f32[{shape}]"),
        LineEdit(line.number, edit.kind, f"{length(instruction, x, w)} {edit.text}"),
    ]
