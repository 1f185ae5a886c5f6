"""The ONNX file of programs/: what the script makes of the trained weights, and how often it is right."""

import numpy as np
import onnx

from programs.training import digits_onnx
from tests.oracles.onnx_tensors import doubtful, options, session


def test_the_file_and_the_image_are_what_the_script_makes() -> None:
    assert onnx.load(digits_onnx.MODEL) == digits_onnx.network()
    np.testing.assert_array_equal(np.load(digits_onnx.IMAGE), digits_onnx.pixels()[:1])
    assert digits_onnx.MODEL.stat().st_size < 50_000


def test_355_of_360_are_right_on_every_host() -> None:
    """And each is called what the int8 network calls it."""
    run = session(digits_onnx.MODEL, options()).run
    scores = np.concatenate([run(None, {"image": image[None]})[0] for image in digits_onnx.pixels()])
    assert np.count_nonzero(scores.argmax(1) == digits_onnx.load("labels")) == 355
    np.testing.assert_array_equal(scores.argmax(1), digits_onnx.load("scores").argmax(1))
    saturating = frozenset({("uint8", "int8"), ("int8", "int8")})
    assert doubtful(onnx.load(digits_onnx.MODEL), saturating) == set()
