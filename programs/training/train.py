"""Train small convolutional classifiers with plain NumPy.

A network is a list of layers: 3x3 convolutions, each followed by a ReLU and
an optional 2x2 max pool, then one fully connected layer. Activations are
NHWC and weights OHWI, the layouts the accelerator uses, so nothing has to be
transposed when the weights are saved.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Conv:
    """Hold a 3x3 convolution with padding 1, its ReLU and its optional pool."""

    inputs: int
    outputs: int
    stride: int = 1
    pool: bool = False
    weight: np.ndarray = field(default=None, repr=False)
    bias: np.ndarray = field(default=None, repr=False)

    @property
    def shape(self):
        """Return the OHWI weight shape."""
        return (self.outputs, 3, 3, self.inputs)


@dataclass
class Dense:
    """Hold a fully connected layer over the flattened NHWC activations."""

    inputs: int
    outputs: int
    weight: np.ndarray = field(default=None, repr=False)
    bias: np.ndarray = field(default=None, repr=False)

    @property
    def shape(self):
        """Return the output-by-input weight shape."""
        return (self.outputs, self.inputs)


def initialise(layers, rng):
    """Draw He-normal weights and clear the biases."""
    for layer in layers:
        fan_in = np.prod(layer.shape[1:])
        layer.weight = rng.normal(0, np.sqrt(2 / fan_in), layer.shape).astype(np.float32)
        layer.bias = np.zeros(layer.outputs, np.float32)


def patches(x, stride):
    """Gather the zero-padded 3x3 neighbourhoods as [n, rows, columns, 9 * channels]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(*windows.shape[:3], -1)


def scatter_patches(gradient, shape, stride):
    """Add patch gradients back on to an input of the given shape."""
    n, height, width, channels = shape
    rows, columns = gradient.shape[1:3]
    taps = gradient.reshape(n, rows, columns, 3, 3, channels)
    padded = np.zeros((n, height + 2, width + 2, channels), gradient.dtype)
    for i in range(3):
        for j in range(3):
            padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride] += taps[:, :, :, i, j]
    return padded[:, 1:-1, 1:-1]


def pool_cells(x):
    """Split x into 2x2 cells, dropping an odd last row or column."""
    n, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    return x[:, : 2 * rows, : 2 * columns].reshape(n, rows, 2, columns, 2, channels)


def maxpool(x):
    """Take the maximum of every 2x2 cell."""
    return pool_cells(x).max(axis=(2, 4))


def forward(layers, x):
    """Return the scores and, for every layer, what the backward pass needs."""
    saved = []
    for layer in layers:
        if isinstance(layer, Conv):
            columns = patches(x, layer.stride)
            y = columns @ layer.weight.reshape(layer.outputs, -1).T + layer.bias
            np.maximum(y, 0, out=y)
            saved.append((x.shape, columns, y))
            x = maxpool(y) if layer.pool else y
        else:
            flat = x.reshape(len(x), -1)
            saved.append((x.shape, flat, None))
            x = flat @ layer.weight.T + layer.bias
    return x, saved


def backward(layers, saved, gradient):
    """Return the gradients of weights and biases, first layer first."""
    gradients = []
    for layer, (shape, columns, y) in zip(reversed(layers), reversed(saved)):
        if isinstance(layer, Conv):
            if layer.pool:
                cells = pool_cells(y)
                largest = cells == cells.max(axis=(2, 4), keepdims=True)
                spread = (largest * gradient[:, :, None, :, None]).reshape(
                    len(y), cells.shape[1] * 2, cells.shape[3] * 2, layer.outputs
                )
                # The row and column dropped by the pool receive no gradient.
                gradient = np.zeros_like(y)
                gradient[:, : spread.shape[1], : spread.shape[2]] = spread
            gradient = gradient * (y > 0)
        flat = gradient.reshape(-1, layer.outputs)
        weight = flat.T @ columns.reshape(len(flat), -1)
        gradients.append((weight.reshape(layer.shape), flat.sum(axis=0)))
        if layer is layers[0]:
            break
        if isinstance(layer, Conv):
            gradient = gradient @ layer.weight.reshape(layer.outputs, -1)
            gradient = scatter_patches(gradient, shape, layer.stride)
        else:
            gradient = (gradient @ layer.weight).reshape(shape)
    return gradients[::-1]


def scores(layers, images, batch=500):
    """Return the float scores of all images, a batch at a time to save memory."""
    return np.concatenate([forward(layers, images[i : i + batch])[0] for i in range(0, len(images), batch)])


def accuracy(predicted_scores, labels):
    """Return the fraction of images whose highest score is their label's."""
    return float(np.mean(predicted_scores.argmax(axis=1) == labels))


def shift(images, reach, rng):
    """Move half of the images by up to `reach` pixels each way, filling with 0.

    The others stay put: a digit that fills its image loses its edge when moved.
    """
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    moved = rng.random(n) < 0.5
    dy, dx = np.where(moved, rng.integers(0, 2 * reach + 1, (2, n)), reach)
    rows = dy[:, None, None] + np.arange(height)[:, None]
    columns = dx[:, None, None] + np.arange(width)
    return padded[np.arange(n)[:, None, None], rows, columns]


def stratified_split(labels, count, rng):
    """Return the indices of the rest and of `count` held-out samples.

    Ordering by label and then taking evenly spaced samples gives every class
    its share to within one.
    """
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    chosen = ((np.arange(count) + 0.5) * len(labels) / count).astype(int)
    held_out = rng.permutation(order[chosen])
    rest = rng.permutation(np.delete(order, chosen))
    return rest, held_out


def fit(layers, images, labels, rng, *, validation, epochs, batch=64, rate=2e-3, decay=1e-4, reach=1):
    """Train with Adam and keep the weights of the best epoch.

    The best epoch is the one with the lowest loss on `validation` images set
    aside here: the test images must play no part in choosing it.
    """
    train, held = stratified_split(labels, validation, rng)
    held_images, held_labels = images[held], labels[held]
    initialise(layers, rng)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    mean = [np.zeros_like(p) for p in parameters]
    square = [np.zeros_like(p) for p in parameters]
    steps = epochs * -(-len(train) // batch)
    step, best = 0, (np.inf, None)
    for epoch in range(epochs):
        order = rng.permutation(train)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            out, saved = forward(layers, shift(images[chosen], reach, rng))
            gradient = softmax(out)
            gradient[np.arange(len(chosen)), labels[chosen]] -= 1
            gradient /= len(chosen)
            pairs = backward(layers, saved, gradient)
            gradients = [g for pair in pairs for g in pair]
            step += 1
            # The rate falls to 0 along a half cosine, so the last epochs settle.
            now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for p, g, m, v in zip(parameters, gradients, mean, square):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                m_hat = m / (1 - 0.9**step)
                v_hat = v / (1 - 0.999**step)
                p -= (now * (m_hat / (np.sqrt(v_hat) + 1e-8) + decay * p)).astype(np.float32)
        out = scores(layers, held_images)
        likelihood = softmax(out)[np.arange(len(held)), held_labels]
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
        print(f"epoch {epoch + 1:3}: validation loss {loss:.4f}, accuracy {accuracy(out, held_labels):.2%}", flush=True)
        if loss < best[0]:
            best = (loss, [p.copy() for p in parameters])
    for p, kept in zip(parameters, best[1]):
        p[...] = kept


def softmax(x):
    """Return the row-wise softmax."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
