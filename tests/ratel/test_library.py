"""The library of compositions that comes with the package: how it is included, and what its macros compute."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import ratel
from assembler.files import LIBRARY
from assembler.syntax.format import format_text
from emulator.jit.cache import ROOT
from isa.object_file import from_bytes, to_bytes
from ratel.show.explained import sources

f32 = np.float32
SOFTMAX = ".chip zhenwu810e\n.include <llm.npu>\n.input x f32[2, 5]\n.output y f32[2, 5]\n.local row f32[2, 1]\n"
SOFTMAX += "softmax y, x, row\nend\n"


def run(text: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return ratel.run(ratel.assemble(f".chip zhenwu810e\n.include <llm.npu>\n{text}\nend\n"), inputs).outputs


def drawn(*shape: int, dtype: type = np.float16, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(dtype)


def test_lines_are_those_of_the_file_whatever_the_programs_folder(tmp_path: Path) -> None:
    (tmp_path / "<llm.npu>").write_text(".macro softmax y, x, row\ncopy y, x\n.endmacro\n")
    (tmp_path / "net.npu").write_text(SOFTMAX)
    program = ratel.assemble(SOFTMAX, tmp_path / "net.npu")
    lines = (LIBRARY / "llm.npu").read_text().split("\n")
    inside = [line for line in program.cores[0].lines if line.file == "<llm.npu>"]
    assert len(inside) == 5 and all(lines[line.number - 1].strip() == line.text for line in inside)
    assert [file for file, _ in program.sources] == ["<llm.npu>", "net.npu"]
    assert sources(str(tmp_path / "net.npu"), program)["<llm.npu>"] == lines[:-1]
    assert from_bytes(to_bytes(program)) == program
    assert ratel.assemble(ratel.disassemble(program)).cores[0].code == program.cores[0].code


def test_it_is_formatted_and_in_the_wheel() -> None:
    assert format_text(SOFTMAX) == SOFTMAX
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["assembler"]
    for path in LIBRARY.iterdir():
        assert format_text(path.read_text()) == path.read_text() and path.match(f"assembler/{packed[0]}")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (".include <lm.npu>", "E501", "what comes is <llm.npu>"),
        (".include <../library/llm.npu>", "E501", "what comes is <llm.npu>"),
        (".include <llm.npu", "E101", "or <FILE.npu>"),
        (".include llm.npu", "E101", "or <FILE.npu>"),
        (".include <llm.npu>\n.include <llm.npu>", "E202", "choose another name"),
    ],
)
def test_what_is_no_file_of_the_package_is_told(line: str, code: str, words: str) -> None:
    with pytest.raises(ratel.AssemblyError) as caught:
        ratel.assemble(f"{line}\nend\n")
    assert caught.value.diagnostics[0].code == code and words in str(caught.value)


def test_from_python_a_macro_is_a_method() -> None:
    b = ratel.Builder("net", "zhenwu810e")
    llm = b.include("<llm.npu>")
    x, y, row = b.input("x", "f32", (2, 5)), b.output("y", "f32", (2, 5)), b.local("row", "f32", (2, 1))
    assert llm.softmax(y, x, row=row) is y and b.include("<llm.npu>") is llm and "softmax" in dir(llm)
    program = b.build()
    assert "softmax y, x, row=row" in b.text() and program.cores[0].code == ratel.assemble(SOFTMAX).cores[0].code
    assert {line.file for line in program.cores[0].lines} == {"<llm.npu>", "test_library.py"}
    with pytest.raises(ratel.AssemblyError, match="did you mean `softmax`"):
        llm.sofmax(y, x, row)
    for wrong in ("llm.npu", ["<llm.npu>"]):
        with pytest.raises(ratel.AssemblyError, match=r"what comes is <llm.npu>"):
            b.include(wrong)  # type: ignore[arg-type]
    llm.softmax(y, x, b.local("wrong", "f32", (3, 1)))
    with pytest.raises(ratel.AssemblyError, match=r"`softmax`, called here\n +--> test_library.py") as caught:
        b.build()
    assert caught.value.diagnostics[0].place.file == "<llm.npu>"


def test_norms_of_rows_and_of_one() -> None:
    tensors = """
