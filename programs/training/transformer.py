"""Write the data of the transformer layer: seeded weights, quantised, and what its program is to give.

    python -m programs.training.transformer

One encoder layer as in "Attention Is All You Need": multi-head attention, feed-forward with GELU, each followed by
the sum with its input and a layer norm. The float32 form is `layer`; `integer_layer` is the program's arithmetic in
plain NumPy, to the last bit.
"""

import math
from pathlib import Path

import numpy as np

from programs.training.vector import FP24, Chain, exp, gelu, reciprocal, rsqrt
from ratel import quantise

f32 = np.float32
Tensors = dict[str, np.ndarray]

FOLDER = Path(__file__).parents[1] / "transformer"
STEPS, MODEL, HEADS, HIDDEN = 32, 64, 4, 256
HEAD = MODEL // HEADS
EPSILON = f32(1e-5)
# Stored activations of 8 bits, whose scales are calibrated, each with the activation that its matrix is multiplied by.
ACTIVATIONS = ("x", "q", "k", "v", "context", "middle", "hidden", "out")
MATRICES = {"wq": "x", "wk": "x", "wv": "x", "wo": "context", "w1": "middle", "w2": "hidden"}
# Scales of 16-bit tensors: scores reach 32; sums with the residual, and these less their mean, 16; normalised, 8.
SCORE_SCALE, SUM_SCALE, NORMAL_SCALE = f32(2.0**-10), f32(2.0**-11), f32(2.0**-12)
EXP_SCALE = f32(1 / 255)


def seeded(rng: np.random.Generator) -> Tensors:
    """Return float32 weights [outputs, inputs], biases, and gains and offsets of the layer norms.

    Queries and keys are large enough for an attention that looks at some places more than at others.
    """
    shapes = {"q": (MODEL, MODEL), "k": (MODEL, MODEL), "v": (MODEL, MODEL), "o": (MODEL, MODEL)}
    shapes |= {"1": (HIDDEN, MODEL), "2": (MODEL, HIDDEN)}
    weights = {}
    for name, (outputs, inputs) in shapes.items():
        gain = 1.5 if name in "qk" else 1.0
        weights[f"w{name}"] = rng.normal(0, gain / np.sqrt(inputs), (outputs, inputs)).astype(f32)
        weights[f"b{name}"] = rng.normal(0, 0.1, outputs).astype(f32)
    for name in ("1", "2"):
        weights[f"gain{name}"] = rng.normal(1, 0.1, MODEL).astype(f32)
        weights[f"offset{name}"] = rng.normal(0, 0.1, MODEL).astype(f32)
    return weights


def split_heads(x: np.ndarray) -> np.ndarray:
    """Return [steps, model] as [heads, steps, model / heads]."""
    return x.reshape(STEPS, HEADS, HEAD).transpose(1, 0, 2)


def merge_heads(x: np.ndarray) -> np.ndarray:
    return x.transpose(1, 0, 2).reshape(STEPS, MODEL)


def normalise(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True, dtype=f32)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True, dtype=f32) + EPSILON)


def layer(w: Tensors, x: np.ndarray) -> Tensors:
    """Return the float32 ACTIVATIONS of one encoder layer, by name, from its input [steps, model]."""
    q, k, v = (x @ w[f"w{name}"].T + w[f"b{name}"] for name in "qkv")
    scores = split_heads(q) @ split_heads(k).swapaxes(1, 2) / f32(math.sqrt(HEAD))
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    context = merge_heads(weight / weight.sum(-1, keepdims=True) @ split_heads(v))
    first = context @ w["wo"].T + w["bo"] + x
    middle = normalise(first) * w["gain1"] + w["offset1"]
    pre = middle @ w["w1"].T + w["b1"]
    hidden = pre * (f32(0.5) * (1 + np.vectorize(math.erf, otypes=[f32])(pre / f32(math.sqrt(2)))))
    second = hidden @ w["w2"].T + w["b2"] + middle
    out = normalise(second) * w["gain2"] + w["offset2"]
    stored = (x, q / f32(math.sqrt(HEAD)), k, v, context, middle, hidden, out)
    return dict(zip(ACTIVATIONS, stored, strict=True))


def calibrate(w: Tensors, rng: np.random.Generator, count: int = 16) -> dict[str, np.float32]:
    """Return the scale of each 8-bit activation: its greatest magnitude over `count` random sequences is 127."""
    runs = [layer(w, rng.normal(0, 1, (STEPS, MODEL)).astype(f32)) for _ in range(count)]
    return {name: quantise.scale([run[name] for run in runs]) for name in ACTIVATIONS}


