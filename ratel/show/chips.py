"""Chips as tables: all side by side, or one with the source of each number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from emulator.explain.energy import area
from emulator.timing.costs_tensor import products_a_cycle
from isa.bounds_chip import RooflineChip
from isa.chip import FIELDS, Chip
from ratel.show.tables import console, number, significant, styled, table

NOT_PUBLIC = "not public"
NAMING = ("chip.name", "chip.about")


def _of_products(chip: Chip) -> float:
    return 2 * products_a_cycle(chip) * chip["chip.cores"] * chip.cycles_per_second / 1e12


# What is compared of all chips: heading, the number of those of bounds, and what it comes to of those with cycles.
COMPARED: tuple[tuple[str, str, Callable[[Chip], float] | None], ...] = (
    ("int8 TOPS", "int8_tops", _of_products),
    ("int16 TOPS", "int16_tops", lambda chip: _of_products(chip) / chip["te.i16_cycles"]),
    ("fp16 TOPS", "fp16_tops", lambda chip: _of_products(chip) / (chip["te.f16_cycles"] or inf)),
    ("memory GB", "memory_gb", lambda chip: chip.memory_bytes("dev") / 1e9),
    ("memory GB/s", "memory_gb_per_second", lambda chip: float(chip["memory.dev_gb_per_second"])),
    ("host GB/s", "host_gb_per_second", lambda chip: float(chip["memory.pcie_gb_per_second"])),
    ("link GB/s", "link_gb_per_second", None),
    ("on chip MB", "on_chip_mb", lambda chip: chip["chip.cores"] * chip.memory_bytes("lm") / 1e6),
    ("clock MHz", "frequency_mhz", lambda chip: float(chip["chip.frequency_mhz"])),
    ("nm", "process_nm", None),
    ("W", "watts", None),
)


def print_chips(chips: Sequence[Chip | RooflineChip]) -> None:
    """Print what can be compared of all chips, then the numbers of those that have cycles."""
    out = console()
    widest = max(len(chip.name) for chip in chips)
    for chip in chips:
        out.print(styled((f"{chip.name:{widest}}", "bold"), f"  {chip['chip.about']}"))
    headings = [("chip", "left"), ("gives", "left"), *((heading, "right") for heading, _, _ in COMPARED)]
    compared = table("all chips; -: its file does not say; host: each direction; link: to other chips, both", headings)
    for column in compared.columns[:2]:
        column.no_wrap = True
    for chip in chips:
        gives = "bounds" if isinstance(chip, RooflineChip) else "cycles"
        compared.add_row(chip.name, gives, *(_common(chip, key, of) for _, key, of in COMPARED))
    out.print(compared)
    cycled = [chip for chip in chips if isinstance(chip, Chip)]
    # What each number means would take the width that they need.
    columns = [("", "left"), *((chip.name, "right") for chip in cycled)]
    shown = table("chips that give cycles; `ratel manual files` says what each number is", columns)
    shown.columns[0].no_wrap = True
    for key in FIELDS:
        if key not in NAMING:
            shown.add_row(key, *(_short(chip.values.get(key, "-")) for chip in cycled))
    out.print(shown)


def _short(value: object) -> str:
    """Return a number as people read it; thousands of millions, which are sizes of memories, not to the byte."""
    return f"{value:.4g}" if isinstance(value, int) and value >= 1e9 else number(value)


def _common(chip: Chip | RooflineChip, key: str, of: Callable[[Chip], float] | None) -> str:
    if isinstance(chip, RooflineChip):
        return public(chip[f"roofline.{key}"])
    value = 0.0 if of is None else of(chip)
    return significant(value) if value else "-"


def public(value: float | None) -> str:
    """Return a number of a chip of bounds as people read it."""
    return NOT_PUBLIC if value is None else f"{value:,g}"


def print_chip(chip: Chip | RooflineChip) -> None:
    shown = table(f"{chip.name}: {chip['chip.about']}", [("", "left"), ("value", "right"), ("source", "left")])
    for key, value in chip.values.items():
        if key not in NAMING:
            shown.add_row(key, NOT_PUBLIC if value is None else number(value), chip.sources.get(key, ""))
    out = console()
    out.print(shown)
    if isinstance(chip, Chip) and "area.other_mm2" in chip.values:
        parts = area(chip)
        words = ", ".join(f"{name} {significant(mm2)}" for name, mm2 in parts.items())
        out.print(f"area: {significant(sum(parts.values()))} mm2: {words}")