.input x f16[2, 64]
.input gain f32[64]
.const mean f32[1] = 0.015625
.const epsilon f32[1] = 1e-5
.weight given f32[64] = 1.5
.local gains f32[64] in cb
.local row f32[2, 1]
.output plain f16[2, 64]
.output scaled f16[2, 64]
.output one f16[2, 64]
load gains, given
rms_norm plain, x, row, mean, epsilon
rms_norm scaled, x, row, mean, epsilon, gains
rms_norm_of_one one[:1], x[:1], row[:1], mean, epsilon
rms_norm_of_one one[1:], x[1:], row[1:], mean, epsilon
"""
    tensors = tensors.replace(".input gain f32[64]\n", "").replace("given f32[64] =", "given f32[64] in dev =")
    x = drawn(2, 64)
    found = run(tensors, x=x)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5)
    assert np.allclose(found["plain"], expected, rtol=1e-3) and np.array_equal(found["one"], found["plain"])
    assert np.allclose(found["scaled"], expected * 1.5, rtol=1e-3)


# Heads of one token and of three before it: two groups, of two heads of queries each, that share keys and values.
CACHED = """
.tasks 4
.input given f16[6, 8]
.input value f16[2, 8]
.weight cosine f32[4, 4] = "cosine.npy"
.weight sine f32[4, 4] = "sine.npy"
.const root f32[1] = 0.35355339
.local keys f16[1, 2, CONTEXT, 8]
.local values f16[1, 2, CONTEXT, 8]
.local q f16[4, 8]
.local queries f16[2, 2, 8] at q
.local scores f32[2, 2, 4]
.local shares f16[2, 2, 4]
.local row f32[2, 2, 1]
.local ahead f32[8]
.output y f16[2, 2, 8]
rotary q, keys[0, :, task % 4], given[:4], given[4:], cosine[task % 4], sine[task % 4], PAIRS
copy values[0, :, task % 4], value
"""
GROWING = (
    CACHED.replace("CONTEXT", "4") + "cached_attention y, queries, keys, values, 0, task % 4, root, scores, shares, row"
)
PADDED = f"""{CACHED.replace("CONTEXT", "8")}
fill keys[0, :, task % 4 + 1 : task % 4 + 5], value=0
fill values[0, :, task % 4 + 1 : task % 4 + 5], value=0
causal_mask ahead, 4
attention y, queries, keys[0, :, :4], values[0, :, :4], root, scores, shares, row, ahead[3 - task % 4 : +4]
"""


@pytest.mark.parametrize("pairs", ["halves", "interleaved"])
def test_attention_of_a_cache_that_grows_and_of_one_that_is_masked(pairs: str, tmp_path: Path) -> None:
    turn = np.outer(np.arange(4), 100.0 ** -np.arange(0, 1, 0.25))
    for name, table in (("cosine", np.cos(turn)), ("sine", np.sin(turn))):
        np.save(tmp_path / f"{name}.npy", table.astype(f32))
    inputs = {"given": drawn(4, 6, 8), "value": drawn(4, 2, 8, seed=2)}
    begin = ".chip zhenwu810e\n.include <llm.npu>\n"
    growing, padded = (
        ratel.run(ratel.assemble(f"{begin}{text.replace('PAIRS', pairs)}\nend\n", tmp_path / "p.npu"), inputs)
        for text in (GROWING, PADDED)
    )
    assert np.array_equal(growing.outputs["y"], padded.outputs["y"])
    wide = inputs["given"].astype(np.float64)
    a, b = (wide[..., :4], wide[..., 4:]) if pairs == "halves" else (wide[..., ::2], wide[..., 1::2])
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    turned = np.concatenate([a * c - b * s, b * c + a * s], -1)
    q, keys, values = turned[3, :4].reshape(2, 2, 8), turned[:, 4:].swapaxes(0, 1), inputs["value"].swapaxes(0, 1)
    weights = np.exp(q @ keys.swapaxes(1, 2) * 8**-0.5)
    expected = weights / weights.sum(-1, keepdims=True) @ values.astype(np.float64)
    assert np.allclose(growing.outputs["y"][3], expected, atol=4e-3)


def test_gated_units() -> None:
    tensors = """
