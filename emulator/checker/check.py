"""Check: all that can be said of a program without running it, and the verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from emulator.checker.findings import Edit, Finding, Verdict
from emulator.checker.float_sums import can_stall
from emulator.checker.happens_before import MOST_WALKED
from emulator.checker.initialisation import find_dataflow, nothing_out, unwritten_outputs
from emulator.checker.overflow import can_overflow
from emulator.checker.race_report import race_finding
from emulator.checker.races import find_races
from emulator.checker.synchronisation import deadlock_finding, left_signalled, useless_waits
from emulator.plan.deadlock import Deadlock
from emulator.plan.plan import Plan
from isa.diagnostic import strictly

# Instructions that are followed one by one before a run, some tenths of a second; `check` takes its time.
MOST_WALKED_SOON = 20_000


def check_order(plan: Plan) -> Verdict:
    """Return whether a plan is free of races and deadlocks."""
    try:
        return _order(plan, MOST_WALKED)
    except Deadlock as deadlock:
        return Verdict(plan, "deadlock", (deadlock_finding(plan, deadlock),))


def _order(plan: Plan, most: int) -> Verdict:
    # In hardware order nothing is skipped: there is no second way to try.
    races = find_races(plan, skips=plan.program.order == "compiler", most=most)
    return Verdict(plan, races.verdict, tuple(race_finding(plan, race) for race in races.races), races.why)


def judge_run(plan: Plan, dumps: bool = False, whole: bool = False, strict: bool = False) -> tuple[Verdict, bool]:
    """Return what is said before a run, and whether the plan is not to be run for it.

    That is where something is wrong; where the plan is to be checked as a `whole`, or where `strict`, which makes
    warnings errors, also where its order is not proven. `dumps` are as in `check_run`; raises Deadlock as it does.
    """
    verdict = check(plan) if whole else check_run(plan, dumps)
    if strict:
        verdict = replace(verdict, findings=strictly(verdict.findings))
    return verdict, bool(verdict.errors) or (verdict.verdict != "proven" and (whole or strict))


def check_run(plan: Plan, dumps: bool = False) -> Verdict:
    """Return what a run would hide, as far as that is found soon: races, and what does not come out, as warnings.

    Execution is in order, so no race would show; bytes that nothing writes are as good as any. With `dumps` a run shows
    more than outputs. Raises Deadlock, as the run itself would.
    """
    order = order_soon(plan)
    odd = [*unwritten_outputs(plan), *([] if dumps else nothing_out(plan))]
    return replace(order, findings=(*order.findings, *(replace(one, severity="warning") for one in odd)))


def order_soon(plan: Plan) -> Verdict:
    """Return whether a plan is free of races, as far as that is found soon; raise Deadlock where it is one."""
    return _order(plan, MOST_WALKED_SOON) if can_race(plan) else Verdict(plan, "proven")


def can_race(plan: Plan) -> bool:
    """Return whether anything of a plan is ordered by more than the scoreboard of its one core."""
    code = [instruction for part in plan.cores for instruction in part.core.code]
    return (
        plan.program.order == "compiler"
        or len(plan.cores) > 1
        or any(instruction.row.engine == "sync" for instruction in code)
        or any(operand.core is not None for instruction in code for _, operand in instruction.accesses())
    )


def check(plan: Plan, waits: bool = False) -> Verdict:
    """Return whether a plan is free of races and deadlocks, and all else that is wrong with it or odd.

    With `waits` each wait bit of a proven plan is tried: those that order nothing are found, too.
    """
    order = check_order(plan)
    others = left_signalled(plan, order)
    if order.verdict == "deadlock":
        # What comes behind it is never reached.
        return replace(order, findings=(*order.findings, *others))
    (data, unseen), (sums, unsummed) = find_dataflow(plan), can_overflow(plan)
    others, unseen = [*others, *data, *nothing_out(plan), *sums, *can_stall(plan)], [*unseen, *unsummed]
    if waits and order.verdict == "proven":
        useless, untried = useless_waits(plan)
        others, unseen = [*others, *useless], [*unseen, *untried]
    return replace(order, findings=(*order.findings, *others), unseen=tuple(unseen))


def fixes(findings: Iterable[Finding]) -> list[tuple[Edit, ...]]:
    """Return edits that mend findings, those of each together, and none twice; those that only hide something last."""
    ways = [way for finding in findings for way in (finding.instead, finding.edits) if way]
    return sorted(dict.fromkeys(ways), key=_hides)


def sure_fixes(findings: Iterable[Finding], certain: bool) -> list[tuple[Edit, ...]]:
    """Return one way to mend each finding, but for those that only hide something.

    Where it is to be `certain`, only of findings that there is no other way to mend.
    """
    ways = dict.fromkeys(finding.edits for finding in findings if finding.edits and not (certain and finding.instead))
    return [way for way in ways if not _hides(way)]


def _hides(way: Sequence[Edit]) -> bool:
    return any(edit.text.startswith("fill ") for edit in way)
