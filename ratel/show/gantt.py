"""Gantt: what each engine does when, as an SVG whose x are cycles, so that a script zooms by its viewBox alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from html import escape

import numpy as np

from emulator.explain.breakdown import kind_of_limit
from emulator.explain.spans import Piece, Spans, on_path, pieces, place, spans, transfers
from emulator.timing.columns import REASONS
from emulator.timing.result import TRANSFER_IN, Schedule
from isa.row import ENGINES
from ratel.show.terminal import escaped

# Slices drawn alone, about 200 bytes each; of a longer run those that are short are drawn together. Executions drawn.
MOST_SLICES, MOST_DRAWN = 8_000, 200_000
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


class Track:
    """The slices of a track; those shorter than `width` cycles are drawn as one with what begins in the same."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._found: list[Slice] = []
        self._groups: dict[int, _Group] = {}

    def add(self, start: int, end: int, kind: str, words: Callable[[], str], critical: bool = False) -> None:
        """Enter a slice; what it says is asked for only where it is drawn alone, or is the first of several."""
        if end - start >= self._width:
            self._found.append(Slice(start, end, kind, words(), critical))
            return
        group = self._groups.get(start // self._width)
        if group is None:
            group = self._groups[start // self._width] = _Group(start, end, words(), critical)
        elif start < group.start:
            group.words = words()
        group.start, group.end = min(group.start, start), max(group.end, end)
        group.count, group.critical = group.count + 1, group.critical or critical
        group.cycles[kind] += end - start

    def slices(self) -> list[Slice]:
        """Return what is drawn, in order."""
        groups = [group.slice() for group in self._groups.values()]
        return sorted(self._found + groups, key=lambda one: one.start)


@dataclass
class _Group:
    """Slices drawn as one, `words` being the first's."""

    start: int
    end: int
    words: str
    critical: bool
    count: int = 0
    cycles: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def slice(self) -> Slice:
        (kind, words), total = (max(self.cycles, key=self.cycles.__getitem__), self.words), sum(self.cycles.values())
        if self.count > 1:
            words = f"{self.count} together, {total:,} of {self.end - self.start:,} cycles; {words}"
        return Slice(self.start, self.end, kind, words, self.critical, self.count)


def tracks(timed: Schedule, tasks: int) -> tuple[dict[str, list[Slice]], int]:
    """Return the slices of each track in order: the critical path, the DMA, the engines that do anything.

    And of how few cycles what is drawn alone has at least, 0 where all is.
    """
    found, moved, last = spans(timed, tasks), transfers(timed, tasks), timed.cycles
    if tasks < timed.plan.tasks:
        last = max([0, *(one.end for one in moved), *([int(found.finish.max())] if len(found) else [])])
    path = [piece for piece in pieces(timed, last) if piece.start < last]
    names = ["critical path", "DMA in", "DMA out"]
    names += [f"core{core}.{engine}" for core in range(len(timed.plan.cores)) for engine in ENGINES]
    drawn = len(path) + len(moved) + len(found) + int((found.start > found.ready).sum())
    used = bool(path) + len({one.kind for one in moved}) + len(set(zip(found.core.tolist(), found.engine.tolist())))
    width = max(1, -(-last * used // MOST_SLICES)) if drawn > MOST_SLICES else 0
    made = {name: Track(width) for name in names}
    for piece in reversed(path):
        made["critical path"].add(piece.start, piece.end, style_of(piece.reason), partial(_of_piece, timed, piece))
    for one in moved:
        name = "DMA in" if one.kind == TRANSFER_IN else "DMA out"
        words = f"{one.kind} of task {one.task}: {one.bytes:,} bytes, {one.end - one.start:,} cycles from {one.start:,}"
        made[name].add(one.start, one.end, style_of("memory bandwidth"), partial(str, words))
    _executions(timed, found, on_path(found, path), made)
    return {name: slices for name, track in made.items() if (slices := track.slices())}, width


def _of_piece(timed: Schedule, piece: Piece) -> str:
    words = f"{piece.reason}: {piece.end - piece.start:,} cycles from {piece.start:,}; {piece.engine}"
    if piece.index >= 0:
        mnemonic = timed.plan.cores[piece.core].core.code[piece.index].row.mnemonic
        words = f"{mnemonic} {place(timed, piece.core, piece.index)}; {words}"
    return words


def _executions(timed: Schedule, found: Spans, critical: np.ndarray, made: Mapping[str, Track]) -> None:
    """Enter each execution, and before it the stall that it had."""
    known: dict[tuple[int, int], tuple[str, str, str]] = {}
    columns = (found.core, found.index, found.engine, found.ready, found.start, found.end, found.finish, found.reason)
    rows = zip(*(column.tolist() for column in (*columns, critical)), strict=True)
    for core, index, engine, ready, start, end, finish, reason, is_critical in rows:
        if (core, index) not in known:
            mnemonic = timed.plan.cores[core].core.code[index].row.mnemonic
            limit = timed.costs[core][index].limit
            known[core, index] = f"{mnemonic} {place(timed, core, index)}", limit, style_of(kind_of_limit(limit))
        name, limit, kind = known[core, index]
        track, why = made[f"core{core}.{ENGINES[engine]}"], REASONS[reason]
        if start > ready:
            of_stall = "stalled by {}: {:,} cycles from {:,}; before {}".format
            track.add(ready, start, f"stall {style_of(why)}", partial(of_stall, why, start - ready, ready, name))
        of_slice = "{}: {:,} cycles from {:,}, result after {:,}; limit {}; {}".format
        words = partial(of_slice, name, end - start, start, finish - start, limit, why)
        track.add(start, end, kind, words, is_critical)


def gantt(timed: Schedule) -> str:
    """Return the picture, with a line that says what it leaves out."""
    each = max(1, timed.instructions // timed.plan.tasks)
    tasks = min(timed.plan.tasks, max(1, MOST_DRAWN // each))
    made, width = tracks(timed, tasks)
    last = max([1, *(slices[-1].end for slices in made.values())])
    notes = [] if tasks == timed.plan.tasks else [f"The first {tasks:,} of {timed.plan.tasks:,} tasks."]
    if width:
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
