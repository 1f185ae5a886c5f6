"""Write the data of programs/four_cores: a seeded image and network, and what is to come out, in plain integers.

    python -m programs.training.four_cores

Shares nothing with the assembler or the emulator, so that it checks them.
"""

import numpy as np

from programs.training.blocks import convolve, save
from programs.training.tiled import PAD, layer, shifted


def four_cores(rng: np.random.Generator) -> None:
    image = rng.integers(-100, 101, (1, 112, 112, 3)).astype(np.int8)
    layers = [
        layer(rng, 127, 64, 3, 3, 3),
        *(layer(rng, 32, 64, 3, 3, 64) for _ in range(3)),
        layer(rng, 24, 3, 3, 3, 64),
    ]
    tensors, x = {"image": image}, image
    for k, (w, b) in enumerate(layers, 1):
        tensors |= {f"w{k}": w, f"b{k}": b}
        x = shifted(convolve(x, w, 1, PAD) + b, 9, relu=k < len(layers))
        print(f"conv{k}: mean {x.mean():.1f}, clamped {np.mean(np.abs(x) >= 127):.1%}, zero {np.mean(x == 0):.1%}")
    # Named as the Builder's text calls them.
    save("four_cores", "four_cores_", **tensors, y_exact=x)


if __name__ == "__main__":
    four_cores(np.random.default_rng(4))
