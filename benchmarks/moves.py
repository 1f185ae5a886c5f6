"""Instructions that move or look at each byte once: their bytes a second, beside NumPy where it has the same."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contenders import CHIPS
from benchmarks.results import Moved
from benchmarks.timing import Contender, interleaved
from emulator.execute.session import Session
from emulator.plan.load import load
from ratel import assemble

# Bytes that a timing reads and writes, about.
TURN = 200e6
Peer = Callable[[np.ndarray, np.ndarray], Any]


def _transposed(x: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, x.T)


def _gathered(x: np.ndarray, out: np.ndarray) -> None:
    # Any other mode takes them by way of a buffer.
    np.take(x, ROWS_TAKEN, 0, out, "clip")


ROWS_TAKEN = np.random.default_rng(1).integers(0, 4096, 1024, np.int32)
# Declarations of x and y, the instruction, and the same in NumPy.
MOVES: dict[str, tuple[str, str, Peer | None]] = {
    "copy, 400 KB": (".input x i8[400, 1000] = 3\n.output y i8[400, 1000]", "copy y, x", lambda x, y: np.copyto(y, x)),
    "transpose, 512 x 768": (
        ".input x i8[512, 768] = 3\n.output y i8[768, 512]",
        "transpose y, x, perm=(1, 0)",
        _transposed,
    ),
    "gather of 1,024 rows of 256": (
        '.input x i8[4096, 256] = 3\n.input index i32[1024] = "index"\n.output y i8[1024, 256]',
        "gather y, x, index",
        _gathered,
    ),
    "flatten 3x3, 64, 56x56": (
        ".input x i8[1, 56, 56, 64] = 3\n.output y i8[1, 56, 56, 576]",
        "flatten y, x, window=3, pad=1",
        None,
    ),
    "resize to twice, nearest, 128, 28x28": (
        ".input x i8[1, 28, 28, 128] = 3\n.output y i8[1, 56, 56, 128]",
        "resize y, x, nearest",
        None,
    ),
    "reduce, sums of 1,024 rows of 768 floats": (
        ".input x f32[1024, 768] = 3\n.output y f32[1024, 1]",
        "reduce y, x, sum",
        lambda x, y: np.sum(x, 1, keepdims=True, out=y),
    ),
    "sigmoid of 802,816 elements of 8 bits": (
        ".input x i8[3136, 256] scale=0.05 = 3\n.output y i8[3136, 256] scale=0.0078125",
        "eltwise y, x, sigmoid",
        None,
    ),
}


def moves(rounds: int, share: float = 1.0) -> list[Moved]:
    """Return the rates of all MOVES, each turn `share` of TURN."""
    return [_moved(name, rounds, share) for name in MOVES]


def _moved(name: str, rounds: int, share: float) -> Moved:
    declarations, instruction, peer = MOVES[name]
    head = declarations.replace('"index"', "0")
    once = assemble(f"{head}\n{instruction}\nend")
    ends = [symbol for kind in ("input", "output") for _, symbol in once.of_kind(kind)]
    x, y = ends[0], ends[-1]
    read = y.bytes if instruction.startswith("gather") else x.bytes
    moved = read + y.bytes
    count = max(1, int(TURN * share / moved))
    session = Session(load(assemble(f"{head}\nloop i, {count}\n    {instruction}\nbrnz i\nend"), CHIPS["fp32"]))
    given = {"index": ROWS_TAKEN} if '"index"' in declarations else {}
    session.run(given)
    contenders = {"ratel": Contender(lambda: session.run(given), count)}
    if peer:
        arrays = [np.ones(symbol.shape, symbol.dtype.numpy) for symbol in (x, y)]

        def by_numpy() -> None:
            for _ in range(count):
                peer(*arrays)

        contenders["numpy"] = Contender(by_numpy, count)
    rates = {who: moved / timing.median / 1e9 for who, timing in interleaved(contenders, rounds).items()}
    return Moved(name, moved, rates["ratel"], rates.get("numpy"))
