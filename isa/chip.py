"""Chip descriptions: everything that is said about a chip's hardware, read from a TOML file, one a chip.

A file has sections of numbers and words. Each number carries where it comes from in the key `source` of its section,
by name: `source.frequency_mhz = "S1"`, or "assumed" for what is not public. FIELDS below is the whole vocabulary.
Sizes are in bytes. What the core's clock drives has rates in bytes or elements a cycle, latencies and depths in cycles.
What has a clock of its own is in GB/s (10^9 bytes a second) and ns, and only here turned into cycles of the core:
`Chip.bytes_per_cycle` and `Chip.latency`. Files of another form, with a section [roofline], give bounds alone
(isa/bounds_chip.py).
"""

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from isa.bounds_chip import NO_CYCLES, RooflineChip, read_roofline_chip
from isa.chip_file import COUNT as _COUNT
from isa.chip_file import RATE as _RATE
from isa.chip_file import WORD as _WORD
from isa.chip_file import check_complete, legal, read, sections, written
from isa.dtypes import DType
from isa.errors import ChipError
from isa.files import MAX_CHIP_BYTES, read_whole
from isa.suggest import did_you_mean

CHIPS = Path(__file__).parent / "chips"
DEFAULT_CHIP = "hanguang800"
VECTOR_FORMATS = ("fp32", "fp24", "fp19")
DOT_PRODUCT, SYSTOLIC = KINDS = ("dot-product", "systolic")
DATAFLOWS = ("weight-stationary", "input-stationary", "output-stationary")
CORE, OWN = CLOCKS = ("core", "own")

