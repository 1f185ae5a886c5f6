"""The LSTM and the transformer layer equal their integer references and are near their float32 forms."""

from pathlib import Path

import numpy as np
import pytest

import ratel
from programs.training import lstm as lstm_training
from programs.training import transformer as transformer_training
from programs.training.vector import FP24, FP32
from programs.transformer import transformer

PROGRAMS = Path(__file__).parents[2] / "programs"
FORMATS = {"hanguang800": FP24, "edge": FP32}


def arrays(name: str, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the data of a program by the names of its files."""
    return {path.stem.removeprefix(prefix): np.load(path) for path in (PROGRAMS / name).glob("*.npy")}


@pytest.fixture(scope="module")
def layer() -> ratel.Builder:
    return transformer.builder()


def test_lstm_equals_its_integers_in_fp32_too() -> None:
    # In fp24, the vector format of its own chip, its check says so.
    path, data = PROGRAMS / "lstm" / "lstm.npu", arrays("lstm")
    scores = ratel.run(ratel.assemble(path.read_text(), path, "edge")).outputs["scores"]
    expected = lstm_training.integer_scores(data, np.float32(0.00788), data["x"], FP32)
    assert scores.tobytes() == expected.tobytes()
    assert np.abs(scores - data["float_scores"]).max() < 0.35


def test_lstm_reads_as_well_as_in_float32() -> None:
    data = arrays("lstm")
    right = [(data[name].argmax(1) == data["labels"]).mean() for name in ("scores", "float_scores")]
    assert right == pytest.approx([355 / 360, 355 / 360])


@pytest.mark.parametrize("chip", FORMATS)
def test_transformer_equals_its_integers_on_any_input(layer: ratel.Builder, chip: str) -> None:
    data, program = arrays("transformer", "transformer_"), layer.build(chip)
    scale = dict(zip(transformer_training.ACTIVATIONS, data["scales"], strict=True))
    rng = np.random.default_rng(5)
    inputs = [data["x"], np.zeros_like(data["x"]), rng.integers(-128, 128, data["x"].shape).astype(np.int8)]
    for x in inputs:
        out = ratel.run(program, {"x": x}, chip).outputs["out"]
        np.testing.assert_array_equal(out, transformer_training.integer_layer(data, scale, x, FORMATS[chip]))


def test_transformer_is_near_its_float32_form(layer: ratel.Builder) -> None:
    data = arrays("transformer", "transformer_")
    scale = dict(zip(transformer_training.ACTIVATIONS, data["scales"], strict=True))
    weights = transformer_training.seeded(np.random.default_rng(800))
    shape = (transformer_training.STEPS, transformer_training.MODEL)
    x = ratel.quantise.to_integers(np.random.default_rng(5).normal(0, 1, shape), scale["x"])
    real = transformer_training.layer(weights, x * scale["x"])["out"]
    out = ratel.run(layer.build(), {"x": x}).outputs["out"] * scale["out"]
    error = np.abs(out - real) / (real.max() - real.min())
    assert error.max() < 0.015 and error.mean() < 0.003


def test_saved_text_of_the_transformer_is_what_its_builder_writes(layer: ratel.Builder, tmp_path: Path) -> None:
    layer.save(tmp_path / "transformer.npu")
    assert {path.name for path in tmp_path.iterdir()} >= {"transformer.npu", "transformer_w1.npy", "transformer_x.npy"}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (PROGRAMS / "transformer" / path.name).read_bytes(), path.name
