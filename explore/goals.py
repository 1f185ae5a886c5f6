"""What is wanted less of: a table of columns, each with how it is found; the one place to add to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa.chip import Chip
from isa.errors import InputError, shown
from isa.suggest import did_you_mean

if TYPE_CHECKING:
    from emulator.timing.result import Schedule


@dataclass(frozen=True)
class Measured:
    """What is known of a point: its chip, and the schedules of what it ran, one after another."""

    chip: Chip
    schedules: Sequence["Schedule"]


@dataclass(frozen=True)
class Goal:
    """A column of results: its name there, its unit, whether it is whole, and its value for a point."""

    column: str
    unit: str
    is_whole: bool
    of: Callable[[Measured], float]


# By the names that --minimise takes.
GOALS: dict[str, Goal] = {
    "cycles": Goal("cycles", "cycles", True, lambda found: sum(one.cycles for one in found.schedules)),
    "seconds": Goal("seconds", "s", False, lambda found: sum(one.seconds for one in found.schedules)),
}
COLUMNS = {goal.column: goal for goal in GOALS.values()}


def columns_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of goals by name; raise InputError for an unknown one, and where there is none."""
    found = []
    for name in [names] if isinstance(names, str) else names:
        goal = GOALS.get(name) or COLUMNS.get(name)
        if goal is None:
            raise InputError(f"there is no goal {shown(name)}", did_you_mean(str(name), GOALS, f"{', '.join(GOALS)}"))
        found.append(goal.column)
    if not found:
        raise InputError("no goal is given", f"what to minimise: {', '.join(GOALS)}")
    return tuple(dict.fromkeys(found))


def measure(found: Measured) -> dict[str, float]:
    """Return the value of each goal's column."""
    return {goal.column: goal.of(found) for goal in GOALS.values()}
