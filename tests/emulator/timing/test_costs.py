"""Costs against figures worked out by hand, on a chip with round numbers; and their demands' effect."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.timing.costs import COSTS, Cost, cost_of, holds, shape_of, transfer_cycles
from isa.chip import Chip, chip_names, load_chip, load_description
from isa.dtypes import BF16, E4M3, E5M2, F32, I8, I16, I32
from isa.instruction import Instruction, build
from isa.operand import Operand, dense
from isa.row import ENGINES
from isa.table import ROWS
from ratel.testing import chips
from ratel.testing.instructions import instructions

# 8 products, 4 pixels, 16 channels; ports wide enough not to matter unless a test narrows them.
CHIP = load_chip(
    "edge",
    # At 1 GHz GB/s are bytes a cycle, and ns cycles.
    chip__frequency_mhz=1000,
    te__multipliers=8,
    te__pixels=4,
    te__channels=16,
    te__i16_cycles=3,
    te__bf16_cycles=2,
    te__vector_lanes=64,
    te__read_bytes_per_cycle=1e6,
    te__write_bytes_per_cycle=1e6,
    te__latency=10,
    pe__lanes=32,
    pe__read_bytes_per_cycle=1e6,
    pe__write_bytes_per_cycle=1e6,
    pe__latency=5,
    me__bytes_per_cycle=32,
    me__access_bytes=16,
    me__latency=7,
    memory__dev_gb_per_second=16,
    memory__dev_latency_ns=100,
    memory__pcie_gb_per_second=2,
    memory__pcie_latency_ns=1000,
)


def cost(mnemonic: str, chip: object = CHIP, **fields: object) -> Cost:
    instruction = build(mnemonic, **fields)
    return COSTS[instruction.opcode](chip, instruction)  # type: ignore[arg-type]


def lm(*shape: int, dtype: object = I8) -> Operand:
    return dense("lm", 0, dtype, shape)  # type: ignore[arg-type]


def dev(*shape: int, memory: str = "dev") -> Operand:
    return dense(memory, 0, I8, shape)


CONV = {"out": lm(1, 8, 8, 32), "x": lm(1, 8, 8, 16), "w": lm(32, 3, 3, 16), "pad": 1}


def test_conv() -> None:
    # 64 pixels in 16 fours, 32 channels in 2 sixteens, 144 products in 18 eights.
    found = cost("conv", **CONV)
    assert (found.occupancy, found.latency, found.limit) == (16 * 2 * 18, 16 * 2 * 18 + 10 + 1, "products")
    assert (found.macs, found.read, found.written) == (64 * 32 * 144, 1024 + 4608, 2048)


def test_conv_in_groups_does_each_by_itself() -> None:
    # 4 groups of 8 channels of out, each half a sixteen, with 36 products in 5 eights.
    grouped = cost("conv", **{**CONV, "w": lm(32, 3, 3, 4), "groups": 4})
    assert grouped.occupancy == 4 * 16 * 1 * 5 and grouped.macs == 64 * 32 * 36


def test_dwconv_uses_the_taps_alone() -> None:
    found = cost("dwconv", out=lm(1, 8, 8, 32), x=lm(1, 8, 8, 32), w=lm(1, 3, 3, 32), pad=1)
    assert found.occupancy == 16 * 2 * 2 and found.macs == 64 * 32 * 9


def test_matmul_shares_weights_over_the_batch_or_not() -> None:
    shared = cost("matmul", out=lm(3, 2, 16), x=lm(3, 2, 8), w=lm(8, 16))
    each = cost("matmul", out=lm(3, 2, 16), x=lm(3, 2, 8), w=lm(3, 8, 16))
    alone = cost("matmul", out=lm(3, 2, 16), x=lm(8, 2), w=lm(3, 8, 16), transpose_x=1)
    assert (shared.occupancy, each.occupancy, alone.occupancy) == (2, 3, 3)
    assert alone.macs == each.macs
    wide = cost("matmul", out=lm(3, 2, 16), x=lm(3, 2, 8, dtype=I16), w=lm(3, 8, 16, dtype=I16))
    assert (wide.occupancy, wide.read) == (9, 2 * each.read)
    # Of floats it is the type of x that counts, and of w the bytes.
    for dtype in (I8, E4M3, E5M2):
        narrow = cost("matmul", out=lm(3, 2, 16), x=lm(3, 2, 8, dtype=BF16), w=lm(3, 8, 16, dtype=dtype))
        assert (narrow.occupancy, narrow.read) == (6, each.read + 3 * 2 * 8)
    assert shared.macs == each.macs == 3 * 2 * 16 * 8


def test_what_the_engine_cannot_hold_passes_its_port_again() -> None:
    # 64 pixels in 16 fours, 32 channels in 2 sixteens: x twice and w once is less than x once and w 16 times.
    narrow = CHIP.replace(te__read_bytes_per_cycle=4)
    found = cost("conv", narrow, **CONV)
    assert (found.occupancy, found.limit) == ((2 * 1024 + 4608) / 4, "LM read")
    # The buffers take 8 weights for each of 16 channels and 4 pixels before the first product.
    assert found.latency == found.occupancy + 10 + 8 * (16 + 4) / 4
    alone = cost("dwconv", narrow, out=lm(1, 8, 8, 32), x=lm(1, 8, 8, 32), w=lm(1, 3, 3, 32), pad=1)
    assert alone.occupancy == (2048 + 288) / 4


def test_a_compressed_weight_is_read_as_stored_and_expanded() -> None:
    w = replace(lm(8, 16), stored=24)
    found = cost("matmul", CHIP.replace(te__expand_bytes_per_cycle=2), out=lm(4, 16), x=lm(4, 8), w=w)
    assert (found.occupancy, found.limit, found.read) == (8 * 16 / 2, "weight expansion", 32 + 24)


@pytest.mark.parametrize(
    ("dataflow", "cycles", "streamed"),
    [
        # 20 x 12 times 12 x 18 on an array of 8 x 6: folds of the stationary matrix, and what streams past it.
        ("weight-stationary", 2 * 3 * (16 + 6 + 20 - 2), 3 * 240 + 216),
        ("input-stationary", 2 * 4 * (16 + 6 + 18 - 2), 240 + 4 * 216),
        ("output-stationary", 3 * 3 * (8 + 6 + 12 - 2), 3 * 240 + 3 * 216),
    ],
)
def test_systolic_arrays(dataflow: str, cycles: int, streamed: int) -> None:
    array = CHIP.replace(te__kind="systolic", te__rows=8, te__columns=6, te__dataflow=dataflow)
    fields = {"out": lm(20, 18), "x": lm(20, 12), "w": lm(12, 18)}
    found = cost("matmul", array, **fields)
    assert (found.occupancy, found.latency, found.limit) == (cycles, cycles + 10, "products")
    assert cost("matmul", array.replace(te__read_bytes_per_cycle=1), **fields).occupancy == streamed


def test_eltwise_is_bound_by_lanes_or_ports() -> None:
    assert cost("eltwise", out=lm(640), x=lm(640)).limit == "vector lanes"
    assert cost("eltwise", out=lm(640), x=lm(640)).occupancy == 10
    narrow = CHIP.replace(te__read_bytes_per_cycle=8)
    found = cost("eltwise", narrow, out=lm(640), x=lm(640, dtype=I32), ew2=lm(640, dtype=F32), ew2_op="add")
    assert (found.limit, found.occupancy) == ("LM read", 2 * 640 * 4 / 8)


def test_pool_counts_taps() -> None:
    found = cost("maxpool", out=lm(1, 4, 4, 32), x=lm(1, 8, 8, 32), window=2, stride=2)
    assert (found.occupancy, found.latency, found.limit) == (64, 69, "pooling lanes")


def test_reduce_reads_all_of_x() -> None:
    found = cost("reduce", out=lm(1, 1, 1, 32), x=lm(1, 8, 8, 32), op="mean")
    assert (found.occupancy, found.latency, found.limit) == (64, 69, "pooling lanes")


def test_interpolation_looks_at_four_pixels() -> None:
    images = {"out": lm(1, 8, 8, 32), "x": lm(1, 4, 4, 32)}
    assert cost("resize", **images, mode="nearest").occupancy == 64
    found = cost("resize", **images, mode="linear")
    assert (found.occupancy, found.read, found.written) == (4 * 64, 512, 2048)


def test_regions_cost_what_is_declared() -> None:
    rois, index = lm(3, 4, dtype=F32), lm(3, dtype=I32)
    regions = {"out": lm(3, 4, 2, 32), "x": lm(2, 8, 8, 32), "rois": rois, "index": index}
    sampled, pooled = cost("roisample", **regions, ratio=2), cost("roipool", **regions)
    assert (sampled.occupancy, sampled.read) == (4 * 24, 4 * 24 * 32 + 48 + 12)
    assert (pooled.occupancy, pooled.read) == (3 * (8 + 4 - 1) * (8 + 2 - 1), 3 * 2048 + 48 + 12)
    assert cost("roipool", CHIP.replace(pe__read_bytes_per_cycle=1), **regions).limit == "LM read"


@pytest.mark.parametrize(
    ("mnemonic", "fields", "occupancy", "latency", "limit"),
    [
        ("copy", {"out": lm(1024), "x": lm(1024)}, 32, 7, "LM write, LM read"),
        ("load", {"out": lm(1024), "x": dev(1024)}, 64, 107, "dev read"),
        ("store", {"out": dev(1024, memory="host"), "x": lm(1024)}, 512, 1007, "host write"),
        ("fill", {"out": lm(1024)}, 32, 7, "LM write"),
        # Runs of 4 bytes take a whole access of 16 each.
        ("copy", {"out": lm(64, 4), "x": Operand("lm", 4096, I8, (64, 4), (32, 1))}, 32, 7, "LM read"),
        # The innermost dimension moves: byte by byte, 16 each.
        ("transpose", {"out": lm(32, 64), "x": lm(64, 32), "perm": (1, 0, 2, 3)}, 1024, 7, "LM read, LM write"),
        ("transpose", {"out": lm(8, 4, 64), "x": lm(4, 8, 64), "perm": (1, 0, 2, 3)}, 64, 7, "LM read, LM write"),
    ],
)
def test_moves(mnemonic: str, fields: dict, occupancy: int, latency: int, limit: str) -> None:
    found = cost(mnemonic, **fields)
    assert (found.occupancy, found.latency, found.limit) == (occupancy, occupancy + latency, limit)


def test_launching_is_latency_of_all_that_an_engine_does() -> None:
    slow = CHIP.replace(seq__launch_cycles=50)
    cases = {"copy": {"out": lm(64), "x": lm(64)}, "conv": CONV, "wait": {"semaphore": 0, "queue": 0}}
    for mnemonic, fields in cases.items():
        before, found = (cost_of(chip, build(mnemonic, **fields)) for chip in (CHIP, slow))
        assert before and found and (before.launch, found.occupancy) == (0, before.occupancy)
        launch = 0 if mnemonic == "wait" else 50
        assert (found.latency, found.launch) == (before.latency + launch, launch)


def test_gather_moves_row_by_row() -> None:
    # 64 rows of 20 bytes, two accesses of 16 each, and 256 bytes of index; which rows they are does not matter.
    found = cost("gather", out=lm(64, 20), x=lm(9, 20), index=lm(64, dtype=I32))
    assert (found.occupancy, found.latency, found.limit) == (64 + 8, 64 + 8 + 7, "LM read")
    assert (found.read, found.written) == (64 * 20 + 256, 64 * 20)
    assert cost("gather", out=lm(64), x=lm(9), index=lm(64, dtype=I32)).occupancy == 32 + 8
    # Of device memory no more than is picked passes: 64 rows in two accesses each, at its bandwidth.
    table = dense("dev", 0, I8, (10**6, 20))
    found = cost("gather", out=lm(64, 20), x=table, index=lm(64, dtype=I32))
    assert (found.occupancy, found.latency, found.limit) == (128, 128 + 7 + 100, "dev read")
    assert (found.read, found.written) == (64 * 20 + 256, 64 * 20)


def test_scatter_is_a_gather_the_other_way() -> None:
    places = lm(64, dtype=I32)
    found = cost("scatter", out=lm(900, 20), x=lm(64, 20), index=places)
    assert (found.occupancy, found.latency, found.limit) == (64 + 8, 64 + 8 + 7, "LM read")
    assert (found.read, found.written) == (64 * 20 + 256, 64 * 20)
    found = cost("scatter", out=dense("dev", 0, I8, (10**6, 20)), x=lm(64, 20), index=places)
    assert (found.occupancy, found.latency, found.limit) == (128, 128 + 7 + 100, "dev write")
    assert (found.read, found.written) == (64 * 20 + 256, 64 * 20)


def test_flatten_reads_every_tap() -> None:
    # 16 windows of three lines of three pixels, 12 bytes each that touch: an access of 16 for each line; dilated, nine.
    fields = {"out": lm(1, 4, 4, 36), "x": lm(1, 6, 6, 4), "window": 3}
    found = cost("flatten", **fields)
    assert (found.occupancy, found.limit) == (16 * 3 * 16 // 32, "LM read")
    dilated = cost("flatten", **{**fields, "x": lm(1, 6, 8, 4), "dilation": (1, 2)})
    assert dilated.occupancy == 16 * 9 * 16 // 32


def test_toweight_moves_element_by_element() -> None:
    found = cost("toweight", out=lm(8, 2, 2, 4), x=lm(16, 8))
    assert (found.occupancy, found.limit) == (128 * 16 // 32, "LM read, LM write")


def test_transfers() -> None:
    assert transfer_cycles(CHIP, {"lm": 0, "dev": 0}) == 0
    assert transfer_cycles(CHIP, {"lm": 100, "cb": 3, "host": 10**6}) == 50 + 2 + 1000
    slow = CHIP.replace(memory__dev_gb_per_second=1)
    assert transfer_cycles(slow, {"dev": 100}) == 100 + 1000


@pytest.mark.parametrize("mnemonic", [row.mnemonic for row in ROWS if row.engine in ENGINES])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_cost_is_positive_and_says_what_limits_it(mnemonic: str, data: st.DataObject) -> None:
    instruction: Instruction = data.draw(instructions(mnemonic))
    found = COSTS[instruction.opcode](CHIP, instruction)
    assert 1 <= found.occupancy <= found.latency and found.limit
    assert isinstance(found.occupancy, int) and isinstance(found.latency, int)


def elsewhere(instruction: Instruction) -> Instruction:
    """Return an instruction of the same shape: other addresses, other floats, no terms and no wait bits."""
    operands = [o and replace(o, address=o.address + 4096, terms=()) for o in instruction.operands]
    specs = instruction.row.attributes
    attributes = [
        tuple(value + 1 for value in values) if spec.is_float else values
        for spec, values in zip(specs, instruction.attributes, strict=True)
    ]
    return replace(instruction, operands=tuple(operands), attributes=tuple(attributes), waits=0)


@pytest.mark.parametrize("mnemonic", [row.mnemonic for row in ROWS])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_costs_follow_the_shape_alone(mnemonic: str, data: st.DataObject) -> None:
    shipped = [chip for chip in map(load_description, chip_names()) if isinstance(chip, Chip)]
    instruction: Instruction = data.draw(instructions(mnemonic))
    other = elsewhere(instruction)
    assert other != instruction or not instruction.operands
    assert shape_of(other) == shape_of(instruction)
    for chip in (*shipped, data.draw(chips())):
        if not all(chip.memory_bytes(operand.memory) for _, operand in instruction.accesses()):
            continue
        assert cost_of(chip, other) == cost_of(chip, instruction)
        assert holds(chip, 0, other) == holds(chip, 0, instruction)
