"""Write the data of programs/detection: a seeded image, network and boxes, and what is to come out, in plain NumPy.

    python -m programs.training.detection

Integers as far as the feature map, float64 for ROI-align and the classifier. Shares nothing with the assembler or the
emulator, so that it checks them.
"""

import numpy as np

from programs.training.blocks import convolve, save
from programs.training.tiled import PAD, layer, shifted

BINS, SAMPLES = 4, 2
# Activations count sixteenths; the feature map has a quarter of the image's rows and columns.
SCALE, SPATIAL_SCALE = 1 / 16, 1 / 4


def doubled(x: np.ndarray) -> np.ndarray:
    """Return an image of twice the size, bilinear with half-pixel centres: taps of 1/4 and 3/4, edges repeated."""
    total = x.astype(np.int64)
    for axis in (1, 2):
        index = np.arange(total.shape[axis])
        before = np.take(total, np.maximum(index - 1, 0), axis)
        after = np.take(total, np.minimum(index + 1, index[-1]), axis)
        shape = list(total.shape)
        shape[axis] *= 2
        total = np.stack([before + 3 * total, 3 * total + after], axis + 1).reshape(shape)
    # Each axis has counted in quarters.
    return shifted(total, 4, relu=False)


def roi_align(x: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the means of SAMPLES x SAMPLES bilinear samples in each of BINS x BINS bins of a box: [bins, bins, c].

    `x` is [rows, columns, channels], `box` (left, top, right, bottom) in pixels of the image, whose first pixel has its
    centre at 0.5. What lies beyond the outermost centres is as there.
    """

    def positions(low: float, high: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        steps = (np.arange(BINS * SAMPLES) + 0.5) / (BINS * SAMPLES)
        at = np.clip(low + (high - low) * steps - 0.5, 0, size - 1)
        first = np.minimum(at.astype(int), size - 2)
        return first, first + 1, at - first

    left, top, right, bottom = np.asarray(box, np.float64) * SPATIAL_SCALE
    y0, y1, fy = positions(top, bottom, x.shape[0])
    x0, x1, fx = positions(left, right, x.shape[1])
    fy, fx = fy[:, None, None], fx[None, :, None]
    upper = x[np.ix_(y0, x0)] * (1 - fx) + x[np.ix_(y0, x1)] * fx
    lower = x[np.ix_(y1, x0)] * (1 - fx) + x[np.ix_(y1, x1)] * fx
    samples = upper * (1 - fy) + lower * fy
    return samples.reshape(BINS, SAMPLES, BINS, SAMPLES, -1).mean((1, 3))


def detection(rng: np.random.Generator) -> None:
    # Cells of 8x8 pixels of one colour and some noise, so that boxes differ.
    cells = rng.integers(-80, 81, (1, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
    image = (cells + rng.integers(-30, 31, cells.shape)).astype(np.int8)
    (w1, b1), (w2, b2) = layer(rng, 127, 16, 3, 3, 3), layer(rng, 48, 32, 3, 3, 16)
    (w3, b3), (w4, b4) = layer(rng, 40, 32, 3, 3, 32), layer(rng, 100, 32, 1, 1, 32)
    (w5, b5), (w6, _) = layer(rng, 40, 32, 3, 3, 32), layer(rng, 40, 10, BINS * BINS * 32)
    b6 = rng.integers(-400, 401, 10).astype(np.int32)
    quarter = shifted(convolve(image, w1, 2, (0, 0, 1, 1)) + b1, 9)
    quarter = shifted(convolve(quarter, w2, 2, (0, 0, 1, 1)) + b2, 9)
    coarse = shifted(convolve(quarter, w3, 2, (0, 0, 1, 1)) + b3, 9)
    acc = convolve(quarter, w4) + b4
    assert np.abs(acc).max() < 2**16, "so that fp24 holds every sum before the coarse features are added"
    merged = shifted(acc + (doubled(coarse).astype(np.int64) << 9), 9)
    features = shifted(convolve(merged, w5, 1, PAD) + b5, 9)
    corners = rng.uniform(-2, 38, (6, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 28, (6, 2))], 1).astype(np.float32)
    pooled = np.stack([roi_align(features[0].astype(np.float64), box) for box in boxes])
    scores = (pooled.reshape(len(boxes), -1) @ w6.T.astype(np.float64) + b6) * (SCALE / 512)
    weights = {f"w{k}": w for k, w in enumerate((w1, w2, w3, w4, w5, w6), 1)}
    biases = {f"b{k}": b for k, b in enumerate((b1, b2, b3, b4, b5, b6), 1)}
    steps = np.rint(pooled).astype(np.int8)
    # Rounding to i8 costs half a step, FP19's eight roundings 2**-11 each of what is sampled.
    bound = (0.5 + 8 * 2**-11 * features.max()) * np.abs(w6.astype(np.int64)).sum(1).max() * SCALE / 512
    assert bound < 1, "the tolerance that detection.npu states"
    expected = {"features": features, "pooled": steps, "scores": scores.astype(np.float32)}
    save("detection", "", image=image, boxes=boxes, **weights, **biases, **expected)
    for name, x in (("quarter", quarter), ("coarse", coarse), ("merged", merged), ("features", features)):
        print(f"{name}: mean {x.mean():.1f}, clamped {np.mean(np.abs(x) >= 127):.1%}, zero {np.mean(x == 0):.1%}")
    print(f"scores: spread {scores.std(0).max():.2f}, bound {bound:.2f}")


if __name__ == "__main__":
    detection(np.random.default_rng(6))
