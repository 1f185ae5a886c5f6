"""Slices and the affine expressions in them: what address each iteration sees."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.dtypes import I8, I32
from isa.operand import Operand, Term, dense
from tests.assembler.sources import code_of, diagnostics_of


def operand_of(index: str, shape: str = "i8[64, 8]", loops: tuple[int, ...] = (4, 3)) -> Operand:
    """Return the operand that `t[index]` is inside of loops i, j."""
    opens = "\n".join(f"loop {name}, {count}" for name, count in zip("ij", loops, strict=False))
    closes = "\n".join(f"brnz {name}" for name in reversed("ij"[: len(loops)]))
    code = code_of(f".local before i8[256]\n.local t {shape}\n{opens}\nfill t[{index}]\n{closes}")
    operand = code[len(loops)].operands[0]
    assert operand is not None
    return operand


@pytest.mark.parametrize(
    ("index", "address", "shape", "strides", "terms"),
    [
        ("0:64", 0, (64, 8), (8, 1), ()),
        (":", 0, (64, 8), (8, 1), ()),
        ("5", 40, (8,), (1,), ()),
        ("5, :", 40, (8,), (1,), ()),
        (":, 5", 5, (64,), (8,), ()),
        ("5 : +1", 40, (1, 8), (8, 1), ()),
        ("8:24, 2:6", 66, (16, 4), (8, 1), ()),
        ("::2", 0, (32, 8), (16, 1), ()),
        ("1:8:3, ::4", 8, (3, 2), (24, 4), ()),
        (": +5 : 2", 0, (3, 8), (16, 1), ()),
        ("::-1", 504, (64, 8), (-8, 1), ()),
        ("2:7:-2, ::-3", 55, (3, 3), (-16, -3), ()),
        ("i*16 : +16 : -1", 120, (16, 8), (-8, 1), (Term(1, 0, 128),)),
        ("60:", 480, (4, 8), (8, 1), ()),
        (":4", 0, (4, 8), (8, 1), ()),
        ("i*16 : +16", 0, (16, 8), (8, 1), (Term(1, 0, 128),)),
        ("i*16 : i*16 + 16", 0, (16, 8), (8, 1), (Term(1, 0, 128),)),
        ("i", 0, (8,), (1,), (Term(1, 0, 8),)),
        ("i % 2", 0, (8,), (1,), (Term(1, 2, 8),)),
        ("1 - i % 2", 8, (8,), (1,), (Term(1, 2, -8),)),
        ("(i + 1) % 2", 8, (8,), (1,), (Term(1, 2, -8),)),
        ("(i + 2) % 2", 0, (8,), (1,), (Term(1, 2, 8),)),
        ("(i + 3*j) % 3", 0, (8,), (1,), (Term(1, 3, 8),)),
        ("(4*i + 3) % 2", 8, (8,), (1,), ()),
        ("i % 1", 0, (8,), (1,), ()),
        ("(i*4 + j)*4 + 3", 24, (8,), (1,), (Term(1, 0, 128), Term(2, 0, 32))),
        ("3*i - i*3 + 2", 16, (8,), (1,), ()),
        ("i, j*2 : +2", 0, (2,), (1,), (Term(1, 0, 8), Term(2, 0, 2))),
        ("i*8 + i % 2", 0, (8,), (1,), (Term(1, 0, 64), Term(1, 2, 8))),
        ("-(-i)", 0, (8,), (1,), (Term(1, 0, 8),)),
        ("7 // 2 + 7 % 4", 48, (8,), (1,), ()),
        ("task % 2", 0, (8,), (1,), (Term(0, 2, 8),)),
    ],
)
def test_slices(
    index: str, address: int, shape: tuple[int, ...], strides: tuple[int, ...], terms: tuple[Term, ...]
) -> None:
    assert operand_of(index) == Operand("lm", 256 + address, I8, shape, strides, terms)


def test_elements_of_four_bytes_scale_addresses_but_not_strides() -> None:
    taken = operand_of("i*2 : +2, 4:8", "i32[16, 8]")
    assert taken == Operand("lm", 256 + 16, I32, (2, 4), (8, 1), (Term(1, 0, 64),))


def test_five_dimensions_lose_one() -> None:
    taken = operand_of("i % 2, :, 0:1", "i8[2, 3, 4, 5, 6]")
    assert taken == Operand("lm", 256, I8, (3, 1, 5, 6), (120, 30, 6, 1), (Term(1, 2, 360),))


def test_raw_operand() -> None:
    instruction = code_of("loop i, 4\nfill i8[2, 3] in lm at 0x40 + (i % 2)*8 - i strides [-4, 1]\nbrnz i")[1]
    assert instruction.operands[0] == Operand("lm", 64, I8, (2, 3), (-4, 1), (Term(1, 0, -1), Term(1, 2, 8)))


@given(st.data())
def test_every_iteration_sees_what_the_index_says(data: st.DataObject) -> None:
    """Addresses against NumPy's own slicing, over the values of the counters."""
    counts = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    a, b, c = (data.draw(st.integers(0, 3)) for _ in range(3))
    length, step = data.draw(st.integers(1, 5)), data.draw(st.sampled_from((1, 2, 3, -1, -2, -3)))
    modulus = data.draw(st.sampled_from((0, 2, 3)))
    counter = f"(j % {modulus})" if modulus else "j"
    taken = operand_of(f"{a}*i + {counter}*{b} + {c} : +{length} : {step}, i : +3", "i8[64, 8]", counts)
    memory = np.arange(64 * 8).reshape(64, 8)
    rows, columns = (np.arange(size) * stride for size, stride in zip(taken.shape, taken.strides, strict=True))
    for i in range(counts[0]):
        for j in range(counts[1]):
            start = a * i + (j % modulus if modulus else j) * b + c
            address = taken.address_at((0, i, j)) - 256
            expected = memory[start : start + length][:: 1 if step > 0 else -1][:: abs(step), i : i + 3]
            assert (address + rows[:, None] + columns == expected).all()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("0x40", 64),
        ("0X4_0", 64),
        ("1_000", 1000),
        ("4K", 4096),
        ("2M", 2 * 2**20),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2*3 + 4", 10),
        ("2 + 3*4", 14),
        ("(2 + 3)*4", 20),
        ("10 - 3 - 2", 5),
        ("100 // 7 % 5", 4),
        ("-2*3", -6),
        ("2*-3", -6),
        ("8 / 2 * 1", 4.0),
    ],
)
def test_constants(text: str, value: float) -> None:
    (instruction,) = code_of(f".local t f32[4]\n.equ V = {text}\nfill t, value=V")
    assert instruction.attribute("value") == (float(value),)


def test_counters_live_only_inside_their_loop() -> None:
    text = ".chip edge\n.local t i8[8]\nloop i, 2\nfill t[i : +1]\nbrnz i\nfill t[i : +1]\nend"
    assert [code for code, _ in diagnostics_of(text)] == ["E201"]


@pytest.mark.parametrize("write", [lambda n: "(" * n + "1" + ")" * n, lambda n: "-(" * n + "1" + ")" * n])
def test_deep_brackets(write: Callable[[int], str]) -> None:
    assert diagnostics_of(f".equ A = {write(32)}\nend") == []
    assert [code for code, _ in diagnostics_of(f".equ A = {write(5000)}\nend")] == ["E105"]


def test_long_chains_are_no_deep_trees() -> None:
    assert diagnostics_of(f".equ A = {'+'.join(['1'] * 20000)}\nend") == []


def test_whole_tensor_is_its_symbol() -> None:
    (instruction,) = code_of(".local t i8[64, 8]\nfill t")
    assert instruction.operands[0] == dense("lm", 0, I8, (64, 8))
