"""The network cut over cores: the same bits on any number of them, and faster on more."""

from pathlib import Path

import pytest

import ratel
from programs.four_cores.four_cores import build, builder
from tests.programs.test_programs import PROGRAMS


@pytest.fixture(scope="module")
def runs() -> dict[int, ratel.Run]:
    # Noise wherever nothing was written: a halo that is read too early shows.
    return {cores: ratel.run(build(cores), poison=7) for cores in (1, 4)}


def test_four_cores_give_the_bits_of_one(runs: dict[int, ratel.Run]) -> None:
    assert runs[1].passed and runs[4].passed
    assert runs[4].outputs["y"].tobytes() == runs[1].outputs["y"].tobytes()


def test_four_cores_are_faster(runs: dict[int, ratel.Run]) -> None:
    one, four = runs[1].timeline, runs[4].timeline
    assert four.compute_cycles * 3.4 < one.compute_cycles
    for core in range(4):
        assert four.engines[f"core{core}.te"].busy > 0.85 * four.compute_cycles


def test_text_beside_it_is_what_it_builds(tmp_path: Path) -> None:
    builder().save(tmp_path / "four_cores.npu")
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (PROGRAMS / "four_cores").iterdir() if path.suffix in (".npu", ".npy")
    }
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (PROGRAMS / "four_cores" / made.name).read_bytes(), made.name


def test_halos_are_there_before_they_are_needed(runs: dict[int, ratel.Run]) -> None:
    # Core 2 has neighbours on both sides: it waits for its band of the image, and for the first exchange.
    engine = runs[4].timeline.engines["core2.te"]
    assert engine.stalls["dependence"] == 0 and engine.stall < 400
