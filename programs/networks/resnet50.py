"""ResNet-50 v1, of "Deep Residual Learning for Image Recognition": a stage's stride is in its first 1x1 convolution."""

from programs.networks.graph import Network
from programs.networks.seeded import Layers

# Blocks of each stage.
STAGES = (3, 4, 6, 3)


def resnet50(size: int = 224, width: int = 64, classes: int = 1000) -> Network:
    """Return the network for images of size x size pixels; `width` is the stem's number of channels."""
    layers = Layers(seed=50)
    x = layers.input("image", 1, size, size, 3)
    x = layers.conv("stem", x, width, window=7, stride=2, activation="relu")
    x = layers.maxpool("stem_pool", x, window=3, stride=2, pad=1)
    for stage, blocks in enumerate(STAGES):
        inner = width << stage
        for block in range(blocks):
            name = f"stage{stage + 1}_block{block + 1}"
            stride = 2 if stage and not block else 1
            shortcut = x if block else layers.conv(f"{name}_shortcut", x, 4 * inner, window=1, stride=stride)
            x = layers.conv(f"{name}_conv1", x, inner, window=1, stride=stride, activation="relu")
            x = layers.conv(f"{name}_conv2", x, inner, window=3, activation="relu")
            x = layers.conv(f"{name}_conv3", x, 4 * inner, window=1)
            x = layers.add(f"{name}_sum", x, shortcut, activation="relu")
    x = layers.average("average", x)
    layers.dense("scores", x, classes)
    return layers.network("resnet50")
