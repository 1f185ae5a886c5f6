"""Draw docs/splits.svg, ResNet-50 on hanguang800 for every split of its multipliers: python docs/splits.py."""

from collections.abc import Iterator
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from compiler.compile import compile
from emulator.plan.load import load
from emulator.plan.plan import Plan
from emulator.timing.timeline import schedule
from isa.chip import load_chip
from isa.files import write_whole
from programs.networks.catalogue import network
from programs.networks.onnx_model import model

MULTIPLIERS, PUBLISHED, WITHIN = 147_456, 78_563, 0.05
CHIP, CORES, IMAGES = "hanguang800", 4, 16


class Split(NamedTuple):
    """Products of a sum, pixels at once, channels at once."""

    p: int
    b: int
    K: int

    @property
    def plain(self) -> bool:
        """Whether p and K are powers of two, as most numbers of channels are."""
        return self.p.bit_count() == self.K.bit_count() == 1


def splits() -> Iterator[Split]:
    """Yield every p x b x K = 147,456."""
    divisors = [n for n in range(1, MULTIPLIERS + 1) if MULTIPLIERS % n == 0]
    for p in divisors:
        for b in divisors:
            if MULTIPLIERS // p % b == 0:
                yield Split(p, b, MULTIPLIERS // p // b)


def of_one_core() -> Plan:
    """Return 16 images on one core: four cores compute the same, each its own, and do not wait for PCIe.

    They are compiled once, for the split of the chip file, which decides where layers are cut.
    """
    compiled = compile(model(network("resnet50")), CHIP, batch=IMAGES, round_once=True)
    return load(compiled.program, compiled.chip)


def throughput(plan: Plan, split: Split) -> float:
    """Return the images a second of four cores, one task behind another, with the chip file's other numbers."""
    chip = load_chip(CHIP, te__multipliers=split.p, te__pixels=split.b, te__channels=split.K)
    return CORES * IMAGES * chip.cycles_per_second / schedule(replace(plan, chip=chip)).compute_cycles


LEFT, TOP, WIDTH, HEIGHT, WIDEST = 64, 34, 720, 330, 15
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.axis{stroke:#999}.grid{stroke:#ddd}.band{fill:#f2c14e;opacity:.35}"
    ".any{fill:#8aa4c8;opacity:.75}.plain{fill:#c0392b}.chosen{fill:none;stroke:#c0392b;stroke-width:2}"
)


def picture(rates: dict[Split, float], chosen: Split) -> str:
    """Return the SVG: b across, throughput up, a point for each split."""
    top = 20_000 * (int(max(rates.values())) // 20_000 + 1)

    def x(split: Split) -> float:
        # Of splits with the same b the one with more channels lies further to the right.
        return LEFT + (log2(split.b) + 0.25 + 0.5 * log2(split.K) / log2(MULTIPLIERS)) / (WIDEST + 3) * WIDTH

    def y(rate: float) -> float:
        return TOP + HEIGHT * (1 - rate / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {TOP + HEIGHT + 50}">',
        f"<style>{STYLE}</style><rect width='100%' height='100%' fill='#fff'/>",
        f'<rect class="band" x="{LEFT}" width="{WIDTH}" y="{y(PUBLISHED * (1 + WITHIN)):.1f}" '
        f'height="{y(0) - y(2 * WITHIN * PUBLISHED):.1f}"/>',
    ]
    for rate in range(0, top + 1, 20_000):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(rate):.1f}" y2="{y(rate):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:,}</text>')
    for power in range(0, WIDEST + 3, 2):
        at = x(Split(1, 2**power, 1))
        parts.append(f'<text x="{at:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{2**power:,}</text>')
    for split, rate in sorted(rates.items(), key=lambda item: item[0].plain):
        kind = "plain" if split.plain else "any"
        words = f"p = {split.p}, b = {split.b}, K = {split.K}: {rate:,.0f} images/s"
        parts.append(
            f'<circle class="{kind}" cx="{x(split):.1f}" cy="{y(rate):.1f}" r="3"><title>{words}</title></circle>'
        )
    cx, cy = x(chosen), y(rates[chosen])
    parts.append(f'<circle class="chosen" cx="{cx:.1f}" cy="{cy:.1f}" r="8"/>')
    for at, words in ((LEFT, "images/s, four cores"), (LEFT + 190, "band: 78,563 published, 5 % either way")):
        parts.append(f'<text x="{at}" y="18">{words}</text>')
    parts.append(f'<text x="{LEFT + 440}" y="18">red: p and K powers of two; circle: the chip file</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">b, pixels at once</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    plan = of_one_core()
    rates = {split: throughput(plan, split) for split in track(list(splits()), "splits")}
    chip = load_chip(CHIP)
    chosen = Split(chip["te.multipliers"], chip["te.pixels"], chip["te.channels"])
    write_whole(Path(__file__).parent / "splits.svg", picture(rates, chosen).encode())
    near = {split: rate for split, rate in rates.items() if abs(rate / PUBLISHED - 1) <= WITHIN}
    plain = sum(split.plain for split in near)
    print(f"{len(near)} of {len(rates)} splits within {WITHIN:.0%} of {PUBLISHED:,}; p and K powers of two: {plain}")
    for split, rate in near.items():
        print(f"p {split.p:6} b {split.b:6} K {split.K:6} {rate:9,.0f} images/s {'  powers of two' * split.plain}")
    print(f"the chip file's: {chosen}, {rates[chosen]:,.0f} images/s")


if __name__ == "__main__":
    main()
