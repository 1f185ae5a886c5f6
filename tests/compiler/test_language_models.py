"""A language model of two layers on the chip, against onnxruntime: a prompt, then tokens behind what is kept."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import ratel
import ratel.onnx as rt
from ratel.cli.main import main
from tests.compiler.language_models import Decoder
from tests.compiler.lower.test_language import halves

CHIP = "zhenwu810e"
# Logits, as parts of the root mean square of all: measured 0.0043 at most, root mean square 0.0015; keys and values.
GREATEST, MEAN, KEPT = 2.0**-7, 2.0**-9, 2.0**-7


def shapes(places: int, before: int) -> dict[str, tuple[int]]:
    sizes = {"sequence_length": places, "past_sequence_length": before, "total_sequence_length": before + places}
    return {name: (size,) for name, size in sizes.items()}


def by_onnxruntime(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fed(made: Decoder, tokens: list[int], kept: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return what a step is given: its tokens, and what is kept of those before."""
    before = kept[0].shape[2]
    feed = {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, before + len(tokens)), np.int64)}
    if not made.rotates_in_attention:
        feed["position_ids"] = np.arange(before, before + len(tokens))[None]
    names = [f"past_key_values.{layer}.{end}" for layer in range(made.layers) for end in ("key", "value")]
    return feed | dict(zip(names, kept, strict=True))


def step(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return what the chip makes of a step, all of it."""
    places, before = feed["input_ids"].shape[1], feed["past_key_values.0.key"].shape[2]
    always = {"attention_mask": 1}
    with rt.InferenceSession(model, chip=CHIP, shapes=shapes(places, before), always=always, host=False) as session:
        return session.run(None, {name: array for name, array in feed.items() if name not in always})


@pytest.mark.parametrize(("bits", "apart"), [(4, False), (None, True), pytest.param(8, True, marks=pytest.mark.slow)])
def test_a_decoder_of_two_layers(bits: int | None, apart: bool) -> None:
    """Each goes on with what it keeps itself; logits are near, and the tokens that follow are the same."""
    made = Decoder(bits=bits, rotates_in_attention=not apart)
    model = made.model()
    right = by_onnxruntime(model)
    nothing = [np.zeros((1, made.groups, 0, made.head), np.float16)] * (2 * made.layers)
    tokens, of_chip, of_host = [3, 14, 15, 9, 26], nothing, nothing
    for _ in range(3):
        logits, *of_chip = step(model, fed(made, tokens, of_chip))
        expected, *of_host = right.run(None, fed(made, tokens, of_host))
        far = (logits.astype(np.float64) - expected) / np.sqrt(np.mean(expected.astype(np.float64) ** 2))
        assert np.abs(far).max() <= GREATEST and np.sqrt(np.mean(far**2)) <= MEAN
        for found, wanted in zip(of_chip, of_host, strict=True):
            assert found.shape == wanted.shape and np.abs(found.astype(np.float64) - wanted).max() <= KEPT
        tokens = [int(logits[0, -1].argmax())]
        assert tokens == [int(expected[0, -1].argmax())]


@pytest.mark.parametrize("order", ["hardware", "compiler"])
def test_in_tiles_it_makes_the_same_bits(order: str) -> None:
    """Free of races: of the whole in local memory, and of parts of what lies behind."""
    made, always = Decoder(), {"attention_mask": 1}
    model = made.model()
    kept = [halves(k, 1, made.groups, 9, made.head) for k in range(2 * made.layers)]
    feed = fed(made, [5, 6, 7], kept)
    del feed["attention_mask"]
    found = []
    for chip in (CHIP, ratel.load_chip("edge").replace(memory__lm_bytes=2**15)):
        compiled = ratel.compile(model, chip, shapes=shapes(3, 9), always=always, host=False, order=order)
        assert not ratel.check(compiled).findings
        found.append(rt.InferenceSession(compiled).run(None, feed))
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def test_it_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Decoder(layers=1).model()
    path = tmp_path / "decoder.onnx"
    path.write_bytes(model.SerializeToString())
    sizes = [f"--shape={name}={size}" for name, (size,) in shapes(1, 4).items()]
    words = ["compile", str(path), "--chip", CHIP, *sizes, "--always", "attention_mask=1", "--no-host", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["parts"][0]["inputs"]) == {"input_ids", "past_key_values.0.key", "past_key_values.0.value"}
    stated = {one["operator"]: one["error"] for one in said["inexact"]}
    assert stated["GroupQueryAttention"] == "1 ulp of float16 and 2^-10 + 5 * 2^-24 of the greatest |v|"
    sizes = [f"--shape={name}={size}" for name, (size,) in shapes(3, 0).items()]
    np.save(tmp_path / "ids.npy", np.array([[1, 2, 3]]))
    words = ["run", str(path), "--chip", CHIP, *sizes, "--always", "attention_mask=1"]
    assert (
        main([*words, "--input", f"input_ids={tmp_path / 'ids.npy'}", "--output", f"logits={tmp_path / 'y.npy'}"]) == 0
    )
    assert np.load(tmp_path / "y.npy").dtype == np.float16
    refused = ratel.compile(model, CHIP, shapes=shapes(1, 4)).refused
    assert "say what the mask that it counts is: --always attention_mask=1" in " ".join(refused.values())
    with pytest.raises(ratel.InputError, match="by their names, in all inputs: --shape"):
        ratel.compile(model, CHIP)
