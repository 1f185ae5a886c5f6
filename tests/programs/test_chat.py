"""The language model says what NumPy says with its weights, and the same by any number of threads."""

import subprocess
import sys

import numpy as np
import pytest

import ratel
from emulator.jit.cache import ROOT
from programs.chat.__main__ import CONTEXT, FOLDER, continued
from programs.training.chat import as_trained, said

WEIGHTS = ("embedding", "wqk", "wv", "wo", "wg", "wu", "wd", "scored")


@pytest.mark.parametrize("prompt", ["The return value is", "for x in range(10):\n", "~"])
def test_text_is_numpys(prompt: str) -> None:
    alphabet = (FOLDER / "alphabet.txt").read_text(encoding="ascii")
    weights = as_trained({name: np.load(FOLDER / f"{name}.npy") for name in WEIGHTS})
    numbers = said(weights, [alphabet.index(character) for character in prompt], CONTEXT - 1)
    expected = prompt + "".join(alphabet[number] for number in numbers[len(prompt) - 1 :])
    assert prompt + "".join(continued(prompt)) == expected
    assert prompt + "".join(continued(prompt, threads=2)) == expected


@pytest.mark.parametrize(
    ("prompt", "message"), [("", "has 0 characters"), ("x" * CONTEXT, "has 128 characters"), ("naïve", "not seen 'ï'")]
)
def test_what_it_cannot_begin_with(prompt: str, message: str) -> None:
    with pytest.raises(ratel.InputError, match=message):
        next(continued(prompt))
    done = subprocess.run([sys.executable, "-m", "programs.chat", prompt], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stdout == ""
