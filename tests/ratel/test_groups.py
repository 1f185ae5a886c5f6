"""Weights in groups: as text and from Python, as they lie and by buffers in turns, and as others expand them."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ratel
from isa.grouped import FORMS, ungroup
from isa.object_file import from_bytes, to_bytes
from ratel import quantise


def special(form: str, shape: tuple[int, int]) -> np.ndarray:
    """Return blocks of any bytes: infinities, NaN, negative and subnormal scales among them."""
    return np.random.default_rng(len(form)).integers(0, 256, FORMS[form].stored_bytes(shape), np.uint8)


@pytest.mark.parametrize("form", FORMS)
def test_results_are_those_of_the_dense_form(form: str) -> None:
    """One row, a block of rows, columns that fill no panel, sums that are resumed; groups along k and along n."""
    rng = np.random.default_rng(3)
    for dtype, host in (("f16", np.float16), ("bf16", ml_dtypes.bfloat16)):
        for rows, shape, transpose in ((1, (70, 384), True), (19, (33, 128), True), (3, (40, 128), False)):
            blocks = special(form, shape)
            dense = ungroup(blocks, form, dtype, shape)
            columns, k = shape if transpose else shape[::-1]
            x = rng.normal(0, 1, (rows, k)).astype(host)
            found = []
            for stored in (blocks, dense):
                b = ratel.Builder(chip="edge")
                w = b.weight("w", stored, dtype, shape, stored=form if stored is blocks else None)
                y = b.output("y", "f32", (rows, columns))
                b.matmul(y, b.input("x", dtype, x.shape), w, transpose_w=transpose)
                found.append(ratel.run(b.build(), {"x": x}, threads=2 if rows == 1 else 1).outputs["y"].view(np.uint32))
            assert np.array_equal(*found), (dtype, rows, shape, transpose)


TEXT = """
.chip zhenwu810e
.input  x f16[1, 64] scale=1
.weight w u8[3, 1280] in dev = "w.npy"
.local  held u8[2, 1280]
.local  v f16[2, 32, 64] stored=q4m_32 at held
.output y f32[3, 1, 32]
loop i, 3
    load held[i % 2], w[i]
    matmul y[i], x, v[i % 2], transpose_w
