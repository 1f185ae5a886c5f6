"""Tokens: what is wrong or odd about waits, semaphores and barriers."""

from collections.abc import Sequence
from dataclasses import replace

from emulator.checker.findings import Edit, Finding, Verdict
from emulator.checker.race_report import wait_letter
from emulator.checker.races import find_races
from emulator.plan.deadlock import Deadlock
from emulator.plan.plan import Plan
from isa.diagnostic import Note, Place
from isa.row import ENGINES, WAIT_LETTERS

# Instructions that are walked at most to try a program without its wait bits: 10 to 30 us each.
MOST_WALKED = 1_000_000


def deadlock_finding(plan: Plan, deadlock: Deadlock) -> Finding:
    """Return a deadlock as a finding: each waiting instruction, and what it waits for."""
    first, *others = deadlock.waiting
    stopped = [(waits.place.core, waits.place.index) for waits in deadlock.waiting]
    message, notes = f"no core can go on: {first.message}", tuple(others)
    return Finding("C301", first.place, message, deadlock.help, notes, _swap(plan, stopped))


def _swap(plan: Plan, stopped: list[tuple[int, int]]) -> tuple[Edit, ...]:
    """Return the edits that signal before a wait what another stopped core waits for, where that stands behind it."""
    waited = {}
    for core, at in stopped:
        instruction = plan.cores[core].core.code[at]
        if instruction.row.mnemonic == "wait":
            waited[int(instruction.attributes[0][0])] = core
    for core, at in reversed(stopped):
        code = plan.cores[core].core.code
        for k in range(at + 1, len(code)):
            if code[k].row.mnemonic == "signal" and waited.get(int(code[k].attributes[0][0]), core) != core:
                name = plan.program.semaphores[int(code[k].attributes[0][0])]
                return (Edit(core, k, "drop"), Edit(core, at, "before", f"signal {name}, {code[k].engine}"))
    return ()


def left_signalled(plan: Plan, order: Verdict) -> list[Finding]:
    """Return the semaphores that a task signals more often than it waits for them, where that can be what is wrong.

    Credits are signalled ahead of the waits, and some are left at the end of a task, where they are forgotten. So it is
    odd only where nobody waits, in a deadlock, and where the cores that it orders race: a wait may pass too early.
    """
    found = plan.program.uses
    racing = {frozenset((of.place.core, *(note.place.core for note in of.notes))) for of in order.findings if of.place}
    findings = []
    for number, name in enumerate(plan.program.semaphores):
        signals, waits = found.get(("signal", number), []), found.get(("wait", number), [])
        given, taken = (sum(use.times for use in each) for each in (signals, waits))
        cores = frozenset(use.core for use in (*signals, *waits))
        if given <= taken or (taken and order.verdict != "deadlock" and cores not in racing):
            continue
        gone = [use for use in signals if use.times == given - taken and len(signals) > 1]
        drops = [(Edit(use.core, use.index, "drop"),) for use in (*gone[-1:], *gone[:1])]
        help = "signal it as often as it is waited for: one too many may let a wait pass too early"
        findings.append(
            Finding(
                "C302",
                signals[-1].place,
                f"semaphore `{name}` is signalled {_often(given)} and waited for {_often(taken)}",
                help if taken else "wait for it, or leave the signal out: it orders nothing",
                tuple(Note("signalled here too", use.place) for use in signals[:-1]),
                *drops,
                severity="warning",
            )
        )
    return findings


def _often(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times:,} times")


def useless_waits(plan: Plan) -> tuple[list[Finding], tuple[str, ...]]:
    """Return the wait bits without which, all of them gone, a plan that is free of races still is.

    And in words which were not tried, where that is too long.
    """
    findings: list[Finding] = []
    left = MOST_WALKED
    for part in plan.cores:
        for index in range(len(part.core.code)):
            for bit, engine in enumerate(ENGINES):
                waits = plan.cores[part.number].core.code[index].waits
                if not waits >> bit & 1:
                    continue
                if left < 0:
                    return findings, (f"the wait bits from {part.where(index)} on, for there are many",)
                without = _changed(plan, part.number, index, waits ^ 1 << bit)
                found = find_races(without)
                left -= found.walked
                if found.verdict != "proven":
                    continue
                plan, letter = without, wait_letter(engine)
                findings.append(
                    Finding(
                        "C201",
                        Place(part.number, index),
                        f"the wait bit `{letter}` orders nothing that is not ordered without it",
                        "take it away: what it waits for conflicts with nothing behind it, or is waited for anyway",
                        (),
                        (Edit(part.number, index, "drop wait", letter),),
                        severity="warning",
                    )
                )
    return findings, ()


def without_waits(plan: Plan, useless: Sequence[Finding]) -> Plan:
    """Return a plan without the wait bits of such findings."""
    for finding in useless:
        for edit in finding.edits:
            bit = ENGINES.index(WAIT_LETTERS[edit.text])
            waits = plan.cores[edit.core].core.code[edit.index].waits
            plan = _changed(plan, edit.core, edit.index, waits & ~(1 << bit))
    return plan


def _changed(plan: Plan, number: int, index: int, waits: int) -> Plan:
    """Return a plan in which one instruction has other wait bits."""
    part, cores = plan.cores[number], plan.program.cores
    core = part.core
    core = replace(core, code=(*core.code[:index], replace(core.code[index], waits=waits), *core.code[index + 1 :]))
    bits = part.waits.copy()
    bits[index] = waits
    part = replace(part, core=core, waits=bits)
    program = replace(plan.program, cores=(*cores[:number], core, *cores[number + 1 :]))
    return replace(plan, program=program, cores=(*plan.cores[:number], part, *plan.cores[number + 1 :]))
