"""Draw docs/energy.svg, what ResNet-50 takes on five chips, by what takes it: python docs/energy.py."""

from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

import ratel
from compiler.compile import compile
from isa.files import write_whole
from programs.networks.catalogue import network
from programs.networks.onnx_model import model
from ratel import Energy

CHIPS = ("edge", "gemmini-16", "tpu-v1", "hanguang800", "zhenwu810e")
# What is drawn as one, with its colour; told apart by most people who see colours otherwise (after Okabe and Ito).
GROUPS = {
    "products": (("i8", "i16", "f16", "bf16"), "#0072b2"),
    "lanes": (("lane", "pool"), "#009e73"),
    "local memory": (("lm", "cb"), "#56b4e9"),
    "device memory": (("dev",), "#d55e00"),
    "PCIe and ring": (("pcie", "ring"), "#cc79a7"),
    "clock": (("clock",), "#8c8c8c"),
    "at rest": (("rest",), "#c9c9c9"),
}
LEFT, TOP, WIDTH, ROW, BAR = 130, 40, 520, 46, 24
STYLE = "text{font:12px system-ui,sans-serif;fill:#444}"


def measured(name: str) -> Energy:
    """Return the energy of ResNet-50 on one core of a chip, of one image by itself."""
    compiled = compile(model(network("resnet50")), name, round_once=True)
    return ratel.energy(ratel.time(compiled.program))


def picture(found: dict[str, Energy]) -> str:
    """Return the SVG: a bar for each chip, each as long, in parts; millijoules and watts beside it."""
    height = TOP + ROW * len(found) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 190} {height}">',
        f"<style>{STYLE}</style><rect width='100%' height='100%' fill='#fff'/>",
    ]
    at = 10
    for name, (_, colour) in GROUPS.items():
        parts.append(f'<rect x="{at}" y="12" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{at + 17}" y="22">{name}</text>')
        at += 36 + 7 * len(name)
    for row, (name, energy) in enumerate(found.items()):
        y, x = TOP + ROW * row, float(LEFT)
        parts.append(f'<text x="{LEFT - 8}" y="{y + BAR / 2 + 4}" text-anchor="end">{name}</text>')
        for group, (kinds, colour) in GROUPS.items():
            amount = sum(energy.by_kind[kind] for kind in kinds)
            width = WIDTH * amount / energy.total
            words = f"{name}, {group}: {amount / 1e15:,.3g} mJ, {amount / energy.total:.1%}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"><title>{words}</title></rect>'
            )
            x += width
        words = f"{energy.microjoules / 1e3:,.3g} mJ, {energy.watts:,.3g} W, {energy.schedule.seconds * 1e3:,.3g} ms"
        parts.append(f'<text x="{LEFT + WIDTH + 10}" y="{y + BAR / 2 + 4}">{words}</text>')
    return "\n".join([*parts, "</svg>\n"])


def rows(found: dict[str, Energy]) -> Sequence[str]:
    """Return the rows of the page's table, in mJ."""
    return [
        f"| {name} | {' | '.join(f'{sum(e.by_kind[k] for k in kinds) / 1e15:,.3g}' for kinds, _ in GROUPS.values())} "
        f"| {e.microjoules / 1e3:,.3g} | {e.watts:,.3g} |"
        for name, e in found.items()
    ]


def main() -> None:
    found = {name: measured(name) for name in track(CHIPS, "chips")}
    write_whole(Path(__file__).parent / "energy.svg", picture(found).encode())
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
