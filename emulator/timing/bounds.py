"""Bounds: the least time that a program could take on a chip of which only peaks and bandwidths are known.

What a program does is counted without a chip: two operations for each product summed, and the bytes of its operands and
of its tasks' transfers as the program moves them. Tiled for another memory it might move fewer. What stays in the local
memories, or moves from one to another, stays on the chip and bounds nothing here; nor do vector and pooling lanes,
whose rates are another architecture's. Set-up is left out, as it is of cycles.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emulator.timing.costs_tensor import macs
from emulator.timing.flatten import shapes_of
from isa.bounds_chip import NO_CYCLES, RooflineChip
from isa.errors import Trap
from isa.instruction import Instruction
from isa.program import Program, memory_needs
from isa.verify_program import check_program

# What a program does: (unit, the number of the chip that bounds it, or None, and what that number is a multiple of).
DEMANDS: dict[str, tuple[str, str | None, float]] = {
    "products of 8 bits": ("operations", "roofline.int8_tops", 1e12),
    "products of 16 bits": ("operations", "roofline.int16_tops", 1e12),
    "products of floats": ("operations", "roofline.fp16_tops", 1e12),
    "device memory": ("bytes", "roofline.memory_gb_per_second", 1e9),
    "host link in": ("bytes", "roofline.host_gb_per_second", 1e9),
    "host link out": ("bytes", "roofline.host_gb_per_second", 1e9),
    "local memory": ("bytes", None, 0),
    "vector and pooling": ("elements", None, 0),
}


@dataclass(frozen=True)
class Demand:
    """One thing that a program does, `amount` in `unit`; `rate` a second is None where it is not public.

    `key` is the chip's number that bounds it, None where none does. `seconds` is the least time, None where unknown.
    """

    name: str
    amount: int
    unit: str
    key: str | None
    rate: float | None

    @property
    def seconds(self) -> float | None:
        """The least time, in seconds; None where it is unknown, or where nothing bounds it."""
        if self.key is None or (self.rate is None and self.amount):
            return None
        return self.amount / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class Bounds:
    """The least time of a program on a chip of bounds, in so many tasks. There are no cycles.

    `local_bytes`: what the program holds in local memories, constant buffers left out.
    """

    program: Program
    chip: RooflineChip
    tasks: int
    demands: list[Demand]
    local_bytes: int

    @cached_property
    def limit(self) -> str | None:
        """The demand that takes longest, of those whose rate is public; None where there is none."""
        known = {demand.name: demand.seconds for demand in self.demands if demand.seconds}
        return max(known, key=lambda name: known[name] or 0.0, default=None)

    @property
    def seconds(self) -> float | None:
        """The least time, in seconds: the demands may all overlap.

        None where no rate that the program needs is public.
        """
        return next((demand.seconds for demand in self.demands if demand.name == self.limit), None)

    @property
    def unknown(self) -> list[str]:
        """What the program does at a rate that is not public, so that it is not in the bound."""
        return [demand.name for demand in self.demands if demand.key and demand.seconds is None]

    def summary(self) -> dict[str, Any]:
        """Return what `time --json` prints of a chip of bounds, ready for json: no key of it is one of cycles."""
        demands = [
            {"name": one.name, "amount": one.amount, "unit": one.unit, "rate": one.rate, "seconds": one.seconds}
            for one in self.demands
        ]
        return {
            "chip": self.chip.name,
            "tasks": self.tasks,
            "bounds": {
                "seconds_at_least": self.seconds,
                "limit": self.limit,
                "not_public": self.unknown,
                "demands": demands,
                "local_bytes": self.local_bytes,
                "no_cycles": NO_CYCLES,
            },
        }


def bounds(program: Program, chip: RooflineChip, tasks: int) -> Bounds:
    """Return the bounds of so many tasks of a program.

    Raises Trap when the program is not well formed, or takes more device memory than the chip is known to have.
    """
    for problem in check_program(program):
        raise Trap(f"{program.name}: {problem.message}", problem.help, diagnostics=(problem,))
    needs = [memory_needs(core, tasks) for core in program.cores]
    size, needed = chip["roofline.memory_gb"], max(need["dev"] for need in needs)
    if size is not None and needed > size * 1e9:
        raise Trap(
            f"{program.name} takes {needed:,} bytes of dev, but {chip.name} has {size:g} GB",
            "see roofline.memory_gb",
        )
    done = Counter[str]()
    for core in program.cores:
        shapes = shapes_of(core)
        for k, times in zip(shapes.firsts.values(), shapes.times, strict=True):
            for shaped, count in core.code[k].in_tasks(tasks):
                for name, amount in work(shaped).items():
                    done[name] += times * count * amount
    for kind, link in (("input", "host link in"), ("output", "host link out")):
        for _, symbol in program.of_kind(kind):
            if symbol.memory != "host":
                done[link] += tasks * symbol.bytes
            if symbol.memory == "dev":
                done["device memory"] += tasks * symbol.bytes
    demands = []
    for name, (unit, key, scale) in DEMANDS.items():
        rate = chip[key] if key else None
        demands.append(Demand(name, done[name], unit, key, None if rate is None else rate * scale))
    return Bounds(program, chip, tasks, demands, sum(need["lm"] for need in needs))


def work(instruction: Instruction) -> dict[str, int]:
    """Return what one execution of an instruction does, by the names of DEMANDS."""
    done = Counter[str]()
    if products := macs(instruction):
        x = instruction.operand("x")
        assert x is not None
        kind = "floats" if x.dtype.is_float else f"{8 * x.dtype.bytes} bits"
        done[f"products of {kind}"] = 2 * products
    elif instruction.engine in ("te", "pe") and instruction.row.engine != "sync":
        done["vector and pooling"] = sum(out.elements for access, out in instruction.accesses() if access == "write")
    for access, operand, size in instruction.traffic():
        if operand.memory == "host":
            done["host link in" if access == "read" else "host link out"] += size
        elif operand.memory != "cb":
            done["device memory" if operand.memory == "dev" else "local memory"] += size
    return done
