"""The language model says what NumPy says with its weights, and the same by any number of threads."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

import ratel
from emulator.jit.cache import ROOT
from programs.chat import batch
from programs.chat.__main__ import CONTEXT, FOLDER, continued, numbers_of
from programs.chat.batch import Batch, Text
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


def test_texts_together_are_those_of_each_alone() -> None:
    """Five texts in four slots, the last begun as pages are given back: scores to the bit, and what `chat.npu` says."""
    pages, lengths = 11, {"The return value is": 45, "for x in range(": 33, "~": 16, "A class": 40, "def f": 18}
    program = batch.program(4, pages)
    verdict = ratel.check(program)
    assert verdict.passed and not verdict.findings
    texts = [Text(k, numbers_of(prompt), length) for k, (prompt, length) in enumerate(lengths.items())]
    together: list[list[bytes]] = [[] for _ in texts]
    at_once, held = [], set()
    with ratel.Session(program) as session:
        with pytest.raises(ratel.InputError, match="161 characters needs more than the 10 pages of 16"):
            next(Batch(session, 4, pages).run([Text(0, [1], 161)]))
        for step in Batch(session, 4, pages).run(texts):
            at_once.append(len(step))
            for text, scores in step:
                together[text.number].append(scores.tobytes())
                held |= {(page, text.number) for page in text.pages}
    # A slot is free after 15 steps, pages for the last are after 32: those that another text had.
    assert at_once == [4] * 15 + [3] * 24 + [2] * 5 + [1] * 5 and len(held) > len({page for page, _ in held})
    alphabet = (FOLDER / "alphabet.txt").read_text(encoding="ascii")
    with ratel.Session(batch.program(1, pages)) as session:
        for text, (prompt, length) in zip(texts, lengths.items(), strict=True):
            alone = Text(0, numbers_of(prompt), length)
            scores = [found.tobytes() for step in Batch(session, 1, pages).run([alone]) for _, found in step]
            assert scores == together[text.number] and alone.characters == text.characters
            said = "".join(islice(continued(prompt), length - len(prompt)))
            assert "".join(alphabet[number] for number in text.characters) == prompt + said
