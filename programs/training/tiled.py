"""Write the data of programs/tiled: a seeded image and network, and what is to come out, in plain integers.

    python -m programs.training.tiled

Shares nothing with the assembler or the emulator, so that it checks them.
"""

import numpy as np

from programs.training.blocks import convolve, depthwise, save

PAD = (1, 1, 1, 1)


def shifted(acc: np.ndarray, bits: int, relu: bool = True) -> np.ndarray:
    """Return acc / 2**bits, of relu(acc) if so asked, rounded half to even and clamped to i8; integers alone."""
    acc = np.maximum(acc.astype(np.int64), 0) if relu else acc.astype(np.int64)
    half_less_tie = (1 << (bits - 1)) - 1 + ((acc >> bits) & 1)
    return np.clip((acc + half_less_tie) >> bits, -128, 127).astype(np.int8)


def layer(rng: np.random.Generator, limit: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights within +-limit, OHWI or 1HWC, and a bias; the limit keeps most results below the clamp."""
    channels = shape[3] if shape[0] == 1 else shape[0]
    weights = rng.integers(-limit, limit + 1, shape).astype(np.int8)
    return weights, rng.integers(-4000, 8001, channels).astype(np.int32)


def maxpool(x: np.ndarray) -> np.ndarray:
    """Return the greatest value of each 2x2 cell."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))


def tiled(rng: np.random.Generator) -> None:
    image = rng.integers(-100, 101, (1, 96, 128, 3)).astype(np.int8)
    w1, b1 = layer(rng, 127, 32, 3, 3, 3)
    w2, b2 = layer(rng, 127, 1, 3, 3, 32)
    w3, b3 = layer(rng, 48, 64, 3, 3, 32)
    w4, b4 = layer(rng, 32, 128, 3, 3, 64)
    h = shifted(convolve(image, w1, 1, PAD) + b1, 9)
    h = maxpool(shifted(depthwise(h, w2, 1, PAD) + b2, 8))
    h = shifted(convolve(h, w3, 1, PAD) + b3, 9)
    y = maxpool(shifted(convolve(h, w4, 1, PAD) + b4, 9))
    save("tiled", "", image=image, w1=w1, b1=b1, w2=w2, b2=b2, w3=w3, b3=b3, w4=w4, b4=b4, y=y)


if __name__ == "__main__":
    tiled(np.random.default_rng(96))
