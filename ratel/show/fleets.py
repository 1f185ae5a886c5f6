"""What people see of a fleet: what each kind can do, what the scenarios report, and how long queries wait over load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratel.show.tables import console, seconds, share, styled, table

if TYPE_CHECKING:
    from rich.console import Console

    from explore.fleet.fleet import Kind, Planned, Reported

UNKNOWN = "?"
FIGURES = ("capacity", "saturates at", "utilisation", "watts", "within bounds up to", "needed alone")


def print_fleet(planned: Planned) -> None:
    out, fleet, rate = console(), planned.fleet, planned.rate
    out.print(styled((fleet.name, "bold"), f": {fleet.about}" if fleet.about else ""))
    for one in fleet.work:
        within = f", within {seconds(one.bound)}" if one.bound is not None else ""
        parts = f", {one.steps:,} one after another" if one.steps > 1 else ""
        out.print(f"{one.name}: {share(one.share, 1)} of the queries, {one.kind} {one.what}{parts}{within}")
    if rate is not None and planned.utilisation is not None:
        bounded = any(kind.known == "bounds" and kind.station for kind in planned.kinds)
        out.print(
            f"{figure(rate)} queries/s come, {'at least ' if bounded else ''}{share(planned.utilisation, 1)} of what "
            "the cards do of which it is known"
        )
    _print_kinds(out, planned)
    _print_reported(out, planned)
    _print_loads(out, planned)


def _print_kinds(out: Console, planned: Planned) -> None:
    columns = [("cards", "left"), ("", "right"), ("from", "left"), *((one, "right") for one in FIGURES)]
    made = table("kinds of cards; capacity, and where it saturates, in queries/s; ?: not public", columns)
    for kind in planned.kinds:
        known = kind.known if kind.station else "-"
        made.add_row(kind.cards.name, f"{kind.cards.count:,}", known, *figures(kind, planned))
    out.print(made)
    for kind in planned.kinds:
        if kind.why:
            out.print(f"{kind.cards.name}: {kind.why}")
        for work, one in zip(planned.fleet.work, kind.rates, strict=True):
            if kind.station and one.known == "bounds":
                hidden = f"; not in it, for their rates are not public: {', '.join(one.left_out)}" * bool(one.left_out)
                out.print(f"{kind.cards.name}: bounds, not cycles: {work.name} by {one.limit}{hidden}")


def figures(kind: Kind, planned: Planned) -> list[str]:
    """Return FIGURES of a kind, as people read them."""
    watts = told(kind.watts)
    if kind.station is None:
        return [UNKNOWN, UNKNOWN, UNKNOWN, watts, UNKNOWN, UNKNOWN]
    most, least = marks(kind)
    needed, used = kind.needed(planned.rate), planned.utilisation
    return [
        told(kind.capacity, most),
        told(kind.saturates, most),
        "-" if used is None else f"{least}{share(used, 1)}",
        watts,
        within(kind, most),
        "-" if needed is None else f"{least}{needed:,}",
    ]


def within(kind: Kind, most: str) -> str:
    """Return up to which load a kind is within the bounds."""
    if not kind.loads:
        return "-"
    if kind.most is None:
        return "no load"
    return "all tried" if kind.most == max(one.load for one in kind.loads) else f"{most}{share(kind.most, 1)}"


def _print_reported(out: Console, planned: Planned) -> None:
    columns = [("scenario", "left"), ("cards", "left"), ("", "right"), ("published", "right"), ("error", "right")]
    made = table("MLPerf's scenarios, of all cards of a kind", columns)
    for kind in planned.kinds:
        for one in kind.reported:
            made.add_row(one.scenario.name, kind.cards.name, *reported(kind, one))
    if made.row_count:
        out.print(made)


def reported(kind: Kind, one: Reported) -> tuple[str, str, str]:
    """Return what a scenario reports, what was published, and the error, as people read them."""
    most, least = marks(kind)
    published, error = one.scenario.published, one.error
    single = one.scenario.name == "singlestream"

    def words(value: float) -> str:
        if single:
            return f"p{one.scenario.percentile:g} {seconds(value)}"
        every = f" in {seconds(one.scenario.interval)}" if one.scenario.interval else ""
        return f"{figure(value)} {one.unit}{every}"

    return (
        "not within bounds" if one.value is None else f"{least if single else most}{words(one.value)}",
        "-" if published is None else words(published),
        "-" if error is None else f"{error:+.1%}",
    )


def _print_loads(out: Console, planned: Planned) -> None:
    kinds = [kind for kind in planned.kinds if kind.loads]
    if not kinds:
        return
    headings = [f"{marks(kind)[1]}{kind.cards.name} {one}" for kind in kinds for one in ("p50", "p90", "p99")]
    made = table(
        "how long a query takes over load, a part of the capacity; simulated",
        [("load", "right"), *((heading, "right") for heading in headings)],
    )
    for row in zip(*(kind.loads for kind in kinds), strict=True):
        times = [seconds(one.all.percentile(percent)) for one in row for percent in (50, 90, 99)]
        made.add_row(f"{row[0].load:.0%}", *times)
    out.print(made)


def marks(kind: Kind) -> tuple[str, str]:
    """Return what stands before what is at most, and before what is at least, of a kind of which bounds are known."""
    return ("<= ", ">= ") if kind.known == "bounds" else ("", "")


def told(value: float | None, mark: str = "") -> str:
    return UNKNOWN if value is None else f"{mark}{figure(value)}"


def figure(value: float) -> str:
    """Return a rate or a power: whole where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