# section.key: (type, least, greatest or words, meaning)
FIELDS: dict[str, tuple[str, float, Any, str]] = {
    "chip.name": (_WORD, 0, None, "name"),
    "chip.about": (_WORD, 0, None, "one line about the chip"),
    "chip.frequency_mhz": (_RATE, 1, 1e5, "clock, MHz"),
    "chip.cores": (_COUNT, 1, 64, "cores"),
    "memory.lm_bytes": (_COUNT, 1024, 2**40, "local memory of a core"),
    "memory.lm_blocks": (_COUNT, 0, 4096, "single-port blocks of a core's local memory; 0: not modelled"),
    "memory.lm_block_bytes_per_cycle": (_RATE, 0, 1e9, "port of each block of the local memory"),
    "memory.cb_bytes": (_COUNT, 0, 2**40, "constant buffer of a core"),
    "memory.ib_bytes": (_COUNT, 64, 2**40, "instruction buffer of a core: words and operand descriptors"),
    "memory.dev_bytes": (_COUNT, 0, 2**44, "device memory; 0: the chip has none"),
    "memory.host_bytes": (_COUNT, 0, 2**44, "host memory that the chip can address"),
    "memory.dev_gb_per_second": (_RATE, 0, 1e9, "bandwidth of the device memory, GB/s"),
    "memory.dev_latency_ns": (_RATE, 0, 1e9, "time before the first byte of the device memory, ns"),
    "memory.pcie_gb_per_second": (_RATE, 1e-6, 1e9, "bandwidth to the host, each direction, GB/s"),
    "memory.pcie_latency_ns": (_RATE, 0, 1e9, "time before the first byte from or to the host, ns"),
    "seq.issue_cycles": (_COUNT, 1, 1e6, "cycles that the sequencer takes for an instruction"),
    "seq.loop_cycles": (_COUNT, 0, 1e6, "cycles that the sequencer takes for loop and brnz"),
    "seq.launch_cycles": (_COUNT, 0, 1e6, "cycles of an instruction's latency in which it is launched on its engine"),
    "seq.queue_depth": (_COUNT, 1, 4096, "instructions that wait in an engine's queue"),
    "seq.fetch_bytes_per_cycle": (
        *(_RATE, 0, 1e9),
        "code from device memory through the instruction buffer; 0: what does not fit there does not run",
    ),
    "sync.semaphores": (_COUNT, 0, 65536, "semaphores"),
    "sync.barriers": (_COUNT, 0, 65536, "barriers"),
    "sync.cycles": (_COUNT, 1, 1e6, "cycles of its queue that signal, wait or barrier takes"),
    "sync.latency": (_COUNT, 0, 1e6, "cycles from a signal, or the last arrival, until whoever waits knows"),
    "ring.clock": (_WORD, 0, CLOCKS, "whose clock drives the ring: that of the cores, or its own"),
    "ring.bytes_per_cycle": (_RATE, 0, 1e9, "bandwidth from one core to another; 0: there is one core"),
    "ring.latency": (_COUNT, 0, 1e6, "cycles before the first byte reaches another core"),
    "ring.gb_per_second": (_RATE, 0, 1e9, "bandwidth from one core to another, GB/s; 0: there is one core"),
    "ring.latency_ns": (_RATE, 0, 1e9, "time before the first byte reaches another core, ns"),
    "te.kind": (_WORD, 0, KINDS, "how the products are summed"),
    "te.multipliers": (_COUNT, 1, 2**20, "p: products that a dot product sums in a cycle"),
    "te.pixels": (_COUNT, 1, 2**20, "b: output pixels at once"),
    "te.channels": (_COUNT, 1, 2**20, "K: output channels at once"),
    "te.rows": (_COUNT, 1, 2**20, "R: rows of the array"),
    "te.columns": (_COUNT, 1, 2**20, "C: columns of the array"),
    "te.dataflow": (_WORD, 0, DATAFLOWS, "what stays in the array while the rest streams through"),
    "te.i16_cycles": (_COUNT, 1, 1024, "cycles that a product of i16 takes for one of a product of 8 bits"),
    "te.f16_cycles": (_COUNT, 0, 1024, "cycles that a product of f16 takes for one of a product of 8 bits; 0: none"),
    "te.bf16_cycles": (_COUNT, 0, 1024, "the same of a product of bf16"),
    "te.vector_lanes": (_COUNT, 1, 2**20, "elements a cycle through EW1, EW2, SF and EW3"),
    "te.read_bytes_per_cycle": (_RATE, 1e-6, 1e9, "port from the local memory"),
    "te.expand_bytes_per_cycle": (_RATE, 1e-6, 1e9, "SE: bytes of a compressed weight's dense form"),
    "te.write_bytes_per_cycle": (_RATE, 1e-6, 1e9, "port to the local memory"),
    "te.latency": (_COUNT, 0, 1e6, "fill and drain of the pipeline"),
    "te.vector_format": (_WORD, 0, VECTOR_FORMATS, "arithmetic of EW1 to EW3"),
    "pe.lanes": (_COUNT, 1, 2**20, "elements of the input that are pooled in a cycle"),
    "pe.read_bytes_per_cycle": (_RATE, 1e-6, 1e9, "port from the local memory"),
    "pe.write_bytes_per_cycle": (_RATE, 1e-6, 1e9, "port to the local memory"),
    "pe.latency": (_COUNT, 0, 1e6, "fill and drain of the pipeline"),
    "pe.vector_format": (_WORD, 0, VECTOR_FORMATS, "arithmetic behind a sum: what it leaves in, times its scale"),
    "pe.sum_format": (_WORD, 0, VECTOR_FORMATS, "sums of floats and of weighted pixels, up to where they leave"),
    "me.bytes_per_cycle": (_RATE, 1e-6, 1e9, "each of its read and write ports"),
    "me.access_bytes": (_COUNT, 1, 4096, "least run of bytes that a port moves at once"),
    "me.latency": (_COUNT, 0, 1e6, "fill and drain of the pipeline"),
    "energy.i8_pj": (_RATE, 0, 1e9, "a product of 8 bits and its sum, pJ"),
    "energy.i16_pj": (_RATE, 0, 1e9, "a product of i16 and its sum, pJ"),
    "energy.f16_pj": (_RATE, 0, 1e9, "a product of f16 and its sum, pJ"),
    "energy.bf16_pj": (_RATE, 0, 1e9, "a product of bf16 and its sum, pJ"),
    "energy.lane_pj": (_RATE, 0, 1e9, "an element through EW1, EW2, SF and EW3, pJ"),
    "energy.pool_pj": (_RATE, 0, 1e9, "an element that is pooled, pJ"),
    "energy.lm_pj": (_RATE, 0, 1e9, "a byte through a port of a local memory, pJ"),
    "energy.cb_pj": (_RATE, 0, 1e9, "a byte read from or written to a constant buffer, pJ"),
    "energy.dev_pj": (_RATE, 0, 1e9, "a byte from or to the device memory, pJ"),
    "energy.pcie_pj": (_RATE, 0, 1e9, "a byte from or to the host, pJ"),
    "energy.ring_pj": (_RATE, 0, 1e9, "a byte over one link of the ring, pJ"),
    "energy.clock_pj": (_RATE, 0, 1e9, "a cycle of the clock, of the whole chip, whatever it does, pJ"),
    "energy.rest_watts": (_RATE, 0, 1e6, "what it takes with its clock stopped, W"),
    "energy.volts": (_RATE, 0.01, 100, "supply of the chip: what is on it takes its square"),
    "energy.at_volts": (_RATE, 0.01, 100, "supply at which the numbers of this section hold"),
    "area.multiplier_mm2": (_RATE, 0, 1e6, "a multiplier of 8 bits with its sum, mm2"),
    "area.lane_mm2": (_RATE, 0, 1e6, "a lane of the tensor or the pooling engine, mm2"),
    "area.kb_mm2": (_RATE, 0, 1e6, "1,024 bytes of a local memory, constant or instruction buffer, mm2"),
    "area.other_mm2": (_RATE, 0, 1e6, "all else on the chip, mm2"),
}
# What a file may leave out, whole: cycles do without.
OPTIONAL = ("energy", "area")
# The fields that only one kind of tensor engine, or of ring, has: by the word that says which kind it is.
KIND_OF = {
    **dict.fromkeys(("te.multipliers", "te.pixels", "te.channels"), ("te.kind", DOT_PRODUCT)),
    **dict.fromkeys(("te.rows", "te.columns", "te.dataflow"), ("te.kind", SYSTOLIC)),
    **dict.fromkeys(("ring.bytes_per_cycle", "ring.latency"), ("ring.clock", CORE)),
    **dict.fromkeys(("ring.gb_per_second", "ring.latency_ns"), ("ring.clock", OWN)),
}
# What was given in cycles of the core before, and is in GB/s or ns now.
_CONVERTED = {
    "memory.dev_bytes_per_cycle": "memory.dev_gb_per_second",
    "memory.dev_latency": "memory.dev_latency_ns",
    "memory.pcie_bytes_per_cycle": "memory.pcie_gb_per_second",
    "memory.pcie_latency": "memory.pcie_latency_ns",
}
SECTIONS = sections(FIELDS)


