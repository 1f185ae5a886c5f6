"""Every kernel against its reference, bit for bit, over the whole memory that both were given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.kernels import KERNELS
from emulator.plan import flat_row
from isa import reference
from isa.dtypes import F32, I32, DType
from isa.formats import FRACTION_BITS
from isa.instruction import Instruction
from isa.operand import MEMORIES
from isa.table import ENGINES, ROWS
from isa.verify import check_instruction
from tests.strategies import instructions

MNEMONICS = [row.mnemonic for row in ROWS if row.engine in ENGINES]
# Bytes around each memory that no instruction may touch.
CANARY = 512
NO_COUNTERS = (0,) * 8

SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38, 1.1754944e-38, 3.4028235e38, -3.4028235e38]
    + [1e38, 2.0**-126, 2.0**-130, 0.5, -0.5, 1.5, 2.5, 126.5, 127.5, -128.5, 1.0, 2.0**24 + 2, 103.97, -87.5, 0.35],
    np.float32,
)


def floats(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return float32 of one kind: ordinary, powers of two (for ties), extreme, special, or any bits at all."""
    kind = rng.choice(["ordinary", "powers", "halves", "extreme", "special", "bits"], p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])
    if kind == "ordinary":
        return rng.normal(0, 10.0 ** rng.integers(-3, 3), count).astype(np.float32)
    if kind == "powers":
        return np.ldexp(rng.choice([-1.0, 1.0], count), rng.integers(-12, 4, count)).astype(np.float32)
    if kind == "halves":
        return (rng.integers(-600, 600, count) / 2).astype(np.float32)
    if kind == "extreme":
        return np.ldexp(rng.normal(0, 1, count), rng.integers(-149, 127, count)).astype(np.float32)
    if kind == "special":
        return rng.choice(SPECIAL, count)
    return rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


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
    low, high = [(-128, 128), (-128, -120), (120, 128)][rng.choice(3, p=[0.8, 0.1, 0.1])]
    return rng.integers(low, high, count).astype(np.int8)


def check(instruction: Instruction, seed: int, vector_format: str) -> None:
    """Run an instruction on noise by kernel and by reference, and compare every byte of memory."""
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
    for _, operand in instruction.accesses():
        (low, high), start = operand.extent((1,)), bases[operand.memory]
        arena[start + low : start + high] = data(rng, operand.dtype, (high - low) // operand.dtype.bytes).view(np.uint8)
    expected = arena.copy()
    memories = {memory: expected[bases[memory] : bases[memory] + sizes[memory]] for memory in MEMORIES}
    reference.apply(instruction, memories, NO_COUNTERS, {"te": vector_format, "pe": vector_format})
    KERNELS[instruction.opcode](arena, flat_row(instruction, bases, FRACTION_BITS[vector_format]))
    wrong = np.flatnonzero(arena != expected)
    assert not len(wrong), f"{len(wrong)} bytes differ, first at {wrong[0]} of {bases}, {sizes}"


seeds = st.integers(0, 2**32 - 1)
formats = st.sampled_from(("fp32", "fp32", "fp24", "fp19"))


@pytest.mark.parametrize("mnemonic", MNEMONICS)
def test_kernel_is_reference(mnemonic: str) -> None:
    @settings(max_examples=250, deadline=None, database=None)
    @given(instructions(mnemonic), seeds, formats)
    def compare(instruction: Instruction, seed: int, vector_format: str) -> None:
        check(instruction, seed, vector_format)

    compare()
