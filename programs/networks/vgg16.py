"""VGG-16, of "Very Deep Convolutional Networks for Large-Scale Image Recognition": 138 million weights."""

from programs.networks.graph import Network
from programs.networks.seeded import Layers

# Convolutions of each stage, all 3x3, and their channels in units of the first stage's.
STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def vgg16(size: int = 224, width: int = 64, classes: int = 1000) -> Network:
    """Return the network for images of size x size pixels; `width` is the first layer's number of channels."""
    layers = Layers(seed=16)
    x = layers.input("image", 1, size, size, 3)
    for stage, (convolutions, factor) in enumerate(STAGES, 1):
        for n in range(1, convolutions + 1):
            x = layers.conv(f"conv{stage}_{n}", x, factor * width, window=3, activation="relu")
        x = layers.maxpool(f"pool{stage}", x, window=2, stride=2)
    for n in (1, 2):
        x = layers.dense(f"dense{n}", x, 64 * width, activation="relu")
    layers.dense("scores", x, classes)
    return layers.network("vgg16")
