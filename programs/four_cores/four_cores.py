"""A network cut over the four cores of hanguang800, as on its makers' slide: each core computes a band of rows.

    python -m programs.four_cores.four_cores      # writes four_cores.npu, and compares it with one core and with two

Five 3x3 convolutions turn an image of 112 x 112 pixels into another: 3 to 64 channels, three times 64 to 64, 64 to 3.
Core 0 holds image and result; it copies to each core its band, and every core copies its part of the result back.

Of the layer before, a band needs a row of each neighbour's, the halo. So that nobody waits for halos, a core computes
the outer row of its band before the rows behind it: while those are computed, the row is copied to the neighbour. A
semaphore for each direction and pair of neighbours says that it is there. Each layer's result has its own place, so
no halo is written where the one before may still be read.

On four cores it is 3.4 times as fast as on one, the task's transfers apart. From the second layer to the last no tensor
engine stands still; the rest goes into the copies of the image and of the result, and into the first exchange of halos,
for which the first layer is too short.

Every multiplier is 2**-9: whatever the clamp leaves alone is exact in FP24, and programs/training/four_cores.py
computes the same bits in integers.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np

import ratel

FOLDER = Path(__file__).parent
SIZE, DEPTHS = 112, (3, 64, 64, 64, 64, 3)
LAST = len(DEPTHS) - 1
# Of the image and of each layer's result; then of each layer's weights.
SCALES = (2**-7,) + (2**-5,) * LAST
WEIGHT_SCALES = [after * 2**-9 / before for before, after in pairwise(SCALES)]


def build(cores: int = 4) -> ratel.Program:
    """Return the program for so many cores, each with as many rows; the bits of `y` are the same for any number."""
    return builder(cores).build()


def builder(cores: int = 4) -> ratel.Builder:
    b = ratel.Builder("four_cores", chip="hanguang800")
    b.comment(f"The network of programs/four_cores/four_cores.py, cut over {cores} of the cores; written by it.")
    data = {path.stem.removeprefix("four_cores_"): np.load(path) for path in FOLDER.glob("*.npy")}
    rows = SIZE // cores
    # Rows of halo above and below a core's band: none at the edges of the image.
    above = [int(core > 0) for core in range(cores)]
    below = [int(core < cores - 1) for core in range(cores)]
    # A core's band of the image is there; a core's row is there in the halo of another.
    begun = {core: b.declare("semaphore", f"begun{core}") for core in range(1, cores)}
    pairs = [pair for core in range(1, cores) for pair in ((core - 1, core), (core, core - 1))]
    halo = {(core, other): b.declare("semaphore", f"halo{core}_{other}") for core, other in pairs}

    # bands[core][n]: what a core holds of the result of layer n, halos included; layer 0 is the image.
    bands, weights, biases = [], [], []
    for core in range(cores):
        with b.core(core):
            height = above[core] + rows + below[core]
            held = {n: (f"x{n}", "i8", (1, height, SIZE, depth)) for n, depth in enumerate(DEPTHS)}
            if core == 0:
                image = b.input("image", "i8", (1, SIZE, SIZE, 3), scale=SCALES[0], default=data["image"])
                y = b.output("y", "i8", image.shape, scale=SCALES[LAST])
                b.check(y, exact=data["y_exact"])
                del held[0], held[LAST]
            band = {n: b.local(*tensor, scale=SCALES[n]) for n, tensor in held.items()}
            bands.append(band if core else {0: image, **band, LAST: y})
            scales = enumerate(WEIGHT_SCALES, 1)
            weights.append({n: b.weight(f"w{n}", data[f"w{n}"], scale=scale) for n, scale in scales})
            biases.append({n: b.const(f"b{n}", data[f"b{n}"]) for n in range(1, LAST + 1)})

    def layer(core: int, n: int, first: int, last: int) -> None:
        """Compute rows first ... last - 1 of a core's band."""
        x, out, start = bands[core][n - 1], bands[core][n], above[core]
        # A row more on either side, and padding where the image ends.
        low, high = start + first - 1, start + last + 1
        top, bottom = max(0, -low), max(0, high - x.shape[1])
        b.conv(
            out[:, start + first : start + last],
            x[:, low + top : high - bottom],
            weights[core][n],
            bias=biases[core][n],
            pad=(top, 1, bottom, 1),
            relu=n < LAST,
        )

    def send(core: int, other: int, n: int, row: int) -> None:
        """Copy a row of a core's band to the halo of a neighbour, and say so."""
        here, there = above[core] + row, above[other] + rows if other < core else 0
        b.copy(bands[other][n][:, there : there + 1], bands[core][n][:, here : here + 1])
        b.signal(halo[core, other], me=True)

    def deliver(core: int, first: int, last: int) -> None:
        """Copy rows of the result to core 0."""
        start = core * rows
        b.copy(y[:, start + first : start + last], bands[core][LAST][:, above[core] + first : above[core] + last])

    def whole(core: int) -> None:
        for n in range(1, LAST + 1):
            layer(core, n, 0, rows)

    def shared(core: int) -> None:
        if core:
            b.wait(begun[core], te=True)
        else:
            for other in range(1, cores):
                b.copy(bands[other][0], image[:, other * rows - 1 : other * rows + rows + below[other]])
            for other in range(1, cores):
                b.signal(begun[other], me=True)
        for n in range(1, LAST + 1):
            # The upper part needs nothing of the lower part of the layer before, which has hardly finished: it ends a
            # row higher.
            middle = rows // 2 - n
            if above[core] and n > 1:
                b.wait(halo[core - 1, core], te=True)
            layer(core, n, 0, 1)
            if above[core] and n < LAST:
                send(core, core - 1, n, 0)
            layer(core, n, 1, middle)
            if core and n == LAST:
                deliver(core, 0, middle)
            if below[core] and n > 1:
                b.wait(halo[core + 1, core], te=True)
            layer(core, n, rows - 1, rows)
            if below[core] and n < LAST:
                send(core, core + 1, n, rows - 1)
            layer(core, n, middle, rows - 1)
        if core:
            deliver(core, middle, rows)

    for core in range(cores):
        with b.core(core):
            (shared if cores > 1 else whole)(core)
    return b


def compare() -> None:
    alone = 0
    for cores in (1, 2, 4):
        run = ratel.run(build(cores))
        cycles = run.timeline.compute_cycles
        alone = alone or cycles
        busy = ", ".join(f"{run.timeline.engines[f'core{core}.te'].busy / cycles:.0%}" for core in range(cores))
        print(f"on {cores}: {'as expected' if run.passed else 'WRONG'}, {run.cycles:,} cycles; without transfers")
        print(f"      {cycles:,}, {alone / cycles:.2f} times as fast as on 1, tensor engines busy {busy}")


if __name__ == "__main__":
    builder().save(FOLDER / "four_cores.npu")
    compare()
