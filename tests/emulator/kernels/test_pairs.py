"""Products of bf16 at the borders of the guard that the host's instruction needs, with it and without: one set of bits.

A product of 130 x 130 less one of 129 x 131 is one unit of the last place that products can have: of 2**-127 it is
subnormal, and the instruction would make 0 of it.
"""

from collections.abc import Iterator
from functools import partial
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.execute.prepack import packing_jobs
from emulator.jit.forms import FORMS, has_dot, possible_forms
from emulator.jit.jobs import compile_all
from emulator.kernels import table
from emulator.kernels.floats import float_panels_bytes, pack_float_right
from emulator.kernels.pairs import LEAST
from emulator.kernels.table import kernel_of, key_of
from emulator.plan.row import Call
from isa.dtypes import BF16, F32, I8, DType
from isa.instruction import Instruction, build
from tests.emulator.kernels.linked import linked_row
from tests.emulator.kernels.test_kernels import check, slot
from tests.emulator.kernels.test_products import in_form

with_dot = pytest.mark.parametrize("dot", [True, False], ids=["by instruction", "one after the other"])


@pytest.fixture(autouse=True)
def _host(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the instruction, or not; skip where the host does not."""
    dot = request.node.callspec.params.get("dot") if hasattr(request.node, "callspec") else None
    if dot and not has_dot():
        pytest.skip("this host has no vdpbf16ps, or not in the form that is chosen")
    with patch.object(table, "has_dot", lambda: dot) if dot is not None else patch.object(table, "has_dot", has_dot):
        yield


def matmul(rows: int, k: int, columns: int, w: DType = BF16, turned: int = 1, bias: bool = True) -> Instruction:
    taken: dict[str, int] = {}
    return build(
        "matmul",
        x=slot("lm", BF16, (rows, k), taken),
        w=slot("lm", w, (columns, k) if turned else (k, columns), taken),
        bias=slot("cb", F32, (columns,), taken) if bias else None,
        out=slot("lm", F32, (rows, columns), taken),
        transpose_w=turned,
    )


def bf16(values: np.ndarray) -> np.ndarray:
    """Return the bits of values that are bf16."""
    held = np.asarray(values, np.float32).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(held.astype(np.float32), np.asarray(values, np.float32))
    return held.view(np.uint16)


def one_unit(exponent: int, k: int, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and w [k] whose sum of products is one unit, 2**(exponent - 14), their least exponents add up to."""
    x, w = np.zeros(k), np.zeros(k)
    half = exponent // 2
    x[[at, k - 1]] = np.ldexp([129, 130], half - 7)
    w[[at, k - 1]] = np.ldexp([-131, 130], exponent - half - 7)
    return x, w


@with_dot
@pytest.mark.parametrize("exponent", [LEAST, LEAST - 1])
def test_a_sum_at_the_border(dot: bool, exponent: int) -> None:
    for k, at in ((2, 0), (3, 1), (64, 5), (65, 63)):
        for rows in (1, 5, 14, 31):
            x, w = one_unit(exponent, k, at)
            tensors = {"x": bf16(np.tile(x, (rows, 1))), "w": bf16(np.tile(w, (33, 1)))}
            check(matmul(rows, k, 33, bias=False), 1, "fp32", **tensors)


@with_dot
@pytest.mark.parametrize("exponent", [-103, -104])
def test_a_bias_at_the_border(dot: bool, exponent: int) -> None:
    """Less all but one unit of the bias."""
    bias = np.float32(2.0**exponent * (1 + 2.0**-23))
    tensors = {"x": bf16(np.full((3, 1), 2.0**-50)), "w": bf16(np.full((5, 1), -(2.0 ** (exponent + 50))))}
    check(matmul(3, 1, 5), 0, "fp32", bias=np.full(5, bias), **tensors)


# What the guard is there for, among numbers that it lets through: in x, in w and in the bias.
ODD = [2.0**-127, -(2.0**-133), 2.0**64, -(2.0**127), np.inf, -np.inf, np.nan, 0.0, -0.0]
ODD_BIASES = [2.0**-104, 2.0**-149, np.inf, -np.inf, np.nan, 0.0, -0.0]


@with_dot
@pytest.mark.parametrize("place", ["x", "w", "bias"])
def test_a_number_that_does_not_fit(dot: bool, place: str) -> None:
    rng = np.random.default_rng(4)
    for odd in ODD_BIASES if place == "bias" else ODD:
        tensors = {"x": rng.integers(-9, 9, (30, 7)), "w": rng.integers(-9, 9, (35, 7)), "bias": np.ones(35)}
        tensors[place] = tensors[place].astype(np.float64)
        tensors[place][(-1,) * tensors[place].ndim] = odd
        bias = tensors.pop("bias").astype(np.float32)
        check(matmul(30, 7, 35), 0, "fp32", bias=bias, **{name: bf16(values) for name, values in tensors.items()})


@with_dot
def test_zeros_keep_their_signs(dot: bool) -> None:
    """Of products and biases, behind which nothing is added for what an odd K lacks."""
    for k in (1, 2, 3):
        signs = np.array([0.0, -0.0, 1.0, -1.0])
        x = bf16(np.stack(np.meshgrid(*[signs] * k), -1).reshape(-1, k))
        for bias in (0.0, -0.0):
            check(matmul(len(x), k, len(x)), 0, "fp32", x=x, w=x, bias=np.full(len(x), bias, np.float32))


@st.composite
def factors(draw: st.DrawFn, count: int, exponents: st.SearchStrategy[int]) -> np.ndarray:
    """Draw bits of bf16 that lie between two powers of two, but for some that may be anything."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = draw(exponents)
    exponent = rng.integers(low, min(low + draw(st.integers(1, 30)), 127), count) + 127
    bits = exponent << 7 | rng.integers(0, 128, count) | rng.integers(0, 2, count) << 15
    bits = np.where(rng.random(count) < draw(st.sampled_from((0, 0.2))), rng.choice([0, 0x8000]), bits)
    strange = rng.random(count) < draw(st.sampled_from((0, 0, 0, 0.01)))
    return np.where(strange, rng.integers(0, 2**16, count), bits).astype(np.uint16)


@with_dot
def test_any_numbers(dot: bool) -> None:
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.data(), st.integers(1, 70), st.integers(1, 90), st.integers(1, 70), st.sampled_from((BF16, BF16, I8)))
    def compare(data: st.DataObject, rows: int, k: int, columns: int, kind: DType) -> None:
        of_x = data.draw(st.integers(-126, 66))
        # Around the border, or anywhere; i8 begin with 2**0.
        of_w = st.one_of(st.integers(-2, 2).map(lambda d: min(max(LEAST - of_x + d, -126), 100)), st.integers(-126, 70))
        least = st.just(LEAST + data.draw(st.integers(-1, 1))) if kind == I8 else st.just(of_x)
        tensors = {"x": data.draw(factors(rows * k, least))}
        if kind == BF16:
            tensors["w"] = data.draw(factors(columns * k, of_w))
        if data.draw(st.booleans()):
            tensors["bias"] = np.ldexp(np.ones(columns, np.float32), data.draw(st.integers(-106, 127)))
        instruction = matmul(rows, k, columns, kind, data.draw(st.integers(0, 1)), data.draw(st.booleans()))
        if instruction.operand("bias") is None:
            tensors.pop("bias", None)
        check(instruction, data.draw(st.integers(0, 99)), "fp32", **tensors)

    compare()


@with_dot
def test_patches(dot: bool) -> None:
    """Of depths that begin runs in the middle of a pair, in groups, with padding."""
    rng = np.random.default_rng(1)
    for depth, groups, kernel in ((1, 1, 3), (3, 2, 3), (8, 1, 2), (5, 3, 1)):
        taken: dict[str, int] = {}
        x = slot("lm", BF16, (2, 7, 9, depth * groups), taken)
        w = slot("lm", BF16, (11 * groups, kernel, kernel, depth), taken)
        size = tuple(n + 2 - kernel + 1 for n in (7, 9))
        instruction = build(
            "conv", x=x, w=w, out=slot("lm", F32, (2, *size, 11 * groups), taken), groups=groups, pad=1, stride=1
        )
        drawn = partial(rng.normal, 0, 1)
        tensors = {name: drawn(one.shape).astype(ml_dtypes.bfloat16) for name, one in (("x", x), ("w", w))}
        check(instruction, 1, "fp32", **tensors)


def test_the_instruction_is_what_runs() -> None:
    """Where a panel says of itself that its numbers are large, a subnormal sum is lost."""
    if not has_dot():
        pytest.skip("this host has no vdpbf16ps, or not in the form that is chosen")
    x, w = one_unit(LEAST - 1, 2, 0)
    instruction = matmul(3, 2, 1, bias=False)
    row = linked_row(instruction)
    arena = np.zeros(4096, np.uint8)
    for name, values in (("x", np.tile(x, (3, 1))), ("w", w)):
        operand = instruction.operand(name)
        assert operand is not None
        arena[operand.address : operand.address + operand.bytes] = bf16(values).ravel().view(np.uint8)
    out = instruction.operands[0]
    assert out is not None
    compile_all(packing_jobs([key_of(instruction)]))
    row[Call.PACKED_W] = 1024
    pack_float_right(arena, row, 0, arena, 1024)
    for forged, expected in ((False, 2.0**-127), (True, 0)):
        if forged:
            arena[1024 + float_panels_bytes.py_func(1, 2, 1) - 64 :].view(np.int32)[0] = 0
        kernel_of(instruction)(arena, row)
        assert (arena[out.address : out.address + out.bytes].view(np.float32) == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_form(form: str) -> None:
    if form not in possible_forms():
        pytest.skip("this host has no such instructions")
    result = in_form(form, f"import pytest; raise SystemExit(pytest.main(['-q', '-k', 'not each_form', {__file__!r}]))")
    assert result.returncode == 0, result.stdout + result.stderr
