"""A pruned layer, its weights dense and compressed: the same results, from fewer bytes."""

from pathlib import Path

import numpy as np
import pytest

import ratel
from isa.object_file import from_bytes, to_bytes
from isa.program import memory_needs

TEXT = """
.chip edge
.input  x i8[1, 8, 8, 32] scale=0.05
.weight w i8[32, 3, 3, 32]FORM scale=0.01 = "w.npy"
.output y i8[1, 8, 8, 32] scale=0.2
conv y, x, w, pad=1, relu
end
"""


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, ratel.Program]:
    rng = np.random.default_rng(5)
    w = rng.integers(-128, 128, (32, 3, 3, 32)).astype(np.int8)
    w[rng.random(w.shape) < 0.8] = 0
    np.save(tmp_path / "w.npy", w)
    path = tmp_path / "layer.npu"
    return {form: ratel.assemble(TEXT.replace("FORM", form), path) for form in ("", " compressed")}


def test_results_are_those_of_the_dense_form_and_bytes_are_saved(forms: dict[str, ratel.Program]) -> None:
    x = np.random.default_rng(6).integers(-128, 128, (1, 8, 8, 32)).astype(np.int8)
    dense, small = (ratel.run(program, {"x": x}) for program in forms.values())
    assert np.array_equal(dense.outputs["y"], small.outputs["y"])
    whole, held = 32 * 9 * 32, forms[" compressed"].cores[0].symbol("w").stored
    assert whole // 8 + whole * 0.15 < held < whole // 8 + whole * 0.25
    needs = [memory_needs(program.cores[0])["lm"] for program in forms.values()]
    assert needs[0] - needs[1] >= whole - held - 256
    timelines = [ratel.time(program) for program in forms.values()]
    assert timelines[0].setup - timelines[1].setup == whole // 2 - -(-held // 2)
    read = [timeline.costs[0][0].read for timeline in timelines]
    assert read == [2048 + whole, 2048 + held]


def test_it_goes_through_text_and_object_file(forms: dict[str, ratel.Program]) -> None:
    program = forms[" compressed"]
    assert from_bytes(to_bytes(program)) == program
    text = ratel.disassemble(program)
    assert "compressed" in text
    again = ratel.assemble(text)
    assert (again.cores[0].code, again.cores[0].segments) == (program.cores[0].code, program.cores[0].segments)


def test_nothing_may_write_it(forms: dict[str, ratel.Program], tmp_path: Path) -> None:
    text = TEXT.replace("FORM", " compressed").replace("end", ".local t i8[64] at w\nfill t, value=1\nend")
    program = ratel.assemble(text, tmp_path / "layer.npu")
    with pytest.raises(ratel.Trap, match="where a compressed weight lies") as caught:
        ratel.time(program)
    assert caught.value.line == 8 and caught.value.core == 0
