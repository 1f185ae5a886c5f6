"""Quantise a trained network to int8 and run it as the accelerator does.

Everything is symmetric (zero point 0): weights per output channel in
[-127, 127], activations per tensor in [-128, 127].
"""

import math
from pathlib import Path

import numpy as np

from programs.training.train import Conv, accuracy, forward, maxpool, patches, scores


def layer_names(layers):
    """Name the layers conv1, conv2, ... and dense."""
    return [f"conv{i}" if isinstance(layer, Conv) else "dense" for i, layer in enumerate(layers, 1)]


def readable_scale(largest):
    """Return largest / 127 rounded up to three significant digits.

    The assembly source spells the scale as a literal, so it should be short;
    rounding up keeps the largest value inside the int8 range.
    """
    scale = float(largest) / 127
    exponent = math.floor(math.log10(scale)) - 2
    return np.float32(f"{math.ceil(scale / 10.0**exponent)}e{exponent}")


def to_int8(x, scale):
    """Divide by the scale, round half to even and clamp to int8."""
    return np.clip(np.rint(x / scale), -128, 127).astype(np.int8)


def calibrate(layers, images, batch=500):
    """Return the scales of the input and of every convolution's output."""
    largest = [float(images.max())] + [0.0] * (len(layers) - 1)
    for start in range(0, len(images), batch):
        saved = forward(layers, images[start : start + batch])[1]
        for i, (_, _, y) in enumerate(saved[:-1], 1):
            largest[i] = max(largest[i], float(y.max()))
    return [readable_scale(value) for value in largest]


def quantise(layers, scales):
    """Return (weight int8, scale float32, bias int32) of every layer."""
    quantised = []
    for layer, input_scale in zip(layers, scales):
        flat = layer.weight.reshape(layer.outputs, -1)
        scale = (np.abs(flat).max(axis=1) / np.float32(127)).astype(np.float32)
        weight = np.clip(np.rint(flat / scale[:, None]), -127, 127).astype(np.int8)
        bias = np.rint(layer.bias.astype(np.float64) / (input_scale * scale)).astype(np.int32)
        quantised.append((weight.reshape(layer.shape), scale, bias))
    return quantised


def integer_scores(layers, quantised, scales, x):
    """Run int8 images through the network and return float32 scores.

    The accelerator must reproduce this bit for bit, so every product and
    quotient of scales is rounded to float32 in the order written here.
    """
    for i, (layer, (weight, scale, bias)) in enumerate(zip(layers, quantised)):
        product = scales[i] * scale
        flat = weight.reshape(layer.outputs, -1).astype(np.int32)
        if not isinstance(layer, Conv):
            total = x.reshape(len(x), -1).astype(np.int32) @ flat.T + bias
            return total.astype(np.float32) * product
        total = patches(x, layer.stride).astype(np.int32) @ flat.T + bias
        value = total.astype(np.float32) * (product / scales[i + 1])
        # The ReLU comes before the rounding, as in the accelerator.
        x = np.clip(np.rint(np.maximum(value, 0)), -128, 127).astype(np.int8)
        if layer.pool:
            x = maxpool(x)
    raise ValueError("the last layer must be fully connected")


def export(folder, layers, training_images, images, labels):
    """Quantise, compare with the float network and save everything as .npy."""
    scales = calibrate(layers, training_images)
    quantised = quantise(layers, scales)
    int8_images = to_int8(images, scales[0])
    expected = np.concatenate(
        [integer_scores(layers, quantised, scales, int8_images[i : i + 100]) for i in range(0, len(images), 100)]
    )
    assert expected.dtype == np.float32
    real = scores(layers, images)
    print(f"float accuracy   {accuracy(real, labels):.2%}")
    print(f"integer accuracy {accuracy(expected, labels):.2%}")
    print(f"same class       {accuracy(expected, real.argmax(axis=1)):.2%}")

    folder = Path(folder)
    arrays = {"images": int8_images, "labels": labels.astype(np.int32), "scores": expected}
    names = layer_names(layers)
    for name, (weight, scale, bias) in zip(names, quantised):
        arrays |= {f"{name}_weight": weight, f"{name}_scale": scale, f"{name}_bias": bias}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        print(f"{name + '.npy':18} {array.dtype} {list(array.shape)}")
    for name, scale in zip(["input", *names], scales):
        print(f"scale of {name + ':':7} {scale!s}")
