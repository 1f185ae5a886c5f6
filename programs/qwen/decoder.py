"""The program of one token: as a GPU computes it, kernel by kernel.

A kernel reads its own weights, keys, values and states, which lie in device memory, and not before all that was begun
has ended: that is what its first load waits for. Weights stream through some buffers, by as many columns as the
engine takes at once, and where these are too long by parts of the sum. Gains of norms are taken to be within the
weights behind them, biases left out: neither would take a cycle. Weights have shapes and no data, so the program is
timed, and not run.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import ratel
from programs.qwen.shapes import Shape

# Buffers that weights stream through, and what each may have.
BUFFERS, BUFFER_BYTES = 4, 13_200_000
# What a kernel waits for before it reads device memory: what TE and PE have begun.
BEHIND = "tp"


@dataclass(frozen=True)
class Matrix:
    """A matrix for each layer, in parts of `step` columns and of 1/`deep` of the sum; `held` are its buffers."""

    weights: Any
    held: list[Any]
    columns: int
    step: int
    deep: int

    @property
    def parts(self) -> int:
        """Parts of one layer."""
        return ceil(self.columns / self.step) * self.deep


class Decoder:
    """What the layers share: the Builder, buffers, and the vectors that a token is."""

    def __init__(self, shape: Shape, chip: str, context: int) -> None:
        self.shape, self.context = shape, context
        self.b = b = ratel.Builder(shape.name.replace(".", "_").replace("-", "_"), chip)
        self.channels = ratel.load_chip(chip)["te.channels"]
        self.buffers = b.local("buffers", "i8", (BUFFERS, BUFFER_BYTES), scale=1.0)
        self.partial = b.local("partial", "f32", (2, self.channels))
        self.x, self.middle, self.n = (b.local(name, shape.dtype, (1, shape.width)) for name in ("x", "middle", "n"))
        self.inverse = b.local("inverse", "f32", (1, 1))
        self.mean, self.epsilon = b.const("mean", [1 / shape.width], "f32"), b.const("epsilon", [1e-6], "f32")

    def matrix(self, name: str, count: int, rows: int, columns: int) -> Matrix:
        """Declare a matrix of rows x columns for each of `count` layers."""
        b, dtype = self.b, self.shape.dtype
        step = 64 * ceil(columns / ceil(columns / self.channels) / 64)
        deep = next(k for k in range(1, rows) if not rows % k and rows // k * step * 2 <= BUFFER_BYTES)
        shape = (rows // deep, step)
        held = [b.local(f"{name}_{k}", dtype, shape, at=(self.buffers, k * BUFFER_BYTES)) for k in range(BUFFERS)]
        weights = b.weight(name, None, dtype, (count * ceil(columns / step) * deep, *shape), memory="dev")
        return Matrix(weights, held, columns, step, deep)

    def product(self, out: Any, x: Any, matrix: Matrix, layer: Any = 0, add: Any = None) -> None:
        """Multiply by a layer's matrix, and add a vector: a kernel."""
        b, rows, ahead = self.b, matrix.held[0].shape[0], BUFFERS - 1
        for k in range(matrix.parts + ahead):
            if k < matrix.parts:
                one = slice(0, min(matrix.step, matrix.columns - k // matrix.deep * matrix.step))
                given = matrix.weights[layer * matrix.parts + k, :, one]
                b.load(matrix.held[k % BUFFERS][:, one], given, wait=None if k else BEHIND)
            if (done := k - ahead) >= 0:
                at, part = divmod(done, matrix.deep)
                begin, end = at * matrix.step, min(at * matrix.step + matrix.step, matrix.columns)
                so_far = self.partial[at % 2 : at % 2 + 1, : end - begin]
                to = out[:, begin:end] if part == matrix.deep - 1 else so_far
                more = so_far if part else None if add is None else add[:, begin:end]
                w = matrix.held[done % BUFFERS][:, : end - begin]
                b.matmul(to, x[:, part * rows : part * rows + rows], w, **({} if more is None else {"add": more}))

    def norm(self, given: Any) -> None:
        self.b.matmul(
            *(self.inverse, given, given),
            **{"transpose_w": True, "ew1_scale": self.mean, "ew1_bias": self.epsilon, "rsqrt": True},
        )
        self.b.eltwise(self.n, given, mul=self.inverse)


def decoder(shape: Shape, chip: str = "zhenwu810e", context: int = 640) -> ratel.Program:
    """Return the program of one token behind `context` - 1 others.

    Raises InputError where a layer's keys and values do not fit the buffers of the weights.
    """
    most = BUFFERS // 2 * BUFFER_BYTES // (2 * shape.groups * shape.head)
    if not 1 <= context <= most:
        raise ratel.InputError(f"a context of {context:,} tokens", f"{shape.name} may have 1 to {most:,}")
    of = Decoder(shape, chip, context)
    b = of.b
    embedded = b.input("embedded", shape.dtype, (1, shape.width))
    token = b.output("token", "i32", (1, 1))
    groups = shape.layers // shape.every
    attention = _attention(of, groups)
    delta = _delta(of, shape.layers - groups) if shape.states else None
    units = _units(of)
    b.copy(of.x, embedded)
    with b.loop(groups) as group:
        for k in range(shape.every - 1):
            assert delta is not None
            delta(group * (shape.every - 1) + k)
            units(group * shape.every + k)
        attention(group)
        units(group * shape.every + shape.every - 1)
    of.norm(of.x)
    likely = b.local("likely", "f32", (1, shape.tokens))
    of.product(likely, of.n, of.matrix("scored", 1, shape.width, shape.tokens))
    b.reduce(token, likely, argmax=True)
    return b.build()


def _attention(of: Decoder, layers: int) -> Any:
    """Declare what attention needs, and return the kernels of a layer."""
    b, shape, context = of.b, of.shape, of.context
    dtype, heads, groups, head = shape.dtype, shape.heads, shape.groups, shape.head
    each, half, turning = heads // groups, head // 2, heads + groups
    columns = (heads * (2 if shape.gated else 1) + 2 * groups) * head
    wqkv, wo = of.matrix("wqkv", layers, shape.width, columns), of.matrix("wo", layers, heads * head, shape.width)
    cosine, sine = (b.weight(name, 0, "f32", (1, head)) for name in ("cosine", "sine"))
    keys, values = (b.local(name, dtype, (layers, groups, context, head), memory="dev") for name in ("keys", "values"))
    qkv = b.local("qkv", dtype, (1, columns))
    both = b.local("both", dtype, (turning, head), at=qkv)
    apart = b.local("apart", dtype, (turning, 1, head), at=qkv)
    newest = b.local("newest", dtype, (groups, head), at=(qkv, 2 * turning * head))
    gate = (
        b.local("gate", dtype, (groups, each, head), at=(qkv, 2 * (turning + groups) * head)) if shape.gated else None
    )
    lengths = b.local("lengths", "f32", (turning, 1, 1))
    turned, straight = (b.local(name, "f32", (turning, head)) for name in ("turned", "straight"))
    q, k = b.local("q", dtype, (heads, head)), b.local("k", dtype, (groups, head))
    queries = b.local("queries", dtype, (groups, each, head), at=q)
    # Where weights stream through before and after.
    cached = [
        b.local(name, dtype, (groups, context, head), at=(of.buffers, k * BUFFERS // 2 * BUFFER_BYTES))
        for k, name in enumerate(("cached_keys", "cached_values"))
    ]
    scores, share = b.local("scores", "f32", (groups, each, context)), b.local("share", dtype, (groups, each, context))
    peak, total, part = (b.local(name, "f32", (groups, each, 1)) for name in ("peak", "total", "part"))
    found = b.local("found", dtype, (groups, each, head))
    mixed = b.local("mixed", dtype, (1, heads * head), at=found)
    root = b.const("root", [head**-0.5], "f32")
    mean = b.const("head_mean", [1 / head], "f32") if shape.normed else None

    def kernels(layer: Any) -> None:
        of.norm(of.x)
        of.product(qkv, of.n, wqkv, layer)
        if shape.normed:
            normed = {"transpose_w": True, "ew1_scale": mean, "ew1_bias": of.epsilon, "rsqrt": True}
            b.matmul(lengths, apart, apart, **normed)
            b.eltwise(apart, apart, mul=lengths)
        b.eltwise(turned[:, :half], both[:, half:], mul=sine[:, :half])
        b.eltwise(turned[:, half:], both[:, :half], mul=sine[:, half:])
        b.eltwise(straight, both, mul=cosine)
        b.eltwise(q, straight[:heads], add=turned[:heads])
        b.eltwise(k, straight[heads:], add=turned[heads:])
        for cache, new in ((keys, k), (values, newest)):
            b.store(cache[layer, :, context - 1], new)
        b.load(cached[0], keys[layer], wait=BEHIND)
        b.load(cached[1], values[layer])
        b.matmul(scores, queries, cached[0], transpose_w=True, ew1_scale=root)
        b.reduce(peak, scores, max=True)
        b.eltwise(share, scores, sub=peak, exp=True)
        b.reduce(total, share, sum=True)
        b.eltwise(part, total, reciprocal=True)
        b.matmul(found, share, cached[1], mul=part)
        if gate is not None:
            b.eltwise(gate, gate, sigmoid=True)
            b.eltwise(found, found, mul=gate)
        of.product(of.middle, mixed, wo, layer, add=of.x)

    return kernels


def _delta(of: Decoder, layers: int) -> Any:
    """Declare what the gated delta rule needs, and return the kernels of a layer."""
    b, shape = of.b, of.shape
    dtype, count, size, taps = shape.dtype, shape.states, shape.state, shape.taps
    wide = count * size
    columns = 4 * wide + 2 * count
    wmix, wout = of.matrix("wmix", layers, shape.width, columns), of.matrix("wout", layers, wide, shape.width)
    kernel = b.weight("kernel", 0, dtype, (layers, taps, 3 * wide))
    windows = b.local("windows", dtype, (layers, taps, 3 * wide), memory="dev")
    window = b.local("window", dtype, (taps, 3 * wide))
    states = b.local("states", "f32", (layers, count, size, size), memory="dev")
    rate = b.weight("rate", 0, "f32", (1, count))
    mix = b.local("mix", dtype, (1, columns))
    qk = b.local("qk", dtype, (2 * count, 1, size), at=mix)
    query, key, value, z = (
        b.local(name, dtype, (count, 1, size), at=(mix, 2 * k * wide))
        for k, name in enumerate(("dq", "dk", "dv", "dz"))
    )
    column = b.local("column", dtype, (count, size, 1), at=key)
    tapped, summed = b.local("tapped", "f32", (taps, 3 * wide)), b.local("summed", "f32", (1, 3 * wide))
    lengths = b.local("delta_lengths", "f32", (2 * count, 1, 1))
    decay, beta = b.local("decay", "f32", (1, count)), b.local("beta", "f32", (1, count))
    decays, betas = (
        b.local(f"{name}s", "f32", (count, 1, 1), at=tensor) for name, tensor in (("decay", decay), ("beta", beta))
    )
    state, narrow = b.local("state", "f32", (count, size, size)), b.local("narrow", dtype, (count, size, size))
    recalled, change = b.local("recalled", "f32", (count, 1, size)), b.local("change", dtype, (count, 1, size))
    result = b.local("result", dtype, (count, 1, size))
    flat = b.local("flat", dtype, (1, wide), at=result)
    mean = b.const("state_mean", [1 / size], "f32")

    def kernels(layer: Any) -> None:
        of.norm(of.x)
        of.product(mix, of.n, wmix, layer)
        # A convolution over the last tokens, which move on by one.
        b.load(window[: taps - 1], windows[layer, 1:], wait=BEHIND)
        b.copy(window[taps - 1 :], mix[:, : 3 * wide])
        b.store(windows[layer], window)
        b.eltwise(tapped, window, mul=kernel[layer])
        b.reduce(summed, tapped, sum=True)
        b.eltwise(mix[:, : 3 * wide], summed, silu=True)
        b.matmul(lengths, qk, qk, transpose_w=True, ew1_bias=of.epsilon, rsqrt=True)
        b.eltwise(qk, qk, mul=lengths)
        # A softplus takes as many instructions as this sigmoid.
        b.eltwise(decay, mix[:, 4 * wide : 4 * wide + count], sigmoid=True)
        b.eltwise(decay, decay, mul=rate, exp=True)
        b.eltwise(beta, mix[:, 4 * wide + count :], sigmoid=True)
        b.load(state, states[layer], wait=BEHIND)
        b.eltwise(state, state, mul=decays)
        b.eltwise(narrow, state)
        b.matmul(recalled, key, narrow)
        b.eltwise(change, value, sub=recalled)
        b.eltwise(change, change, mul=betas)
        b.matmul(state, column, change, add=state)
        b.eltwise(narrow, state)
        b.store(states[layer], state)
        b.matmul(result, query, narrow)
        normed = {"transpose_w": True, "ew1_scale": mean, "ew1_bias": of.epsilon, "rsqrt": True}
        b.matmul(lengths[:count], result, result, **normed)
        b.eltwise(result, result, mul=lengths[:count])
        b.eltwise(z, z, silu=True)
        b.eltwise(result, result, mul=z)
        of.product(of.middle, flat, wout, layer, add=of.x)

    return kernels


def _units(of: Decoder) -> Any:
    """Declare what the gated linear units need, and return the kernels of a layer."""
    b, shape = of.b, of.shape
    inner = shape.inner
    wgu = of.matrix("wgu", shape.layers, shape.width, 2 * inner)
    wd = of.matrix("wd", shape.layers, inner, shape.width)
    gates = b.local("gates", shape.dtype, (1, 2 * inner))
    gated, made = (b.local(name, shape.dtype, (1, inner)) for name in ("gated", "made"))

    def kernels(layer: Any) -> None:
        of.norm(of.middle)
        of.product(gates, of.n, wgu, layer)
        b.eltwise(gated, gates[:, :inner], silu=True)
        b.eltwise(made, gates[:, inner:], mul=gated)
        of.product(of.x, made, wd, layer, add=of.middle)

    return kernels
