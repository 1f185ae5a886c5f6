"""The ONNX files of programs/: what scripts make of trained weights, how often they are right, and on a chip."""

import numpy as np
import onnx
import pytest

from isa.chip import load_chip
from programs.training import digits_onnx, mnist_onnx
from ratel.onnx import InferenceSession
from tests.oracles.onnx_tensors import doubtful, options, session

OWN = load_chip("hanguang800")
FP32 = OWN.replace(te__vector_format="fp32", pe__vector_format="fp32")
BATCH = 40
# How many images are named rightly, and what docs/compiler.md says of fp24 and fp19: how many scores are onnxruntime's,
# and the greatest difference.
FOUND = {"digits": (355, 10, 0.165), "mnist": (975, 15, 0.114)}


def test_the_files_and_the_image_are_what_the_scripts_make() -> None:
    for made in (digits_onnx, mnist_onnx):
        assert onnx.load(made.MODEL) == made.network()
        assert made.MODEL.stat().st_size < 50_000
    np.testing.assert_array_equal(np.load(digits_onnx.IMAGE), digits_onnx.pixels()[:1])


@pytest.mark.parametrize("name", FOUND)
def test_as_many_are_right_on_every_host_and_on_the_chip_as_it_is(name: str) -> None:
    """And each is called what the int8 network calls it. In fp32 the chip has onnxruntime's bits, of all images."""
    made = {"digits": digits_onnx, "mnist": mnist_onnx}[name]
    images, (right, equal, difference) = made.pixels(), FOUND[name]
    run = session(made.MODEL, options()).run
    scores = np.concatenate([run(None, {"image": image[None]})[0] for image in images])
    digits = scores.argmax(1)
    assert np.count_nonzero(digits == digits_onnx.load("labels", name)) == right
    np.testing.assert_array_equal(digits, digits_onnx.load("scores", name).argmax(1))
    saturating = frozenset({("uint8", "int8"), ("int8", "int8")})
    assert doubtful(onnx.load(made.MODEL), saturating) == set()

    found = {}
    for chip in (FP32, OWN):
        with InferenceSession(made.MODEL, chip=chip, batch=BATCH) as on_chip:
            batches = np.split(images, len(images) // BATCH)
            found[chip] = np.concatenate([on_chip.run(None, {"image": batch})[0] for batch in batches])
    np.testing.assert_array_equal(found[FP32], scores)
    np.testing.assert_array_equal(found[OWN].argmax(1), digits)
    assert np.count_nonzero(found[OWN] == scores) == equal
    assert abs(found[OWN] - scores).max() == pytest.approx(difference, abs=0.0005)
