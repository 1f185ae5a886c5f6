"""Fixing: the edits of the checker's findings applied to a program's text, many at a time, as long as they help.

Edits help if the text assembles, and the checker then finds less: that it can prove nothing weighs most, then
deadlocks, wrong data, races, and semaphores signalled too often. A round tries all edits that nothing speaks against at
once, where that does not help each half of them by itself, and so on; and where findings are few, each way to mend one,
too. The best is kept, of equals the smallest. It ends where nothing helps, and after so much work.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from assembler.syntax.edits import CannotEdit, LineEdit, declaration, edited, first_section
from assembler.syntax.format import format_text
from emulator.checker.check import check, fixes, sure_fixes
from emulator.checker.findings import Edit, Verdict
from emulator.checker.synchronisation import useless_waits
from emulator.plan.plan import Plan
from isa.errors import RatelError
from isa.instruction import products_of_sum

# Texts that a round tries, each way; and what all may cost together: an instruction that is checked 1, a text 1,000.
MOST_TRIED, MOST_WORK, OF_A_TEXT = 16, 400_000, 1_000
Way = tuple[Edit, ...]
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
    """A text with edits applied, each as "line NUMBER: what was done", and what the checker says of it.

    `ended` where more was left to try than it may cost.
    """

    text: str
    done: list[str]
    plan: Plan
    verdict: Verdict
    ended: bool = False


def fix(text: str, file: str, planned: Callable[[str], Plan], waits: bool = False) -> Fixed:
    """Apply the edits that help; with `waits` wait bits that order nothing then go, too.

    `file` is the text's name in its lines, `planned` assembles and loads a text.
    """
    return _Fixing(text, file, planned).fixed(waits)


class _WorkDone(Exception):
    """Raised where no more may be tried."""


class _Fixing:
    def __init__(self, text: str, file: str, planned: Callable[[str], Plan]) -> None:
        self._file, self._planned, self._standard = file, planned, _standard(text)
        plan = planned(text)
        self._best = Fixed(text, [], plan, check(plan))
        self._left = MOST_WORK

    def fixed(self, waits: bool) -> Fixed:
        try:
            while self._round():
                pass
            if waits and self._best.verdict.verdict == "proven":
                self._without_waits()
        except _WorkDone:
            return replace(self._best, ended=waits or bool(fixes(self._best.verdict.findings)))
        return self._best

    def _round(self) -> bool:
        """Apply what helps most; return whether anything does."""
        before, findings = self._best, self._best.verdict.findings
        ways = fixes(findings)
        few = len(ways) <= MOST_TRIED
        # What only hides something comes last.
        for group in [sure_fixes(findings, few)] + [ways] * (not few):
            if len(group) > 1 and self._best is before:
                self._keep_what_helps(before, group)
        for way in ways if few else ():
            self._keep(self._edited(before, [way]))
        return self._best is not before

    def _keep_what_helps(self, before: Fixed, ways: Sequence[Way]) -> None:
        """Keep all ways where they help; else the halves that do, and the halves of those that do not."""
        kept: list[Way] = []
        groups, tries = deque([list(ways)]), MOST_TRIED
        while groups and tries:
            group, tries = groups.popleft(), tries - 1
            if self._keep(self._edited(before, [*kept, *group])):
                kept += group
            elif len(group) > 1:
                groups += group[: len(group) // 2], group[len(group) // 2 :]

    def _keep(self, tried: Fixed | None) -> bool:
        """Keep what was tried where less is found, or the same with fewer edits; return whether less."""
        if tried is None:
            return False
        found, least = _badness(tried.verdict), _badness(self._best.verdict)
        if found < least or (found == least and len(tried.done) < len(self._best.done)):
            self._best = tried
        return found < least

    def _without_waits(self) -> None:
        for finding in useless_waits(self._best.plan)[0]:
            tried = self._edited(self._best, [finding.edits])
            # A line of a macro is several instructions, not all of which may do without.
            if tried is not None and tried.verdict.verdict == "proven":
                self._best = tried

    def _edited(self, fixed: Fixed, ways: Sequence[Way]) -> Fixed | None:
        """Return a text with edits applied, in the standard form if it was; None where they cannot be."""
        self._left -= OF_A_TEXT + sum(len(part.core.code) for part in fixed.plan.cores)
        if self._left < 0:
            raise _WorkDone
        try:
            edits = [edit for way in _apart(ways) for edit in way]
            lines = list(dict.fromkeys(line for edit in edits for line in _line_edits(fixed, self._file, edit)))
            text = edited(fixed.text, lines)
            text = format_text(text) if self._standard else text
            plan = self._planned(text)
            verdict = check(plan)
        except (CannotEdit, RatelError):
            return None
        said = [f"line {line.number}: {_said(line, fixed.text)}" for line in lines]
        return Fixed(text, [*fixed.done, *said], plan, verdict)


def _apart(ways: Sequence[Way]) -> list[Way]:
    """Return ways to mend in which each that declares a semaphore has one of its own."""
    apart, used = [], Counter[str]()
    for way in ways:
        for name in [edit.text.split()[1] for edit in way if edit.kind == "declare"]:
            used[name] += 1
            if used[name] > 1:
                other = f"{name}_{used[name]}"
                way = tuple(replace(edit, text=re.sub(rf"\b{name}\b", other, edit.text)) for edit in way)
        apart.append(way)
    return apart


def _said(line: LineEdit, text: str) -> str:
    """Return in words what an edit does to its line of a text."""
    if line.kind == "drop":
        return f"taken away: {text.splitlines()[line.number - 1].strip()}"
    if line.kind == "split sum":
        length, parts = map(int, line.text.split())
        return f"the sum of {length:,} products cut into {parts} parts"
    return SAID[line.kind].format(line.text.replace("\n", "; "))


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
    out = instruction.operand("out")
    assert out is not None
    name = next((s.name for s in core.symbols if (s.memory, s.address) == (out.memory, out.address)), "")
    shape = ", ".join(map(str, out.shape))
    return [
        LineEdit(declaration(fixed.text, edit.core, name), "after", f".local {name}_part f32[{shape}]"),
        LineEdit(line.number, edit.kind, f"{products_of_sum(instruction)} {edit.text}"),
    ]
