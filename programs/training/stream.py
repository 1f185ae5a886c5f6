"""Make the data of programs/stream from those of programs/digits.

Run as `python -m programs.training.stream`: it copies the network, cuts off
the first 64 images and labels, and keeps the scores that digits.npu gives
for them on its own chip.
"""

import shutil
from pathlib import Path

import numpy as np

import ratel

DIGITS = Path(__file__).parents[1] / "digits"
FOLDER = Path(__file__).parents[1] / "stream"
TASKS = 64


def main():
    """Write every .npy file of programs/stream."""
    for layer in ("conv1", "conv2", "dense"):
        for part in ("weight", "scale", "bias"):
            shutil.copyfile(DIGITS / f"{layer}_{part}.npy", FOLDER / f"{layer}_{part}.npy")
    source = DIGITS / "digits.npu"
    run = ratel.run(ratel.assemble(source.read_text(), source))
    np.save(FOLDER / "images.npy", np.load(DIGITS / "images.npy")[:TASKS, None])
    np.save(FOLDER / "labels.npy", np.load(DIGITS / "labels.npy")[:TASKS])
    np.save(FOLDER / "scores.npy", run.outputs["scores"][:TASKS, None])


if __name__ == "__main__":
    main()
