"""Gantt: what each engine does when, as an SVG whose x are cycles, so that a script zooms by its viewBox alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from html import escape

from emulator.explain.breakdown import kind_of_limit
from emulator.explain.spans import on_path, pieces, place, spans, transfers
from emulator.timing.columns import REASONS
from emulator.timing.result import TRANSFER_IN, Schedule
from isa.row import ENGINES
from ratel.show.terminal import escaped

# Slices drawn alone, about 200 bytes each; of a longer run those that are short are drawn together. Executions drawn.
MOST_SLICES, MOST_EXECUTIONS = 8_000, 1_000_000
TRACK, LABEL, WIDTH = 24, 110, 1120


@dataclass(frozen=True)
class Slice:
    """Cycles of a track; `kind` is a class of the page's style, `count` of how many drawn together."""

    start: int
    end: int
    kind: str
    words: str
    critical: bool = False
    count: int = 1


def plain(text: object) -> str:
    """Return text that is safe in HTML and in XML, whatever it holds."""
    return escape(escaped(str(text)))


def style_of(name: str) -> str:
    """Return the class of a kind, a reason or a limit."""
    return "k-" + "".join(c if c.isalnum() else "-" for c in name)


def together(slices: list[Slice], width: int) -> list[Slice]:
    """Return slices with those shorter than `width` cycles, and begun in the same `width` cycles, drawn as one."""
    found: list[Slice] = []
    groups: dict[int, list[Slice]] = defaultdict(list)
    for one in slices:
        if one.end - one.start >= width:
            found.append(one)
        else:
            groups[one.start // width].append(one)
    for group in groups.values():
        first, last = group[0], group[-1]
        if len(group) == 1:
            found.append(first)
            continue
        cycles: dict[str, int] = defaultdict(int)
        for one in group:
            cycles[one.kind] += one.end - one.start
        words = f"{len(group)} together, {sum(cycles.values()):,} of {last.end - first.start:,} cycles; {first.words}"
        critical = any(one.critical for one in group)
        kind = max(cycles, key=cycles.__getitem__)
        found.append(Slice(first.start, last.end, kind, words, critical, len(group)))
    return sorted(found, key=lambda one: one.start)


def tracks(timed: Schedule, tasks: int) -> dict[str, list[Slice]]:
    """Return the slices of each track in order: the critical path, the DMA, the engines that do anything."""
    path = list(pieces(timed))
    found, last = spans(timed, tasks), path[0].end if tasks == timed.plan.tasks else 0
    if len(found):
        last = max(last, int(found.finish.max()))
    made: dict[str, list[Slice]] = {"critical path": [], "DMA in": [], "DMA out": []}
    for piece in reversed(path):
        if piece.start < last:
            words = f"{piece.reason}: {piece.end - piece.start:,} cycles from {piece.start:,}; {piece.engine}"
            if piece.index >= 0:
                mnemonic = timed.plan.cores[piece.core].core.code[piece.index].row.mnemonic
                words = f"{mnemonic} {place(timed, piece.core, piece.index)}; {words}"
            made["critical path"].append(Slice(piece.start, piece.end, style_of(piece.reason), words))
    for one in transfers(timed, tasks):
        words = f"{one.kind} of task {one.task}: {one.bytes:,} bytes, {one.end - one.start:,} cycles from {one.start:,}"
        name = "DMA in" if one.kind == TRANSFER_IN else "DMA out"
        made[name].append(Slice(one.start, one.end, style_of("memory bandwidth"), words))
    for core in range(len(timed.plan.cores)):
        made.update({f"core{core}.{engine}": [] for engine in ENGINES})
    columns = (found.core, found.index, found.engine, found.ready, found.start, found.end, found.finish, found.reason)
    rows = zip(*(column.tolist() for column in (*columns, on_path(found, path))), strict=True)
    known: dict[tuple[int, int], tuple[str, str, str]] = {}
    for core, index, engine, ready, start, end, finish, reason, critical in rows:
        if (core, index) not in known:
            mnemonic = timed.plan.cores[core].core.code[index].row.mnemonic
            limit = timed.costs[core][index].limit
            known[core, index] = f"{mnemonic} {place(timed, core, index)}", limit, style_of(kind_of_limit(limit))
        name, limit, kind = known[core, index]
        track, why = made[f"core{core}.{ENGINES[engine]}"], REASONS[reason]
        if start > ready:
            words = f"stalled by {why}: {start - ready:,} cycles from {ready:,}; before {name}"
            track.append(Slice(ready, start, f"stall {style_of(why)}", words))
        words = f"{name}: {end - start:,} cycles from {start:,}, result after {finish - start:,}; limit {limit}; {why}"
        track.append(Slice(start, end, kind, words, critical))
    return {name: slices for name, slices in made.items() if slices}


def gantt(timed: Schedule) -> str:
    """Return the picture, with a line that says what it leaves out."""
    each = max(1, timed.instructions // timed.plan.tasks)
    tasks = min(timed.plan.tasks, max(1, MOST_EXECUTIONS // each))
    made = tracks(timed, tasks)
    last = max([1, *(slices[-1].end for slices in made.values())])
    notes = [] if tasks == timed.plan.tasks else [f"The first {tasks:,} of {timed.plan.tasks:,} tasks."]
    if sum(map(len, made.values())) > MOST_SLICES:
        width = max(1, -(-last * len(made) // MOST_SLICES))
        made = {name: together(slices, width) for name, slices in made.items()}
        notes.append(f"What takes fewer than {width:,} cycles is drawn together with its neighbours.")
    height, labels, shapes = TRACK * len(made), [], []
    for row, (name, slices) in enumerate(made.items()):
        top = TRACK * row
        labels.append(f'<text x="{LABEL - 8}" y="{top + 16}" text-anchor="end">{plain(name)}</text>')
        for one in slices:
            high, y = (6, top + 8) if one.kind.startswith("stall ") else (16, top + 3)
            shape = f'x="{one.start}" width="{max(one.end - one.start, 0)}"'
            words = f"<title>{plain(one.words)}</title>"
            shapes.append(f'<rect class="{one.kind}" {shape} y="{y}" height="{high}">{words}</rect>')
            if one.critical:
                shapes.append(f'<rect class="critical" {shape} y="{top + 20}" height="3"/>')
    ticks = "".join(
        f'<text class="tick" x="{LABEL + WIDTH * k / 5:g}" y="{height + 16}" '
        f'text-anchor="{"end" if k == 5 else "middle"}">{round(last * k / 5):,}</text>'
        for k in range(6)
    )
    return (
        f'<svg id="gantt" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Gantt chart: engines over cycles" '
        f'viewBox="0 0 {LABEL + WIDTH} {height + 24}">{"".join(labels)}{ticks}'
        f'<svg id="slices" x="{LABEL}" y="0" width="{WIDTH}" height="{height}" viewBox="0 0 {last} {height}" '
        f'preserveAspectRatio="none">{"".join(shapes)}</svg></svg><p>{" ".join(notes)}</p>'
    )
