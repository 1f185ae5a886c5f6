"""Energy: counts against a plain count of what was executed, and sums that are exact."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratel
from emulator.explain.annotate import annotate
from emulator.explain.energy import KINDS, MEMORIES, area, attojoules, energy, microjoules
from emulator.plan.load import load
from emulator.timing.columns import Record
from emulator.timing.costs import ring_links
from emulator.timing.costs_tensor import macs
from emulator.timing.stream import stream
from emulator.timing.timeline import Timeline, schedule
from isa.chip import Chip, load_chip
from isa.errors import ChipError
from isa.program import Program
from tests.emulator.timing.test_schedule import any_programs, chips, quick

PJ = [f"energy.{kind}_pj" for kind in KINDS if kind != "rest"]


@st.composite
def priced(draw: st.DrawFn) -> Chip:
    """Return a drawn chip with drawn energies."""
    prices = {key: draw(st.integers(0, 10**6)) / 1000 for key in PJ}
    volts = {key: draw(st.sampled_from((0.6, 0.8, 1.0))) for key in ("energy.volts", "energy.at_volts")}
    return draw(chips()).replace(**prices, **volts, energy__rest_watts=draw(st.floats(0.001, 100)))


def counted(timeline: Timeline) -> Counter[str]:
    """Return what was executed of each kind that follows from operands alone, instruction by instruction."""
    plan, found = timeline.plan, Counter[str]()
    for core, index in timeline.records[:, [Record.CORE, Record.INDEX]].tolist():
        instruction = plan.cores[core].core.code[index]
        engine = instruction.row.engine
        if macs(instruction):
            x = instruction.operand("x")
            assert x is not None
            found[{"i16": "i16", "f16": "f16", "bf16": "bf16"}.get(x.dtype.name, "i8")] += macs(instruction)
        out = instruction.operand("out") if engine == "te" else None
        # rotate has two products for each element.
        twice = 1 + (instruction.row.mnemonic == "rotate")
        found["lane"] += twice * out.elements if out is not None else 0
        # Of what an index picks from, or puts to, no more passes than is picked or put.
        chosen = {"gather": 1, "scatter": 0}.get(instruction.row.mnemonic)
        operands = [operand for _, operand in instruction.accesses()]
        for k, (access, operand) in enumerate(instruction.accesses()):
            passed = operands[1 - k].bytes if k == chosen else operand.bytes
            if operand.core is not None:
                found["ring"] += passed * len(ring_links(plan.chip["chip.cores"], core, operand.core))
            else:
                found["pcie"] += passed if operand.memory == "host" else 0
                found["dev"] += passed if operand.memory == "dev" else 0
            found["cb"] += passed if operand.memory == "cb" and access == "read" else 0
            taken = access == "read" and instruction.row.mnemonic == "flatten"
            found["least lm"] += passed if operand.memory == "lm" and engine != "pe" and not taken else 0
    for _, symbol in (*plan.program.of_kind("input"), *plan.program.of_kind("output")):
        if symbol.memory != "host":
            found.update({"pcie": symbol.bytes, symbol.memory: symbol.bytes})
    found["dev"] += sum(timeline.fetched)
    return found


@quick
@given(any_programs, priced(), st.integers(1, 5))
def test_sums_are_exact_and_counts_are_what_was_executed(program: Program, chip: Chip, tasks: int) -> None:
    plan = load(program, chip, tasks)
    found = energy(stream(plan) if tasks > 1 else schedule(plan))
    total = found.total
    assert sum(found.by_kind.values()) == sum(found.by_memory.values()) == total
    assert sum(found.by_engine.values()) == sum(found.by_line.values()) == total
    one = schedule(load(program, chip, 1))
    counts, plain = energy(one).counts, counted(one)
    assert {kind: counts[kind] for kind in ("i8", "i16", "f16", "bf16", "lane", "dev", "pcie", "ring")} == {
        kind: plain[kind] for kind in ("i8", "i16", "f16", "bf16", "lane", "dev", "pcie", "ring")
    }
    assert counts["lm"] >= plain["least lm"] and counts["cb"] >= plain["cb"]
    assert counts["clock"] == counts["rest"] == one.cycles


@quick
@given(any_programs, priced(), st.sampled_from(MEMORIES))
def test_a_memory_of_twice_the_energy_adds_its_bytes(program: Program, chip: Chip, memory: str) -> None:
    chip = chip.replace(energy__volts=1, energy__at_volts=1)
    before, key = energy(schedule(load(program, chip))), f"energy.{memory}_pj"
    after = energy(schedule(load(program, chip.replace(**{key: 2 * chip[key]}))))
    assert after.total - before.total == before.counts[memory] * round(chip[key] * 1e6) == before.by_memory[memory]


TEXT = """
.chip edge
.input x i8[4, 64] in dev = 1
.output y i8[4, 64] in dev
.local a i8[4, 64]
load a, x
loop i, 3
eltwise a, a, add=a
brnz i
store y, a
end
"""


def test_what_is_on_the_chip_takes_the_square_of_its_voltage() -> None:
    chip = load_chip("edge", energy__volts=0.45)
    low, high = attojoules(chip), attojoules(load_chip("edge"))
    for kind in KINDS:
        assert low[kind] == pytest.approx(high[kind] * (1 if kind in ("dev", "pcie") else 0.25), abs=1)
    links = load_chip("m890", energy__volts=0.375)
    assert attojoules(links)["ring"] == 40 * 10**6


def test_lines_have_their_energy_and_loops_what_they_hold() -> None:
    program = ratel.assemble(TEXT)
    timeline = schedule(load(program, load_chip("edge")))
    found, lines = energy(timeline), {line.number: line for line in annotate(timeline)}
    by_number = {line.number: microjoules(amount) for line, amount in found.by_line.items()}
    assert all(lines[n].microjoules == by_number.get(n) for n in (6, 8, 10)) and lines[11].microjoules == 0
    assert lines[7].microjoules == lines[8].microjoules
    each = found.each
    assert by_number[6] == microjoules(256 * (each["dev"] + each["lm"]))
    assert by_number[8] == microjoules(3 * (256 * each["lane"] + 768 * each["lm"]))
    assert found.counts["pcie"] == 512


def test_a_chip_without_the_sections_has_cycles_alone() -> None:
    chip = load_chip("edge")
    bare = replace(chip, values={key: v for key, v in chip.values.items() if not key.startswith(("energy.", "area."))})
    timeline = schedule(load(ratel.assemble(TEXT), bare))
    assert timeline.cycles and annotate(timeline)[0].microjoules is None
    with pytest.raises(ChipError, match=r"edge has no section \[energy\] in its file"):
        energy(timeline)
    with pytest.raises(ChipError, match=r"edge has no section \[area\] in its file"):
        area(bare)
    with pytest.raises(ChipError, match=r"edge lacks energy\.i8_pj"):
        bare.replace(energy__lm_pj=3)


def test_the_area_of_parts_grows_with_them() -> None:
    chip = load_chip("tpu-v1")
    parts, more = area(chip), area(chip.replace(te__rows=512))
    assert sum(parts.values()) == pytest.approx(331, rel=0.01)
    assert more == {**parts, "multipliers": 2 * parts["multipliers"]}
