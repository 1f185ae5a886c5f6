"""Every kernel against its reference, bit for bit, over the whole memory that both were given."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emulator.checker.float_sums import STORED_BITS
from emulator.jit.compile import hot
from emulator.jit.jobs import compile_all
from emulator.kernels.numbers import round_bits
from emulator.kernels.table import KERNELS, SHARED, kernel_jobs, kernel_of
from emulator.plan.row import Call
from isa.compressed import compress, expand
from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8, DType
from isa.errors import Trap
from isa.formats import FRACTION_BITS, round_to
from isa.instruction import Instruction, build
from isa.interpret import apply
from isa.operand import MEMORIES, Operand, dense
from isa.row import ENGINES
from isa.table import ROWS, TABLE
from isa.verify import check_instruction
from ratel.testing.instructions import instructions, random_index
from tests.emulator.kernels.linked import linked_row

MNEMONICS = [row.mnemonic for row in ROWS if row.engine in ENGINES]
# Bytes around each memory that no instruction may touch.
CANARY = 512
NO_COUNTERS = (0,) * 8

SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        -1e-45,
        1.1754942e-38,
        1.1754944e-38,
        3.4028235e38,
        -3.4028235e38,
        1e38,
        2.0**-126,
        2.0**-130,
        0.5,
        -0.5,
        1.5,
        2.5,
        126.5,
        127.5,
        -128.5,
        1.0,
        2.0**24 + 2,
        103.97,
        -87.5,
        0.35,
    ],
    np.float32,
)


def floats(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return float32 of one kind: ordinary, powers of two (for ties), extreme, special, or any bits; some are 0."""
    kind = rng.choice(["ordinary", "powers", "halves", "extreme", "special", "bits"], p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    if kind == "ordinary":
        values = rng.normal(0, 10.0 ** rng.integers(-3, 3), count).astype(np.float32)
    elif kind == "powers":
        values = np.ldexp(rng.choice([-1.0, 1.0], count), rng.integers(-12, 4, count)).astype(np.float32)
    elif kind == "halves":
        values = (rng.integers(-600, 600, count) / 2).astype(np.float32)
    elif kind == "extreme":
        values = np.ldexp(rng.normal(0, 1, count), rng.integers(-149, 127, count)).astype(np.float32)
    elif kind == "special":
        values = rng.choice(SPECIAL, count)
    else:
        values = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    zeros = rng.choice(SPECIAL[:2], count)
    return np.where(rng.random(count) < 0.1, zeros, values)


def integers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return int32 of one kind: small, beyond the 24 bits of a float32, halfway between two of them, or extreme."""
    kind = rng.choice(["small", "any", "ties", "extreme"])
    if kind == "small":
        return rng.integers(-300, 300, count).astype(np.int32)
    if kind == "any":
        return rng.integers(-(2**31), 2**31, count).astype(np.int32)
    if kind == "ties":
        shift = rng.integers(0, 15, count)
        odd = (rng.integers(2**15, 2**16, count) << (shift + 1)) + (1 << shift) + rng.integers(-1, 2, count)
        return np.where(rng.random(count) < 0.5, odd, -odd).astype(np.int32)
    return (rng.choice([-(2**31), 2**31 - 1], count) + rng.integers(-1000, 1000, count)).astype(np.int32)


def data(rng: np.random.Generator, dtype: DType, count: int) -> np.ndarray:
    if dtype == F32:
        return floats(rng, count)
    if dtype == I32:
        return integers(rng, count)
    if dtype.is_float:
        # Any bits of 8- and 16-bit storage: subnormal, infinite, NaN.
        return np.frombuffer(rng.bytes(count * dtype.bytes), dtype.numpy)
    low, high = dtype.low, dtype.high + 1
    low, high = [(low, high), (low, low + 8), (high - 8, high)][rng.choice(3, p=[0.8, 0.1, 0.1])]
    return rng.integers(low, high, count).astype(dtype.numpy)


def with_scratch(
    arena: np.ndarray, row: np.ndarray, walkers: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return an arena with scratch memory, too little now and then, full of noise; and a row for each walker."""
    begin = -(-len(arena) // 64) * 64
    size = int(rng.choice([0, 4096, 2**17]))
    rows = [row.copy() for _ in range(walkers)]
    for number, own in enumerate(rows):
        own[Call.SCRATCH] = begin + number * size
        own[Call.SCRATCH_END], own[Call.SHARE], own[Call.SHARES] = own[Call.SCRATCH] + size, number, walkers
    noise = rng.integers(0, 256, begin - len(arena) + walkers * size, np.uint8)
    return np.concatenate([arena, noise]), rows


def check(
    instruction: Instruction, seed: int, vector_format: str, sum_format: str = "fp32", **tensors: np.ndarray
) -> None:
    """Run an instruction by kernel and by reference, and compare every byte of memory.

    It runs on noise, except where `tensors` gives the values of a dense operand, in as many shares as the seed says
    where walkers may share it.
    """
    assert not check_instruction(instruction)
    rng = np.random.default_rng(seed)
    sizes, bases, end = dict.fromkeys(MEMORIES, 0), {}, CANARY
    for _, operand in instruction.accesses():
        low, high = operand.extent((1,))
        assert low >= 0
        sizes[operand.memory] = max(sizes[operand.memory], -(-high // 4) * 4)
    for memory in MEMORIES:
        bases[memory] = end
        end += sizes[memory] + CANARY
    arena = rng.integers(0, 256, end, np.uint8)
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if operand is None:
            continue
        (low, high), start = operand.extent((1,)), bases[operand.memory]
        count = (high - low) // operand.dtype.bytes
        values = random_index(rng, instruction, count) if spec.name == "index" else data(rng, operand.dtype, count)
        arena[start + low : start + high] = values.view(np.uint8)
    for name, values in tensors.items():
        operand = instruction.operand(name)
        assert operand is not None
        start = bases[operand.memory] + operand.address
        arena[start : start + operand.bytes] = np.ascontiguousarray(values).view(np.uint8).ravel()
    expected = arena.copy()
    memories = {memory: expected[bases[memory] : bases[memory] + sizes[memory]] for memory in MEMORIES}
    formats = {"te": vector_format, "pe": vector_format, "sums": sum_format}
    row = linked_row(instruction, lambda operand: bases[operand.memory], formats)
    walkers = 1 + seed % 3 if instruction.opcode in SHARED else 1
    arena, rows = with_scratch(arena, row, walkers, rng)
    found = ""
    try:
        apply(instruction, memories, NO_COUNTERS, formats)
    except Trap as trap:
        found = trap.message
    for row in rows:
        kernel_of(instruction)(arena, row)
        assert found.startswith(f"index[{row[Call.STATUS] - 1}] is ") if row[Call.STATUS] else not found
    wrong = np.flatnonzero(arena[:end] != expected)
    assert not len(wrong), f"{len(wrong)} bytes differ, first at {wrong[0]} of {bases}, {sizes}"


seeds = st.integers(0, 2**32 - 1)
# Of an engine, and of its sums.
formats = st.tuples(st.sampled_from(("fp32", "fp32", "fp24", "fp19")), st.sampled_from(("fp32", "fp24", "fp19")))


@pytest.mark.parametrize("mnemonic", MNEMONICS)
def test_kernel_is_reference(mnemonic: str) -> None:
    @settings(max_examples=100, deadline=None, database=None)
    @given(instructions(mnemonic), seeds, formats)
    def compare(instruction: Instruction, seed: int, chosen: tuple[str, str]) -> None:
        check(instruction, seed, *chosen)

    compare()


# Tensors that fill more than one block, tile and vector; the strategies above draw small ones.
def slot(memory: str, dtype: DType, shape: tuple[int, ...], taken: dict[str, int]) -> Operand:
    start = -(-taken.get(memory, 0) // 4) * 4
    operand = dense(memory, start, dtype, shape)
    taken[memory] = start + operand.bytes
    return operand


@st.composite
def large_chains(draw: st.DrawFn, taken: dict[str, int], shape: tuple[int, ...]) -> dict:
    """Draw a result and the stages of a chain for a large result."""
    channels = shape[-1]
    vector = st.sampled_from((1, channels)).map(lambda n: slot("cb", F32, (n,), taken))
    fields: dict = {"out": slot("lm", draw(st.sampled_from((I8, U8, F32))), shape, taken)}
    for name in ("ew1_scale", "ew1_bias", "ew3_scale"):
        fields[name] = draw(st.one_of(st.none(), vector))
    if draw(st.booleans()):
        second = draw(st.sampled_from((shape, shape[-1:], (*shape[:-1], 1))))
        fields["ew2_op"] = draw(st.sampled_from(("add", "mul")))
        fields["ew2"] = slot("lm", draw(st.sampled_from((I8, U8, F32))), second, taken)
    fields["sf"] = draw(st.sampled_from(("none", "relu", "sigmoid", "tanh", "gelu", "silu", "exp", "hard_swish")))
    return fields


def factors(draw: st.DrawFn) -> tuple[DType, DType]:
    integers = ((I8, I8), (I8, I8), (U8, I8), (U8, U8), (I16, I16))
    return draw(st.sampled_from((*integers, (F16, F16), (BF16, BF16), (BF16, I8), (F16, E4M3), (BF16, E5M2))))


def zero(draw: st.DrawFn, dtype: DType, of: DType) -> int:
    return draw(st.sampled_from((0, 3, int(dtype.low), int(dtype.high)))) if of.is_quantised else 0


def bias(draw: st.DrawFn, taken: dict[str, int], channels: int, of: DType) -> Operand | None:
    return slot("cb", F32 if of.is_float else I32, (channels,), taken) if draw(st.booleans()) else None


@st.composite
def large_convs(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    height, width, groups = draw(st.integers(3, 20)), draw(st.integers(3, 40)), draw(st.sampled_from((1, 1, 2, 3)))
    depth, filters = draw(st.integers(1, 70)), groups * draw(st.integers(1, 40))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    pad = draw(st.integers(0, kernel + 2))
    sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
    x_dtype, w_dtype = factors(draw)
    return build(
        "conv",
        x=slot("lm", x_dtype, (1, height, width, depth * groups), taken),
        w=slot("lm", w_dtype, (filters, kernel, kernel, depth), taken),
        bias=bias(draw, taken, filters, x_dtype),
        groups=groups,
        stride=stride,
        pad=pad,
        x_zero=zero(draw, x_dtype, x_dtype),
        w_zero=zero(draw, w_dtype, x_dtype),
        **draw(large_chains(taken, (1, *sizes, filters))),
    )


@st.composite
def large_dwconvs(draw: st.DrawFn) -> Instruction:
    """Channels are whole vectors, or make some with those of other pixels, or are too many for that."""
    taken: dict[str, int] = {}
    height, width = draw(st.integers(3, 20)), draw(st.integers(3, 20))
    channels = draw(st.sampled_from((16, 24, 32, 33, 48, 100, 300, 301)))
    kernel = draw(st.sampled_from(((3, 3), (3, 3), (5, 5), (7, 1), (4, 2), (1, 6))))
    stride, dilation, pad = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(0, 2))
    spans = [(size - 1) * dilation + 1 for size in kernel]
    sizes = [(size + 2 * pad - span) // stride + 1 for size, span in zip((height, width), spans, strict=True)]
    assume(min(sizes) > 0)
    x_dtype, w_dtype = factors(draw)
    return build(
        "dwconv",
        x=slot("lm", x_dtype, (1, height, width, channels), taken),
        w=slot("lm", w_dtype, (1, *kernel, channels), taken),
        bias=bias(draw, taken, channels, x_dtype),
        stride=stride,
        pad=pad,
        dilation=dilation,
        x_zero=zero(draw, x_dtype, x_dtype),
        w_zero=zero(draw, w_dtype, x_dtype),
        **draw(large_chains(taken, (1, *sizes, channels))),
    )


@st.composite
def large_matmuls(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    rows, k, columns = draw(st.integers(1, 150)), draw(st.integers(1, 300)), draw(st.integers(1, 150))
    x_turned, w_turned = draw(st.booleans()), draw(st.booleans())
    x_dtype, w_dtype = factors(draw)
    return build(
        "matmul",
        x=slot("lm", x_dtype, (2, k, rows) if x_turned else (2, rows, k), taken),
        w=slot("lm", w_dtype, (columns, k) if w_turned else (k, columns), taken),
        bias=bias(draw, taken, columns, x_dtype),
        transpose_x=int(x_turned),
        transpose_w=int(w_turned),
        w_zero=zero(draw, w_dtype, x_dtype),
        **draw(large_chains(taken, (2, rows, columns))),
    )


@st.composite
def large_eltwises(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    shape = draw(st.sampled_from(((5000,), (3, 1700), (70, 1, 50), (2, 3, 40, 33), (4099, 1))))
    x = draw(st.sampled_from((shape, shape[-1:], (*shape[:-1], 1))))
    dtype = draw(st.sampled_from((I8, U8, I32, F32)))
    return build("eltwise", x=slot("lm", dtype, x, taken), **draw(large_chains(taken, shape)))


@st.composite
def large_moves(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    shape, dtype = tuple(draw(st.lists(st.integers(1, 70), min_size=2, max_size=3))), draw(st.sampled_from((I8, F32)))
    perm = draw(st.permutations(range(len(shape))))
    x, out = slot("lm", dtype, shape, taken), slot("lm", dtype, tuple(shape[k] for k in perm), taken)
    return build("transpose", out=out, x=x, perm=(*perm, *range(len(shape), 4)))


@st.composite
def large_pools(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    height, width, channels = draw(st.integers(5, 30)), draw(st.integers(5, 30)), draw(st.integers(1, 150))
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    pad = draw(st.integers(0, kernel - 1))
    sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
    fields = {"window": kernel, "stride": stride, "pad": pad}
    if draw(st.booleans()):
        fields |= {"x_zero": draw(st.integers(-128, 127)), "count_pad": draw(st.integers(0, 1))}
        fields["scale"] = slot("cb", F32, (1,), taken)
    dtype = I8 if "x_zero" in fields else draw(st.sampled_from((I8, U8, I16)))
    x = slot("lm", dtype, (1, height, width, channels), taken)
    out = slot("lm", dtype, (1, *sizes, channels), taken)
    return build("avgpool" if "x_zero" in fields else "maxpool", x=x, out=out, **fields)


@st.composite
def large_reductions(draw: st.DrawFn) -> Instruction:
    taken: dict[str, int] = {}
    shape = draw(st.sampled_from(((5, 4200), (2, 9, 30, 40), (3, 2100, 5), (6000,), (19, 1300), (2, 9, 520))))
    out = tuple(draw(st.sampled_from((1, size))) for size in shape)
    x = draw(st.sampled_from((I8, I32, I16, E4M3, F16, BF16, F32)))
    scaled = ("mean", "absmax", "sumsq")
    op = draw(st.sampled_from(("sum", "max", "min", "argmax", *(scaled if x != I32 else ()))))
    dtype = {"sum": F32 if x.is_float else I32, "max": x, "min": x, "argmax": I32}.get(op, F32)
    return build("reduce", x=slot("lm", x, shape, taken), out=slot("lm", dtype, out, taken), op=op)


@st.composite
def large_rotations(draw: st.DrawFn) -> Instruction:
    """Rows of more than one block, now and then in place."""
    taken: dict[str, int] = {}
    dtype, pairs = draw(st.sampled_from((F16, F32))), draw(st.sampled_from((33, 5000)))
    x, angles = slot("lm", dtype, (3, 2 * pairs), taken), [slot("lm", F32, (pairs,), taken) for _ in range(2)]
    out = x if draw(st.booleans()) else slot("lm", dtype, x.shape, taken)
    word = draw(st.sampled_from(("halves", "interleaved")))
    return build("rotate", out=out, x=x, cos=angles[0], sin=angles[1], pairs=word)


@st.composite
def large_topks(draw: st.DrawFn) -> Instruction:
    """Rows of more than one block; of equal elements where the type has few."""
    taken: dict[str, int] = {}
    dtype, columns = draw(st.sampled_from((I8, F16, F32, I32))), draw(st.sampled_from((100, 9000)))
    shape = (2, draw(st.sampled_from((1, 5, 100, columns))))
    places, x = slot("lm", I32, shape, taken), slot("lm", dtype, (2, columns), taken)
    return build("topk", out=slot("lm", dtype, shape, taken), places=places, x=x)


LARGE = {
    "conv": large_convs,
    "dwconv": large_dwconvs,
    "matmul": large_matmuls,
    "eltwise": large_eltwises,
    "transpose": large_moves,
    "pool": large_pools,
    "reduce": large_reductions,
    "topk": large_topks,
    "rotate": large_rotations,
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_kernel_is_reference(kind: str) -> None:
    @settings(max_examples=40, deadline=None, database=None)
    @given(LARGE[kind](), seeds, formats)
    def compare(instruction: Instruction, seed: int, chosen: tuple[str, str]) -> None:
        check(instruction, seed, *chosen)

    compare()


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@pytest.mark.parametrize("mnemonic", ["roisample", "roipool"])
def test_regions_inside_and_across_the_border(mnemonic: str, vector_format: str) -> None:
    taken: dict[str, int] = {}
    rng, count, dtype = np.random.default_rng(3), 40, {"roisample": I16, "roipool": BF16}[mnemonic]
    x, out = slot("lm", dtype, (3, 9, 14, 17), taken), slot("lm", dtype, (count, 6, 4, 17), taken)
    rois, index = slot("lm", F32, (count, 4), taken), slot("lm", I32, (count,), taken)
    instruction = build(
        mnemonic,
        out=out,
        x=x,
        rois=rois,
        index=index,
        spatial_scale=0.25,
        **({"ratio": (3, 2), "half_pixel": 1, "x_zero": -300, "out_zero": 20} if mnemonic == "roisample" else {}),
    )
    corners = np.sort(rng.uniform(-12, 64, (count, 2, 2)), axis=1).astype(np.float32)
    # Halves, for ties of rounding.
    corners[::3] = np.rint(corners[::3] / 2) * 2
    # Samples of roisample exactly at both borders: y = -1, 1, ... 9; x = -1, 1, 3, 5; x = 14, 16, 18, 20.
    corners[:2] = [[[-6, -6], [26, 42]], [[54, -6], [86, 42]]]
    values = {"rois": corners.reshape(count, 4), "index": rng.integers(0, 3, count).astype(np.int32)}
    check(instruction, 0, vector_format, **values, x=rng.normal(0, 300, x.shape).astype(dtype.numpy))


@pytest.mark.parametrize(("dtype", "zero"), [(I8, -128), (U8, 255), (I16, 32767), (F32, 0)], ids=str)
def test_every_choice_of_dimensions_is_reduced(dtype: DType, zero: int) -> None:
    shape = (2, 3, 4, 5)
    words = ("sum", "mean", "max", "min", "argmax", "absmax", "sumsq")
    for places, op in product(product((0, 1), repeat=4), words):
        taken: dict[str, int] = {}
        out_dtype = {"sum": F32 if dtype == F32 else I32, "max": dtype, "min": dtype, "argmax": I32}.get(op, I16)
        x = slot("lm", dtype, shape, taken)
        out = slot("lm", out_dtype, tuple(size if keep else 1 for size, keep in zip(shape, places, strict=True)), taken)
        zeros = {"x_zero": zero} if op in words[:2] + words[5:] else {}
        zeros |= {"out_zero": -7} if zeros and op != "sum" else {}
        check(build("reduce", x=x, out=out, op=op, **zeros), 0, "fp24")


@pytest.mark.parametrize(("dtype", "value", "zero"), [(I8, -128, 127), (U8, 255, 0), (I8, 127, -128)], ids=str)
def test_sums_of_many_lines_of_bytes(dtype: DType, value: int, zero: int) -> None:
    """More lines than sums of 16 bits hold, and sums that some formats hold and others round."""
    for (lines, op), vector_format in product(((300, "sum"), (261, "mean"), (11, "mean")), FRACTION_BITS):
        taken: dict[str, int] = {}
        x, out = slot("lm", dtype, (2, lines, 70), taken), slot("lm", F32, (2, 1, 70), taken)
        values = np.full(x.shape, value, dtype.numpy)
        values[:, :, ::3] = np.random.default_rng(lines).integers(-100, 100, (2, lines, 24)).astype(dtype.numpy)
        given = {"x_zero": zero, "scale": slot("cb", F32, (1,), taken)}
        instruction = build("reduce", x=x, out=out, op=op, **given)
        check(instruction, 0, vector_format, x=values, scale=np.full(1, 0.37, np.float32))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_many_channels(mode: str) -> None:
    """More than one block of channels; enlarged one way and reduced the other."""
    taken: dict[str, int] = {}
    x, out = slot("lm", U8, (2, 3, 7, 4500), taken), slot("lm", U8, (2, 5, 4, 4500), taken)
    for coordinates in ("half_pixel", "align_corners", "asymmetric"):
        check(build("resize", x=x, out=out, mode=mode, coordinates=coordinates), 0, "fp19")


@pytest.mark.parametrize("mnemonic", ["avgpool", "reduce"])
def test_a_multiplier_that_rounds_to_infinity(mnemonic: str) -> None:
    taken: dict[str, int] = {}
    x, out = slot("lm", I8, (1, 2, 2, 4), taken), slot("lm", F32, (1, 1, 1, 4), taken)
    scale, given = slot("cb", F32, (1,), taken), {"window": (2, 2)} if mnemonic == "avgpool" else {"op": "mean"}
    # Sums of 0 and of 1: infinity / 4 makes NaN and infinity of them, 2**128 / 4 would not.
    values = {"x": np.zeros(x.shape, np.int8), "scale": np.full(1, np.finfo(np.float32).max)}
    values["x"][0, 0, 0, :2] = 1
    for vector_format in FRACTION_BITS:
        check(build(mnemonic, x=x, out=out, scale=scale, **given), 0, vector_format, **values)


@hot
def round_each(values: np.ndarray, fraction: int, rounded: np.ndarray) -> None:
    for k in range(values.size):
        rounded[k] = round_bits(values[k], fraction)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_round_bits(vector_format: str) -> None:
    """Around every tie of some fractions, at every exponent that products and sums of float32 can have."""
    fraction = FRACTION_BITS[vector_format]
    rng = np.random.default_rng(fraction)
    patterns = np.concatenate([np.arange(8), 2**fraction - 1 - np.arange(8), rng.integers(0, 2**fraction, 40)])
    # A tie, its neighbours in float64, and the number itself.
    drop = 52 - fraction
    tails = np.array([0, 1, (1 << (drop - 1)) - 1, 1 << (drop - 1), (1 << (drop - 1)) + 1, (1 << drop) - 1])
    bits = (patterns[:, None] << drop | tails).ravel()
    exponents = np.arange(1023 - 300, 1023 + 257)
    values = np.add.outer(exponents << 52, bits).ravel().view(np.float64)
    values = np.concatenate([values, -values, [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324]])
    rounded = np.empty_like(values)
    round_each(values, fraction, rounded)
    expected = round_to(values, vector_format)
    # Beyond float32 the rounding leaves it to the store to make an infinity.
    with np.errstate(over="ignore"):
        rounded = rounded.astype(np.float32)
    expected = expected.astype(np.float32)
    same = (rounded.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(rounded) & np.isnan(expected))
    assert same.all(), values[~same][:5]


@pytest.mark.parametrize("dtype", [E4M3, E5M2, F16, BF16], ids=str)
def test_few_bits_round_once(dtype: DType) -> None:
    """Every number of the type comes through; so do those halfway to the next, and their neighbours, half to even."""
    taken: dict[str, int] = {}
    x, out = slot("lm", dtype, (2**16,), taken), slot("lm", F32, (2**16,), taken)
    every = np.arange(2**16, dtype=np.uint16).view(dtype.numpy)[: 2**16]
    check(build("eltwise", out=out, x=x), 0, "fp32", x=every)
    # float32 between two neighbours of the type differ in the bits that it has no room for.
    with np.errstate(invalid="ignore"):
        bits = every.astype(np.float32).view(np.uint32)
    halves = (1 << 22 - STORED_BITS[dtype]) + np.array([-1, 0, 1])
    for offset in (0, 1, 0xFFF, *halves):
        between = (bits + np.uint32(offset)).view(np.float32)
        check(build("eltwise", out=x, x=out), 0, "fp32", x=between)
    # Below the least normal number of f16 and of 8 bits, a step of the type is a fixed amount.
    for step in (2.0**-26, 2.0**-17, 2.0**-11):
        check(build("eltwise", out=x, x=out), 0, "fp32", x=np.arange(2**16, dtype=np.float32) * np.float32(step))
    # What a shorter vector format holds is rounded a second time, as it is stored.
    check(build("eltwise", out=x, x=out), 0, "fp24", x=(bits + np.uint32(0x1000)).view(np.float32))


def test_sixteen_bit_sums_do_not_wrap() -> None:
    """Products of the greatest magnitude, summed beyond 2**40, become the float that is nearest."""
    taken: dict[str, int] = {}
    k = 1000
    x, w = slot("lm", I16, (3, k), taken), slot("lm", I16, (k, 2), taken)
    out, bias = slot("lm", F32, (3, 2), taken), slot("cb", I32, (2,), taken)
    instruction = build("matmul", x=x, w=w, out=out, bias=bias, x_zero=32767, w_zero=32767)
    low = np.full((3, k), -32768, np.int16)
    given = {"x": low, "w": low.T[:, :2], "bias": np.array([1, -(2**31)], np.int32)}
    check(instruction, 0, "fp32", **given)
    check(instruction, 0, "fp24", **given)


@pytest.mark.parametrize("dtype", [I8, U8, I16], ids=str)
@pytest.mark.parametrize("mnemonic", ["conv", "dwconv", "matmul"])
def test_compressed_weights_give_the_same_results(mnemonic: str, dtype: DType) -> None:
    shapes = {
        "conv": ((1, 5, 7, 6), (9, 3, 3, 6), (1, 3, 5, 9)),
        "dwconv": ((1, 5, 7, 6), (1, 3, 3, 6), (1, 3, 5, 6)),
        "matmul": ((2, 5, 13), (2, 13, 9), (2, 5, 9)),
    }
    rng = np.random.default_rng(3)
    x_shape, w_shape, out_shape = shapes[mnemonic]
    x = rng.integers(int(dtype.low), int(dtype.high), x_shape).astype(dtype.numpy)
    w = rng.integers(int(dtype.low), int(dtype.high), w_shape).astype(dtype.numpy)
    w[rng.random(w_shape) < 0.7] = 0
    stored = compress(w.tobytes(), dtype)
    assert len(stored) < w.nbytes // 2 + 2 and np.array_equal(expand(stored, dtype, w_shape), w)
    results = []
    for data, size in ((w.tobytes(), 0), (stored, len(stored))):
        out, left = dense("lm", 0, F32, out_shape), dense("lm", 4096, dtype, x_shape)
        right = replace(dense("lm", 8192, dtype, w_shape), stored=size)
        arena = np.full(16384, 0x5A, np.uint8)
        arena[4096 : 4096 + x.nbytes] = x.view(np.uint8).ravel()
        arena[8192 : 8192 + len(data)] = np.frombuffer(data, np.uint8)
        instruction = build(mnemonic, out=out, x=left, w=right, x_zero=3, w_zero=5)
        assert not check_instruction(instruction)
        kernel_of(instruction)(arena, linked_row(instruction))
        results.append(arena[: out.bytes].copy())
    assert np.array_equal(*results)


@pytest.mark.parametrize("dtype", [I8, I16], ids=str)
def test_a_mask_that_lies_reads_nothing_beyond_its_weight(dtype: DType) -> None:
    """All bits are set, one value is stored: it is the first element, the others are 0, whatever lies behind."""
    w = replace(dense("lm", 512, dtype, (1, 40)), stored=6 + dtype.bytes if dtype == I16 else 5 + dtype.bytes)
    instruction = build(
        "matmul", out=dense("lm", 0, F32, (1, 1)), x=dense("lm", 256, dtype, (1, 40)), w=w, transpose_w=1
    )
    assert not check_instruction(instruction)
    arena = np.full(1024, 0xFF, np.uint8)
    arena[256:512].view(dtype.numpy)[:] = 1
    arena[512 + w.stored - dtype.bytes : 512 + w.stored].view(dtype.numpy)[:] = 7
    kernel_of(instruction)(arena, linked_row(instruction))
    assert arena[:4].view(np.float32) == 7


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_special_values_in_pairs(vector_format: str) -> None:
    """NaN, infinities, zeros of both signs and subnormals meet each other in every operation of EW2."""
    taken: dict[str, int] = {}
    size = len(SPECIAL)
    out, x, second = (slot("lm", F32, (size, size), taken) for _ in range(3))
    for operation in ("add", "sub", "mul", "max", "min"):
        pairs = {"x": np.repeat(SPECIAL, size), "ew2": np.tile(SPECIAL, size)}
        check(build("eltwise", out=out, x=x, ew2=second, ew2_op=operation), 0, vector_format, **pairs)


FUNCTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "relu": {},
    "clip": {"clip_low": -1.5, "clip_high": 6.0},
    "leaky_relu": {"slope": -0.5},
    "sigmoid": {},
    "tanh": {},
    "table": {},
    "gelu": {},
    "silu": {},
    "exp": {},
    "reciprocal": {},
    "rsqrt": {},
    "hard_sigmoid": {"slope": 0.25, "offset": 0.5},
    "hard_swish": {},
    "sqrt": {},
}


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
@pytest.mark.parametrize("dtype", [I8, U8, F32], ids=str)
def test_special_values_in_functions(vector_format: str, dtype: DType) -> None:
    taken: dict[str, int] = {}
    values = np.concatenate([SPECIAL, np.linspace(-110, 110, 997, dtype=np.float32)])
    out, x, table = slot("lm", dtype, (1024,), taken), slot("lm", F32, (1024,), taken), slot("cb", F32, (256,), taken)
    for function, fields in FUNCTIONS.items():
        tables, given = {"table": table} if function == "table" else {}, {"x": np.resize(values, 1024)}
        check(build("eltwise", out=out, x=x, sf=function, **tables, **fields), 0, vector_format, **given)


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_functions_of_many_bytes(vector_format: str) -> None:
    """With scratch memory and without it; a scale of each channel makes a function of more than the byte."""
    rng = np.random.default_rng(7)
    for function, fields in FUNCTIONS.items():
        for dtype, made, shape, channels in ((I8, U8, (9, 333), 1), (U8, I8, (2, 30, 50), 1), (I8, I8, (9, 333), 333)):
            taken: dict[str, int] = {}
            x, out = slot("lm", dtype, shape, taken), slot("lm", made, shape, taken)
            scale, last = slot("cb", F32, (channels,), taken), slot("cb", F32, (1,), taken)
            tables = {"table": slot("cb", F32, (256,), taken)} if function == "table" else {}
            given = {"ew1_scale": rng.uniform(0.01, 0.1, channels), "ew3_scale": rng.uniform(1, 90, 1)}
            instruction = build(
                "eltwise",
                out=out,
                x=x,
                sf=function,
                x_zero=3,
                out_zero=9,
                ew1_scale=scale,
                ew3_scale=last,
                **tables,
                **fields,
            )
            for seed in range(3):
                check(instruction, seed, vector_format, **{name: v.astype(np.float32) for name, v in given.items()})


@pytest.mark.parametrize("mnemonic", ["conv", "dwconv", "maxpool", "avgpool", "flatten"])
def test_strides_of_sixteen_bits(mnemonic: str) -> None:
    taken: dict[str, int] = {}
    channels = 6 if mnemonic == "flatten" else 3
    x, out = slot("lm", I8, (1, 4, 1501, 3), taken), slot("lm", I8, (1, 2, 6, channels), taken)
    fields = {"window": (2, 1)} if "conv" not in mnemonic else {}
    if mnemonic == "conv":
        fields["w"] = slot("lm", I8, (3, 2, 1, 3), taken)
    elif mnemonic == "dwconv":
        fields["w"] = slot("lm", I8, (1, 2, 1, 3), taken)
    check(build(mnemonic, out=out, x=x, stride=(2, 300), **fields), 1, "fp32")


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_average_rounds_each_step(vector_format: str) -> None:
    taken: dict[str, int] = {}
    x, out = slot("lm", I8, (1, 30, 30, 64), taken), slot("lm", I8, (1, 26, 26, 64), taken)
    scale, values = slot("cb", F32, (1,), taken), np.random.default_rng(1).integers(-20, 128, x.shape).astype(np.int8)
    instruction = build("avgpool", out=out, x=x, scale=scale, window=5)
    check(instruction, 0, vector_format, x=values, scale=np.array([1.7], np.float32))


@pytest.mark.parametrize("vector_format", FRACTION_BITS)
def test_scales_moderate_and_not(vector_format: str) -> None:
    """Short formats are computed in float32 up to scales of 2**40, in float64 beyond; bounds of clip are what they are.

    Many accumulators are so large that float32 cannot hold them, and scales bring all results into the range of i8.
    """
    rng, shape = np.random.default_rng(4), (6, 300)
    for exponent, second in product((0, -6, -40, -41, 40, 41, -126, 123), (-7, 40, -60)):
        for function, fields in (("relu", {}), ("clip", {"clip_low": -(2.0**127), "clip_high": 40.25}), ("none", {})):
            taken: dict[str, int] = {}
            x, w = slot("lm", I8, (6, 8), taken), slot("lm", I8, (8, 300), taken)
            types = {name: U8 if rng.random() < 0.3 else I8 for name in ("out", "ew2")}
            d, out = (slot("lm", types[name], shape, taken) for name in ("ew2", "out"))
            bias, *scales = (slot("cb", dtype, (300,), taken) for dtype in (I32, F32, F32, F32))
            names = [f"{name}_scale" for name in ("ew1", "ew2", "ew3")]
            kept = {name: scale for name, scale in zip(names, scales, strict=True) if rng.random() < 0.7}
            chosen = {"ew2_op": "sub" if exponent % 2 else "add", "ew2": d, "out_zero": 5}
            chosen["ew2_zero"] = -128 if types["ew2"] == I8 else 130
            if second == 40:
                chosen, kept = {}, {name: scale for name, scale in kept.items() if name != "ew2_scale"}
            instruction = build("matmul", x=x, w=w, bias=bias, out=out, sf=function, **kept, **chosen, **fields)
            size = 2.0 ** rng.choice([-24, -12, 0])
            magnitudes = (size, 2.0**second, 2.0**exponent)
            values = {name: rng.normal(0, size, 300) for name, size in zip(names, magnitudes, strict=True)}
            given = {name: values[name].astype(np.float32) for name in kept}
            whole = rng.integers(-(2**31), 2**31, 300) >> rng.integers(0, 31, 300)
            check(instruction, int(rng.integers(3)), vector_format, bias=whole.astype(np.int32), **given)


def test_in_place_eltwise() -> None:
    x = dense("lm", 0, F32, (7, 300))
    check(build("eltwise", out=x, x=x, ew2=x, ew2_op="mul", sf="tanh"), 1, "fp32")
    for dtype, seed in product((I8, U8), range(3)):
        x, other = dense("lm", 0, dtype, (9, 333)), dense("lm", 4096, dtype, (9, 333))
        for fields in ({"sf": "tanh"}, {"ew2": x, "ew2_op": "add"}, {"ew2": other, "ew2_op": "sub", "out_zero": 7}):
            check(build("eltwise", out=x, x=x, **fields), seed, "fp24" if seed else "fp32")
            check(build("eltwise", out=x, x=other, **fields), seed, "fp32")


@pytest.mark.parametrize("walkers", range(3))
@pytest.mark.parametrize("word", ["round_once", "round_twice", "round_away"])
def test_whole_multipliers(word: str, walkers: int) -> None:
    """Fractions of 31 bits and powers of two as they come of scales, ties among them, and any others."""
    rng = np.random.default_rng(walkers)
    for case in range(12):
        taken: dict[str, int] = {}
        rows, columns = ((150, 40), (3, 900), (11, 7))[case % 3]
        many = columns if case % 2 else 1
        x, w = slot("lm", I8, (rows, 30), taken), slot("lm", I8, (30, columns), taken)
        out, scale = slot("lm", (I8, U8, I16)[case % 3], (rows, columns), taken), slot("cb", I32, (2, many), taken)
        m = rng.integers(2**30, 2**31, many) if case < 9 else np.full(many, 2**30)
        s = rng.integers(-20, 1, many) if case % 4 else rng.integers(-40, 40, many)
        if case == 11:
            m = rng.choice([-(2**31), 2**31 - 1, 0, -5], many)
        fields = {"out": out, "ew3_op": word, "ew3_scale": scale, "out_zero": case, "sf": ("none", "relu")[case % 2]}
        multipliers = np.stack([m, s]).astype(np.int32)
        check(build("matmul", x=x, w=w, **fields), walkers, "fp19", ew3_scale=multipliers)
        wide = slot("lm", I32, (rows, 1) if case % 2 else (rows, columns), taken)
        values = rng.integers(-(2**31), 2**31, wide.shape) >> rng.integers(0, 31, wide.shape)
        check(build("eltwise", x=wide, **fields), walkers, "fp19", x=values.astype(np.int32), ew3_scale=multipliers)


@pytest.mark.parametrize("walkers", range(3))
@pytest.mark.parametrize("dtype", [I8, I32])
def test_in_place_products(dtype: DType, walkers: int) -> None:
    """The second tensor may be the result, of many rows and of many columns."""
    for rows, columns in ((150, 40), (3, 900)):
        taken: dict[str, int] = {}
        x, w = slot("lm", I8, (rows, 30), taken), slot("lm", I8, (30, columns), taken)
        out = slot("lm", dtype, (rows, columns), taken)
        check(build("matmul", out=out, x=x, w=w, ew2=out, ew2_op="add"), walkers, "fp24")
    taken = {}
    x, w, out = (slot("lm", t, s, taken) for t, s in ((I8, (1, 9, 8, 40)), (I8, (1, 3, 3, 40)), (dtype, (1, 9, 8, 40))))
    check(build("dwconv", out=out, x=x, w=w, ew2=out, ew2_op="add", pad=1), walkers, "fp24")


def test_accumulators_wrap() -> None:
    """Products of the greatest magnitude, 140,000 of them, pass 2**31."""
    taken: dict[str, int] = {}
    k = 140_000
    x, w = slot("lm", I8, (2, k), taken), slot("lm", I8, (3, k), taken)
    instruction = build("matmul", x=x, w=w, out=slot("lm", I32, (2, 3), taken), transpose_w=1, x_zero=127, w_zero=127)
    arena = np.full(taken["lm"] + 24, 0x80, np.uint8)
    kernel_of(instruction)(arena, linked_row(instruction))
    start = instruction.operands[0].address
    assert (arena[start : start + 24].view(np.int32) == np.int64(255 * 255 * k).astype(np.int32)).all()


def test_sums_of_large_windows() -> None:
    """A window's sum may pass 32 bits."""
    taken: dict[str, int] = {}
    height, width = 3400, 2600
    x, out = slot("lm", I8, (1, height, width, 1), taken), slot("lm", I8, (1, 1, 1, 1), taken)
    instruction = build("avgpool", x=x, out=out, window=(height, width), x_zero=-128)
    arena = np.full(-(-taken["lm"] // 4) * 4, 127, np.uint8)
    kernel_of(instruction)(arena, linked_row(instruction))
    assert arena[out.address].view(np.int8) == 127


def test_compile_names_what_is_cold() -> None:
    compile_all(kernel_jobs(KERNELS))
    named: list[str] = []
    compile_all(kernel_jobs([*KERNELS, *(opcode for opcode in TABLE if opcode not in KERNELS)]), named.append)
    assert not named
