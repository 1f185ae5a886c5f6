"""The larger networks of programs/: forms of one network that give the same bits, and what their cycles show."""

import pytest

import ratel
from tests.programs.test_programs import assembled


def test_tiled_network_equals_the_whole_one() -> None:
    # Another chip, another vector format, another order of the work; noise wherever nothing was written.
    tiled, whole = (ratel.run(assembled(f"tiled/{name}.npu"), poison=7) for name in ("tiled", "whole"))
    assert tiled.passed and whole.passed
    assert tiled.outputs["y"].tobytes() == whole.outputs["y"].tobytes()


def test_whole_network_does_not_fit_the_edge() -> None:
    with pytest.raises(ratel.AssemblyError, match="lm is full"):
        assembled("tiled/whole.npu", "edge")


def test_tiled_network_keeps_the_tensor_engine_busy() -> None:
    timeline = ratel.time(assembled("tiled/tiled.npu"))
    engines = timeline.engines
    assert engines["core0.te"].busy > 0.99 * timeline.compute_cycles
    assert engines["core0.me"].busy > 0.1 * timeline.compute_cycles