brnz i
end
""".replace(" scale=1", "")


def test_blocks_are_moved_as_bytes_and_multiplied_in_turns(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    w, x = rng.normal(0, 1, (3, 32, 64)), rng.normal(0, 1, (1, 64)).astype(np.float16)
    blocks = quantise.groups(w, "q4m_32").reshape(3, -1)
    np.save(tmp_path / "w.npy", blocks)
    program = ratel.assemble(TEXT, tmp_path / "p.npu")
    assert ratel.check(program).passed
    dense = ungroup(blocks, "q4m_32", "f16", w.shape).astype(np.float32)
    sums = np.zeros((3, 1, 32), np.float32)
    for k in range(64):
        # A product of two f16 is exact in binary32.
        sums = (np.float64(x[0, k]) * dense[:, None, :, k] + sums).astype(np.float32)
    assert np.array_equal(ratel.run(program, {"x": x}).outputs["y"], sums)
    assert from_bytes(to_bytes(program)) == program
    again = ratel.assemble(ratel.disassemble(program))
    assert again.cores[0].code == program.cores[0].code and again.cores[0].symbols == program.cores[0].symbols


def test_fewer_bytes_are_read() -> None:
    costs, zeros = [], np.zeros((256, 256), np.float16)
    for data, stored in ((zeros, None), (quantise.groups(zeros, "q4_128"), "q4_128")):
        b = ratel.Builder(chip="zhenwu810e")
        w, y = b.weight("w", data, "f16", zeros.shape, stored=stored), b.output("y", "f16", (1, 256))
        b.matmul(y, b.input("x", "f16", (1, 256)), w, transpose_w=True)
        costs.append(ratel.time(b.build()).costs[0][0])
    assert costs[0].read - costs[1].read == 256 * (512 - 132)
    assert "weight expansion" in dict(costs[1].demands)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (".weight w f16[4, 48] stored=q4_32 = none", "groups of 32 do not divide"),
        (".weight w i8[4, 64] stored=q4_32 = none", "expected a .weight or a .local of type f16 or bf16"),
        (".input w f16[4, 64] stored=q4_32", "expected a .weight or a .local"),
        (".weight w f16[4, 64] stored=q5_32 = none", "q5_32"),
        (".weight w f16[4, 64] stored=q4_32 = [1, 2]", "144"),
    ],
)
def test_what_is_wrong_is_said(line: str, message: str) -> None:
    with pytest.raises(ratel.AssemblyError, match=message.replace(".", r"\.")):
        ratel.assemble(f".chip edge\n{line}\nend\n")


def test_slices_take_whole_rows() -> None:
    text = ".chip edge\n.input x f16[1, 64]\n.output y f32[1, 8]\n.weight w f16[32, 64] stored=q4_32 = 0\n"
    program = ratel.assemble(f"{text}matmul y, x, w[8:16], transpose_w\nend\n")
    w = program.cores[0].code[0].operand("w")
    assert w and (w.address - program.cores[0].symbol("w").address, w.stored) == (8 * 36, 8 * 36)
    with pytest.raises(ratel.AssemblyError, match="innermost dimension whole"):
        ratel.assemble(f"{text}matmul y, x[:, :32], w[8:16, :32], transpose_w\nend\n")
    with pytest.raises(ratel.AssemblyError, match="used whole, as they follow each other"):
        ratel.assemble(f"{text}matmul y, x, w[0:16:2], transpose_w\nend\n")


@pytest.mark.parametrize("form", FORMS)
def test_floats_come_back_within_half_a_step(form: str) -> None:
    rng, held = np.random.default_rng(6), FORMS[form]
    values = rng.normal(0, 1, (16, 256)).astype(np.float32)
    values[3] = 0
    found = ungroup(quantise.groups(values, form), form, "bf16" if held.is_mx else "f16", values.shape)
    by_group = values.reshape(-1, held.group)
    error = np.abs(found.astype(np.float32).reshape(by_group.shape) - by_group).max(axis=1)
    size, span = np.abs(by_group).max(axis=1), np.ptp(by_group, axis=1)
    if held.is_mx:
        # What saturates is less than the greatest number by an eighth, and by a third.
        assert (error <= size / (7 if held.bits == 8 else 3)).all()
    else:
        step = span / (2**held.bits - 1) if held.has_min else size / (2 ** (held.bits - 1) - 1)
        assert (error <= step * 0.51 + size * 2**-10).all()


@pytest.mark.parametrize(
    ("values", "form", "message"),
    [
        (np.zeros((2, 48), np.float32), "q4_32", "do not divide"),
        (np.full((1, 32), np.nan, np.float32), "q8_32", "not all finite"),
        (np.full((1, 32), 1e9, np.float32), "q8_32", "beyond f16"),
        (np.zeros((1, 32), np.int32), "q8_32", "no floats"),
        (np.zeros((1, 32), np.float32), "q4_23", "no form of groups"),
    ],
)
def test_what_has_no_groups_is_refused(values: np.ndarray, form: str, message: str) -> None:
    with pytest.raises(ratel.InputError, match=message):
        quantise.groups(values, form)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(18, np.uint8), "q4_32", "f16", (2, 32)), "18 bytes are no blocks of q4_32"),
        ((np.zeros(18, np.uint8), "q4_32", "f32", (1, 32)), "no type that groups expand to"),
        ((np.zeros(18, np.uint8), "q4_32", "f16", (1, 33)), "do not divide"),
    ],
)
def test_what_are_no_blocks_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ratel.InputError, match=message):
        quantise.ungrouped(*arguments)
