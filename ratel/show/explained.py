"""What people see of explanations: annotated source, breakdown, roofline, what-if. Every number has its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assembler.files import LIBRARY
from isa.files import name_of, read_same
from ratel.show.tables import console, count, number, share, significant, styled, table

if TYPE_CHECKING:
    from emulator.explain.annotate import LineTime
    from emulator.explain.breakdown import Part
    from emulator.explain.energy import Energy
    from emulator.explain.what_if import WhatIf
    from emulator.timing.result import Schedule
    from emulator.timing.timeline import Timeline
    from isa.program import Program

# Rows of a roofline that are shown; --json has them all.
POINT_ROWS = 12
# Of the annotated source: executions, cycles of engines, their share of the run, the share of the critical path ...
HEADINGS = ("times", "cycles", "share", "path", "slack", "stall cycles", "uJ")
# Lines of the source that are shown with what they take; --json has them all.
ENERGY_ROWS = 12


def sources(path: str, program: Program) -> dict[str, list[str]]:
    """Return the lines of a program's files by their names in messages: of those that are as they were assembled."""
    given, found = Path(path), {}
    for file, hashed in program.sources:
        # What the user names may be a link to anywhere.
        real = given.resolve() if file == name_of(given) else given
        text = read_same(LIBRARY, file[1:-1], hashed) if file.startswith("<") else None
        text = text or read_same(real.parent, file if real is given else real.name, hashed)
        if text is not None:
            found[file] = text.replace("\r", "").removesuffix("\n").split("\n")
    return found


def print_annotated(timeline: Timeline, lines: Sequence[LineTime], texts: Mapping[str, Sequence[str]]) -> None:
    from emulator.explain.annotate import listing
    from emulator.explain.breakdown import breakdown

    plan, out = timeline.plan, console()
    out.print(
        styled(
            (plan.program.name, "bold"),
            f" on {plan.chip.label}, one task: ",
            (f"{timeline.cycles:,} cycles", "bold"),
            f", of which transfers {timeline.transfer_in + timeline.transfer_out:,}",
        )
    )
    print_breakdown(breakdown(timeline))
    # Plain lines, not a table: source is not to be broken or cut.
    found = listing(lines, texts)
    rows = [_row(line) if line else [""] * len(HEADINGS) for _, _, _, line in found]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows)]
    file_shown = ""
    for (file, at, text, _), row in zip(found, rows, strict=True):
        if file != file_shown:
            out.print(styled("\n", (_aligned(HEADINGS, widths, "line", file), "bold")))
            file_shown = file
        out.print(_aligned(row, widths, f"{at}", text.expandtabs(4)))


def _aligned(row: Sequence[str], widths: Sequence[int], line: str, text: str) -> str:
    cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
    return "  ".join([*cells, f"{line:>4}", text]).rstrip()


def _row(line: LineTime) -> list[str]:
    stall = f"{line.stalled_by} {line.stall:,}" if line.stall else ""
    if not line.executions and not line.path:
        return [""] * len(HEADINGS)
    slack = "" if line.slack is None else f"{line.slack:,}"
    times = f"{line.executions:,}{' x' if line.is_loop else ''}"
    taken = "" if line.microjoules is None else significant(line.microjoules)
    return [times, f"{line.cycles:,}", share(line.share, 1), share(line.path_share, 1), slack, stall, taken]


def print_breakdown(parts: Sequence[Part]) -> None:
    words = ", ".join(f"{part.name} {share(part.share, 1)}" for part in parts if part.cycles)
    console().print(f"critical path: {words}")


