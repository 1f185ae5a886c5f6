"""Automatic multipliers against their rules, computed apart in NumPy float32."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.assemble import assemble
from assembler.requantise import ROUNDING, Scaled, ScaleProblem, multipliers
from assembler.syntax.diagnostics import AssemblyError
from isa.dtypes import BF16, F32, I8, I16, I32, U8, DType
from isa.instruction import Instruction
from isa.program import Program
from tests.assembler.sources import segment_at

scales = st.floats(2.0**-12, 2.0**4, width=32)


def multiplier(program: Program, instruction: Instruction, name: str) -> list[float] | None:
    """Return the elements of a multiplier as the instruction will read them, outside loops."""
    operand = instruction.operand(name)
    if operand is None:
        return None
    data = segment_at(program, "cb", operand.address)[: operand.bytes]
    return np.frombuffer(data, "<f4").tolist()


def conv(x: str, w: str, out: str, rest: str = "", dtype: str = "i8", more: str = "") -> tuple[Program, Instruction]:
    """Return a convolution of 4 channels with these clauses of its tensors."""
    program = assemble(
        f".chip edge\n.input x i8[1, 2, 2, 4] {x}\n.weight w i8[4, 1, 1, 4] {w} = 1\n"
        f".output y {dtype}[1, 2, 2, 4] {out}\n{more}\nconv y, x, w{rest}\nend\n"
    )
    return program, program.cores[0].code[0]


NAMES = ("ew1_scale", "ew2_scale", "ew3_scale")


def found(made: tuple[Program, Instruction]) -> list[list[float] | None]:
    return [multiplier(*made, name) for name in NAMES]


@given(scales, st.lists(scales, min_size=4, max_size=4), scales, st.sampled_from(("", ", relu", ", leaky_relu=0.5")))
def test_one_multiply_where_one_is_enough(x: float, w: list[float], y: float, sf: str) -> None:
    made = conv(f"scale={x!r}", f"scale={w}", f"scale={y!r}", sf)
    expected = np.float32(x) * np.asarray(w, np.float32) / np.float32(y)
    expected = expected[:1] if len(set(expected.tolist())) == 1 else expected
    assert found(made) == [None, None, None if expected.tolist() == [1.0] else expected.tolist()]


@given(scales, st.lists(scales, min_size=4, max_size=4), scales, st.sampled_from(("round_once", "round_twice")))
def test_whole_multipliers_are_of_float64(x: float, w: list[float], y: float, word: str) -> None:
    """m * 2**(s - 31) is x * w / y in float64, of the float32 scales, to 31 bits."""
    program, instruction = conv(f"scale={x!r}", f"scale={w}", f"scale={y!r}", f", {word}")
    operand = instruction.operand("ew3_scale")
    assert operand is not None and operand.dtype == I32
    m, s = np.frombuffer(segment_at(program, "cb", operand.address)[: operand.bytes], "<i4").reshape(2, -1).tolist()
    exact = [Fraction(x * one / y) for one in w]
    exact = exact[:1] if len(set(exact)) == 1 else exact
    assert len(m) == len(exact)
    for fraction, power, real in zip(m, s, exact, strict=True):
        assert 2**30 <= fraction < 2**31
        assert abs(fraction * Fraction(2) ** (power - 31) - real) <= Fraction(2) ** (power - 32)


def test_whole_multipliers_that_are_none() -> None:
    with pytest.raises(AssemblyError, match="ew3_scale would be"):
        conv("scale=1e30", "scale=1", "scale=1e-3", ", round_once")


def test_in_real_units_where_stages_stand_between() -> None:
    for rest in (", tanh", ", sigmoid", ", clip=(0, 6)"):
        assert found(conv("scale=0.5", "scale=0.25", "scale=0.1", rest)) == [
            [0.125],
            None,
            [float(np.float32(1) / np.float32(0.1))],
        ]


def test_second_tensor_is_dequantised() -> None:
    made = conv("scale=0.5", "scale=0.25", "scale=2", ", add=r, relu", more=".local r i8[1, 2, 2, 4] scale=0.75 zero=7")
    assert found(made) == [[0.125], [0.75], [0.5]]
    assert made[1].attribute("ew2_zero") == (7,)


def test_float_bias_is_in_real_units() -> None:
    made = conv("scale=0.5", "scale=0.25", "scale=2", ", ew1_bias=b", more=".const b f32[4] = 1")
    assert found(made) == [[0.125], None, [0.5]]


def test_table_counts_in_steps() -> None:
    more = ".const t f32[256] scale=0.5 = 0\n.local r i8[1, 2, 2, 4] scale=0.75"
    made = conv("scale=0.5", "scale=0.25", "scale=2", ", add=r, table=t", more=more)
    assert found(made) == [[0.25], [1.5], [0.5]]


def test_float_result_stays_real() -> None:
    assert found(conv("scale=0.5", "scale=0.25", "", dtype="f32")) == [[0.125], None, None]
    assert found(conv("scale=0.5", "scale=0.25", "scale=4", dtype="f32")) == [[0.125], None, [0.25]]


def test_accumulator_is_left_alone() -> None:
    assert found(conv("scale=0.5", "scale=0.25", "", dtype="i32")) == [None, None, None]


def test_no_scales_no_multipliers() -> None:
    assert found(conv("", "", "", ", clip=(0, 6)")) == [None, None, None]
    assert found(conv("scale=0.5", "scale=4", "scale=2")) == [None, None, None]


def test_explicit_multipliers_turn_off_the_automatic_ones() -> None:
    more = ".const s f32[1] = 3"
    made = conv("scale=0.5", "scale=0.25", "scale=2", ", tanh, ew3_scale=s", more=more)
    assert found(made) == [None, None, [3.0]]
    assert found(conv("scale=0.5", "scale=0.25", "scale=2", ", ew3_scale=none")) == [None, None, None]
    assert found(conv("scale=0.5", "scale=0.25", "scale=2", more=".scales explicit")) == [None, None, None]


def test_zero_points_come_from_the_tensors() -> None:
    _, made = conv("zero=3", "zero=-4", "zero=5")
    assert [made.attribute(name) for name in ("x_zero", "w_zero", "out_zero")] == [(3,), (-4,), (5,)]
    _, made = conv("zero=3", "zero=-4", "zero=5", ", x_zero=0, w_zero=1")
    assert [made.attribute(name) for name in ("x_zero", "w_zero", "out_zero")] == [(0,), (1,), (5,)]
    _, made = conv("zero=3", "", "", dtype="f32")
    assert made.attribute("x_zero") == (3,)


@pytest.mark.parametrize("dtype", ["u8", "i16"])
def test_zero_points_and_one_multiply_for_every_quantised_type(dtype: str) -> None:
    program = assemble(
        f".chip edge\n.input x {dtype}[2, 4] scale=0.5 zero=127\n.weight w {dtype}[4, 4] scale=0.25 zero=130 = 1\n"
        f".output y {dtype}[2, 4] scale=2 zero=129\nmatmul y, x, w, relu\nend\n"
    )
    made = program.cores[0].code[0]
    assert [made.attribute(name) for name in ("x_zero", "w_zero", "out_zero")] == [(127,), (130,), (129,)]
    assert found((program, made)) == [None, None, [0.0625]]


def test_eltwise_and_avgpool() -> None:
    program = assemble(
        ".chip edge\n.input x i8[1, 4, 4, 4] scale=0.5\n.output y i8[1, 2, 2, 4] scale=2\n"
        ".local z i8[1, 4, 4, 4] scale=4\n"
        "avgpool y, x, window=2, stride=2\neltwise z, x\neltwise z, x, tanh\nend\n"
    )
    average, plain, curved, _ = program.cores[0].code
    assert multiplier(program, average, "scale") == [0.25]
    assert [multiplier(program, plain, name) for name in NAMES] == [None, None, [0.125]]
    assert [multiplier(program, curved, name) for name in NAMES] == [[0.5], None, [0.25]]
    # Equal vectors are stored once.
    assert len(segment_at(program, "cb", 0)) == 12


def test_words_that_keep_values_take_no_multiplier() -> None:
    text = ".chip edge\n.input x u8[1, 4, 4, 4] scale=0.5 zero=3\n.output y u8[1, 8, 8, 4] scale={}\n"
    program = assemble(f"{text.format('2 zero=9')}resize y, x, linear\nend\n")
    (linear, _) = program.cores[0].code
    assert multiplier(program, linear, "scale") == [0.25]
    assert (linear.attribute("x_zero"), linear.attribute("out_zero")) == ((3,), (9,))
    (nearest, _) = assemble(f"{text.format('0.5 zero=3')}resize y, x, nearest\nend\n").cores[0].code
    assert (nearest.operand("scale"), nearest.attribute("x_zero")) == (None, (0,))
    with pytest.raises(AssemblyError, match=r"x has scale 0\.5, but out"):
        assemble(f"{text.format('2')}resize y, x, nearest\nend\n")


def test_sums_of_squares_are_in_squares_of_steps() -> None:
    text = ".chip edge\n.input x i8[4] scale=0.5 zero=3\n.output y f32[1]\nreduce y, x, {}\nend\n"
    for word, expected in (("absmax", 0.5), ("sumsq", 0.25)):
        program = assemble(text.format(word))
        assert multiplier(program, program.cores[0].code[0], "scale") == [expected]


def test_slices_of_channels_take_their_scales() -> None:
    text = (
        ".chip edge\n.input x i8[2, 8] scale=1\n.weight w i8[8, 8] scale=[1, 2, 3, 4, 5, 6, 7, 8] = 1\n"
        ".output y f32[2, 8]\n"
    )
    program = assemble(f"{text}matmul y[:, 2:4], x, w[2:4], transpose_w\nend\n")
    assert multiplier(program, program.cores[0].code[0], "ew1_scale") == [3.0, 4.0]
    program = assemble(f"{text}loop i, 4\nmatmul y[:, i*2 : +2], x, w[i*2 : +2], transpose_w\nbrnz i\nend\n")
    operand = program.cores[0].code[1].operand("ew1_scale")
    assert operand is not None
    data = np.frombuffer(segment_at(program, "cb", 0), "<f4")
    for i in range(4):
        first = operand.address_at((0, i)) // 4
        assert data[first : first + 2].tolist() == [2.0 * i + 1, 2.0 * i + 2]


@given(
    st.sampled_from(("conv", "dwconv", "matmul", "eltwise")),
    st.sampled_from((I8, U8, I16, BF16, F32, I32)),
    st.sampled_from(("none", "relu", "tanh", "table")),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("x", "w", "ew2", "out"), st.tuples(scales))),
    st.booleans(),
)
def test_multipliers_alone(
    mnemonic: str, out: DType, sf: str, given_scales: dict[str, tuple[float]], second: bool
) -> None:
    """The product of all multipliers on the way of the accumulator is the ratio of the scales."""
    present = frozenset({"x", "w", "out"} | ({"ew2"} if second else set()))
    scaled, one = Scaled(mnemonic, given_scales, out, 4, sf, present=present), [1.0]
    acc = np.float32(given_scales.get("x", one)[0])
    if mnemonic != "eltwise":
        acc = acc * np.float32(given_scales.get("w", one)[0])
    result = np.float32(given_scales.get("out", one)[0])
    if out == I32 and second and "ew2" in given_scales:
        steps = np.float32(given_scales["ew2"][0])
        allowed = (acc, result) if "out" in given_scales else (acc,)
        if not any(np.isclose(steps, one, rtol=ROUNDING, atol=0) for one in allowed):
            with pytest.raises(ScaleProblem, match="`ew2` has scale"):
                multipliers(scaled)
            return
    made = multipliers(scaled)
    if out == I32:
        assert made == {}
    elif out in (I8, U8, I16) and sf in ("none", "relu") and not second:
        assert made.get("ew3_scale", (1.0,)) == (float(acc / result),)
    else:
        assert made.get("ew1_scale", (1.0,)) == (float(acc),)
        assert made.get("ew3_scale", (1.0,)) == (float(np.float32(1) / result),)
        assert made.get("ew2_scale", (1.0,)) == ((given_scales.get("ew2", one)[0],) if second else (1.0,))


def test_lists_must_fit_the_channels() -> None:
    with pytest.raises(ScaleProblem) as caught:
        multipliers(Scaled("conv", {"w": [1.0, 2.0]}, I8, 4))
    assert caught.value.diagnostic.place == "w"


BIAS = ".const b i32[4] {} = 3"


@given(
    st.floats(2.0**-9, 2.0**4), st.lists(st.floats(2.0**-9, 2.0**4), min_size=4, max_size=4), st.sampled_from((1, 7, 9))
)
def test_a_bias_is_in_steps_of_the_products(x: float, w: list[float], digits: int) -> None:
    """Written as the product of what is written for x and w, however it was rounded; its own digits make it wrong."""
    x, *w = (float(f"{number:.{digits}g}") for number in (x, *w))
    steps = [x * step for step in w]
    made = conv(f"scale={x!r}", f"scale={w}", "scale=2", ", bias=b", more=BIAS.format(f"scale={steps}"))
    plain = conv(f"scale={x!r}", f"scale={w}", "scale=2", ", bias=b", more=BIAS.format(""))
    assert found(made) == found(plain)
    for k in range(4):
        wrong = [step * (1.001 if k == index else 1) for index, step in enumerate(steps)]
        with pytest.raises(AssemblyError, match=r"E602.*`bias` .* has scale .*, but the products"):
            conv(f"scale={x!r}", f"scale={w}", "scale=2", ", bias=b", more=BIAS.format(f"scale={wrong}"))


def test_a_bias_of_other_steps_is_refused() -> None:
    for more in (BIAS.format("scale=0.5"), BIAS.format("scale=1"), BIAS.format("scale=[1, 1, 1, 0.125]")):
        with pytest.raises(AssemblyError, match=r"expected x.scale \* w.scale"):
            conv("scale=0.5", "scale=0.25", "scale=2", ", bias=b", more=more)
    with pytest.raises(AssemblyError, match="but the products 1"):
        conv("", "", "", ", bias=b", more=BIAS.format("scale=0.5"))
    with pytest.raises(AssemblyError, match=r"has scale 0\.5, which nothing takes"):
        conv("", "", "", ", ew1_bias=b", more=".const b f32[4] scale=0.5 = 1")
    # Whoever gives the multipliers says what is in which steps.
    for rest, more in ((", ew3_scale=none", ""), ("", "\n.scales explicit")):
        conv("scale=0.5", "scale=0.25", "scale=2", f", bias=b{rest}", more=BIAS.format("scale=0.5") + more)


@pytest.mark.parametrize("rounding", ["round_once", "round_twice", "round_away"])
def test_a_bias_is_in_steps_of_the_products_for_whole_multipliers_too(rounding: str) -> None:
    right = conv("scale=0.5", "scale=0.25", "scale=2", f", bias=b, {rounding}", more=BIAS.format("scale=0.125"))
    plain = conv("scale=0.5", "scale=0.25", "scale=2", f", bias=b, {rounding}", more=BIAS.format(""))
    assert right[1] == plain[1]
    with pytest.raises(AssemblyError, match="E602"):
        conv("scale=0.5", "scale=0.25", "scale=2", f", bias=b, {rounding}", more=BIAS.format("scale=7"))


def test_biases_of_slices_are_compared_by_channel() -> None:
    text = (
        ".chip edge\n.input x i8[2, 8] scale=0.5\n.weight w i8[8, 8] scale=[1, 2, 3, 4, 5, 6, 7, 8] = 1\n"
        ".const b i32[8] scale=[0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4] = 1\n.output y f32[2, 8]\nloop i, 3\n"
        "matmul y[:, i*2 : +2], x, w[i*2 : +2], bias=b[{} : +2], transpose_w\nbrnz i\nend\n"
    )
    assemble(text.format("i*2"))
    for other in ("i*2 + 2", "2"):
        with pytest.raises(AssemblyError, match="E602"):
            assemble(text.format(other))
