"""Networks: each point is compiled for its chip, with its options."""

from pathlib import Path

import pytest

import ratel

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
DIGITS = Path(__file__).parents[2] / "programs/onnx/digits.onnx"


def test_each_point_is_compiled_for_its_chip() -> None:
    found = ratel.sweep(DIGITS, {"memory.lm": "2K,4K,64K", "batch": "1,2", "te.channels": "4,16"}, "edge", processes=1)
    assert len({row["cycles"] for row in found.rows if not row["error"]}) > 4
    for row in found.rows:
        chip = found.chip(row)
        if row["error"]:
            with pytest.raises(ratel.RatelError):
                ratel.compile(DIGITS, chip, batch=row["batch"])
        else:
            compiled = ratel.compile(DIGITS, chip, batch=row["batch"])
            assert row["cycles"] == ratel.time(compiled).cycles
    several = ratel.sweep(DIGITS, {"cores": "1,2,4"}, "edge", processes=1)
    assert [bool(row["error"]) for row in several.rows] == [False, True, True]
    assert "2 cores are asked for" in several.rows[1]["error"]