@dataclass(frozen=True)
class Chip:
    """A chip: `chip["te.latency"]` is a number or a word of FIELDS, `sources` says where each number comes from.

    A key that it lacks raises KeyError. Chips are equal where all numbers and words are, whatever their sources.
    """

    values: Mapping[str, Any]
    sources: Mapping[str, str] = field(compare=False)

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def __repr__(self) -> str:
        return f"Chip({self.name!r}{''.join(f', {key}={value}' for key, value in self.changed.items())})"

    @property
    def name(self) -> str:
        """What the chip is called."""
        return str(self.values["chip.name"])

    @property
    def changed(self) -> dict[str, Any]:
        """The numbers that `replace` and overrides have set."""
        return {key: self.values[key] for key, source in self.sources.items() if source == "set" and key in self.values}

    @property
    def label(self) -> str:
        """The name for people, with the numbers that are changed: "edge (te.latency=1000)"."""
        said = [
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.changed.items()
        ]
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        return f"{self.name} ({', '.join(said[:3])}{more})" if said else self.name

    @property
    def formats(self) -> dict[str, str]:
        """The vector formats of the engines "te" and "pe", and of the "sums" of the pooling engine."""
        keys = {"te": "te.vector_format", "pe": "pe.vector_format", "sums": "pe.sum_format"}
        return {name: str(self.values[key]) for name, key in keys.items()}

    @property
    def cycles_per_second(self) -> float:
        """The clock, in Hz."""
        return float(self.values["chip.frequency_mhz"]) * 1e6

    def product_cycles(self, dtype: DType) -> int:
        """Return the cycles that a product of an x of this type takes for one of a product of 8 bits; 0: none."""
        return int(self.values[f"te.{dtype}_cycles"]) if dtype.bytes == 2 else 1

    def bytes_per_cycle(self, path: str) -> float:
        """Return the bandwidth of "dev", "pcie" or "ring", in bytes a cycle of the core; 0 where the chip has none."""
        if path == "ring" and self.values["ring.clock"] == CORE:
            return float(self.values["ring.bytes_per_cycle"])
        gigabytes = self.values["ring.gb_per_second" if path == "ring" else f"memory.{path}_gb_per_second"]
        return float(gigabytes * 1000 / self.values["chip.frequency_mhz"])

    def latency(self, path: str) -> int:
        """Return the cycles of the core before the first byte of "dev", "pcie" or "ring".

        Of a time, the first edge of the core's clock that is not before it; a millionth of a cycle is none.
        """
        if path == "ring" and self.values["ring.clock"] == CORE:
            return int(self.values["ring.latency"])
        nanoseconds = self.values["ring.latency_ns" if path == "ring" else f"memory.{path}_latency_ns"]
        return ceil(round(nanoseconds * self.values["chip.frequency_mhz"] / 1000, 6))

    def section(self, name: str) -> dict[str, float]:
        """Return the numbers of a section by their keys in it; raise ChipError where the chip's file has none."""
        found = {key.partition(".")[2]: value for key, value in self.values.items() if _section(key) == name}
        if not found:
            help = f"`ratel chips {DEFAULT_CHIP} --toml` has one to start from"
            raise ChipError(f"{self.name} has no section [{name}] in its file", help)
        return found

    def memory_bytes(self, memory: str) -> int:
        """Return the size of a memory in bytes, 0 where the chip has none."""
        return int(self.values[f"memory.{memory}_bytes"])

    @property
    def fetches(self) -> bool:
        """Whether code that the instruction buffer does not hold is fetched through it, from device memory."""
        return bool(self.values["memory.dev_bytes"] and self.values["seq.fetch_bytes_per_cycle"])

    def replace(self, **overrides: Any) -> "Chip":
        """Return the chip with numbers changed: `te__latency=20` or `**{"te.latency": 20}`.

        Raises ChipError for an unknown key, an illegal value, and numbers that do not go together.
        """
        values, sources = dict(self.values), dict(self.sources)
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        _refuse_old({"chip.frequency_mhz": values["chip.frequency_mhz"], **changes}, self.name)
        for key, value in changes.items():
            values[key] = legal(FIELDS, key, value, self.name)
            sources[key] = "set"
        # What only the kind has that it was before goes with it.
        gone = [key for key in values if key not in changes and _fits(key, self.values) and not _fits(key, values)]
        for key in gone:
            del values[key]
        _check_together(values, self.name)
        return Chip(values, sources)


