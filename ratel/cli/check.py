"""`ratel check`: what is proven of a program, and mended with --fix."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.diagnostic import Diagnostic, strictly
from isa.files import rewrite_whole
from ratel.cli.files import assemble_text, load_quietly, print_json, read_text
from ratel.cli.networks import by_part
from ratel.cli.options import DONE, WRONG, Declare, UsageError, add_chip, add_json, add_part, add_program, add_tasks

if TYPE_CHECKING:
    from assembler.syntax.diagnostics import Span
    from emulator.checker.findings import Verdict
    from emulator.plan.plan import Plan


def declare(command: Declare) -> None:
    """Declare check with its options."""
    sub = command("check", run, "prove that no accesses race and nothing deadlocks, or show what does")
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    sub.add_argument("--fix", action="store_true", help="mend in the text what can be mended there")
    sub.add_argument("--waits", action="store_true", help="find wait bits that order nothing, and what they cost")
    add_tasks(sub)
    add_part(sub)


def run(options: argparse.Namespace) -> int:
    return fix(options) if options.fix else by_part(check)(options)


def check(options: argparse.Namespace) -> int:
    from emulator.checker.check import check
    from ratel import api
    from ratel.show.findings import print_verdict

    program, odd = load_quietly(options)
    plan = api.plan_for(program, None, options.tasks)
    verdict = check(plan, waits=options.waits)
    if options.strict:
        verdict, odd = strict(verdict), strictly(odd)
    saved = cycles_saved(plan, verdict) if options.waits else None
    if options.json:
        said = [diagnostic_summary(one) for one in odd]
        print_json({**verdict.summary(), "warnings": said, "cycles_saved": saved}, options)
    else:
        print_verdict(verdict, odd)
        if saved is not None:
            print(f"without the wait bits that order nothing: {saved:,} cycles less")
    return DONE if verdict.passed and not any(one.is_error for one in odd) else WRONG


def strict(verdict: Verdict) -> Verdict:
    """Return a verdict with each warning as an error."""
    return replace(verdict, findings=strictly(verdict.findings))


def diagnostic_summary(found: Diagnostic[Span]) -> dict[str, Any]:
    """Return what is odd about a text as `check --json` prints it, ready for json."""
    notes = [{"message": message, "place": asdict(place)} for message, place in found.notes]
    return {**vars(found), "place": asdict(found.place), "notes": notes}


def cycles_saved(plan: Plan, verdict: Verdict) -> int:
    """Return the cycles of a task that go with the wait bits that order nothing; less than 0 where more come."""
    from emulator.checker.synchronisation import without_waits
    from emulator.timing.timeline import schedule

    useless = [finding for finding in verdict.findings if finding.code == "C201"]
    return schedule(plan).cycles - schedule(without_waits(plan, useless)).cycles if useless else 0


def fix(options: argparse.Namespace) -> int:
    from ratel import api
    from ratel.fix import fix
    from ratel.show.findings import print_verdict

    if options.json or Path(options.file).suffix != ".npu":
        raise UsageError("--fix changes a text (.npu), and prints no JSON")

    def planned(text: str) -> Plan:
        program, _ = assemble_text(text, options.file, options.chip, options.set)
        return api.plan_for(program, None, options.tasks)

    before = read_text(options.file)
    fixed = fix(before, Path(options.file).name, planned, options.waits)
    if fixed.text != before:
        rewrite_whole(options.file, before.encode(), fixed.text.encode())
    for said in fixed.done:
        print(f"{options.file}, {said}")
    if fixed.ended:
        print(f"{options.file}: stopped after as much work as --fix may cost; once more goes on from here")
    elif not fixed.done and not fixed.verdict.passed:
        print(f"{options.file} is as it was: no change that --fix knows leaves fewer findings")
    verdict, odd = fixed.verdict, assemble_text(fixed.text, options.file, options.chip, options.set).warnings
    if options.strict:
        verdict, odd = strict(verdict), strictly(odd)
    print_verdict(verdict, odd)
    return DONE if verdict.passed and not any(one.is_error for one in odd) else WRONG
