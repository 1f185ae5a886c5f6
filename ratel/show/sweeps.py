"""What people see of a sweep: the front, what each parameter is worth, and why some points did not run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratel.show.tables import console, count, number, share, styled, table

if TYPE_CHECKING:
    from explore.sweep import Sweep

# Rows of the front, and reasons why points do not run, that are shown; --json and the file have them all.
FRONT_ROWS, REASONS = 20, 5


def print_sweep(sweep: Sweep, written: Sequence[str]) -> None:
    out = console()
    ran = sum(not one.error for one in sweep.outcomes)
    known = len(sweep.points) - sweep.computed
    out.print(
        styled(
            (sweep.work.name, "bold"),
            f" from {sweep.work.chip.label} on: {count(len(sweep.points), 'point')}, of which {ran:,} ran",
            f"; {known:,} were known before" if known else "",
        )
    )
    keys = [one.key for one in sweep.space]
    front = sweep.front()
    if front:
        title = (
            f"least {' and '.join(sweep.goals)}" if len(sweep.goals) == 1 else f"the front of {', '.join(sweep.goals)}"
        )
        made = table(title, [*((key, "right") for key in keys), *((goal, "right") for goal in sweep.goals)])
        for row in front[:FRONT_ROWS]:
            made.add_row(*(one.said(row[one.key]) for one in sweep.space), *(number(row[goal]) for goal in sweep.goals))
        out.print(made)
        if len(front) > FRONT_ROWS:
            out.print(f"and {len(front) - FRONT_ROWS:,} more")
        for goal in sweep.goals:
            made = table(
                f"what each parameter is worth to {goal}: its share of the variance, and the mean by value",
                [("parameter", "left"), ("share", "right"), ("least mean at", "left"), ("most mean at", "left")],
            )
            for one in sweep.effects(goal):
                low, high = (pick(one.levels, key=lambda level: level.mean) for pick in (min, max))
                words = (f"{level.words}: {level.mean:,.4g}" for level in (low, high))
                made.add_row(one.key, share(one.share, 1), *words)
            out.print(made)
    reasons = Counter(one.error for one in sweep.outcomes if one.error)
    if reasons:
        out.print(f"\n{count(sum(reasons.values()), 'point')} cannot run:")
        for reason, times in reasons.most_common(REASONS):
            out.print(f"  {times:,}: {reason}")
        if len(reasons) > REASONS:
            out.print(f"  and for {len(reasons) - REASONS:,} other reasons")
    for path in written:
        out.print(f"written: {path}")
