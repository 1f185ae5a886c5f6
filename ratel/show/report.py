"""Report: a run's timeline as one HTML page that loads nothing: tables and pictures, for light and dark screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

from emulator.explain.annotate import LineTime, listing
from emulator.explain.breakdown import KINDS, breakdown
from emulator.explain.energy import MEANINGS, energy, has_energy, microjoules
from emulator.explain.roofline import Roofline, roofline
from emulator.timing.result import Schedule
from emulator.timing.stream import task_of
from ratel.show.gantt import gantt, plain, style_of
from ratel.show.tables import count, seconds, share, significant

# Rows of the critical path that are shown; ratel time --json has them all.
PATH_ROWS = 40
# The colours are told apart by most people who see colours otherwise (after Okabe and Ito).
STYLE = """
:root { color-scheme: light dark; --back: #fff; --fore: #1b1f24; --faint: #d0d7de; --mark: #c00000 }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --fore: #e4e8ee; --faint: #3b424d; --mark: #ff6b6b } }
body { font: 15px/1.45 system-ui, sans-serif; background: var(--back); color: var(--fore); max-width: 1240px;
  margin: 0 auto; padding: 16px }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif } svg text { fill: var(--fore) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: 2px 10px; text-align: right }
th { border-bottom: 1px solid var(--faint) } td.left, th.left { text-align: left } pre, .code { font-family: monospace }
.code { display: block; overflow-x: auto }
td { white-space: nowrap } td.left { white-space: normal } .code td { white-space: pre }
.key { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 14px }
.bar { display: block; width: 260px; height: 12px } line, .axis { stroke: var(--faint) }
.critical { fill: var(--mark) } .stall { opacity: .65 } .line { stroke: var(--fore); stroke-width: 1.5; fill: none }
.point { fill: #0072b2; stroke: var(--back) }
"""
COLOURS = {
    "compute": "#0072b2",
    "LM bandwidth": "#56b4e9",
    "memory bandwidth": "#cc79a7",
    "shared resource": "#7b4fb5",
    "synchronisation": "#8c8c8c",
    "dependence": "#d55e00",
    "wait": "#e69f00",
    "token": "#f0d442",
    "issue": "#8c8c8c",
    "launch": "#8c8c8c",
    "fetch": "#56b4e9",
    "engine busy": "#0072b2",
    "last": "#009e73",
    "transfer in": "#cc79a7",
    "transfer out": "#cc79a7",
    "fill/drain": "#009e73",
    "buffer": "#cc79a7",
    "resource": "#7b4fb5",
}
SCRIPT = """
const inner = document.getElementById("slices"), whole = inner.viewBox.baseVal.width;
const show = (from, width) => { width = Math.min(whole, Math.max(10, width));
  from = Math.max(0, Math.min(whole - width, from)); const box = inner.viewBox.baseVal; box.x = from; box.width = width;
  document.querySelectorAll(".tick").forEach((tick, k) =>
    tick.textContent = Math.round(from + width * k / 5).toLocaleString("en-GB")); };
const by = (factor, at) => { const box = inner.viewBox.baseVal; show(box.x + box.width * at * (1 - factor),
  box.width * factor); };
const move = part => { const box = inner.viewBox.baseVal; show(box.x + part * box.width, box.width); };
const does = { nearer: () => by(.5, .5), farther: () => by(2, .5), left: () => move(-.4), right: () => move(.4),
  all: () => show(0, whole) };
for (const name in does) document.getElementById(name).onclick = does[name];
"""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table of cells that are HTML; the heading of a column that stands left begins with "<"."""
    sides = [' class="left"' if name.startswith("<") else "" for name in columns]
    head = "".join(f"<th{side}>{plain(name.lstrip('<'))}</th>" for name, side in zip(columns, sides, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{side}>{cell}</td>" for cell, side in zip(row, sides, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><tr>{head}</tr>{body}</table>'


def bar(parts: Mapping[str, float], whole: float, label: str) -> str:
    """Return a bar of parts by kind; what is left of the whole is empty."""
    at, shapes = 0.0, ""
    for kind, part in parts.items():
        width = 100 * part / max(whole, 1)
        shapes += f'<rect class="{style_of(kind)}" x="{at:.3f}" width="{width:.3f}" height="10"/>'
        at += width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bar" role="img" aria-label="{plain(label)}" '
        f'viewBox="0 0 100 10" preserveAspectRatio="none">{shapes}</svg>'
    )


def roof(found: Roofline) -> str:
    """Return the roofline: operations a cycle over operations a byte, both logarithmic, a point an instruction."""
    points = [
        (one, one.operations / size) for one in found.points if one.operations and (size := sum(one.bytes.values()))
    ]
    if not points or not found.peak:
        return "<p>No instruction computes: there is no roofline.</p>"
    # Of all cores; an instruction runs on one.
    cores = len({one.core for one in found.points})
    peak = found.peak / cores
    rates = {name: rate / (cores if name == "lm" else 1) for name, rate in found.bandwidths.items() if rate}
    low_x = log10(min([x for _, x in points] + [peak / max(rates.values())])) - 0.5
    high_x = log10(max([x for _, x in points] + [peak / min(rates.values())])) + 0.5
    low_y, high_y = log10(min(one.attained for one, _ in points)) - 0.3, log10(peak) + 0.5

    def at(x: float, y: float) -> tuple[float, float]:
        return 70 + 1120 * (log10(x) - low_x) / (high_x - low_x), 360 - 340 * (log10(y) - low_y) / (high_y - low_y)

    shapes = '<path class="axis" fill="none" d="M70 20V360H1190"/>'
    for k in range(int(low_x) - 1, int(high_x) + 1):
        if low_x <= k <= high_x:
            shapes += f'<text x="{at(10.0**k, peak)[0]:.1f}" y="378" text-anchor="middle">{10.0**k:g}</text>'
    for k in range(int(low_y) - 1, int(high_y) + 1):
        if low_y <= k <= high_y:
            shapes += f'<text x="62" y="{at(1, 10.0**k)[1] + 4:.1f}" text-anchor="end">{10.0**k:,g}</text>'
    shapes += '<text x="1190" y="396" text-anchor="end">operations a byte</text>'
    shapes += '<text x="74" y="16">operations a cycle, of one core</text>'
    x, y = at(peak / max(rates.values()), peak)
    shapes += f'<path class="line" d="M{x:.1f} {y:.1f}H1190"/>'
    shapes += f'<text x="1186" y="{y - 6:.1f}" text-anchor="end">products: {peak:,.0f} operations a cycle</text>'
    for name, rate in rates.items():
        start = max(10**low_x, 10**low_y / rate)
        (left, bottom), (right, top) = at(start, start * rate), at(peak / rate, peak)
        shapes += f'<path class="line" d="M{left:.1f} {bottom:.1f}L{right:.1f} {top:.1f}"/>'
        words = {"lm": "LM", "host": "PCIe"}.get(name, name)
        x, y = (left + 2 * right) / 3, (bottom + 2 * top) / 3
        shapes += f'<text x="{x - 6:.1f}" y="{y - 4:.1f}" text-anchor="end">{words}: {rate:,.4g} bytes a cycle</text>'
    for one, intensity in points:
        x, y = at(intensity, one.attained)
        words = (
            f"{one.instruction} {one.file}:{one.line}, {one.engine}, {count(one.times, 'time')}: {one.attained:,.4g} "
            f"operations a cycle, {intensity:,.4g} a byte; {one.distance:.1f} % of its cycles above its bound, "
            f"{one.limit}"
        )
        shapes += f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{plain(words)}</title></circle>'
    return (
        '<svg id="roofline" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Roofline" '
        f'viewBox="0 0 1230 400">{shapes}</svg>'
    )


def energy_part(timed: Schedule) -> str:
    """Return what the run takes, by what takes it and by engine."""
    found = energy(timed)

    def cells(name: str, amount: int) -> tuple[str, str, str, str]:
        return (
            plain(name),
            significant(microjoules(amount)),
            share(amount, found.total),
            bar({"compute": amount}, found.total, f"{name}: its share"),
        )

    kinds = [
        (*cells(kind, amount), f"{found.counts[kind]:,}", plain(MEANINGS[kind]))
        for kind, amount in found.by_kind.items()
        if amount
    ]
    engines = [cells(engine, amount) for engine, amount in found.by_engine.items()]
    return f"""<h2>Energy</h2>
<p>{significant(found.microjoules)} uJ, on average {significant(found.watts)} W.</p>
{table(("<", "uJ", "share", "<", "how many", "<of"), kinds)}
<p>By engine; chip: its clock and what it takes at rest.</p>
{table(("<engine", "uJ", "share", "<"), engines)}
"""


def report(timed: Schedule, took_by_line: Sequence[LineTime], sources: Mapping[str, Sequence[str]]) -> str:
    """Return the page; `took_by_line` is one task's, by `annotate`; `sources` has the lines of files by name."""
    chip, whole = timed.plan.chip, timed.cycles
    title = f"{timed.plan.program.name} on {chip.label}"
    found = roofline(timed)
    engines = [
        (
            plain(name),
            f"{one.instructions:,}",
            f"{one.busy:,}",
            share(one.busy, whole),
            f"{one.stall:,}",
            f"{one.idle:,}",
            plain(", ".join(f"{reason} {cycles:,}" for reason, cycles in one.stalls.items() if cycles)),
            bar({"compute": one.busy, **one.stalls}, whole, f"{name}: busy, then stalls by reason"),
        )
        for name, one in timed.engines.items()
    ]
    entries = timed.critical_path
    path = [
        (
            plain(f"{one.file}:{one.line}" if one.line else "-"),
            *(plain(words) for words in (one.instruction, one.engine, one.reason, one.limit)),
            f"{one.count:,}",
            f"{one.cycles:,}",
            share(one.cycles, whole),
        )
        for one in entries[:PATH_ROWS]
    ]
    rest = entries[PATH_ROWS:]
    if rest:
        cycles = sum(one.cycles for one in rest)
        times = sum(one.count for one in rest)
        path.append((f"{len(rest):,} more", "", "", "", "", f"{times:,}", f"{cycles:,}", share(cycles, whole)))
    parts = [
        (
            plain(one.name),
            f"{one.cycles:,}",
            share(one.cycles, whole),
            bar({one.name: one.cycles}, whole, one.name),
            plain(KINDS[one.name]),
        )
        for one in breakdown(timed)
    ]
    task = task_of(timed)
    lines = [
        (
            f"{number}",
            *(
                (
                    f"{took.executions:,}",
                    f"{took.cycles:,}",
                    share(took.path, task.cycles),
                    f"{took.slack:,}" if took.slack is not None else "",
                    plain(took.stalled_by),
                    significant(took.microjoules) if took.microjoules is not None else "",
                )
                if took
                else ("",) * 6
            ),
            plain(text),
        )
        for _, number, text, took in listing(took_by_line, sources)
    ]
    colours = "".join(f".{style_of(name)} {{ fill: {c}; background: {c} }}\n" for name, c in COLOURS.items())
    keys = "".join(
        f'<span class="key {style_of(name)}"></span>{plain(name)}'
        for name in (
            "compute",
            "LM bandwidth",
            "memory bandwidth",
            "synchronisation",
            "dependence",
            "wait",
            "token",
            "resource",
            "last",
        )
    )
    buttons = "".join(
        f'<button id="{name}">{words}</button> '
        for name, words in (
            ("nearer", "zoom in"),
            ("farther", "zoom out"),
            ("left", "earlier"),
            ("right", "later"),
            ("all", "all"),
        )
    )
    joules = energy_part(timed) if has_energy(chip) else ""
    several = f"; {count(timed.tasks, 'task')}" if timed.tasks > 1 else ""
    path_columns = ("<line", "<instruction", "<engine", "<reason", "<limit", "times", "cycles", "share")
    engine_columns = (
        "<engine",
        "instructions",
        "busy cycles",
        "share",
        "stall cycles",
        "idle cycles",
        "<stalled by, cycles",
        "<",
    )
    return f"""<!DOCTYPE html>
<html lang="en-GB"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{plain(title)}</title>
<style>{STYLE}{colours}</style></head><body>
<h1>{plain(title)}: {whole:,} cycles</h1>
<p>{seconds(timed.seconds)} at {chip["chip.frequency_mhz"]:g} MHz; {count(timed.instructions, "instruction")}{several};
set-up before the first task {timed.setup:,} cycles, not counted.</p>
<h2>Where the critical path's cycles went</h2>
{table(("<kind", "cycles", "share", "<", "<what"), parts)}
<h2>When: engines over cycles</h2>
<p>{keys} <span class="key critical" style="background: var(--mark)"></span>on the critical path. Thin bars are stalls.
Rest the pointer on a slice for its source line, cycles and reason.</p>
<p>{buttons}</p>
{gantt(timed)}
<h2>Roofline</h2>
<p>The whole: at least {found.bound:,.0f} cycles by {plain(found.limit)}; {found.distance:.1f} % of its cycles lie
above that.</p>
{roof(found)}
<h2>Engines</h2>
{table(engine_columns, engines)}
{joules}<h2>Critical path</h2>
{table(path_columns, path)}
<h2>Source{" (one task)" if several else ""}</h2>
{table(("line", "executions", "cycles", "of the path", "slack, cycles", "<stalled by", "uJ", "<source"), lines, "code")}
<script>{SCRIPT}</script></body></html>
"""
