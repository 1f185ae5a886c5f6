"""Write the data of the small programs: seeded tensors, and what is to come out, in plain NumPy and float32.

    python -m programs.training.blocks

Shares nothing with the assembler or the emulator, so that it checks them.
"""

from pathlib import Path

import numpy as np

from programs.training.vector import FP32, Chain

f32 = np.float32
PROGRAMS = Path(__file__).parents[1]


def convolve(
    x: np.ndarray, w: np.ndarray, stride: int = 1, pad: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> np.ndarray:
    """Return int32 sums of an NHWC image with OHWI weights; `pad` is (top, left, bottom, right) pixels of zero."""
    top, left, bottom, right = pad
    x = np.pad(x.astype(np.int64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[1:3], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,oijc->nhwo", windows, w.astype(np.int64)).astype(np.int32)


def depthwise(x: np.ndarray, w: np.ndarray, stride: int, pad: tuple[int, int, int, int]) -> np.ndarray:
    """Return int32 sums of each channel with its own filter of 1HWC weights."""
    channels = [convolve(x[..., c : c + 1], w[..., c : c + 1], stride, pad) for c in range(x.shape[3])]
    return np.concatenate(channels, axis=3)


def quantise(v: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(v), -128, 127).astype(np.int8)


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-127, 128, shape, np.int8)


def scales(rng: np.random.Generator, channels: int) -> np.ndarray:
    return rng.uniform(0.002, 0.006, channels).astype(f32)


def save(folder: str, prefix: str, **tensors: np.ndarray) -> None:
    for name, tensor in tensors.items():
        np.save(PROGRAMS / folder / f"{prefix}{name}.npy", tensor)


def residual(rng: np.random.Generator) -> None:
    x = rng.integers(-60, 61, (1, 14, 14, 32), np.int8)
    w1, w2 = weights(rng, (32, 3, 3, 32)), weights(rng, (32, 3, 3, 32))
    s1, s2 = scales(rng, 32) * f32(0.1), scales(rng, 32) * f32(0.1)
    b1, b2 = (rng.integers(-3000, 3001, 32).astype(np.int32) for _ in range(2))
    pad = (1, 1, 1, 1)
    acc = convolve(x, w1, 1, pad) + b1
    h = quantise(np.maximum(acc.astype(f32), f32(0)) * (f32(0.05) * s1 / f32(0.04)))
    acc = convolve(h, w2, 1, pad) + b2
    v = Chain(x, FP32).times_plus(f32(0.05), Chain(acc, FP32).times(f32(0.04) * s2)).floats()
    y = quantise(np.maximum(v, f32(0)) * (f32(1) / f32(0.08)))
    save("blocks", "residual_", x=x, w1=w1, w2=w2, w1_scale=s1, w2_scale=s2, b1=b1, b2=b2, y=y)


def separable(rng: np.random.Generator) -> None:
    x = rng.integers(-100, 101, (1, 28, 28, 24), np.int8)
    w1, w2 = weights(rng, (1, 3, 3, 24)), weights(rng, (48, 1, 1, 24))
    s1, s2 = scales(rng, 24), scales(rng, 48)
    b1, b2 = (rng.integers(-2000, 2001, n).astype(np.int32) for n in (24, 48))
    acc = depthwise(x, w1, 2, (0, 0, 1, 1)) + b1
    v = np.clip(acc.astype(f32) * (f32(0.05) * s1), f32(0), f32(6))
    h = quantise(v * (f32(1) / f32(0.047)))
    acc = convolve(h, w2) + b2
    v = np.clip(acc.astype(f32) * (f32(0.047) * s2), f32(0), f32(6))
    y = quantise(v * (f32(1) / f32(0.03)))
    save("blocks", "separable_", x=x, w1=w1, w2=w2, w1_scale=s1, w2_scale=s2, b1=b1, b2=b2, y=y)


def overlap(rng: np.random.Generator) -> None:
    x, w = rng.integers(-40, 41, (4, 32, 32, 8), np.int8), rng.integers(-20, 21, (8, 3, 3, 8), np.int8)
    pad = (1, 1, 1, 1)
    a = quantise(np.maximum(convolve(x, w, 1, pad), 0) / 64)
    pooled = a.reshape(4, 16, 2, 16, 2, 8).max((2, 4))
    b = quantise(convolve(x, w, 2, pad) / 64)
    c = quantise(convolve(pooled, w, 1, pad) / 64)
    save("blocks", "overlap_", x=x, w=w, pooled=pooled, copied=np.stack([b, c]))


def matmul(rng: np.random.Generator) -> None:
    a, b = rng.integers(-127, 128, (256, 512), np.int8), rng.integers(-127, 128, (512, 512), np.int8)
    acc = (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)
    c = quantise(acc.astype(f32) * (f32(0.02) * f32(0.01) / f32(0.25)))
    save("matmul", "", a=a, b=b, c=c)


def shapes(rng: np.random.Generator) -> None:
    x, block = rng.integers(-128, 128, (2, 6, 4, 8), np.int8), 2
    n, h, w, c = x.shape
    # What ONNX says of NCHW, with the channels last: DCR has the block before the channel, CRD behind it.
    dcr = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    crd = x.reshape(n, h, w, c // block**2, block, block).transpose(0, 1, 4, 2, 5, 3)
    deep = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    wide = (n, h * block, w * block, c // block**2)
    save(
        "shapes",
        "",
        x=x,
        padded=np.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=-7),
        turned=x[:, ::-1, ::-1],
        swapped=x[..., ::-1],
        dcr=dcr.reshape(wide),
        crd=crd.reshape(wide),
        deep=deep.reshape(n, h // block, w // block, c * block**2),
    )


def pipeline(rng: np.random.Generator) -> None:
    # Scales are powers of two, and sums small: the same in every vector format.
    x = rng.integers(-60, 61, (6, 8, 16), np.int8)
    w, v = rng.integers(-30, 31, (16, 16), np.int8), rng.integers(-30, 31, (16, 4), np.int8)
    h = quantise(np.maximum(x.astype(np.int64) @ w.astype(np.int64), 0) / 64)
    y = quantise(h.astype(np.int64) @ v.astype(np.int64) / 64)
    save("cores", "pipeline_", x=x, w=w, v=v, y=y)


if __name__ == "__main__":
    generator = np.random.default_rng(800)
    for make in (residual, separable, overlap, matmul, pipeline, shapes):
        make(generator)
