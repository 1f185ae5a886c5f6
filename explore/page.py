"""A sweep as one page that loads nothing: scatter, lines, main effects; a click shows a point's chip as TOML."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from explore.front import Effect
from explore.goals import COLUMNS
from explore.space import OPTIONS, Parameter
from isa.chip import FIELDS, KIND_OF, Chip
from isa.files import read_whole
from ratel.show.gantt import plain
from ratel.show.report import STYLE, table
from ratel.show.tables import count, number, share

# Points that are drawn, and rows of the front that are listed: of more, evenly many; the file has them all.
MOST_DRAWN, MOST_LISTED = 20_000, 100
SET = "set in a sweep"
OWN_STYLE = """
canvas { width: 100%; display: block; touch-action: manipulation; cursor: crosshair } select { font: inherit }
.wide { overflow-x: auto } #toml { white-space: pre; overflow: auto; max-height: 32em; padding: 8px; margin: 8px 0;
  border: 1px solid var(--faint) } tr[data-row] { cursor: pointer } tr.chosen td { background: var(--faint) }
h1 { font-size: 1.5em } figure { margin: 0 } .bars { fill: #0072b2 } .point { background: #0072b2 }
.effects { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 16px }
.front { background: var(--mark) }
"""
SCRIPT = Path(__file__).with_suffix(".js")


def page(
    name: str,
    chip: Chip,
    chips: Mapping[str, Chip],
    space: Sequence[Parameter],
    goals: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    front: Sequence[int],
    effects: Mapping[str, Sequence[Effect]],
) -> str:
    """Return the page of a sweep that began with `chip`, or with `chips` by name where these varied.

    `rows` are those of points that ran, `front` places among them; `effects` by the columns of goals.
    """
    title = f"{name} on {count(len(rows), 'chip')}"
    if not rows:
        body = "<p>No point ran: there is nothing to draw.</p>"
    else:
        body = _pictures(chip, chips, space, goals, rows, front, effects)
    return f"""<!DOCTYPE html>
<html lang="en-GB"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{plain(title)}</title>
<style>{STYLE}{OWN_STYLE}</style></head><body>
<h1>{plain(title)}</h1>
<p>From {plain(chip.label)} on; wanted: least {plain(", ".join(goals))}.</p>
{body}</body></html>
"""


def _pictures(
    chip: Chip,
    chips: Mapping[str, Chip],
    space: Sequence[Parameter],
    goals: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    front: Sequence[int],
    effects: Mapping[str, Sequence[Effect]],
) -> str:
    drawn = _drawn(len(rows), front)
    place_of = {place: k for k, place in enumerate(drawn)}
    columns = list(COLUMNS)
    names = [*(one.key for one in space), *columns]
    said = {
        "parameters": [{"key": one.key, "values": list(one.values)} for one in space],
        "columns": columns,
        "units": {column: goal.unit for column, goal in COLUMNS.items() if goal.unit != column},
        "rows": [[rows[place][one] for one in names] for place in drawn],
        "front": [place_of[place] for place in front if place in place_of],
        "chips": {key: _numbers(one) for key, one in {**chips, "": chip}.items()},
        "order": list(FIELDS),
        "options": list(OPTIONS),
        "kinds": KIND_OF,
        "set": SET,
        "x": names.index(effects[goals[0]][0].key if len(goals) == 1 else goals[1]),
        "y": names.index(goals[0]),
    }
    # "<" alone could end the script that holds it.
    data = json.dumps(said, allow_nan=False).replace("<", "\\u003c")
    few = f" Of {len(rows):,} points {len(drawn):,} are drawn." if len(drawn) < len(rows) else ""
    listed = front[:MOST_LISTED]
    cells = [
        [
            *(plain(one.said(rows[place][one.key])) for one in space),
            *(plain(number(rows[place][one])) for one in columns),
        ]
        for place in listed
    ]
    best = table(names, cells)
    for place in listed:
        best = best.replace("<tr><td", f'<tr data-row="{place_of[place]}"><td', 1)
    more = f"<p>And {len(front) - len(listed):,} more.</p>" if len(front) > len(listed) else ""
    worth = "".join(
        f"<h2>What each parameter is worth to {plain(goal)}</h2><p>Its share of the variance, alone, and the mean of "
        f'{plain(goal)} for each of its values.</p><div class="effects">{"".join(map(_effect, effects[goal]))}</div>'
        for goal in goals
    )
    return f"""<h2>Points</h2>
<p><span class="key front"></span>on the front: no other is as good in all goals, and better in one.
<span class="key point"></span>the others.{few} Click a point for its chip.</p>
<p><label>across <select id="x"></select></label> <label>up <select id="y"></select></label></p>
<canvas id="scatter" role="img" aria-label="Points by two of their numbers"></canvas>
<h2>A line for each point</h2>
<div class="wide"><canvas id="lines" role="img" aria-label="Lines over all parameters and goals"></canvas></div>
<div id="chip" hidden><h2>The chip</h2><p id="point"></p>
<p><button id="copy">copy</button> Kept as FILE.toml it is a chip: <code>ratel time PROGRAM --chip FILE.toml</code></p>
<div id="toml" class="code"></div></div>
{worth}
<h2>The front</h2>
<div class="wide">{best}</div>{more}
<script type="application/json" id="data">{data}</script>
<script>{read_whole(SCRIPT).decode()}</script>"""


def _drawn(points: int, front: Sequence[int]) -> list[int]:
    """Return the places of points that are drawn: all, or of the front and of all evenly many."""
    if points <= MOST_DRAWN:
        return list(range(points))
    half = MOST_DRAWN // 2
    kept = set(front[:: -(-len(front) // half) or 1]) | set(front[:MOST_LISTED])
    return sorted(kept | set(range(0, points, -(-points // half))))


def _numbers(chip: Chip) -> list[list[Any]]:
    """Return key, value and source of all numbers of a chip."""
    sources = {key: SET if source == "set" else source for key, source in chip.sources.items()}
    return [[key, value, sources.get(key, "")] for key, value in chip.values.items()]


def _effect(effect: Effect) -> str:
    """Return the picture of a main effect: a bar for each level, as high as its mean is."""
    means = [level.mean for level in effect.levels]
    top, wide = max(means), 260 / len(means)
    shapes = ""
    for k, level in enumerate(effect.levels):
        high = 64 * level.mean / top if top else 0.0
        words = f"{level.words}: mean {level.mean:,.5g}, least {level.least:,.5g}, {count(level.points, 'point')}"
        shapes += (
            f'<rect class="bars" x="{k * wide + 1:.1f}" y="{66 - high:.1f}" width="{max(wide - 2, 1):.1f}" '
            f'height="{high:.1f}"><title>{plain(words)}</title></rect>'
        )
    ends = (effect.levels[0].words, effect.levels[-1].words)
    label = f"{effect.key}: {share(effect.share, 1)}"
    return (
        f'<figure><figcaption>{plain(effect.key)}: <b>{share(effect.share, 1)}</b></figcaption><svg role="img" '
        f'xmlns="http://www.w3.org/2000/svg" aria-label="{plain(label)}" viewBox="0 0 260 84">{shapes}'
        f'<text x="0" y="80">{plain(ends[0])}</text><text x="260" y="80" text-anchor="end">{plain(ends[1])}</text>'
        "</svg></figure>"
    )