def print_explained(timeline: Schedule) -> None:
    """Print the breakdown, the critical path by engine and by loop, and the roofline."""
    from emulator.explain.breakdown import KINDS, breakdown, by_engine, by_loop
    from emulator.explain.roofline import roofline

    out = console()
    columns = [("", "left"), ("cycles", "right"), ("share", "right")]
    kinds = table("where the critical path's cycles went", [*columns, ("which are", "left")])
    for part in breakdown(timeline):
        kinds.add_row(part.name, f"{part.cycles:,}", share(part.share, 1), KINDS[part.name])
    engines = table("critical path by engine", columns)
    for part in by_engine(timeline):
        engines.add_row(part.name, f"{part.cycles:,}", share(part.share, 1))
    loops = table(
        "critical path by loop",
        [
            *(("loop", "left"), ("core", "right"), ("trips", "right")),
            *(("own cycles", "right"), ("with inner loops", "right"), ("share", "right")),
        ],
    )
    for loop in by_loop(timeline):
        inside = loop.core is not None
        place = f"{'  ' * (loop.depth - 1)}{loop.file}:{loop.line}" if inside else "in no loop"
        fields = (f"{loop.core}", f"{loop.trips:,}") if inside else ("", "")
        loops.add_row(place, *fields, f"{loop.own:,}", f"{loop.cycles:,}", share(loop.share, 1))
    found = roofline(timeline)
    columns = [("line", "left"), ("instruction", "left"), ("engine", "left"), ("times", "right")]
    columns += [("operations", "right"), ("bytes", "left"), ("bound by", "left"), ("bound, cycles", "right")]
    columns += [("taken, cycles", "right"), ("of them above", "right")]
    points = table("roofline: one execution of each instruction, in one task; most cycles first", columns)
    ranked = sorted(found.points, key=lambda point: -point.times * point.cycles)
    for point in ranked[:POINT_ROWS]:
        moved = ", ".join(f"{memory} {size:,}" for memory, size in point.bytes.items())
        points.add_row(
            f"{point.file}:{point.line}",
            point.instruction,
            point.engine,
            f"{point.times:,}",
            f"{point.operations:,}",
            moved,
            point.limit,
            f"{point.bound:,.1f}",
            f"{point.cycles:,}",
            f"{point.distance:.1f} %",
        )
    for made in (kinds, engines, loops, points):
        out.print(made)
    more = f" ({count(len(ranked) - POINT_ROWS, 'instruction')} more)" if len(ranked) > POINT_ROWS else ""
    out.print(
        f"{more}\nthe whole: bound by {found.limit}, {found.bound:,.0f} cycles; takes {found.cycles:,}, "
        f"{found.distance:.1f} % of them above its bound"
    )


def print_energy(found: Energy) -> None:
    """Print the microjoules of a run, by what takes them, by engine and by source line."""
    from emulator.explain.energy import MEANINGS, NOWHERE, microjoules

    out, whole = console(), found.total

    def columns(heading: str) -> list[tuple[str, str]]:
        return [(heading, "left"), ("uJ", "right"), ("share", "right")]

    kinds = table("what takes energy", [*columns(""), ("how many", "right"), ("of", "left")])
    for kind, amount in found.by_kind.items():
        if amount:
            cells = significant(microjoules(amount)), share(amount, whole)
            kinds.add_row(kind, *cells, f"{found.counts[kind]:,}", MEANINGS[kind])
    engines = table("by engine; chip: its clock and what it takes at rest", columns("engine"))
    for engine, amount in found.by_engine.items():
        engines.add_row(engine, significant(microjoules(amount)), share(amount, whole))
    lines = table("by source line", [("line", "left"), *columns("source")])
    ranked = sorted(found.by_line.items(), key=lambda of: -of[1])
    ranked = [(line, amount) for line, amount in ranked if line != NOWHERE]
    for line, amount in ranked[:ENERGY_ROWS]:
        lines.add_row(f"{line.file}:{line.number}", line.text, significant(microjoules(amount)), share(amount, whole))
    rest = sum(amount for _, amount in ranked[ENERGY_ROWS:])
    if rest:
        more = f"{len(ranked) - ENERGY_ROWS} more"
        lines.add_row(more, "", significant(microjoules(rest)), share(rest, whole))
    lines.add_row(
        "no line's", "", significant(microjoules(found.by_line[NOWHERE])), share(found.by_line[NOWHERE], whole)
    )
    out.print(
        styled((f"energy: {significant(found.microjoules)} uJ", "bold"), f", on average {significant(found.watts)} W")
    )
    for made in (kinds, engines, lines):
        out.print(made)


def print_what_if(found: Sequence[WhatIf], cycles: int) -> None:
    columns = [("number", "left"), ("is", "right"), ("10 % more", "right"), ("saves, cycles", "right")]
    columns += [("share", "right"), ("without limit", "right"), ("saves, cycles", "right"), ("share", "right")]
    shown = table("what if the chip had more: each scheduled again; below 0 it is a loss", columns)
    for one in (one for one in found if one.more_saved or one.most_saved):
        saved = (f"{one.more_saved:,}", share(one.more_saved, cycles))
        most = (f"{one.most_saved:,}", share(one.most_saved, cycles))
        shown.add_row(one.key, number(one.value), number(one.more), *saved, number(one.most), *most)
    out = console()
    out.print(shown)
    none = [one.key for one in found if not one.more_saved and not one.most_saved]
    if none:
        out.print(f"of no use here, however much: {', '.join(none)}")
