"""Bounds as a table, and chips compared: those with cycles, and beside them those with bounds alone."""

from __future__ import annotations

from collections.abc import Sequence

from emulator.timing.bounds import Bounds, Demand
from emulator.timing.result import Schedule
from isa.bounds_chip import NO_CYCLES
from ratel.show.chips import NOT_PUBLIC, public
from ratel.show.tables import console, count, seconds, styled, table


def print_bounds(bounds: Bounds, made_for: str) -> None:
    """Print the least time of a program that was assembled for another chip, and what it is made of."""
    name, out = bounds.chip.name, console()
    tasks = f", {count(bounds.tasks, 'task')}" if bounds.tasks > 1 else ""
    by = f", by {bounds.limit}" if bounds.limit else ""
    out.print(styled((bounds.program.name, "bold"), f" on {name}{tasks}: ", (at_least(bounds), "bold"), by))
    out.print(f"bounds, not cycles: {NO_CYCLES}")
    out.print(
        f"operations and bytes as the program has them, for {made_for}: tiled for {name} it might move fewer bytes"
    )
    if bounds.unknown:
        out.print(f"not in the bound, for their rates are not public: {', '.join(bounds.unknown)}")
    size = public(bounds.chip["roofline.on_chip_mb"]) + (" MB" if bounds.chip["roofline.on_chip_mb"] else "")
    out.print(f"it holds {bounds.local_bytes:,} bytes in local memory; memory on the chip of {name}: {size}")
    columns = [("what it does", "left"), ("amount", "right"), ("", "left"), ("rate", "right"), ("least time", "right")]
    shown = table("bounds; -: stays on the chip, and bounds nothing here", columns)
    for demand in bounds.demands:
        if demand.amount:
            least = NOT_PUBLIC if demand.seconds is None else seconds(demand.seconds)
            shown.add_row(
                demand.name,
                f"{demand.amount:,}",
                demand.unit,
                rate(demand),
                least if demand.key else "-",
            )
    out.print(shown)


def rate(demand: Demand) -> str:
    if demand.key is None:
        return "-"
    if demand.rate is None:
        return NOT_PUBLIC
    return f"{demand.rate / 1e12:,g} TOPS" if demand.unit == "operations" else f"{demand.rate / 1e9:,g} GB/s"


def at_least(bounds: Bounds) -> str:
    if bounds.seconds is not None:
        return f"at least {seconds(bounds.seconds)}"
    return "no bound is public" if bounds.unknown else "no bound"


def print_comparison(results: Sequence[Schedule | Bounds]) -> None:
    """Print a row for each chip; a bound has no cycles, and is at least so much of the time of the first that has."""
    first = next((one for one in results if not isinstance(one, Bounds)), None)
    ratio = "time" if first is None else f"time / that on {first.plan.chip.name}"
    columns = [("chip", "left"), ("cycles", "right"), ("time", "right"), (ratio, "right"), ("", "left")]
    compared = table("chips compared", columns if first else [*columns[:3], *columns[4:]])
    for one in results:
        if isinstance(one, Bounds):
            row = [one.chip.name, "none", at_least(one)]
            share = "-" if one.seconds is None or first is None else f"at least {one.seconds / first.seconds:.3g}"
            what = "a bound" + (f" by {one.limit}" if one.limit else "")
        else:
            assert first is not None
            row = [one.plan.chip.name, f"{one.cycles:,}", seconds(one.seconds)]
            share, what = f"{one.seconds / first.seconds:.2f}", "scheduled"
        compared.add_row(*row, *([share] if first else []), what)
    console().print(compared)
