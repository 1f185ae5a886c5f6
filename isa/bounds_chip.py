"""Chips that are described by bounds alone: peaks, bandwidths and sizes, of which some are not public.

A GPU is not made of TE, PE and ME, so such a chip has no cycles. ROOFLINE_FIELDS is the whole vocabulary of its file:
section [roofline] is what marks it. Peaks are of dense operations, two for each product summed. G is 10^9, M is 10^6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isa.chip_file import RATE, WORD, Vocabulary, check_complete, legal, read

ROOFLINE_FIELDS: Vocabulary = {
    "chip.name": (WORD, 0, None, "name"),
    "chip.about": (WORD, 0, None, "one line about the chip"),
    "roofline.int8_tops": (RATE, 1e-6, 1e9, "peak of products of 8 bits, 10^12 operations a second"),
    "roofline.int16_tops": (RATE, 1e-6, 1e9, "peak of products of 16-bit integers, 10^12 operations a second"),
    "roofline.fp16_tops": (RATE, 1e-6, 1e9, "peak of products of fp16 or bf16, 10^12 operations a second"),
    "roofline.memory_gb": (RATE, 1e-6, 1e9, "device memory, GB"),
    "roofline.memory_gb_per_second": (RATE, 1e-6, 1e9, "bandwidth of the device memory, GB/s"),
    "roofline.host_gb_per_second": (RATE, 1e-6, 1e9, "bandwidth to the host, each direction, GB/s"),
    "roofline.link_gb_per_second": (RATE, 1e-6, 1e9, "bandwidth to other chips, all links, both directions, GB/s"),
    "roofline.on_chip_mb": (RATE, 1e-6, 1e9, "memory on the chip, MB: of a GPU its last-level cache"),
    "roofline.frequency_mhz": (RATE, 1, 1e5, "greatest clock, MHz"),
    "roofline.process_nm": (RATE, 0.1, 1e4, "process, nm, as its name has it"),
    "roofline.watts": (RATE, 1e-3, 1e6, "power, W"),
}
NO_CYCLES = "a GPU is not made of TE, PE and ME"


@dataclass(frozen=True)
class RooflineChip:
    """A chip of bounds: `chip["roofline.int8_tops"]` is a number, or None where it is not public."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def __repr__(self) -> str:
        return f"RooflineChip({self.name!r})"

    @property
    def name(self) -> str:
        """What the chip is called."""
        return str(self.values["chip.name"])

    def replace(self, **overrides: Any) -> "RooflineChip":
        """Return the chip with numbers changed, as `Chip.replace` does and raises; "?" is not public."""
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        legals = {key: legal(ROOFLINE_FIELDS, key, value, self.name, True) for key, value in changes.items()}
        return RooflineChip({**self.values, **legals}, {**self.sources, **dict.fromkeys(legals, "set")})


def read_roofline_chip(data: Mapping[str, Any], origin: str) -> RooflineChip:
    """Return the chip of a file with a section [roofline]; raise ChipError where it is not legal or lacks a key."""
    values, sources = read(data, ROOFLINE_FIELDS, origin, True)
    check_complete(values, sources, ROOFLINE_FIELDS, ROOFLINE_FIELDS, origin)
    return RooflineChip({key: values[key] for key in ROOFLINE_FIELDS}, sources)
