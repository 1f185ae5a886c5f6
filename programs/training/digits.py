"""Train and quantise the 8x8 digit classifier.

Run as `python -m programs.training.digits`; it needs scikit-learn and takes
some seconds. The images are scikit-learn's copy (BSD licence) of
the test part of the UCI Optical Recognition of Handwritten Digits data set.
Another BLAS may add in another order and so arrive at other weights.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from programs.training.export import export
from programs.training.train import Conv, Dense, fit, stratified_split

FOLDER = Path(__file__).parents[1] / "digits"


def main():
    """Train on 1437 images, test on the other 360 and save the result."""
    rng = np.random.default_rng(8)
    data = load_digits()
    images = (data.images[..., None] / 16).astype(np.float32)
    labels = data.target.astype(np.int32)
    train, test = stratified_split(labels, 360, rng)
    layers = [Conv(1, 16, pool=True), Conv(16, 32, pool=True), Dense(128, 10)]
    fit(layers, images[train], labels[train], rng, validation=200, epochs=100, batch=32)
    export(FOLDER, layers, images[train], images[test], labels[test])


if __name__ == "__main__":
    main()
