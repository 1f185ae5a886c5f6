"""Every program of programs/ runs, and its own checks pass, on the chips that it fits."""

from pathlib import Path

import numpy as np
import pytest

import ratel

PROGRAMS = Path(__file__).parents[2] / "programs"
# But those of bugs, which are wrong (test_bugs.py).
FILES = sorted(path.relative_to(PROGRAMS).as_posix() for path in PROGRAMS.glob("*/*.npu") if path.parent.name != "bugs")
# What is only included by others.
PARTS = {"matmul/tensors.npu", "shapes/moves.npu", "tiled/network.npu", "pruned/layer.npu"}


def assembled(name: str, chip: str | None = None) -> ratel.Program:
    path = PROGRAMS / name
    return ratel.assemble(path.read_text(), path, chip)


@pytest.mark.parametrize("name", [name for name in FILES if name not in PARTS])
def test_checks_pass(name: str) -> None:
    program = assembled(name)
    assert program.checks, "a program states what it is to compute"
    run = ratel.run(program)
    assert run.passed, [check.message for check in run.checks]
    assert sum(entry.cycles for entry in run.timeline.critical_path) == run.cycles > 0


@pytest.mark.parametrize("name", [name for name in FILES if name not in PARTS])
def test_nothing_is_found_in_what_ships(name: str) -> None:
    verdict = ratel.check(assembled(name))
    assert verdict.passed and not verdict.findings and not verdict.unseen


@pytest.mark.parametrize(("name", "least"), [("digits", 0.981), ("mnist", 0.970)])
def test_accuracy_in_the_chips_vector_format(name: str, least: float) -> None:
    # The float networks read 98.6 % and 97.5 %; integers may lose half a point.
    (check,) = ratel.run(assembled(f"{name}/{name}.npu")).checks
    assert check.value is not None and check.value >= least


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_scores_equal_the_training_scripts_integers(name: str) -> None:
    # NumPy float32 there, so a chip whose vector format is fp32.
    program = assembled(f"{name}/{name}.npu")
    chip = ratel.load_chip("hanguang800", te__vector_format="fp32")
    scores = ratel.run(program, chip=chip).outputs["scores"]
    assert scores.tobytes() == np.load(PROGRAMS / name / "scores.npy").tobytes()


def test_stream_of_tasks_is_digits() -> None:
    scores = ratel.run(assembled("digits/digits.npu")).outputs["scores"][:64, None]
    assert ratel.run(assembled("stream/stream.npu")).outputs["scores"].tobytes() == scores.tobytes()
    for part in (
        f"{layer}_{part}.npy" for layer in ("conv1", "conv2", "dense") for part in ("weight", "scale", "bias")
    ):
        assert (PROGRAMS / "stream" / part).read_bytes() == (PROGRAMS / "digits" / part).read_bytes()


def test_stream_overlaps() -> None:
    stream = ratel.time(assembled("stream/stream.npu"))
    assert isinstance(stream, ratel.Stream) and stream.bound == "compute"
    task = stream.timelines[0]
    held = max(task.compute_cycles, stream.link_in.occupancy, stream.link_out.occupancy)
    assert stream.cycles <= 1.1 * 64 * held + task.cycles
    path = PROGRAMS / "stream/stream.npu"
    double = ratel.time(ratel.assemble(path.read_text().replace("buffers=4", "buffers=2"), path))
    assert isinstance(double, ratel.Stream) and double.bound == "transfer in" and double.by_latency
    # The latency counted with the transfer, two buffers are enough.
    assert double.cycles <= 1.1 * 64 * max(task.compute_cycles, task.transfer_in, task.transfer_out) + task.cycles


def test_digits_fits_the_edge() -> None:
    assert ratel.run(assembled("digits/digits.npu", "edge"), chip="edge").passed


def test_matmul_orders_agree_and_overlap() -> None:
    by_hardware, by_compiler = (
        ratel.run(assembled(f"matmul/matmul_{order}.npu")) for order in ("hardware", "compiler")
    )
    assert by_hardware.outputs["c"].tobytes() == by_compiler.outputs["c"].tobytes()
    for run in (by_hardware, by_compiler):
        engines = run.timeline.engines
        # More work than time: the memory engine streams while the tensor engine multiplies.
        assert engines["core0.te"].busy + engines["core0.me"].busy > 1.2 * run.timeline.compute_cycles


def test_overlap_beats_its_engines_in_turn() -> None:
    timeline = ratel.time(assembled("blocks/overlap.npu"))
    assert sum(times.busy for times in timeline.engines.values()) > timeline.compute_cycles
