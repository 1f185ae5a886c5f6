"""The NumPy reference against element-wise loops in exact arithmetic, and on values worked out by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isa.dtypes import F16, F32, I8, I32, U8
from isa.errors import Trap
from isa.instruction import build
from isa.interpret import apply, interpret
from isa.operand import MAX_LOOP_DEPTH, dense
from isa.program import Core, memory_needs
from isa.row import ENGINES
from isa.table import ROWS
from ratel.testing.instructions import AREA_END, AREAS, INDEX_AREA, instructions, random_index
from ratel.testing.programs import programs
from tests.isa import naive

FORMATS = (
    {"te": "fp32", "pe": "fp32", "sums": "fp32"},
    {"te": "fp24", "pe": "fp19", "sums": "fp32"},
    {"te": "fp19", "pe": "fp24", "sums": "fp19"},
)
COMPUTE = [row.mnemonic for row in ROWS if row.engine in ENGINES]
NO_COUNTERS = [0] * (MAX_LOOP_DEPTH + 1)
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.5, 1.5, -2.5, 3e38, 1e-42, 127.5, 16777217], np.float32)


def random_memories(code, sizes, seed, wild):
    """Return memories of random bytes; floats are moderate numbers, or with `wild` any bits, NaN and infinities."""
    generator = np.random.default_rng(seed)
    memories = {name: generator.integers(0, 256, size, np.uint8) for name, size in sizes.items()}
    for instruction in code:
        for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
            if operand is None:
                continue
            if spec.name == "index":
                low, high = operand.extent((1,) * (MAX_LOOP_DEPTH + 1))
                values = random_index(generator, instruction, (high - low) // 4)
                memories[operand.memory][low:high] = values.view(np.uint8)
            elif operand.dtype.is_float and not wild:
                low, high = operand.extent((1,) * (MAX_LOOP_DEPTH + 1))
                count = (high - low) // operand.dtype.bytes
                scale = generator.choice([1e-3, 1.0, 30.0])
                values = generator.normal(0, scale, count).astype(operand.dtype.numpy)
                memories[operand.memory][low:high] = values.view(np.uint8)
            elif operand.dtype.is_float:
                low, _ = operand.extent((1,) * (MAX_LOOP_DEPTH + 1))
                with np.errstate(over="ignore"):
                    value = generator.choice(SPECIAL, 1).astype(operand.dtype.numpy)
                memories[operand.memory][low : low + operand.dtype.bytes] = value.view(np.uint8)
    return memories


def compare(instruction, seed, wild, formats):
    sizes = memory_needs(Core((instruction,), (), (), ()))
    ours = random_memories([instruction], sizes, seed, wild)
    theirs = {name: bytearray(memory.tobytes()) for name, memory in ours.items()}
    try:
        apply(instruction, ours, NO_COUNTERS, formats)
    except Trap as trap:
        with pytest.raises(IndexError) as caught:
            naive.run(instruction, theirs, NO_COUNTERS, formats)
        assert trap.message.startswith(f"index[{caught.value.args[0]}] is ")
    else:
        naive.run(instruction, theirs, NO_COUNTERS, formats)
    for name, memory in ours.items():
        assert memory.tobytes() == bytes(theirs[name]), name


@pytest.mark.parametrize("mnemonic", COMPUTE)
def test_every_row_against_loops(mnemonic):
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(instructions(mnemonic), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(FORMATS))
    def check(instruction, seed, wild, formats):
        compare(instruction, seed, wild, formats)

    check()


CHAIN_WORDS = [("sf", word) for word in ("relu", "clip", "leaky_relu", "sigmoid", "tanh", "table", "sqrt")]
CHAIN_WORDS += [("ew2_op", word) for word in ("add", "sub", "mul", "max", "min", "div")]


@pytest.mark.parametrize(("choice", "word"), CHAIN_WORDS)
def test_every_word_of_the_chain_against_loops(choice, word):
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from((I8, F32)).flatmap(lambda out: instructions("eltwise", **{choice: word, "out": out})),
        st.integers(0, 2**32 - 1),
        st.booleans(),
        st.sampled_from(FORMATS),
    )
    def check(instruction, seed, wild, formats):
        assert instruction.word(choice) == word
        compare(instruction, seed, wild, formats)

    check()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(max_instructions=3), st.integers(0, 2**32 - 1))
def test_programs_against_loops(program, seed):
    (core,) = program.cores
    generator = np.random.default_rng(seed)
    ours = {}
    for name in ("lm", "cb", "host", "dev"):
        ours[name] = generator.integers(0, 256, AREA_END, np.uint8)
        floats = generator.normal(0, 8, (AREA_END - AREAS[F32]) // 4).astype("<f4")
        ours[name][AREAS[F32] :] = floats.view(np.uint8)
    ours["lm"][INDEX_AREA:] = generator.integers(0, 2, (AREA_END - INDEX_AREA) // 4).astype("<i4").view(np.uint8)
    theirs = {name: bytearray(memory.tobytes()) for name, memory in ours.items()}
    formats = {"te": "fp24", "pe": "fp19"}
    try:
        interpret([core], [ours], formats)
        wrong = None
    except Trap as trap:
        wrong = trap.message

    def walk(at, counters):
        """Run the code from `at` to the end of its loop, or of the program; return where that is."""
        while True:
            instruction = core.code[at]
            mnemonic = instruction.row.mnemonic
            if mnemonic in ("brnz", "end"):
                return at
            if mnemonic == "loop":
                (depth,), (count,) = instruction.attribute("counter"), instruction.attribute("count")
                for k in range(count):
                    close = walk(at + 1, [*counters[:depth], k, *counters[depth + 1 :]])
                at = close
            else:
                naive.run(instruction, theirs, counters, formats)
            at += 1

    try:
        walk(0, NO_COUNTERS)
    except IndexError as error:
        assert wrong is not None and wrong.startswith(f"index[{error.args[0]}] is ")
    else:
        assert wrong is None
    for name, memory in ours.items():
        assert memory.tobytes() == bytes(theirs[name]), name


def eltwise(x, out_dtype, vector_format="fp32", **given_tensors):
    """Run `eltwise` on a float vector; tensors given by name are arrays, other values attributes."""
    x = np.asarray(x, np.float32)
    memories = {"lm": np.zeros(4096, np.uint8), "cb": np.zeros(4096, np.uint8)}
    memories["lm"][: x.nbytes] = x.view(np.uint8)
    fields, at = {}, 0
    for name, value in given_tensors.items():
        if isinstance(value, list):
            array = np.asarray(value, np.float32)
            memory = "lm" if name == "ew2" else "cb"
            start = 2048 if name == "ew2" else at
            memories[memory][start : start + array.nbytes] = array.view(np.uint8)
            value, at = dense(memory, start, F32, (len(array),)), at + array.nbytes
        fields[name] = value
    out = dense("lm", 1024, out_dtype, (len(x),))
    instruction = build("eltwise", out=out, x=dense("lm", 0, F32, (len(x),)), **fields)
    apply(instruction, memories, NO_COUNTERS, {"te": vector_format})
    return memories["lm"][1024 : 1024 + out.bytes].view(out_dtype.numpy)


NAN, INF = float("nan"), float("inf")
QUIET_NAN = 0x7FC00000


@pytest.mark.parametrize(
    ("x", "fields", "expected"),
    [
        # Half to even, then the zero point, then the bounds.
        ([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], {}, [0, 2, 2, 0, -2, -2]),
        ([127.4, 127.5, 128, 3e38, -128.5, -3e38], {}, [127, 127, 127, 127, -128, -128]),
        ([1e9, -1e9, 100, -100], {"out_zero": 100}, [127, -128, 127, 0]),
        ([3e38, -3e38], {"out_zero": -128}, [127, -128]),
        # NaN is 0, so the zero point; infinities end at the bounds.
        ([NAN, INF, -INF], {"out_zero": 5}, [5, 127, -128]),
        # The float32 0.1 times 5 is just above 0.5 and rounds to it; half goes to the even 0.
        ([5.0], {"ew3_scale": [0.1]}, [0]),
        ([3.0, 3.0], {"ew3_scale": [0.5, -0.5]}, [2, -2]),
        # EW1 multiplies and adds in one step: no product is rounded, or infinite, before.
        ([2.0, 4.0], {"ew1_scale": [3.0], "ew1_bias": [1.0, -1.0]}, [7, 11]),
        ([3e38], {"ew1_scale": [3e38], "ew1_bias": [-INF]}, [-128]),
        ([1 + 2**-12], {"ew1_scale": [1 + 2**-12], "ew1_bias": [-1 - 2**-11], "ew3_scale": [2.0**24]}, [1]),
        ([1 + 2**-12], {"ew1_scale": [1 + 2**-12], "ew3_scale": [2.0**24], "ew2_op": "sub", "ew2": [1 + 2**-11]}, [0]),
        # EW2 on NaN: a comparison is false and takes the second tensor.
        ([NAN, 1, -1], {"ew2_op": "max", "ew2": [3.0, NAN, 0.0]}, [3, 0, 0]),
        ([NAN, 1, -1], {"ew2_op": "min", "ew2": [3.0, NAN, 0.0]}, [3, 0, -1]),
        # Its scale is one step with a sum or difference, a step by itself with all else.
        ([-1 - 2**-11], {"ew2_op": "add", "ew2": [1 + 2**-12], "ew2_scale": [1 + 2**-12], "ew3_scale": [2.0**24]}, [1]),
        ([1 + 2**-11], {"ew2_op": "sub", "ew2": [1 + 2**-12], "ew2_scale": [1 + 2**-12], "ew3_scale": [2.0**24]}, [-1]),
        ([0, 0], {"ew2_op": "max", "ew2": [3e38, -3e38], "ew2_scale": [3e38]}, [127, 0]),
        ([10, 20, 30], {"ew2_op": "sub", "ew2": [1.0, 2.0, 3.0], "ew2_scale": [2.0]}, [8, 16, 24]),
        # A quotient is rounded once: times the float32 1 / 49 it would be below 1.
        ([49.0, -49.0], {"ew2_op": "div", "ew2": [49.0], "ew3_scale": [2.0**24], "ew1_scale": [2.0**-20]}, [16, -16]),
        ([1, -1, 0, NAN, INF], {"ew2_op": "div", "ew2": [0.0, 0.0, 0.0, 1.0, INF]}, [127, -128, 0, 0, 0]),
        # The zero point before the rounding: 2.5 + 1 is a tie that goes up, 2.5 by itself one that goes down.
        ([2.5, -0.5, 200, NAN], {"ew3_op": "zero_first", "out_zero": 1}, [4, 0, 127, 0]),
        ([2.5, -0.5, 200, NAN], {"out_zero": 1}, [3, 1, 127, 1]),
        # SF.
        ([NAN, -3, 0, 3], {"sf": "relu"}, [0, 0, 0, 3]),
        ([NAN, -3, 3, 9], {"sf": "clip", "clip_low": -1, "clip_high": 6}, [0, -1, 3, 6]),
        ([-8, 8, -INF], {"sf": "leaky_relu", "slope": 0.25}, [-2, 8, -128]),
        ([-INF, 0, INF], {"sf": "sigmoid", "ew3_scale": [100.0]}, [0, 50, 100]),
        ([-INF, 0, INF], {"sf": "tanh", "ew3_scale": [100.0]}, [-100, 0, 100]),
        (
            [-200, -128, -0.5, 0.5, 1.5, 127, 500, NAN],
            {"sf": "table", "table": [float(k - 128) for k in range(256)]},
            [-128, -128, 0, 0, 2, 127, 127, 0],
        ),
        (
            [-200, 28, 29.5, 155, 156, 500, NAN],
            {"sf": "table", "table": [float(k - 128) for k in range(256)], "table_offset": -28},
            [-128, 0, 2, 127, 127, 127, -28],
        ),
    ],
)
def test_chain_by_hand(x, fields, expected):
    assert eltwise(x, I8, **fields).tolist() == expected


@pytest.mark.parametrize(
    ("x", "fields", "expected"),
    [
        ([-0.0], {}, [-0.0]),
        ([-0.0, 0.0], {"sf": "relu"}, [0.0, 0.0]),
        ([-0.0, 5.0], {"sf": "clip", "clip_low": 0.0, "clip_high": 4.0}, [-0.0, 4.0]),
        ([-0.0], {"ew1_bias": [0.0]}, [0.0]),
        ([-0.0, 0.0], {"ew2_op": "max", "ew2": [0.0, -0.0]}, [0.0, -0.0]),
        ([3e38, -3e38], {"ew1_scale": [2.0]}, [INF, -INF]),
        ([1e-40], {"ew1_scale": [0.5]}, [float(np.float32(1e-40)) / 2]),
        ([INF], {"ew1_bias": [-INF]}, [NAN]),
        ([INF], {"ew1_scale": [0.0]}, [NAN]),
    ],
)
def test_chain_to_f32_by_hand(x, fields, expected):
    result = eltwise(x, F32, **fields)
    wanted = np.array(expected, np.float32)
    wanted_bits = np.where(np.isnan(wanted), QUIET_NAN, wanted.view(np.uint32))
    assert result.view(np.uint32).tolist() == wanted_bits.tolist()


def test_fp24_rounds_each_step():
    one_and_a_bit = 1 + 2.0**-15
    # 1 + 2**-16 is a tie, and goes to the even 1; 1 + 3 * 2**-16 is one, and goes up.
    assert eltwise([1 + 2.0**-16, 1 + 3 * 2.0**-16], F32, "fp24").tolist() == [1, 1 + 2.0**-14]
    # (1 + u)**2 = 1 + 2u + u**2 rounds to 1 + 2u; adding u then gives 1 + 3u, and the constant is rounded first.
    result = eltwise([one_and_a_bit], F32, "fp24", ew1_scale=[one_and_a_bit], ew1_bias=[2.0**-15 * (1 + 2.0**-20)])
    assert result.tolist() == [1 + 3 * 2.0**-15]


def test_accumulators_become_fp24_by_one_rounding():
    x = dense("lm", 0, I32, (1,))
    memories = {"lm": np.zeros(64, np.uint8)}
    # 2**24 + 2**8 + 1 lies above the tie of fp24 (one in 2**16); by way of fp32 it would be the tie, and go down.
    memories["lm"][:4] = np.array([2**24 + 2**8 + 1], "<i4").view(np.uint8)
    apply(build("eltwise", out=dense("lm", 32, F32, (1,)), x=x), memories, NO_COUNTERS, {"te": "fp24"})
    assert memories["lm"][32:36].view("<f4").tolist() == [2**24 + 2**9]


@pytest.mark.parametrize("dtype", [I32, F32], ids=str)
def test_accumulators_wrap_at_32_bits(dtype):
    memories = {"lm": np.zeros(64, np.uint8), "cb": np.array([2**31 - 1], "<i4").view(np.uint8)}
    memories["lm"][:2] = 1
    matmul = build(
        "matmul",
        out=dense("lm", 32, dtype, (1, 1)),
        x=dense("lm", 0, I8, (1, 1)),
        w=dense("lm", 1, I8, (1, 1)),
        bias=dense("cb", 0, I32, (1,)),
    )
    apply(matmul, memories, NO_COUNTERS, {"te": "fp32"})
    assert memories["lm"][32:36].view(dtype.numpy).tolist() == [-(2**31)]


def test_a_layer_that_multiplies_once_rounds_as_onnxruntime_does():
    generator = np.random.default_rng(1)
    acc = generator.integers(-(2**24), 2**24, 256).astype("<i4")
    memories = {"lm": np.zeros(2048, np.uint8), "cb": np.array([3.1e-6], "<f4").view(np.uint8)}
    memories["lm"][: acc.nbytes] = acc.view(np.uint8)
    instruction = build(
        "eltwise",
        out=dense("lm", 1024, I8, (256,)),
        x=dense("lm", 0, I32, (256,)),
        ew3_scale=dense("cb", 0, F32, (1,)),
        out_zero=7,
    )
    apply(instruction, memories, NO_COUNTERS, {"te": "fp32"})
    expected = np.clip(np.rint(acc.astype(np.float32) * np.float32(3.1e-6)) + 7, -128, 127).astype(np.int8)
    assert memories["lm"][1024:1280].view(np.int8).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [I8, U8], ids=str)
def test_a_sum_times_a_constant_is_the_global_average_of_onnxruntime(dtype):
    """QLinearGlobalAveragePool: q = clamp(rne(f32(sum) * f32(xs / f32(ys * count))) + zero)."""
    generator = np.random.default_rng(2)
    x = generator.integers(dtype.low, dtype.high, (1, 7, 5, 64), endpoint=True).astype(dtype.numpy)
    scale = np.float32(0.021) / (np.float32(0.0173) * np.float32(35))
    memories = {"lm": np.zeros(4096, np.uint8), "cb": np.array([scale], "<f4").view(np.uint8)}
    memories["lm"][: x.nbytes] = x.view(np.uint8).ravel()
    instruction = build(
        "reduce",
        out=dense("lm", 3072, dtype, (1, 1, 1, 64)),
        x=dense("lm", 0, dtype, x.shape),
        scale=dense("cb", 0, F32, (1,)),
        op="sum",
        x_zero=7,
        out_zero=11,
    )
    apply(instruction, memories, NO_COUNTERS, {"pe": "fp32"})
    sums = (x.astype(np.int64) - 7).sum((1, 2)).astype(np.float32)
    expected = np.clip(np.rint(sums * scale) + 11, dtype.low, dtype.high).astype(dtype.numpy)
    assert memories["lm"][3072 : 3072 + 64].view(dtype.numpy).tolist() == expected.ravel().tolist()


@pytest.mark.parametrize(
    ("x", "fields", "expected"),
    [
        ([1.0, NAN, 3.0, NAN], {"op": "max"}, NAN),
        ([1.0, NAN, 3.0, NAN], {"op": "min"}, NAN),
        ([1.0, -INF, 3.0, 0.0], {"op": "min"}, -INF),
        ([1.0, NAN, 3.0, NAN], {"op": "argmax"}, 1),
        ([1.0, 3.0, 3.0, -INF], {"op": "argmax"}, 1),
        ([-0.0, 0.0], {"op": "argmax"}, 0),
        ([3e38, 3e38, -3e38], {"op": "sum"}, INF),
        ([INF, -INF], {"op": "mean"}, NAN),
        ([1.0, -4.0, 3.0], {"op": "absmax"}, 4.0),
        ([1.0, NAN, -INF], {"op": "absmax"}, NAN),
        ([3.0, -4.0], {"op": "sumsq"}, 25.0),
        # By one operation: the second square itself would be rounded to 1 + 2**-11.
        ([2.0**-13, 1.0 + 2.0**-12], {"op": "sumsq"}, 1.0 + 2.0**-11 + 2.0**-23),
    ],
)
def test_reductions_by_hand(x, fields, expected):
    values = np.array(x, np.float32)
    memories = {"lm": np.concatenate([values.view(np.uint8), np.zeros(4, np.uint8)])}
    dtype = I32 if fields["op"] == "argmax" else F32
    out, source = dense("lm", values.nbytes, dtype, (1,)), dense("lm", 0, F32, (len(x),))
    apply(build("reduce", out=out, x=source, **fields), memories, NO_COUNTERS, {"pe": "fp32"})
    assert repr(memories["lm"][-4:].view(dtype.numpy)[0]) == repr(dtype.numpy.type(expected))


def test_squares_are_summed_as_a_product_sums_them():
    x = np.random.default_rng(4).normal(0, 3, (1, 300)).astype(np.float16)
    memories = {"lm": np.concatenate([x.view(np.uint8).ravel(), np.zeros(8, np.uint8)])}
    row = dense("lm", 0, F16, x.shape)
    outs = [dense("lm", x.nbytes + 4 * k, F32, (1, 1)) for k in range(2)]
    apply(build("reduce", out=outs[0], x=row, op="sumsq"), memories, NO_COUNTERS, FORMATS[0])
    apply(build("matmul", out=outs[1], x=row, w=row, transpose_w=1), memories, NO_COUNTERS, FORMATS[0])
    first, second = memories["lm"][-8:].view(np.float32).tolist()
    assert first == second != (x.astype(np.float32) ** 2).sum()


@pytest.mark.parametrize(("vector_format", "expected"), [("fp32", -127), ("fp24", -127), ("fp19", -126)])
def test_averages_round_the_multiplier_to_the_format(vector_format, expected):
    # The average is -126.56; fp19 has 1/9 as 0.11108, and -1139 times that, rounded to a 16th, is the tie -126.5.
    x = np.array([-127] * 8 + [-123], np.int8)
    memories = {"lm": np.concatenate([x.view(np.uint8), np.zeros(7, np.uint8)])}
    average = build("avgpool", out=dense("lm", 9, I8, (1, 1, 1, 1)), x=dense("lm", 0, I8, (1, 3, 3, 1)), window=3)
    apply(average, memories, NO_COUNTERS, {"pe": vector_format})
    assert memories["lm"][9:10].view(np.int8).tolist() == [expected]


def test_hard_functions_round_each_operation():
    """In exact fractions, over numbers of fp24 for which rounding once at the end gives another result."""

    def fp24(value: Fraction) -> Fraction:
        return Fraction(naive.nearest(value, 15)) if value else value

    def unit(value: Fraction) -> Fraction:
        return min(max(value, Fraction(0)), Fraction(1))

    rng = np.random.default_rng(5)
    x = [Fraction(naive.nearest(Fraction(v), 15)) for v in rng.uniform(-3, 3, 300)]
    slope, offset = fp24(Fraction(0.2)), fp24(Fraction(0.45))
    sigmoids = [unit(fp24(fp24(v * slope) + offset)) for v in x]
    swishes = [fp24(v * unit(fp24(fp24(v / 6) + Fraction(1, 2)))) for v in x]
    assert sigmoids != [unit(fp24(v * slope + offset)) for v in x]
    assert swishes != [fp24(v * unit(fp24(v / 6 + Fraction(1, 2)))) for v in x]
    given = [float(v) for v in x]
    constants = {"slope": float(np.float32(0.2)), "offset": float(np.float32(0.45))}
    assert eltwise(given, F32, "fp24", sf="hard_sigmoid", **constants).tolist() == [float(v) for v in sigmoids]
    assert eltwise(given, F32, "fp24", sf="hard_swish").tolist() == [float(v) for v in swishes]
