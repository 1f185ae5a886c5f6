"""Train an LSTM on 8x8 digits, quantise it and compute what its program is to give.

Run as `python -m programs.training.lstm`; it needs NumPy and scikit-learn and takes a minute. A digit is read as a
sequence of 16 steps of 4 pixels, row by row, left half before right. Images and split are those of `digits`. Another
BLAS may add in another order and so arrive at other weights.

The gates are kept in the order f, i, o, g: the three sigmoids, then the tanh. With the cell state c and the hidden
state h of the step before, and * element by element,

    f, i, o = sigmoid(x wx + h wh + b);  g = tanh(x wx + h wh + b);  c = f * c + i * g;  h = o * tanh(c)
"""

from pathlib import Path

import numpy as np

from programs.training.train import accuracy, shift, softmax, stratified_split
from programs.training.vector import FP24, Chain, sigmoid, tanh
from ratel import quantise

f32 = np.float32
Weights = dict[str, np.ndarray]

FOLDER = Path(__file__).parents[1] / "lstm"
STEPS, PIXELS, HIDDEN, CLASSES = 16, 4, 32, 10
# Scales of what the program stores: powers of two, but for the input's.
H_SCALE = f32(2.0**-7)
PRE_SCALE = f32(2.0**-11)
STATE_SCALE = f32(2.0**-11)
GATE_SCALE = f32(2.0**-15)


def initial(rng: np.random.Generator) -> Weights:
    """Return weights [outputs, inputs] and biases; the forget gates start open."""
    bias = np.zeros(4 * HIDDEN, f32)
    bias[:HIDDEN] = 1
    return {
        "wx": rng.normal(0, 1 / np.sqrt(PIXELS), (4 * HIDDEN, PIXELS)).astype(f32),
        "wh": rng.normal(0, 1 / np.sqrt(HIDDEN), (4 * HIDDEN, HIDDEN)).astype(f32),
        "b": bias,
        "dense": rng.normal(0, 1 / np.sqrt(HIDDEN), (CLASSES, HIDDEN)).astype(f32),
        "dense_b": np.zeros(CLASSES, f32),
    }


def sequences(images: np.ndarray) -> np.ndarray:
    """Return [n, 8, 8, 1] images as [n, steps, pixels]."""
    return images.reshape(len(images), STEPS, PIXELS)