.input x f16[3, 16]
.input gate_w f16[24, 16]
.input up_w f16[24, 16]
.local gate f16[3, 24]
.local up f16[3, 24]
.output y f16[3, 24]
.output apart f16[3, 24]
swiglu y, x, gate_w, up_w, gate
matmul gate, x, gate_w, transpose_w
matmul up, x, up_w, transpose_w
silu_gate apart, gate, up, gate
"""
    given = {"x": drawn(3, 16), "gate_w": drawn(24, 16, seed=2), "up_w": drawn(24, 16, seed=3)}
    found = run(tensors, **given)
    x, gate_w, up_w = (value.astype(np.float64) for value in given.values())
    gate = x @ gate_w.T
    expected = gate / (1 + np.exp(-gate)) * (x @ up_w.T)
    assert np.allclose(found["y"], expected, rtol=4e-3, atol=1e-3)
    assert np.allclose(found["apart"], expected, rtol=4e-3, atol=1e-3)


def test_what_was_said_is_fed_back() -> None:
    tensors = """
.tasks 4
.input given i32[1, 1]
.input is_given i32[1]
.local said i32[5, 1, 1]
.local both i32[2, 1]
.input table f16[8, 8]
.output token i32[1, 1]
.local at_token i32[1] at token
.local likely f16[1, 8]
fill said[0], value=7
next_token token, said[task % 4], given, is_given, both
gather likely, table, at_token
reduce said[task % 4 + 1], likely, argmax
"""
    given = {
        "given": np.array([2, 0, 0, 5], np.int32)[:, None, None],
        "is_given": np.array([[1], [0], [0], [1]], np.int32),
        "table": np.tile(np.eye(8, k=3, dtype=np.float16) + np.eye(8, k=-5, dtype=np.float16), (4, 1, 1)),
    }
    assert run(tensors, **given)["token"].ravel().tolist() == [2, 5, 0, 5]


def test_rows_of_8_bits_by_weights_of_8_bits() -> None:
    """Quantised on the chip as NumPy does in float32; sums of products of integers are exact."""
    tensors = """
.input x f16[3, 40]
.input w i8[24, 40]
.input given f32[24] in dev
.const part f32[1] = 0.007874016
.local scales f32[24] in cb
.output q i8[3, 40]
.output step f32[3, 1]
.output y f32[3, 24]
load scales, given
quantise_rows q, step, x, part
product_8bit y, q, step, w, scales
"""
    x = drawn(3, 40)
    x[1], x[2, 3] = 0, 60
    w = ratel.quantise.weights(drawn(24, 40, dtype=f32, seed=2))
    found = run(tensors, x=x, w=w.values, given=w.scale)
    step = np.abs(x).max(1, keepdims=True).astype(f32) * f32(0.007874016)
    with np.errstate(invalid="ignore"):
        q = np.rint(x.astype(f32) / step)
    q = np.where(np.isnan(q), 0, q).astype(np.int64)
    assert np.array_equal(found["step"], step)
    assert np.array_equal(found["q"][[0, 2]], q[[0, 2]]) and not found["y"][1].any()
    exact = q @ w.values.astype(np.int64).T
    assert np.array_equal(found["y"], exact.astype(f32) * w.scale * step)
    close = x.astype(np.float64) @ (w.values * w.scale.astype(np.float64)[:, None]).T
    assert np.abs(found["y"] - close).max(1)[2] <= 0.5 * step[2, 0] * np.abs(w.values * w.scale[:, None]).sum(1).max()
