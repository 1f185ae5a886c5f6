"""The program: a token a task, its layers a hardware loop, weights streamed from device memory into two buffers.

What is kept from task to task are keys and values, zeros behind the present place. The host gives each token, whose
embedding is gathered from device memory, and takes the place of the greatest score.
"""

from typing import Any

import numpy as np

import ratel
from programs.smollm2.model import Model

# Tokens that a conversation may have, and pieces that the last matrix is cut into.
CONTEXT, PIECES = 256, 8
FAR = -1e30


def decoder(model: Model, context: int = CONTEXT) -> ratel.Program:
    """Return the program, for as many tasks as the context has tokens."""
    b = ratel.Builder("smollm2", "zhenwu810e", tasks=context)
    heads, groups, head, width, inner = model.heads, model.groups, model.head, model.width, model.inner
    each, tokens = heads // groups, model.scored.shape[1]
    place = b.task % context

    given = b.input("given", "i32", (1,))
    token = b.output("token", "i32", (1, 1))
    stored = {name: b.weight(name, getattr(model, name), memory="dev") for name in ("wqkv", "wo", "wgu", "wd")}
    embedding = b.weight("embedding", model.embedding, memory="dev")
    pieces = model.scored.reshape(width, PIECES, -1).swapaxes(0, 1)
    scored = b.weight("scored", np.ascontiguousarray(pieces), memory="dev")
    cosine, sine = (b.weight(name, table) for name, table in zip(("cosine", "sine"), model.turns(context), strict=True))
    ahead = b.weight("ahead", np.triu(np.full((context, context), FAR, np.float32), 1))
    mean, epsilon = b.const("mean", [1 / width], "f32"), b.const("epsilon", [model.epsilon], "f32")
    root = b.const("root", [head**-0.5], "f32")

    held = {name: b.local(f"{name}_held", "f16", (2, *w.shape[1:])) for name, w in stored.items()}
    piece = b.local("piece", "f16", (2, *scored.shape[1:]))
    keys, values = (b.local(name, "f16", (model.layers, groups, 2 * context, head)) for name in ("keys", "values"))
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
    gated, product = (b.local(name, "f16", (1, inner)) for name in ("gated", "product"))
    likely = b.local("likely", "f32", (1, tokens))

    def norm(of: Any) -> None:
        b.matmul(inverse, of, of, transpose_w=True, ew1_scale=mean, ew1_bias=epsilon, rsqrt=True)
        b.eltwise(n, of, mul=inverse)

    b.gather(x, embedding, given)
    with b.loop(model.layers, "layer") as layer:
        for name, w in stored.items():
            b.load(held[name][layer % 2], w[layer])
        norm(x)
        b.matmul(qkv, n, held["wqkv"][layer % 2])
        b.rotate(q, both[:heads], cosine[place], sine[place], halves=True)
        for cache in (keys, values):
            b.fill(cache[layer, :, place + 1 : place + 1 + context], value=0)
        b.rotate(keys[layer, :, place], both[heads:], cosine[place], sine[place], halves=True)
        b.copy(values[layer, :, place], newest)
        b.matmul(scores, queries, keys[layer, :, :context], transpose_w=True, ew1_scale=root, add=ahead[place])
        b.reduce(peak, scores, max=True)
        b.eltwise(share, scores, sub=peak, exp=True)
        b.reduce(total, share, sum=True)
        b.eltwise(part, total, reciprocal=True)
        b.matmul(found, share, values[layer, :, :context], mul=part)
        b.matmul(middle, mixed, held["wo"][layer % 2], add=x)
        norm(middle)
        b.matmul(gates, n, held["wgu"][layer % 2])
        b.eltwise(gated, gates[:, :inner], silu=True)
        b.eltwise(product, gates[:, inner:], mul=gated)
        b.matmul(x, product, held["wd"][layer % 2], add=middle)
    norm(x)
    columns = tokens // PIECES
    with b.loop(PIECES, "k") as k:
        b.load(piece[k % 2], scored[k])
        b.matmul(likely[:, k * columns : k * columns + columns], n, piece[k % 2])
    b.reduce(token, likely, argmax=True)
    return b.build()
