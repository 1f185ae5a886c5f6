"""Quantise a trained network to int8 and run it as the accelerator does.

Everything is symmetric (zero point 0): weights per output channel in
[-127, 127], activations per tensor in [-128, 127].
"""

from pathlib import Path

import numpy as np

from programs.training.train import Conv, accuracy, forward, maxpool, patches, scores
from ratel import quantise

# The assembly source spells the scale of an activation, so it should be short.
SCALE_DIGITS = 3


def layer_names(layers):
    """Name the layers conv1, conv2, ... and dense."""
    return [f"conv{i}" if isinstance(layer, Conv) else "dense" for i, layer in enumerate(layers, 1)]


def calibrate(layers, images, batch=500):
    """Return the scales of the input and of every convolution's output."""
    largest = [[images.max()]] + [[] for _ in layers[1:]]
    for start in range(0, len(images), batch):
        saved = forward(layers, images[start : start + batch])[1]
        for values, (_, _, y) in zip(largest[1:], saved):
            values.append(y.max())
    return [quantise.scale(values, digits=SCALE_DIGITS) for values in largest]


def quantise_layers(layers, scales):
    """Return (weight int8, scale float32, bias int32) of every layer."""
    quantised = []
    for layer, input_scale in zip(layers, scales):
        weight, scale = quantise.weights(layer.weight.reshape(layer.shape))
        quantised.append((weight, scale, quantise.bias(layer.bias, input_scale, scale)))
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
    quantised = quantise_layers(layers, scales)
    int8_images = quantise.to_integers(images, scales[0])
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
