"""The larger networks of programs/: forms of one network that give the same bits, and what their cycles show."""

import numpy as np
import pytest

import ratel
from tests.programs.test_programs import PROGRAMS, assembled


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


def test_detection_head_errs_by_roundings_alone() -> None:
    data = PROGRAMS / "detection"
    run = ratel.run(assembled("detection/detection.npu"), poison=7)
    assert run.passed, [check.message for check in run.checks]
    pooled, scores = run.outputs["pooled"], np.load(data / "scores.npy")
    assert np.mean(pooled == np.load(data / "pooled.npy")) > 0.99
    assert np.abs(run.outputs["scores"] - scores).max() < 0.04 < 0.1 * np.ptp(scores)
    # The classifier is exact for what was pooled.
    sums = pooled.reshape(6, -1).astype(np.int64) @ np.load(data / "w6.npy").T.astype(np.int64) + np.load(
        data / "b6.npy"
    )
    assert (run.outputs["scores"] == sums / 2**13).all()


def test_detection_head_pools_what_float64_does_in_single_precision() -> None:
    path = PROGRAMS / "detection" / "detection.npu"
    chip = ratel.load_chip("hanguang800", pe__vector_format="fp32")
    run = ratel.run(ratel.assemble(path.read_text().replace("samples f16", "samples f32"), path), chip=chip)
    assert (run.outputs["pooled"] == np.load(path.parent / "pooled.npy")).all()


def test_compressed_weights_fit_and_give_the_bits_of_dense_ones() -> None:
    dense, compressed = (ratel.run(assembled(f"pruned/{name}.npu")) for name in ("dense", "compressed"))
    assert dense.passed and compressed.passed
    assert dense.outputs["y"].tobytes() == compressed.outputs["y"].tobytes()
    # Of each weight its bit, and of a quarter of them their byte.
    w = np.load(PROGRAMS / "pruned" / "w.npy")
    held = compressed.plan.program.cores[0].symbol("w").bytes
    assert held == w.size // 8 + np.count_nonzero(w) == w.nbytes * 3 // 8
    # The one waits for device memory, the other for its products; so is what is set up before.
    assert 8 * compressed.timeline.compute_cycles < dense.timeline.compute_cycles
    assert compressed.timeline.setup < 0.4 * dense.timeline.setup


def test_dense_weights_of_the_pruned_layer_do_not_fit() -> None:
    path = PROGRAMS / "pruned" / "compressed.npu"
    with pytest.raises(ratel.AssemblyError, match="lm is full"):
        ratel.assemble(path.read_text().replace(" compressed scale", " scale"), path)
