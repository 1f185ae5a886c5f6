"""Write the data of programs/pruned: a seeded fully connected layer without its smaller weights, in plain integers.

    python -m programs.training.pruned

Shares nothing with the assembler or the emulator, so that it checks them.
"""

import numpy as np

from programs.training.blocks import save
from programs.training.tiled import shifted

KEPT = 0.25


def pruned(rng: np.random.Generator) -> None:
    w = np.clip(np.rint(rng.normal(0, 32, (352, 768))), -127, 127).astype(np.int8)
    # Magnitude pruning: what is left in each row are its greatest weights.
    smaller = np.argsort(np.abs(w.astype(int)), 1, kind="stable")[:, : round((1 - KEPT) * w.shape[1])]
    np.put_along_axis(w, smaller, 0, 1)
    x = rng.integers(-100, 101, (4, 768)).astype(np.int8)
    b = rng.integers(-4000, 8001, 352).astype(np.int32)
    y = shifted(x.astype(np.int64) @ w.T.astype(np.int64) + b, 9)
    print(f"zeros {np.mean(w == 0):.1%}, results clamped {np.mean(y == 127):.1%}, zero {np.mean(y == 0):.1%}")
    save("pruned", "", x=x, w=w, b=b, y=y)


if __name__ == "__main__":
    pruned(np.random.default_rng(75))
