"""What networks are fed with: seeded, and with the structure that they look for, so that no layer sees noise alone."""

from collections.abc import Callable

import numpy as np

f32 = np.float32
Example = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def image(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return images [n, channels, height, width], normalised to about -2 to 2: patches that run into each other."""
    n, channels, height, width = shape
    coarse = rng.normal(0, 1, (n, channels, height // 16 + 2, width // 16 + 2))
    for axis, size in ((2, height), (3, width)):
        at = np.linspace(0, coarse.shape[axis] - 1.001, size)
        left = at.astype(int)
        part = (at - left).reshape((-1, 1) if axis == 2 else (-1,))
        coarse = coarse.take(left, axis) * (1 - part) + coarse.take(left + 1, axis) * part
    return (coarse + rng.normal(0, 0.1, shape)).astype(f32)


def page(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return images [n, channels, height, width] from -1 to 1: dark strokes in lines on light paper, as of text."""
    n, _, height, width = shape
    paper = 0.8 + rng.normal(0, 0.03, shape)
    line, stroke = max(height // 12, 24), max(height // 120, 2)
    for k in range(n):
        for top in range(line // 6, height - line + 1, line):
            left = int(rng.integers(2, 12))
            while left < width - line // 2:
                tall = int(rng.integers(line // 3, 2 * line // 3))
                if rng.random() < 0.5:
                    paper[k, :, top : top + tall, left : left + stroke] -= 1.6
                else:
                    paper[k, :, top + tall // 2 : top + tall // 2 + stroke, left : left + tall] -= 1.6
                left += int(rng.integers(stroke + 1, line // 2))
    return np.clip(paper, -1, 1).astype(f32)


def sound(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return samples from -1 to 1, of any shape: some notes that fade, with overtones, over a little noise."""
    samples = int(np.prod(shape))
    time = np.arange(samples) / 22050
    wave = rng.normal(0, 0.005, samples)
    for _ in range(6):
        begin, pitch = rng.uniform(0, time[-1]), 110 * 2 ** rng.uniform(0, 3)
        since = np.maximum(time - begin * 0.7, 0)
        for overtone in (1, 2, 3):
            wave += 0.1 / overtone * np.sin(2 * np.pi * pitch * overtone * since) * np.exp(-6 * since) * (since > 0)
    return np.clip(wave, -1, 1).astype(f32).reshape(shape)


def text(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return bytes as int32: words, spaces and line breaks, the end padded with 256 as magika does."""
    letters = rng.choice(np.frombuffer(b"etaoinshrdlu    \n(){}=;", np.uint8), shape).astype(np.int32)
    letters[..., int(rng.integers(shape[-1] // 2, shape[-1])) :] = 256
    return letters


def state(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a recurrent network may have kept: float32 within -1 to 1."""
    return np.tanh(rng.normal(0, 0.5, shape)).astype(f32)


def rate(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return a sample rate of 16 kHz."""
    return np.full(shape, 16000, np.int64)
