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
    """A matrix of each layer in device memory, and two buffers in local memory that take turns: in groups, or dense."""

    def __init__(self, b: ratel.Builder, name: str, matrix: Matrix, is_dense: bool, pieces: int = 0) -> None:
        outputs, inputs = matrix.shape
        outputs = outputs // pieces if pieces else outputs
        self.b, self.is_dense = b, is_dense
        if is_dense:
            # Products of one row read a matrix whose columns lie side by side as it is.
            dense = matrix.dense.reshape(-1, outputs, inputs).swapaxes(1, 2)
            self.stored = b.weight(name, np.ascontiguousarray(dense), memory="dev")
            self.held = self.seen = b.local(f"{name}_held", "f16", (2, inputs, outputs))
        else:
            size = ratel.quantise.group_bytes(matrix.form, (outputs, inputs))
            self.stored = b.weight(name, matrix.blocks.reshape(-1, size), memory="dev")
            self.held = b.local(f"{name}_held", "u8", (2, size))
            self.seen = b.local(f"{name}_seen", "f16", (2, outputs, inputs), stored=matrix.form, at=self.held)

    def load(self, layer: Any) -> None:
        self.b.load(self.held[layer % 2], self.stored[layer])

    def multiply(self, out: Any, x: Any, layer: Any, **chain: Any) -> None:
        self.b.matmul(out, x, self.seen[layer % 2], transpose_w=not self.is_dense, **chain)


def decoder(model: Model, context: int = CONTEXT, is_dense: bool = False) -> ratel.Program:
    """Return the program, for as many tasks as the context has tokens; weights in groups, or as f16."""
    b = ratel.Builder("smollm2", "zhenwu810e", tasks=context)
    heads, groups, head, width, inner = model.heads, model.groups, model.head, model.width, model.inner
    each, tokens = heads // groups, model.scored.shape[0]
    place = b.task % context
    # Keys and values, and scores with them, are as many as the text has tokens so far.
    far = place + 1

    given = b.input("given", "i32", (1,))
    token = b.output("token", "i32", (1, 1))
    wqkv, wo, wgu, wd = weights = [
        Streamed(b, name, getattr(model, name), is_dense) for name in ("wqkv", "wo", "wgu", "wd")
    ]
    scored = Streamed(b, "scored", model.scored, is_dense, PIECES)
    attended, gated, last = (b.const(name, getattr(model, name)) for name in ("attended", "gated", "last"))
    embedding = b.weight("embedding", model.embedding, memory="dev")
    cosine, sine = (b.weight(name, table) for name, table in zip(("cosine", "sine"), model.turns(context), strict=True))
    mean, epsilon = b.const("mean", [1 / width], "f32"), b.const("epsilon", [model.epsilon], "f32")
    root = b.const("root", [head**-0.5], "f32")

    keys, values = (b.local(name, "f16", (model.layers, groups, context, head)) for name in ("keys", "values"))
    x, middle, n = (b.local(name, "f16", (1, width)) for name in ("x", "middle", "n"))
    inverse = b.local("inverse", "f32", (1, 1))
    qkv = b.local("qkv", "f16", (1, (heads + 2 * groups) * head))
    both = b.local("both", "f16", (heads + groups, head), at=qkv)
    newest = b.local("newest", "f16", (groups, head), at=(qkv, 2 * (heads + groups) * head))
    q = b.local("q", "f16", (heads, head))
    queries = b.local("queries", "f16", (groups, each, head), at=q)
    scores = b.local("scores", "f32", (groups, each, context))
    share = b.local("share", "f16", scores.shape)
    peak, total, part = (b.local(name, "f32", (groups, each, 1)) for name in ("peak", "total", "part"))
    found = b.local("found", "f16", (groups, each, head))
    mixed = b.local("mixed", "f16", (1, width), at=found)
    gates = b.local("gates", "f16", (1, 2 * inner))
    opened, product = (b.local(name, "f16", (1, inner)) for name in ("opened", "product"))
    likely = b.local("likely", "f32", (1, tokens))

    def norm(of: Any, gain: Any) -> None:
        b.matmul(inverse, of, of, transpose_w=True, ew1_scale=mean, ew1_bias=epsilon, rsqrt=True)
        b.eltwise(n, of, ew1_scale=gain, mul=inverse)

    b.gather(x, embedding, given)
    with b.loop(model.layers, "layer") as layer:
        for w in weights:
            w.load(layer)
        norm(x, attended[layer])
        wqkv.multiply(qkv, n, layer)
        b.rotate(q, both[:heads], cosine[place], sine[place], halves=True)
        b.rotate(keys[layer, :, place], both[heads:], cosine[place], sine[place], halves=True)
        b.copy(values[layer, :, place], newest)
        b.matmul(scores[:, :, :far], queries, keys[layer, :, :far], transpose_w=True, ew1_scale=root)
        b.reduce(peak, scores[:, :, :far], max=True)
        b.eltwise(share[:, :, :far], scores[:, :, :far], sub=peak, exp=True)
        b.reduce(total, share[:, :, :far], sum=True)
        b.eltwise(part, total, reciprocal=True)
        b.matmul(found, share[:, :, :far], values[layer, :, :far], mul=part)
        wo.multiply(middle, mixed, layer, add=x)
        norm(middle, gated[layer])
        wgu.multiply(gates, n, layer)
        b.eltwise(opened, gates[:, :inner], silu=True)
        b.eltwise(product, gates[:, inner:], mul=opened)
        wd.multiply(x, product, layer, add=middle)
    norm(x, last)
    columns = tokens // PIECES
    with b.loop(PIECES, "k") as k:
        scored.load(k)
        scored.multiply(likely[:, k * columns : k * columns + columns], n, k)
    b.reduce(token, likely, argmax=True)
    return b.build()