def forward(weights: Weights, x: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """Return the scores [n, classes] in float32, and the states of each step: c and h before it, gates, c after it."""
    h, c = (np.zeros((len(x), HIDDEN), f32) for _ in range(2))
    steps = []
    for t in range(STEPS):
        pre = x[:, t] @ weights["wx"].T + h @ weights["wh"].T + weights["b"]
        gates = np.concatenate([1 / (1 + np.exp(-pre[:, : 3 * HIDDEN])), np.tanh(pre[:, 3 * HIDDEN :])], axis=1)
        f, i, o, g = np.split(gates, 4, axis=1)
        new = f * c + i * g
        steps.append((c, h, gates, new))
        c, h = new, o * np.tanh(new)
    return h @ weights["dense"].T + weights["dense_b"], [*steps, (c, h)]


def backward(weights: Weights, x: np.ndarray, steps: list[tuple[np.ndarray, ...]], gradient: np.ndarray) -> Weights:
    """Return the gradients of the weights from that of the scores, backward through the steps."""
    found = {name: np.zeros_like(weight) for name, weight in weights.items()}
    found["dense"], found["dense_b"] = gradient.T @ steps[-1][1], gradient.sum(0)
    dh = gradient @ weights["dense"]
    dc = np.zeros_like(dh)
    for t in reversed(range(STEPS)):
        c, h, gates, new = steps[t]
        f, i, o, g = np.split(gates, 4, axis=1)
        squashed = np.tanh(new)
        dc = dc + dh * o * (1 - squashed**2)
        outer = np.concatenate([dc * c, dc * g, dh * squashed, dc * i], axis=1)
        sigmoids = gates[:, : 3 * HIDDEN]
        dpre = outer * np.concatenate([sigmoids * (1 - sigmoids), 1 - g**2], axis=1)
        found["wx"] += dpre.T @ x[:, t]
        found["wh"] += dpre.T @ h
        found["b"] += dpre.sum(0)
        dh, dc = dpre @ weights["wh"], dc * f
    return found


def fit(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, epochs: int = 60, batch: int = 32) -> Weights:
    """Train with Adam, gradients clipped to norm 1; return the weights of the epoch that reads 200 held images best."""
    train, held = stratified_split(labels, 200, rng)
    weights = initial(rng)
    mean, square = ({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    count, step, best = epochs * -(-len(train) // batch), 0, (np.inf, weights)
    for epoch in range(epochs):
        order = rng.permutation(train)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            x = sequences(shift(images[chosen], 1, rng))
            out, steps = forward(weights, x)
            gradient = softmax(out)
            gradient[np.arange(len(chosen)), labels[chosen]] -= 1
            found = backward(weights, x, steps, gradient / len(chosen))
            norm = np.sqrt(sum(float((g**2).sum()) for g in found.values()))
            step += 1
            rate = 1e-2 * 0.5 * (1 + np.cos(np.pi * step / count))
            for name, weight in weights.items():
                g = found[name] / max(1.0, norm)
                mean[name] += 0.1 * (g - mean[name])
                square[name] += 0.001 * (g * g - square[name])
                ratio = mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
                weight -= (rate * ratio).astype(f32)
        out = forward(weights, sequences(images[held]))[0]
        likelihood = softmax(out)[np.arange(len(held)), labels[held]]
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
        right = accuracy(out, labels[held])
        print(f"epoch {epoch + 1:3}: validation loss {loss:.4f}, accuracy {right:.2%}", flush=True)
        if loss < best[0]:
            best = (loss, {name: weight.copy() for name, weight in weights.items()})
    return best[1]


def quantised(weights: Weights, x_scale: f32) -> dict[str, np.ndarray]:
    """Return int8 weights with a scale for each output channel, and int32 biases in the scale of the sums."""
    found = {}
    for name in ("wx", "wh", "dense"):
        found[name], found[f"{name}_scale"] = quantise.weights(weights[name])
    found["b"] = quantise.bias(weights["b"], x_scale, found["wx_scale"])
    found["dense_b"] = quantise.bias(weights["dense_b"], H_SCALE, found["dense_scale"])
    return found


def sums(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x.astype(np.int64) @ weight.T.astype(np.int64)


def integer_scores(q: dict[str, np.ndarray], x_scale: f32, x: np.ndarray, bits: int = FP24) -> np.ndarray:
    """Return the float32 scores of int8 sequences [n, steps, pixels], as the program has to: to the last bit.

    `bits` are the fraction bits of the chip's vector format. Multipliers are float32, each product or quotient of
    scales rounded.
    """
    pre = Chain(sums(x, q["wx"]) + q["b"], bits).times(x_scale * q["wx_scale"] / PRE_SCALE).stored("i16")
    h = np.zeros((len(x), HIDDEN), np.int8)
    c = np.zeros((len(x), HIDDEN), np.int16)
    for t in range(STEPS):
        v = Chain(sums(h, q["wh"]), bits).times(H_SCALE * q["wh_scale"])
        v = Chain(pre[:, t], bits).times_plus(PRE_SCALE, v).values
        gates = Chain(v[:, : 3 * HIDDEN], bits).apply(sigmoid).times(1 / GATE_SCALE).stored("i16")
        g = Chain(v[:, 3 * HIDDEN :], bits).apply(tanh).times(1 / STATE_SCALE).stored("i16")
        f, i, o = np.split(gates, 3, axis=1)
        kept, added = (
            Chain(state, bits)
            .times(STATE_SCALE)
            .times(Chain(gate, bits).times(GATE_SCALE))
            .times(1 / STATE_SCALE)
            .stored("i16")
            for state, gate in ((c, f), (g, i))
        )
        v = Chain(added, bits).times_plus(STATE_SCALE, Chain(kept, bits).times(STATE_SCALE))
        c = v.times(1 / STATE_SCALE).stored("i16")
        squashed = v.apply(tanh).times(1 / GATE_SCALE).stored("i16")
        opened = Chain(o, bits).times(GATE_SCALE)
        h = Chain(squashed, bits).times(GATE_SCALE).times(opened).times(1 / H_SCALE).stored("i8")
    return Chain(sums(h, q["dense"]) + q["dense_b"], bits).times(H_SCALE * q["dense_scale"]).floats()


def main() -> None:
    """Train on 1437 images, test on the other 360 and save the result."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(8)
    data = load_digits()
    images, labels = (data.images[..., None] / 16).astype(f32), data.target.astype(np.int32)
    train, test = stratified_split(labels, 360, rng)
    weights = fit(images[train], labels[train], rng)
    x_scale = quantise.scale(images[train], digits=3)
    q = quantised(weights, x_scale)
    x = sequences(quantise.to_integers(images[test], x_scale))
    floats = forward(weights, sequences(images[test]))[0]
    scores = integer_scores(q, x_scale, x)
    print(f"float accuracy   {accuracy(floats, labels[test]):.2%}")
    print(f"integer accuracy {accuracy(scores, labels[test]):.2%}")
    print(f"scores from {floats.min():.1f} to {floats.max():.1f}; input scale {x_scale}")
    print(f"|integer - float| at most {np.abs(scores - floats).max():.3f}, mean {np.abs(scores - floats).mean():.4f}")
    for name, array in {**q, "x": x, "labels": labels[test], "scores": scores, "float_scores": floats}.items():
        np.save(FOLDER / f"{name}.npy", array)


if __name__ == "__main__":
    main()
