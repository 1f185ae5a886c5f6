"""Train a small Llama on text that comes with Python, by characters, and write it as `programs/chat` takes it.

Run as `python -m programs.training.chat`; it needs NumPy and takes some 15 minutes of one core. The text is
`pydoc_data.topics` (Python's licence). Another BLAS may add in another order and so arrive at other weights; another
Python has another text.

Each of the LAYERS adds attention and a gated linear unit to its input, each behind a root-mean-square norm. With heads
of HEAD numbers, of which PAIRS query heads share a head of keys and values, and `rotated` turning pairs of numbers
(k, k + HEAD / 2) by position / ROTARY**(2 k / HEAD):

    n = rms(x) * gain;  q, k, v = rotated(n wq), rotated(n wk), n wv;  x = x + softmax(q k / sqrt(HEAD), causal) v wo
    n = rms(x) * gain;  x = x + (silu(n wg) * (n wu)) wd;  at the end scores = (rms(x) * gain) embedding
"""

import sys
from pathlib import Path

import numpy as np

f32 = np.float32
Weights = dict[str, np.ndarray]

FOLDER = Path(__file__).parents[1] / "chat"
LAYERS, WIDTH, HEADS, PAIRS, HEAD, INNER = 4, 128, 4, 2, 32, 352
CONTEXT, ROTARY, EPSILON = 128, 10_000.0, 1e-5
GROUPS = HEADS // PAIRS
STEPS, BATCH, RATE = 1600, 16, 3e-3
# What the program begins with, and how many characters it is given and says in all.
PROMPT, LENGTH = "The ", 120
# What stands for characters that are not ASCII; the others of them are left out.
ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


def text() -> str:
    """Return the text, in ASCII."""
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics[name].strip() for name in sorted(topics)).translate(ASCII)
    return "".join(character for character in whole if character.isascii())


def initial(characters: int, rng: np.random.Generator) -> Weights:
    """Return weights [layers, outputs, inputs], gains, and the embedding [characters, WIDTH]."""
    kept = GROUPS * HEAD
    shapes = {
        "wq": (WIDTH, WIDTH),
        "wk": (kept, WIDTH),
        "wv": (kept, WIDTH),
        "wo": (WIDTH, WIDTH),
        "wg": (INNER, WIDTH),
        "wu": (INNER, WIDTH),
        "wd": (WIDTH, INNER),
    }
    weights = {name: rng.normal(0, shape[1] ** -0.5, (LAYERS, *shape)).astype(f32) for name, shape in shapes.items()}
    for name in ("wo", "wd"):
        weights[name] /= f32((2 * LAYERS) ** 0.5)
    weights |= {name: np.ones((LAYERS, WIDTH), f32) for name in ("gain1", "gain2")}
    return weights | {"gain": np.ones(WIDTH, f32), "embedding": rng.normal(0, 0.05, (characters, WIDTH)).astype(f32)}


def angles(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines [length, HEAD / 2] of what pairs are turned by at each position."""
    turn = np.outer(np.arange(length), ROTARY ** (-np.arange(HEAD // 2) * 2 / HEAD))
    return np.cos(turn).astype(f32), np.sin(turn).astype(f32)


def rotated(x: np.ndarray, turn: tuple[np.ndarray, np.ndarray], back: bool = False) -> np.ndarray:
    """Return x [..., length, HEAD] with its pairs turned, or turned back."""
    cosine, sine = turn[0], -turn[1] if back else turn[1]
    first, second = x[..., : HEAD // 2], x[..., HEAD // 2 :]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def norm(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x over its root mean square, and one over that."""
    inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + f32(EPSILON))
    return x * inverse, inverse


