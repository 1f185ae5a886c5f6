"""Programs of the matrix products that were measured on real chips, as they would be written for them."""

from math import ceil

import ratel
from isa.chip import load_chip
from isa.program import Program

# Parts of the weights that are under way at once, at most; bytes of results that stay in local memory.
BUFFERS, KEPT = 4, 2**24


def gemm(
    chip: str, m: int, n: int, k: int, dtype: str, tile: tuple[int, int] = (1, 1), multiprocessors: int = 1
) -> Program:
    """Return x[m, k] w[k, n], weights streamed from device memory by as many columns as the engine takes at once.

    A kernel computes whole tiles of rows x columns, as many at a time as there are multiprocessors, and its last round
    takes as long as the others. So m is rounded up to whole tiles, and n until all rounds are full.
    """
    down = ceil(m / tile[0])
    rounds = ceil(down * ceil(n / tile[1]) / multiprocessors)
    m, n = down * tile[0], ceil(rounds * multiprocessors / down) * tile[1]
    size, step, local = (1 if dtype == "i8" else 2), load_chip(chip)["te.channels"], load_chip(chip)["memory.lm_bytes"]
    parts, scale = ceil(n / step), 1.0 if dtype == "i8" else None
    b = ratel.Builder("gemm", chip=chip)
    x = b.input("x", dtype, (m, k), scale=scale)
    w = b.weight("w", None, dtype, (parts, k, step), scale=scale, memory="dev")
    # Results lie part by part: a scoreboard would take columns of many rows for one another.
    stored = m * step * parts * size > KEPT
    y = b.output("y", dtype, (parts, m, step), scale=scale, memory="dev" if stored else "lm")
    made = b.local("made", dtype, (2, m, step), scale=scale) if stored else None
    taken = m * k + m * step * (2 if stored else parts)
    buffers = min(BUFFERS, (local - taken * size) // (k * step * size))
    held = b.local("held", dtype, (buffers, k, step), scale=scale)

    ahead = buffers - 1
    for j in range(parts + ahead):
        if j < parts:
            columns = slice(0, min(step, n - j * step))
            b.load(held[j % buffers, :, columns], w[j, :, columns])
        if (j := j - ahead) >= 0:
            columns = slice(0, min(step, n - j * step))
            out = y[j, :, columns] if made is None else made[j % 2, :, columns]
            b.matmul(out, x, held[j % buffers, :, columns])
            if made is not None:
                b.store(y[j, :, columns], out)
    return b.build()


def mlp(chip: str, batch: int, layers: int, width: int) -> Program:
    """Return layers of width x width, one after another, their weights streamed by 256 columns behind the work."""
    blocks = width // 256
    b = ratel.Builder("mlp", chip=chip)
    x = b.input("x", "i8", (batch, width), scale=1.0)
    w = b.weight("w", 0, "i8", (layers * blocks * width, 256), scale=1.0, memory="dev")
    y = b.output("y", "i8", (batch, width), scale=1.0)
    hidden = [b.local(f"h{layer}", "i8", (batch, width), scale=1.0) for layer in range(layers - 1)]
    tile = b.local("tile", "i8", (2, width, 256), scale=1.0)
    at = 0
    for before, after in zip([x, *hidden], [*hidden, y], strict=True):
        for block in range(blocks):
            b.load(tile[at % 2], w[at * width : at * width + width])
            b.matmul(after[:, block * 256 : block * 256 + 256], before, tile[at % 2], relu=True)
            at += 1
    return b.build()
