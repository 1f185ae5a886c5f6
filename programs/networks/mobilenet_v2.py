"""MobileNetV2, of "MobileNetV2: Inverted Residuals and Linear Bottlenecks": depthwise convolutions, relu6."""

from programs.networks.graph import Network
from programs.networks.seeded import Layers

# Of each group of blocks: expansion, output channels, blocks, stride of the first.
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(size: int = 224, width: float = 1.0, classes: int = 1000) -> Network:
    """Return the network for images of size x size pixels; `width` multiplies all numbers of channels."""
    layers = Layers(seed=2)
    x = layers.input("image", 1, size, size, 3)
    depth = int(32 * width)
    x = layers.conv("stem", x, depth, window=3, stride=2, activation="relu6")
    for group, (expansion, channels, blocks, stride) in enumerate(GROUPS):
        for block in range(blocks):
            name, before, inner = f"group{group + 1}_block{block + 1}", x, expansion * depth
            if expansion > 1:
                x = layers.conv(f"{name}_expand", x, inner, window=1, activation="relu6")
            step = 1 if block else stride
            x = layers.depthwise(f"{name}_depthwise", x, window=3, stride=step, activation="relu6")
            x = layers.conv(f"{name}_project", x, int(channels * width), window=1)
            if block:
                x = layers.add(f"{name}_sum", before, x)
            depth = int(channels * width)
    x = layers.conv("head", x, int(1280 * width), window=1, activation="relu6")
    x = layers.average("average", x)
    layers.dense("scores", x, classes)
    return layers.network("mobilenet_v2")
