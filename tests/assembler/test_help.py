"""How to mend it: what stands beside the caret, and below."""

from pathlib import Path

import numpy as np
import pytest

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, render
from emulator.execute import inputs
from isa.dtypes import E4M3, E5M2

DECLARED = """\
.chip edge
.input  x i8[1, 8, 6, 4]
.input  nchw i8[1, 4, 8, 6]
.output y i8[1, 8, 6, 4]
.local  half i8[1, 4, 3, 4]
.weight w i8[4, 3, 3, 4] = 1
.weight oihw i8[4, 4, 5, 5] = 1
.local  a i8[8, 4]
.weight v i8[8, 4] = 1
.weight w4 i8[4, 4] = 1
"""


def only(text: str, path: Path | None = None) -> Diagnostic:
    """Return the one diagnostic of a text."""
    with pytest.raises(AssemblyError) as caught:
        assemble(text, path)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("eltwise y, x, mish", "exp, reciprocal, rsqrt, hard_sigmoid, hard_swish or sqrt; any other goes by `table=`"),
        ("eltwise y, x, mish=1", "functions are relu, clip, leaky_relu, sigmoid, tanh, gelu, silu, exp, reciprocal, "),
        ("eltwise y, x, rleu", "did you mean `relu`? functions are"),
        ("eltwise y, x, clip=(6, 0)", "write `clip=(CLIP_LOW, CLIP_HIGH)`"),
        ("eltwise y, x, slope=3", "`slope` comes with `leaky_relu=SLOPE` or `hard_sigmoid=(SLOPE, OFFSET)`"),
        ("conv y, x, w", "is `pad=1` missing? it is 0"),
        ("conv half, x, w, pad=1", "is `stride=2` missing? it is 1"),
        ("maxpool half, x, window=2", "is `stride=2` missing? it is 1"),
        ("avgpool half, x, window=(2, 2)", "is `stride=2` missing? it is 1"),
        ("avgpool half, x[:, 0 : +7, 0 : +5], window=2, stride=2", "is `ceil` missing? sizes are rounded down"),
        ("conv y, nchw, w, pad=1", "`x` looks like NCHW; activations are NHWC"),
        ("conv nchw, nchw, w, pad=1", "`x` and `out` look like NCHW; activations are NHWC"),
        ("conv y, x, oihw, pad=2", "`w` looks like OIHW; weights are OHWI"),
        ("matmul w4, a, v", "in this order it would fit: matmul a, v, w4"),
        ("conv y, x, w, pad=same", "padding is given in numbers: with stride 1, a window of 3 keeps the size"),
        ("conv y, x, w, pad=2/2", "`/` gives fractions, whole or not: write `//`"),
        (
            "copy a[5 : 0 : -1], v",
            "a negative step takes a range from its last element on: 0:6:2 is 0 2 4, 0:6:-2 is 5 3 1",
        ),
        ("copy a[0 : 4/2], v[0 : 2]", "`/` gives fractions, whole or not: write `//`"),
        ("matmul a, a, a, transpose_w=false", "a flag stands bare, or is left out"),
        ("copy a(0 : 2), v", "shapes and slices take square brackets: `a[...]`"),
        (".local b i8[4] scale=0,5", "did you mean 0.5?"),
        (".local b i8[4], scale=0.5", "what follows the shape needs spaces only"),
        (".local b i8[4] at c\n.local c i8[4]", "move its declaration up"),
        (".local\N{NO-BREAK SPACE}b i8[4]", "replace it with an ordinary one"),
        (".local b i8[4] at 262142", "the last address that it fits at is 262,140"),
        ("exp y, x", "`exp` goes with an instruction of the tensor engine: eltwise out, x, exp"),
        ("copy core1.y, x", "each core has a section `.core N`"),
        (".weight b i32[4] = 1\nmatmul a, a, w4, bias=b", "declare `b` with `.const`"),
        (".const b f32[4] = 1\nmatmul a, a, w4, bias=b", "`ratel.quantise.bias` makes it of floats; `ew1_bias=` takes"),
        (".local d i8[8, 4] in dev\nmatmul a, d, w4", "which `matmul` does not reach: `load` it into a `.local` first"),
        (".local d i8[8, 4] in dev\nmatmul d, a, w4", "`matmul` does not reach: write a `.local`, and `store` that"),
        ("eltwise a, a, v", "named: add=, sub=, mul=, max=, min=, "),
        ("eltwise a, a, ew2=v", "`ew2` comes with `add=EW2`, `sub=EW2`"),
        ("loop i, 2\ncopy a[i : 4], v[0 : 4]\nbrnz i", "let both ends follow the same counters, as in `i*2 : i*2 + 4`"),
        (".macro m\n.endm", "did you mean `.endmacro`?"),
    ],
)
def test_help_says_how_to_mend_it(line: str, help: str) -> None:
    assert help in only(f"{DECLARED}{line}\nend\n").help


@pytest.mark.parametrize("kind", ["local", "output", "input", "weight"])
def test_no_order_is_proposed_that_would_write_what_is_given(kind: str) -> None:
    data = " = 1" if kind == "weight" else ""
    text = f".chip edge\n.local y i8[4, 4]\n.{kind} x i8[4, 8]{data}\n.local w i8[4, 8]\nmatmul y, x, w\nend\n"
    with pytest.raises(AssemblyError) as caught:
        assemble(text)
    helps = [found.help for found in caught.value.diagnostics]
    assert ("in this order it would fit: matmul x, y, w" in helps) == (kind in ("local", "output"))


