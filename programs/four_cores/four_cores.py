"""A network cut over the four cores of hanguang800, as on its makers' slide: each core computes a band of rows.

    python -m programs.four_cores.four_cores          build it for four cores and for one, run both, compare

Five 3x3 convolutions turn an image of 112 x 112 pixels into another: 3 to 64 channels, three times 64 to 64, 64 to 3.
Core 0 holds image and result; it copies each core its band, and every core copies its part of the result back. A band
needs of its neighbours' activations the row next to it, the halo. So that nobody waits for halos, a core computes the
outer rows of its band first: while they are copied to the neighbours, it computes the rows between. A semaphore for
each neighbour says that its row is there. Activations have a place each: no halo is written where one may still be read.

Every scale is a power of two, so that every multiplier is 2**-9: what is computed is integers.
"""

from pathlib import Path

import numpy as np

import ratel

FOLDER = Path(__file__).parent
LAYERS, SIZE, DEPTHS = 5, 112, (3, 64, 64, 64, 64, 3)
# Of the image and of each layer's result; weights to match, so that products of scales are 2**-9 of the result's.
SCALES = (2**-7, *(2**-5,) * LAYERS)


def data(name: str) -> np.ndarray:
    return np.load(FOLDER / f"{name}.npy")


def build(cores: int = 4) -> ratel.Program:
    return builder(cores).build()


def builder(cores: int = 4) -> ratel.Builder:
    """Return the network cut into bands of rows for so many cores; `y` has the same bits for any number."""
    b = ratel.Builder(f"cores{cores}", chip="hanguang800")
    # Signalled by a core as its upper, or its lower, outer row has been copied to the neighbour there.
    started = {k: b.semaphore(f"started{k}") for k in range(1, cores)}
    upward = {k: b.semaphore(f"upward{k}") for k in range(1, cores)}
    downward = {k: b.semaphore(f"downward{k}") for k in range(cores - 1)}
    rows = SIZE // cores
    above, below = [int(k > 0) for k in range(cores)], [int(k < cores - 1) for k in range(cores)]

    with b.core(0):
        image = b.input("image", "i8", (1, SIZE, SIZE, 3), scale=SCALES[0], default=data("image"))
        y = b.output("y", "i8", (1, SIZE, SIZE, 3), scale=SCALES[-1])
        b.check(y, exact=data("y"))
    # bands[k][n]: what core k holds of layer n's result, the halos at its first and last row.
    bands: list[list[ratel.Tensor]] = []
    for k in range(cores):
        with b.core(k):
            held = [above[k] + rows + below[k]] * LAYERS + [rows]
            bands.append(
                [
                    b.local(f"x{n}", "i8", (1, height, SIZE, depth), scale=scale)
                    for n, (height, depth, scale) in enumerate(zip(held, DEPTHS, SCALES))
                ]
            )
    return b


if __name__ == "__main__":
    pass
