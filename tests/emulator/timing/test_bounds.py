"""Bounds: what a program does, counted without a chip, and the least time of it on a chip of peaks and bandwidths."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ratel
from emulator.explain.roofline import bytes_of
from emulator.timing.bounds import DEMANDS, bounds, work
from emulator.timing.costs import cost_of
from emulator.timing.costs_tensor import macs
from isa.bounds_chip import RooflineChip
from isa.chip import load_chip, load_description
from isa.errors import ChipError, Trap
from isa.instruction import Instruction
from isa.program import Program
from isa.row import ENGINES
from isa.table import ROWS
from ratel.testing.instructions import instructions
from ratel.testing.programs import programs

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
EDGE = load_chip("edge", chip__cores=8, ring__bytes_per_cycle=8)
SOURCE = """\
.chip edge
.input  x {type}[64, 256] scale=1
.weight w {type}[1024, 32] scale=1 in dev = 1
.output y {type}[64, 32] scale=1
.local  t {type}[256, 32] scale=1
loop i, 4
    load   t, w[i * 256 : i * 256 + 256]
    matmul y, x, t
brnz i
end
"""


def a800(**numbers: object) -> RooflineChip:
    chip = load_description("a800", **numbers)
    assert isinstance(chip, RooflineChip)
    return chip


def assembled(dtype: str) -> Program:
    return ratel.assemble(SOURCE.format(type=dtype))


def test_equals_what_is_counted_by_hand() -> None:
    found = bounds(assembled("i8"), a800(), 1)
    demands = {demand.name: (demand.amount, demand.seconds) for demand in found.demands}
    assert demands["products of 8 bits"] == (4 * 2 * 64 * 256 * 32, pytest.approx(4_194_304 / 624e12))
    assert demands["device memory"] == (1024 * 32, pytest.approx(32_768 / 2039e9))
    assert demands["host link in"] == (64 * 256, pytest.approx(16_384 / 31.5e9))
    assert demands["host link out"] == (64 * 32, pytest.approx(2_048 / 31.5e9))
    assert demands["local memory"] == (4 * (256 * 32 + 64 * 256 + 256 * 32 + 64 * 32), None)
    assert demands["products of 16 bits"] == (0, 0.0)
    assert (found.limit, found.seconds) == ("host link in", pytest.approx(16_384 / 31.5e9))
    assert found.unknown == [] and found.local_bytes >= 64 * 256 + 256 * 32 + 64 * 32
    fast = bounds(assembled("i8"), a800(roofline__host_gb_per_second=1e6), 10)
    assert (fast.limit, fast.seconds) == ("device memory", pytest.approx(10 * 32_768 / 2039e9))
    slow = bounds(assembled("i8"), a800(roofline__int8_tops=1e-3), 1)
    assert (slow.limit, slow.seconds) == ("products of 8 bits", pytest.approx(4_194_304 / 1e9))


def test_what_is_not_public_is_no_number() -> None:
    found = bounds(assembled("i16"), a800(), 1)
    by_name = {demand.name: demand for demand in found.demands}
    products = by_name["products of 16 bits"]
    assert (products.amount, products.rate, products.seconds) == (4_194_304, None, None)
    assert found.unknown == ["products of 16 bits"] and found.limit == "host link in"
    metax = load_description("metax")
    assert isinstance(metax, RooflineChip)
    nothing = bounds(assembled("i8"), metax, 1)
    assert (nothing.seconds, nothing.limit) == (None, None)
    assert nothing.unknown == ["products of 8 bits", "device memory", "host link in", "host link out"]


def test_what_lies_in_device_memory_crosses_it_too() -> None:
    program = ratel.assemble(".chip edge\n.input x i8[64] in dev\n.output y i8[64]\nload y, x\nend\n")
    demands = {demand.name: demand.amount for demand in bounds(program, a800(), 1).demands}
    # Once by the DMA in, once by the load.
    assert (demands["device memory"], demands["host link in"], demands["host link out"]) == (128, 64, 64)


def test_it_has_to_fit() -> None:
    small = a800(roofline__memory_gb=1e-5)
    with pytest.raises(Trap, match=r"takes 32,768 bytes of dev, but a800 has 1e-05 GB"):
        bounds(assembled("i8"), small, 1)
    assert bounds(assembled("i8"), a800(roofline__memory_gb="?"), 1).seconds


def test_a_program_that_is_not_well_formed_traps() -> None:
    program = assembled("i8")
    core = program.cores[0]
    open_loop = replace(program, cores=(replace(core, code=core.code[:2], lines=core.lines[:2]),))
    with pytest.raises(Trap, match="loop"):
        bounds(open_loop, a800(), 1)


@quick
@given(st.sampled_from([row.mnemonic for row in ROWS if row.engine in ENGINES]).flatmap(instructions))
def test_counts_what_its_cost_counts(instruction: Instruction) -> None:
    cost = cost_of(EDGE, instruction)
    assert macs(instruction) == (cost.macs if cost else 0)
    done = work(instruction)
    assert set(done) <= set(DEMANDS) and all(amount >= 0 for amount in done.values())
    moved = sum(done.get(name, 0) for name in ("device memory", "host link in", "host link out", "local memory"))
    assert moved == sum(bytes_of(instruction).values())


@quick
@given(programs(), st.integers(1, 9))
def test_tasks_multiply_and_more_of_a_rate_never_costs_time(program: Program, tasks: int) -> None:
    one, many = bounds(program, a800(), 1), bounds(program, a800(), tasks)
    assert [demand.amount * tasks for demand in one.demands] == [demand.amount for demand in many.demands]
    if one.seconds is not None and many.seconds is not None:
        assert many.seconds == pytest.approx(tasks * one.seconds)
    for key in ("roofline.int8_tops", "roofline.memory_gb_per_second", "roofline.host_gb_per_second"):
        more = bounds(program, a800(**{key: 2 * a800()[key]}), 1)
        assert (more.seconds or 0) <= (one.seconds or 0)
    known = [demand.seconds for demand in one.demands if demand.seconds]
    assert one.seconds == max(known, default=None)


def test_python() -> None:
    program = assembled("i8")
    found = ratel.bounds(program, "a800", tasks=3)
    assert found.tasks == 3 and found.seconds and not hasattr(found, "cycles")
    with pytest.raises(ChipError, match=r"edge is not described by bounds alone\nhelp: ratel.time gives its cycles"):
        ratel.bounds(program, "edge")
    with pytest.raises(ratel.InputError, match="no number of tasks"):
        ratel.bounds(program, "a800", tasks=0)
    with pytest.raises(TypeError, match="expected a Program"):
        ratel.bounds(SOURCE, "a800")  # type: ignore[arg-type]
    for refused in (
        lambda: ratel.time(program, "a800"),
        lambda: ratel.time(program, found.chip),  # type: ignore[arg-type]
        lambda: ratel.run(program, {"x": [[0] * 256] * 64}, "a800"),
        lambda: ratel.Session(program, "a800"),
        lambda: ratel.assemble(SOURCE, chip="a800"),
        lambda: ratel.assemble(SOURCE, chip=found.chip),  # type: ignore[arg-type]
        lambda: ratel.Builder("net", chip="a800").build(),
        lambda: ratel.load_chip("a800"),
    ):
        with pytest.raises(ratel.RatelError, match="a800 is described by bounds alone, without cycles"):
            refused()
