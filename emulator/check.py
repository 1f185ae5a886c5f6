"""Check: all that can be said of a program without running it, and the verdict."""

from emulator.findings import Verdict
from emulator.plan import Plan
from emulator.races import find_races
from emulator.witness import race_finding


def check(plan: Plan) -> Verdict:
    """Return whether a plan is free of races, with what was found; raise Trap where it is a deadlock."""
    races = find_races(plan)
    return Verdict(races.verdict, tuple(race_finding(plan, race) for race in races.races), races.why)
