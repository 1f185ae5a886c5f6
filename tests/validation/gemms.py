"""Programs of the matrix products that were measured on real chips, as they would be written for them."""

import ratel
from isa.program import Program


def gemm(chip: str, m: int, n: int, k: int, rows: int, columns: int) -> Program:
    """Return x[m, k] w[k, n] in tiles of rows x columns: each loads its weights anew, double-buffered.

    The weights lie in device memory tile by tile. m and n are rounded up to whole tiles, as a
    kernel does that computes on the rows that it does not need.
    """
    down, across = -(-m // rows), -(-n // columns)
    b = ratel.Builder("gemm", chip=chip)
    x = b.input("x", "i8", (down * rows, k), scale=1.0)
    w = b.weight("w", 0, "i8", (across * k, columns), scale=1.0, memory="dev")
    y = b.output("y", "i8", (across, down * rows, columns), scale=1.0)
    tile = b.local("tile", "i8", (2, k, columns), scale=1.0)
    with b.loop(down) as i, b.loop(across) as j:
        b.load(tile[j % 2], w[j * k : j * k + k])
        b.matmul(y[j, i * rows : i * rows + rows], x[i * rows : i * rows + rows], tile[j % 2])
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