def chip_names() -> list[str]:
    """Return the names of the chips that come with the package."""
    return sorted(path.stem for path in CHIPS.glob("*.toml"))


def load_chip(which: str | Path | Chip, **overrides: Any) -> Chip:
    """Return a chip by its name, from a TOML file, or as it is given, with numbers changed as in `Chip.replace`.

    Raises ChipError for an unknown name, an unreadable file, a missing, unknown or illegal value, and for a chip that
    is described by bounds alone.
    """
    return with_cycles(load_description(which, **overrides))


def load_description(which: str | Path | Chip | RooflineChip, **overrides: Any) -> Chip | RooflineChip:
    """Return what a file says of a chip, whichever its form; the rest is as `load_chip` has it."""
    if isinstance(which, Chip | RooflineChip):
        return which.replace(**overrides) if overrides else which
    text = str(which)
    shipped = text in chip_names()
    path = CHIPS / f"{text}.toml" if shipped else Path(text)
    if not shipped and path.suffix != ".toml":
        known = f"known chips: {', '.join(chip_names())}; or give a .toml file"
        raise ChipError(f"there is no chip {text!r}", did_you_mean(text, chip_names(), known))
    try:
        data = tomllib.loads(read_whole(path, ChipError, MAX_CHIP_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ChipError(f"{path} is not TOML: {error}", "it must be UTF-8 text, as https://toml.io has it") from error
    chip = read_roofline_chip(data, text) if "roofline" in data else _read(data, text)
    return chip.replace(**overrides)


def toml_of(chip: Chip | RooflineChip) -> str:
    """Return the text of a file that is read as this chip; of the package's, with what sources stand for."""
    notes = ""
    if chip.name in chip_names():
        file = read_whole(CHIPS / f"{chip.name}.toml", ChipError, MAX_CHIP_BYTES)
        notes = file.decode("utf-8").partition("\n\n")[0]
    return written(chip.values, chip.sources, notes)


def differences(chip: Chip) -> tuple[str, dict[str, Any]]:
    """Return the name of a chip of the package, and by which numbers and words `chip` differs from it.

    It is the one of the same name, else the one that it differs least from: `load_chip(name, **differing)` equals it.
    """
    found = {one.name: {k: v for k, v in chip.values.items() if one.values.get(k) != v} for one in _shipped()}
    name = chip.name if chip.name in found else min(found, key=lambda name: len(found[name]))
    return name, found[name]


@cache
def _shipped() -> tuple[Chip, ...]:
    return tuple(one for one in map(load_description, chip_names()) if isinstance(one, Chip))


def with_cycles(chip: Chip | RooflineChip) -> Chip:
    """Return a chip that programs are scheduled and run on; raise ChipError for one of bounds alone."""
    if isinstance(chip, RooflineChip):
        help = f"`ratel time --chip {shlex.quote(chip.name)} FILE` gives bounds, as ratel.bounds does in Python"
        raise ChipError(f"{chip.name} is described by bounds alone, without cycles: {NO_CYCLES}", help)
    return chip


def chip_of(values: Mapping[str, Any], source: str) -> Chip:
    """Return the chip of numbers and words by key, `Chip.values` as they were kept; `source` says where.

    What is as in the chip of that name that comes with the package has the same source, and what is not is changed; of
    a name that does not come with it `source` is that of all. Raises ChipError for what is missing, unknown or illegal.
    """
    _refuse_old(values, source)
    read_back = {key: legal(FIELDS, key, value, source) for key, value in values.items()}
    chip = _whole(read_back, dict.fromkeys(read_back, source), source)
    shipped = load_description(chip.name) if chip.name in chip_names() else None
    if not isinstance(shipped, Chip):
        return chip
    same = {key for key, value in read_back.items() if shipped.values.get(key) == value}
    return Chip(read_back, {key: shipped.sources.get(key, source) if key in same else "set" for key in read_back})


def _read(data: Mapping[str, Any], origin: str) -> Chip:
    bodies = {section: body for section, body in data.items() if isinstance(body, dict)}
    _refuse_old({f"{section}.{key}": value for section, body in bodies.items() for key, value in body.items()}, origin)
    return _whole(*read(data, FIELDS, origin), origin)


def _refuse_old(values: Mapping[str, Any], origin: str) -> None:
    """Raise ChipError where numbers are in the units of before, with what to write instead of each."""
    old = [key for key in _CONVERTED if key in values]
    numbers = [values[key] for key in ("chip.frequency_mhz", *old) if key in values]
    if not old:
        return
    if len(numbers) > len(old) and all(isinstance(one, int | float) and 0 <= one < 1e12 for one in numbers):
        clock = float(numbers[0])
        each = [
            (_CONVERTED[key], values[key] * clock / 1000 if "bytes" in key else values[key] * 1000 / (clock or 1.0))
            for key in old
        ]
        help = f"at {clock:g} MHz that is {', '.join(f'{key} = {number:.7g}' for key, number in each)}"
    else:
        help = f"give {', '.join(_CONVERTED[key] for key in old)}, in GB/s and ns"
    raise ChipError(f"{origin}: {', '.join(old)}: what lies outside the core's clock is in GB/s and ns", help)


def _whole(values: dict[str, Any], sources: dict[str, str], origin: str) -> Chip:
    """Return the chip of legal values; raise ChipError where one is missing, or they do not go together."""
    given = set(map(_section, values))
    needed = [key for key in FIELDS if _fits(key, values) and (_section(key) in given or _section(key) not in OPTIONAL)]
    check_complete(values, sources, FIELDS, needed, origin)
    _check_together(values, origin)
    return Chip(values, sources)


def _section(key: str) -> str:
    return key.partition(".")[0]


def _fits(key: str, values: Mapping[str, Any]) -> bool:
    """Return whether a key is one that a chip of these kinds has, the first of each where it is not given."""
    of, kind = KIND_OF.get(key, ("", ""))
    return not of or values.get(of, FIELDS[of][2][0]) == kind


def _check_together(values: Mapping[str, Any], origin: str) -> None:
    for key, (of, kind) in KIND_OF.items():
        if key in values and not _fits(key, values):
            raise ChipError(f"{origin}: {of} is {values[of]!r}, and {key} is given", f"only {kind!r} has it")
        if key not in values and _fits(key, values):
            raise ChipError(f"{origin}: {of} is {values[of]!r}, but {key} is not given", f"{key}: {FIELDS[key][3]}")
    for section in OPTIONAL:
        keys = [key for key in FIELDS if _section(key) == section]
        lacking = [key for key in keys if key not in values]
        if 0 < len(lacking) < len(keys):
            raise ChipError(f"{origin} lacks {lacking[0]}", f"a file has all of [{section}], or nothing of it")
    if values["memory.dev_bytes"] and not values["memory.dev_gb_per_second"]:
        raise ChipError(
            f"{origin}: the chip has device memory, but memory.dev_gb_per_second is 0", "give its bandwidth too"
        )
    if values["memory.lm_blocks"] and not values["memory.lm_block_bytes_per_cycle"]:
        raise ChipError(f"{origin}: memory.lm_blocks is given, but memory.lm_block_bytes_per_cycle is 0", "give it too")
    ring = "ring.bytes_per_cycle" if values["ring.clock"] == CORE else "ring.gb_per_second"
    if values["chip.cores"] > 1 and not values[ring]:
        raise ChipError(f"{origin}: the chip has several cores, but {ring} is 0", "give its bandwidth")
