"""Load against latency, by kind of card, as SVG that loads nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from explore.fleet.rates import BOUNDS
from explore.fleet.scenarios import Loaded
from isa.errors import InputError
from ratel.show.tables import count

LEFT, TOP, WIDTH, HEIGHT, LINE = 76, 58, 720, 330, 20
# Told apart by the colour-blind as well (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.grid{stroke:#ddd}.bound{stroke:#999;stroke-dasharray:2 3}"
    ".line{fill:none;stroke-width:2}.least{stroke-dasharray:7 4}.mid{stroke-width:1;opacity:.7}"
)
SHOWN = ((50, "line mid"), (99, "line"))


@dataclass(frozen=True)
class Curve:
    """What is drawn of a kind: `count` cards, what their times are `known` from, and latencies over load."""

    name: str
    count: int
    known: str
    loads: Sequence[Loaded]


def picture(name: str, bounds: Mapping[str, float], curves: Sequence[Curve]) -> str:
    """Return the SVG: load across, latency up in powers of ten, a thin line for the median and a thick one for p99.

    `bounds` are those of each work, in seconds. Raises InputError where there is nothing to draw.
    """
    if not curves:
        raise InputError(
            f"{name}: there is no load to draw",
            "a picture is of the scenario server, and of cards of which something is known",
        )
    times = [one.all.percentile(percent) for curve in curves for one in curve.loads for percent, _ in SHOWN]
    low, high = floor(log10(min(times))), ceil(log10(max([*times, *bounds.values()])))
    high = max(high, low + 1)

    def x(load: float) -> float:
        return LEFT + load * WIDTH

    def y(seconds: float) -> float:
        return TOP + HEIGHT * (high - log10(seconds)) / (high - low)

    right, bottom = LEFT + WIDTH, TOP + HEIGHT
    tall = bottom + 48 + LINE * len(curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 20} {tall}" role="img" '
        f'aria-label="{escape(name)}: latency over load, by kind of card">',
        f"<style>{STYLE}</style><rect width='100%' height='100%' fill='#fff'/>",
        f'<text x="{LEFT}" y="20">{escape(name)}: latency of a query over load, a part of the capacity</text>',
        f'<text x="{LEFT}" y="38">thick: p99; thin: p50; broken: at least so long, by bounds</text>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_of_power(power)}</text>')
    for load in range(0, 101, 20):
        parts.append(f'<text x="{x(load / 100):.1f}" y="{bottom + 18}" text-anchor="middle">{load} %</text>')
    for work, bound in bounds.items():
        at = y(max(bound, 10.0**low))
        parts.append(f'<line class="bound" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT + 6}" y="{at - 5:.1f}">{escape(work)}: {bound * 1e3:g} ms</text>')
    for k, curve in enumerate(curves):
        parts += _lines(curve, COLOURS[k % len(COLOURS)], x, y)
        at = bottom + 44 + LINE * k
        colour = COLOURS[k % len(COLOURS)]
        words = f"{curve.name}: {count(curve.count, 'card')}, from {curve.known}"
        parts.append(
            f'<path class="line{_least(curve)}" stroke="{colour}" d="M{LEFT} {at - 4}h28"/>'
            f'<text x="{LEFT + 36}" y="{at}">{escape(words)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _lines(curve: Curve, colour: str, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    """Return the lines of a kind, and its points of p99 with their words."""
    parts = []
    for percent, style in SHOWN:
        points = " ".join(f"{x(one.load):.1f},{y(one.all.percentile(percent)):.1f}" for one in curve.loads)
        parts.append(f'<polyline class="{style}{_least(curve)}" stroke="{colour}" points="{points}"/>')
    for one in curve.loads:
        words = f"{curve.name} at {one.load:.0%}: " + ", ".join(
            f"p{percent} {one.all.percentile(percent) * 1e3:.4g} ms" for percent in (50, 90, 99)
        )
        at = one.all.percentile(99)
        parts.append(
            f'<circle cx="{x(one.load):.1f}" cy="{y(at):.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(words)}</title></circle>"
        )
    return parts


def _least(curve: Curve) -> str:
    return " least" if curve.known == BOUNDS else ""


def _of_power(power: int) -> str:
    """Return a power of ten of seconds as people read it."""
    units = (("s", 0), ("ms", 3), ("us", 6), ("ns", 9))
    unit, shift = next(((unit, shift) for unit, shift in units if power + shift >= 0), ("ps", 12))
    return f"{10 ** (power + shift):,} {unit}"