def quantised(w: Tensors, scale: dict[str, np.float32]) -> Tensors:
    """Return int8 matrices with a scale for each output channel, and int32 biases in the scale of the sums."""
    found = {}
    for name, source in MATRICES.items():
        # The scores' division by the root of the head's size is in the queries.
        divisor = f32(math.sqrt(HEAD)) if name == "wq" else f32(1)
        found[name], found[f"{name}_scale"] = quantise.weights(w[name] / divisor)
        found[f"b{name[1]}"] = quantise.bias(w[f"b{name[1]}"] / divisor, scale[source], found[f"{name}_scale"])
    return found | {name: w[name] for name in ("gain1", "offset1", "gain2", "offset2")}


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return exact sums of products: [..., m, k] by [..., n, k] is [..., m, n]."""
    return x.astype(np.int64) @ w.astype(np.int64).swapaxes(-1, -2)


def integer_layer(t: Tensors, scale: dict[str, np.float32], x: np.ndarray, bits: int = FP24) -> np.ndarray:
    """Return the int8 result of an int8 input [steps, model], as the program has to: to the last bit.

    `bits` are the fraction bits of the tensor engine's vector format. The pooling engine only adds and compares
    integers. Multipliers are float32, each product or quotient of scales rounded.
    """

    def number(values: np.ndarray) -> Chain:
        return Chain(values, bits)

    def project(x: np.ndarray, name: str) -> tuple[Chain, np.ndarray]:
        return number(product(x, t[name]) + t[f"b{name[1]}"]), scale[MATRICES[name]] * t[f"{name}_scale"]

    def normalised(x: np.ndarray, which: str, out: np.float32) -> np.ndarray:
        less = number(-x.astype(np.int64).sum(-1, keepdims=True))
        centred = less.times_plus(SUM_SCALE / f32(MODEL), number(x).times(SUM_SCALE)).times(1 / SUM_SCALE).stored("i16")
        squares = (centred.astype(np.int64) ** 2).sum(-1, keepdims=True)
        inverse = number(squares).times_plus(SUM_SCALE * (SUM_SCALE / f32(MODEL)), EPSILON).apply(rsqrt)
        normal = number(centred).times(SUM_SCALE).times(inverse).times(1 / NORMAL_SCALE).stored("i16")
        v = number(normal).times_plus(NORMAL_SCALE * t[f"gain{which}"], t[f"offset{which}"])
        return v.times(1 / out).stored("i8")

    heads = {}
    for name in "qkv":
        sums, multiplier = project(x, f"w{name}")
        heads[name] = split_heads(sums.times(multiplier / scale[name]).stored("i8"))
    scores = number(product(heads["q"], heads["k"])).times(scale["q"] * scale["k"] / SCORE_SCALE).stored("i16")
    less = number(-scores.max(-1, keepdims=True).astype(np.int64))
    below_peak = less.times_plus(SCORE_SCALE, number(scores).times(SCORE_SCALE))
    weight = below_peak.apply(exp).times(1 / EXP_SCALE).stored("u8")
    share = number(weight.sum(-1, keepdims=True, dtype=np.int64)).times(EXP_SCALE).apply(reciprocal)
    sums = number(product(weight, heads["v"].swapaxes(1, 2))).times(EXP_SCALE * scale["v"])
    context = merge_heads(sums.times(share).times(1 / scale["context"]).stored("i8"))
    sums, multiplier = project(context, "wo")
    first = number(x).times_plus(scale["x"], sums.times(multiplier)).times(1 / SUM_SCALE).stored("i16")
    middle = normalised(first, "1", scale["middle"])
    sums, multiplier = project(middle, "w1")
    hidden = sums.times(multiplier).apply(gelu).times(1 / scale["hidden"]).stored("i8")
    sums, multiplier = project(hidden, "w2")
    second = number(middle).times_plus(scale["middle"], sums.times(multiplier)).times(1 / SUM_SCALE).stored("i16")
    return normalised(second, "2", scale["out"])


def main() -> None:
    """Write weights, scales, an input and what is to come of it, and print how far that is from float32."""
    rng = np.random.default_rng(800)
    w = seeded(rng)
    scale = calibrate(w, rng)
    t = quantised(w, scale)
    x = quantise.to_integers(rng.normal(0, 1, (STEPS, MODEL)).astype(f32), scale["x"])
    out = integer_layer(t, scale, x)
    real = layer(w, x * scale["x"])["out"]
    error, width = np.abs(out * scale["out"] - real), real.max() - real.min()
    print(f"the result goes from {real.min():.2f} to {real.max():.2f}, in steps of {scale['out']}")
    print(f"|integer - float| at most {error.max():.3f} ({error.max() / width:.2%} of the range),", end=" ")
    print(f"mean {error.mean():.4f} ({error.mean() / width:.2%})")
    expected = {"out_exact": out, "out_within": quantise.to_integers(real, scale["out"])}
    for name, tensor in {**t, **expected, "x": x, "scales": np.array(list(scale.values()), f32)}.items():
        np.save(FOLDER / f"transformer_{name}.npy", tensor)


if __name__ == "__main__":
    main()