def test_a_full_memory_counts_what_is_free_behind_the_last_tensor() -> None:
    found = only(".chip edge\n.local small i8[20]\n.local big i8[300000]\nend\n")
    assert "the widest gap left has 262,124 bytes" in found.help
    assert found.help.endswith("worked on in parts: declare it `in dev` or `in host`, and `load` one at a time")
    both = only(".chip edge\n.local one i8[200000]\n.local other i8[200000]\nend\n")
    assert both.help.endswith("can share a place with `at`")


def test_a_path_given_as_text_is_recognised() -> None:
    for text in ("g.npu", "my programs/g.npu\n"):
        assert "this looks like a file's name" in only(text).help
    assert assemble("end ; as in g.npu").cores[0].code


def test_many_errors_are_not_all_printed() -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble("\n".join(f"copy a{k}" for k in range(30)))
    assert len(caught.value.diagnostics) > 30
    said = str(caught.value)
    assert said.count("error[") == 20
    assert said.endswith(
        f"{len(caught.value.diagnostics)} errors, {len(caught.value.diagnostics) - 20} more than are shown"
    )


@pytest.mark.parametrize(
    ("array", "declaration", "help"),
    [
        (np.array([0.5, 1], "f4"), ".input x i8[2]", "an input with a scale has floats quantised"),
        (np.array([0.5, 1], "f4"), ".weight x i8[2] scale=0.5", "numpy.clip(numpy.rint(x / scale) + zero, -128, 127)"),
        (np.array([0, 200], "u1"), ".weight x i8[2]", "its values, 0 to 200, do not fit i8: -128 to 127"),
        (np.array([-4e9, 2], "f8"), ".const x i32[2]", "its values, -4e+09 to 2, do not fit i32"),
        (np.array([-4, 2], "i8"), ".weight x i8[2]", 'array.astype("int8")'),
        (np.array([-4, 2], "f8"), ".weight x i8[2]", 'array.astype("int8")'),
        (np.array([0.1, 2], "f8"), ".const x f32[2]", 'array.astype("float32")'),
        (np.array([np.nan, 2], "f8"), ".weight x i8[2]", "numpy.rint"),
        (np.array([np.inf, 2], "f8"), ".weight x i8[2]", "do not fit"),
        (np.array(["a", "b"]), ".weight x i8[2]", "expected numbers"),
        (np.array([4, 2], E4M3.numpy), ".weight x f16[2]", 'array.astype("float16")'),
        (np.array([4, 0.5], E5M2.numpy), ".weight x i8[2]", "numpy.rint"),
        (np.array([0.1, 2], "f4"), ".weight x e4m3[2]", "array.astype(ml_dtypes.float8_e4m3fn)"),
    ],
)
def test_conversions_are_named_where_they_lose_nothing(
    tmp_path: Path, array: np.ndarray, declaration: str, help: str
) -> None:
    np.save(tmp_path / "x.npy", array)
    found = only(f'.chip edge\n{declaration} = "x.npy"\nend\n', tmp_path / "p.npu").help
    assert help in found
    assert "astype" in help or "astype" not in found


def test_a_default_of_floats_is_quantised_as_a_run_does_it(tmp_path: Path) -> None:
    values = np.array([[0.25, -0.75, 1e9], [0.3, np.inf, -1e9]])
    for dtype in ("f4", "f8", ">f4"):
        np.save(tmp_path / "x.npy", values.astype(dtype))
        text = '.chip edge\n.input x i8[2, 3] scale=[0.5, 0.1, 1] zero=-3 = "x.npy"\nend\n'
        symbol = assemble(text, tmp_path / "p.npu").cores[0].symbol("x")
        assert symbol.default == inputs.convert(symbol, values.astype(dtype)).tobytes()
        batch = np.stack([values, -values]).astype(dtype)
        np.save(tmp_path / "x.npy", batch)
        symbol = assemble(f".tasks 2\n{text}", tmp_path / "p.npu").cores[0].symbol("x")
        assert symbol.default == inputs.convert(symbol, batch, 2).tobytes()
        with pytest.raises(AssemblyError, match=r'"x.npy" has shape \[2, 2, 3\]'):
            assemble(f".tasks 3\n{text}", tmp_path / "p.npu")


def test_what_is_not_printable_keeps_its_column() -> None:
    found = only("\x00end\n")
    assert found.message == "U+0000 cannot stand here"
    assert render(found).splitlines()[3] == "1 |  end"


def test_a_required_word_is_named() -> None:
    diagnostic = only(DECLARED + "reduce y, x, men\nend\n")
    assert diagnostic.label.startswith("expected sum, mean, max, argmax, min, absmax or sumsq:")
    assert "`mean`" in diagnostic.help
    queue = only(DECLARED + ".semaphore ready\nwait ready, mee\nend\n")
    assert queue.label.startswith("expected te, pe or me:")


def test_a_tensor_of_another_core_is_named() -> None:
    text = ".core 0\n.local t i8[4]\ncopy inbox, t\nend\n.core 1\n.local inbox i8[4]\nfill inbox\nend\n"
    assert only(text).help == "core 1 has one: `core1.inbox`"
