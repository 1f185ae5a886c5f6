"""The program: a token a task, its layers a hardware loop, weights streamed from device memory into two buffers.

What is kept from task to task are keys and values. The host gives each token, whose embedding is gathered from device
memory, and takes the place of the greatest score.
"""

from typing import Any

import numpy as np

import ratel
from programs.smollm2.model import Matrix, Model

# Tokens that a conversation may have, and pieces that the last matrix is cut into.
CONTEXT, PIECES = 256, 8


class Streamed:
    """A matrix of each layer in device memory, and two buffers in local memory that take turns.

    `form` is "groups", those that the file has, "dense", f16, or "int8", with a scale for each output: i8 multiplies
    rows of i8 with a scale of their own, which `taken` makes of rows of f16.
    """

    def __init__(self, b: ratel.Builder, llm: Any, name: str, matrix: Matrix, form: str, pieces: int = 0) -> None:
        outputs, inputs = matrix.shape
        outputs = outputs // pieces if pieces else outputs
        self.b, self.llm, self.form = b, llm, form
        if form == "groups":
            size = ratel.quantise.group_bytes(matrix.form, (outputs, inputs))
            self.stored = b.weight(name, matrix.blocks.reshape(-1, size), memory="dev")
            self.held = b.local(f"{name}_held", "u8", (2, size))
            self.seen = b.local(f"{name}_seen", "f16", (2, outputs, inputs), stored=matrix.form, at=self.held)
            return
        dense = matrix.dense.reshape(-1, outputs, inputs)
        if form == "dense":
            # Products of one row read a matrix whose columns lie side by side as it is.
            self.stored = b.weight(name, np.ascontiguousarray(dense.swapaxes(1, 2)), memory="dev")
            self.held = self.seen = b.local(f"{name}_held", "f16", (2, inputs, outputs))
            return
        layers = [ratel.quantise.weights(layer) for layer in dense]
        self.stored = b.weight(name, np.stack([layer.values for layer in layers]), memory="dev")
        self.held = self.seen = b.local(f"{name}_held", "i8", (2, outputs, inputs))
        self.scales = b.const(f"{name}_scales", np.stack([layer.scale for layer in layers]))
        self.part = b.const(f"{name}_part", [1 / 127], "f32")
        self.q, self.step = b.local(f"{name}_q", "i8", (1, inputs)), b.local(f"{name}_step", "f32", (1, 1))
        self.wide = b.local(f"{name}_wide", "f32", (1, outputs))

    def load(self, layer: Any) -> None:
        self.b.load(self.held[layer % 2], self.stored[layer])

    def taken(self, x: Any) -> Any:
        """Return rows as `multiply` takes them."""
        return self.llm.quantise_rows(self.q, self.step, x, self.part) if self.form == "int8" else x

    def multiply(self, out: Any, x: Any, layer: Any, add: Any = None) -> None:
        """Write out = x times the matrix, and where given what is added to it."""
        seen = self.seen[layer % 2]
        if self.form != "int8":
            self.b.matmul(out, x, seen, transpose_w=self.form == "groups", add=add)
            return
        self.llm.product_8bit(out if add is None else self.wide, x, self.step, seen, self.scales[layer])
        if add is not None:
            self.b.eltwise(out, self.wide, add=add)


def decoder(model: Model, context: int = CONTEXT, form: str = "groups") -> ratel.Program:
    """Return the program, for as many tasks as the context has tokens; `form` is as in Streamed."""
    b = ratel.Builder("smollm2", "zhenwu810e", tasks=context)
    llm = b.include("<llm.npu>")
    heads, groups, head, width, inner = model.heads, model.groups, model.head, model.width, model.inner
    each, tokens = heads // groups, model.scored.shape[0]
    place = b.task % context

    given = b.input("given", "i32", (1,))
    token = b.output("token", "i32", (1, 1))
    wqkv, wo, wgu, wd = weights = [
        Streamed(b, llm, name, getattr(model, name), form) for name in ("wqkv", "wo", "wgu", "wd")
    ]
    scored = Streamed(b, llm, "scored", model.scored, form, pieces=PIECES)
    attended, gated, last = (b.const(name, getattr(model, name)) for name in ("attended", "gated", "last"))
    embedding = b.weight("embedding", model.embedding, memory="dev")
    cosine, sine = (b.weight(name, table) for name, table in zip(("cosine", "sine"), model.turns(context), strict=True))
    mean, epsilon = b.const("mean", [1 / width], "f32"), b.const("epsilon", [model.epsilon], "f32")
    root = b.const("root", [head**-0.5], "f32")

    keys, values = (b.local(name, "f16", (model.layers, groups, context, head)) for name in ("keys", "values"))
    x, middle, n = (b.local(name, "f16", (1, width)) for name in ("x", "middle", "n"))
    square = b.local("square", "f32", (1, 1))
    qkv = b.local("qkv", "f16", (1, (heads + 2 * groups) * head))
    both = b.local("both", "f16", (heads + groups, head), at=qkv)
    newest = b.local("newest", "f16", (groups, head), at=(qkv, 2 * (heads + groups) * head))
    q = b.local("q", "f16", (heads, head))
    queries = b.local("queries", "f16", (groups, each, head), at=q)
    scores = b.local("scores", "f32", (groups, each, context))
    shares, row = b.local("shares", "f16", scores.shape), b.local("row", "f32", (groups, each, 1))
    found = b.local("found", "f16", (groups, each, head))
    mixed = b.local("mixed", "f16", (1, width), at=found)
    gates = b.local("gates", "f16", (1, 2 * inner))
    opened, product = (b.local(name, "f16", (1, inner)) for name in ("opened", "product"))
    likely = b.local("likely", "f32", (1, tokens))

    b.gather(x, embedding, given)
    with b.loop(model.layers, "layer") as layer:
        for w in weights:
            w.load(layer)
        llm.rms_norm_of_one(n, x, square, mean, epsilon, attended[layer])
        wqkv.multiply(qkv, wqkv.taken(n), layer)
        llm.rotary(q, keys[layer, :, place], both[:heads], both[heads:], cosine[place], sine[place])
        b.copy(values[layer, :, place], newest)
        llm.cached_attention(found, queries, keys, values, layer, place, root, scores, shares, row)
        wo.multiply(middle, wo.taken(mixed), layer, add=x)
        llm.rms_norm_of_one(n, middle, square, mean, epsilon, gated[layer])
        wgu.multiply(gates, wgu.taken(n), layer)
        llm.silu_gate(product, gates[:, :inner], gates[:, inner:], opened)
        wd.multiply(x, wd.taken(product), layer, add=middle)
    llm.rms_norm_of_one(n, x, square, mean, epsilon, last)
    scored_by = scored.taken(n)
    columns = tokens // PIECES
    with b.loop(PIECES, "k") as k:
        scored.load(k)
        scored.multiply(likely[:, k * columns : k * columns + columns], scored_by, k)
    b.reduce(token, likely, argmax=True)
    return b.build()