def norm_back(gradient: np.ndarray, normal: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    return inverse * (gradient - normal * (gradient * normal).mean(-1, keepdims=True))


def heads(x: np.ndarray, each: int) -> np.ndarray:
    """Return [batch, length, n * HEAD] as [batch, GROUPS, each, length, HEAD]."""
    return x.reshape(*x.shape[:2], GROUPS, each, HEAD).transpose(0, 2, 3, 1, 4)


def flat(x: np.ndarray) -> np.ndarray:
    """Return what `heads` gives as it was."""
    return x.transpose(0, 3, 1, 2, 4).reshape(x.shape[0], x.shape[3], -1)


def forward(weights: Weights, tokens: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """Return the scores [batch, length, characters], and what `backward` needs of each layer."""
    length, turn, kept = tokens.shape[1], angles(tokens.shape[1]), []
    ahead = np.triu(np.full((length, length), -np.inf, f32), 1)
    x = weights["embedding"][tokens]
    for k in range(LAYERS):
        normal, inverse = norm(x)
        n = normal * weights["gain1"][k]
        q, key, v = (heads(n @ weights[w][k].T, each) for w, each in (("wq", PAIRS), ("wk", 1), ("wv", 1)))
        q, key = rotated(q, turn), rotated(key, turn)
        scores = q @ key.swapaxes(-1, -2) * f32(HEAD**-0.5) + ahead
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        found = flat(share @ v)
        x = x + found @ weights["wo"][k].T
        normal2, inverse2 = norm(x)
        n2 = normal2 * weights["gain2"][k]
        g, u = n2 @ weights["wg"][k].T, n2 @ weights["wu"][k].T
        sigmoid = 1 / (1 + np.exp(-g))
        x = x + (g * sigmoid * u) @ weights["wd"][k].T
        kept.append((normal, inverse, q, key, v, share, found, normal2, inverse2, g, u, sigmoid))
    normal, inverse = norm(x)
    kept.append((normal, inverse))
    return normal * weights["gain"] @ weights.get("scored", weights["embedding"]).T, kept


def product(gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the gradient of a weight [outputs, inputs] from that of x @ weight.T."""
    return gradient.reshape(-1, gradient.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def backward(weights: Weights, tokens: np.ndarray, kept: list[tuple[np.ndarray, ...]], gradient: np.ndarray) -> Weights:
    """Return the gradients of the weights from that of the scores."""
    found = {name: np.zeros_like(weight) for name, weight in weights.items()}
    turn, (normal, inverse) = angles(tokens.shape[1]), kept[-1]
    found["embedding"] = product(gradient, normal * weights["gain"])
    dn = gradient @ weights["embedding"]
    found["gain"] = (dn * normal).sum((0, 1))
    dx = norm_back(dn * weights["gain"], normal, inverse)
    for k in reversed(range(LAYERS)):
        normal, inverse, q, key, v, share, mixed, normal2, inverse2, g, u, sigmoid = kept[k]
        n, n2 = normal * weights["gain1"][k], normal2 * weights["gain2"][k]
        found["wd"][k] = product(dx, g * sigmoid * u)
        dh = dx @ weights["wd"][k]
        du, dg = dh * g * sigmoid, dh * u * sigmoid * (1 + g * (1 - sigmoid))
        found["wg"][k], found["wu"][k] = product(dg, n2), product(du, n2)
        dn = dg @ weights["wg"][k] + du @ weights["wu"][k]
        found["gain2"][k] = (dn * normal2).sum((0, 1))
        dx = dx + norm_back(dn * weights["gain2"][k], normal2, inverse2)
        found["wo"][k] = product(dx, mixed)
        dmixed = heads(dx @ weights["wo"][k], PAIRS)
        dv = (share.swapaxes(-1, -2) @ dmixed).sum(2, keepdims=True)
        dshare = dmixed @ v.swapaxes(-1, -2)
        dscores = share * (dshare - (dshare * share).sum(-1, keepdims=True)) * f32(HEAD**-0.5)
        dq, dkey = dscores @ key, (dscores.swapaxes(-1, -2) @ q).sum(2, keepdims=True)
        dn = np.zeros_like(n)
        for name, part in (("wq", rotated(dq, turn, True)), ("wk", rotated(dkey, turn, True)), ("wv", dv)):
            found[name][k] = product(flat(part), n)
            dn += flat(part) @ weights[name][k]
        found["gain1"][k] = (dn * normal).sum((0, 1))
        dx = dx + norm_back(dn * weights["gain1"][k], normal, inverse)
    np.add.at(found["embedding"], tokens, dx)
    return found


def likelihood(scores: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean of -log p of what is wanted, and its gradient."""
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    chosen = np.take_along_axis(p, wanted[..., None], -1)
    np.put_along_axis(p, wanted[..., None], chosen - 1, -1)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean()), p / f32(wanted.size)


def fit(numbers: np.ndarray, characters: int, rng: np.random.Generator, steps: int) -> Weights:
    """Train with Adam, gradients clipped to norm 1, on all but the last part of the text; return the weights."""
    part = len(numbers) * 19 // 20
    train, held = numbers[:part], numbers[part:]
    weights = initial(characters, rng)
    mean, square = ({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    for step in range(1, steps + 1):
        at = rng.integers(0, len(train) - CONTEXT - 1, BATCH)
        lines = np.stack([train[a : a + CONTEXT + 1] for a in at])
        scores, kept = forward(weights, lines[:, :-1])
        loss, gradient = likelihood(scores, lines[:, 1:])
        found = backward(weights, lines[:, :-1], kept, gradient)
        size = np.sqrt(sum(float((g**2).sum()) for g in found.values()))
        rate = RATE * min(1, step / 100) * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for name, weight in weights.items():
            g = found[name] / f32(max(1.0, size))
            mean[name] += f32(0.1) * (g - mean[name])
            square[name] += f32(0.01) * (g * g - square[name])
            ratio = mean[name] / f32(1 - 0.9**step) / (np.sqrt(square[name] / f32(1 - 0.99**step)) + f32(1e-8))
            weight -= f32(rate) * ratio
        if step % 100 == 0:
            lines = np.stack([held[a : a + CONTEXT + 1] for a in range(0, len(held) - CONTEXT - 1, 4 * CONTEXT)])
            validation, _ = likelihood(forward(weights, lines[:, :-1])[0], lines[:, 1:])
            print(f"step {step:5}: loss {loss:.3f}, validation {validation:.3f} nats a character", flush=True)
    return weights


def said(weights: Weights, prompt: list[int], length: int) -> list[int]:
    """Return what is said at each place up to `length`: the greatest score, where the prompt has ended fed back."""
    tokens, found = list(prompt), []
    for place in range(length):
        scores, _ = forward(weights, np.array([tokens[: place + 1]]))
        found.append(int(scores[0, -1].argmax()))
        if len(tokens) == place + 1:
            tokens.append(found[-1])
    return found


def main(steps: int = STEPS) -> None:
    """Train, and write the weights as f16; norms' gains are part of the weights behind them.

    What is said is computed with those weights, in float32 throughout.
    """
    whole = text()
    alphabet = "".join(sorted(set(whole)))
    numbers = np.array([alphabet.index(character) for character in whole])
    weights = fit(numbers, len(alphabet), np.random.default_rng(7), steps)
    for names, gain in ((("wq", "wk", "wv"), "gain1"), (("wg", "wu"), "gain2")):
        for name in names:
            weights[name] = weights[name] * weights[gain][:, None, :]
    held = {name: weight.astype(np.float16) for name, weight in weights.items() if not name.startswith("gain")}
    held["wqk"] = np.concatenate([held.pop("wq"), held.pop("wk")], axis=1)
    held["scored"] = (weights["embedding"] * weights["gain"]).astype(np.float16)
    write(held, alphabet)


def write(held: Weights, alphabet: str) -> None:
    """Write what the program reads."""
    cosine, sine = angles(CONTEXT)
    prompt = [alphabet.index(character) for character in PROMPT]
    padded = np.zeros(LENGTH, np.int32)
    padded[: len(prompt)] = prompt
    files = held | {
        "cosine": cosine,
        "sine": sine,
        "pick": (np.arange(LENGTH) < len(prompt)).astype(np.int32)[:, None],
        "prompt": padded[:, None, None],
        "said": np.array(said(as_trained(held), prompt, LENGTH), np.int32)[:, None, None],
    }
    FOLDER.mkdir(exist_ok=True)
    for name, value in files.items():
        np.save(FOLDER / f"{name}.npy", value)
    (FOLDER / "alphabet.txt").write_text(alphabet, encoding="ascii")


def as_trained(held: Weights) -> Weights:
    """Return the weights that are written as `forward` takes them, in float32; the gains are in them."""
    found = {name: weight.astype(f32) for name, weight in held.items()}
    found["wq"], found["wk"] = np.split(found.pop("wqk"), [WIDTH], axis=1)
    ones = np.ones((LAYERS, WIDTH), f32)
    return found | {"gain1": ones, "gain2": ones, "gain": ones[0]}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
