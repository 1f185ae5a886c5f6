"""Steps whose tensors lie behind local memory, in tiles: loads, the step on what was loaded, stores.

Each operand that is at home elsewhere has a buffer, or two in turn where it changes from tile to tile. The next tile's
loads stand before this one's step and store, so that the memory engine is a tile ahead. How a step is cut is chosen by
what the chip's own costs say: the cycles of the engine, or those of the memory behind, whichever are more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import ceil
from typing import Any

from compiler.cut import Range, Rules, part, rules
from compiler.place import aligned, lives
from compiler.steps import BYTES, Step, Tensor, View, dense
from emulator.timing.costs import cost_of
from isa.chip import Chip
from isa.dtypes import DTYPES
from isa.errors import InputError
from isa.instruction import build
from isa.memory import spelled
from isa.operand import Operand
from isa.table import MNEMONICS

# So many cuts of a dimension are tried: halves of halves.
ENGINES = ("te", "pe")
WORDS = ("add", "sub", "mul", "div", "max", "min")


@dataclass
class Tile:
    """A part of a step on local memory: what is loaded before it, and what is stored behind it."""

    loads: list[Step]
    steps: list[Step]
    stores: list[Step]


@dataclass(frozen=True)
class Tiling:
    """How a step is cut: the size of a tile along each dimension that is cut, the outermost first."""

    sizes: tuple[tuple[int, int], ...]

    def ranges(self, shape: Sequence[int]) -> Iterator[dict[int, Range]]:
        cuts = [[(axis, (at, min(size, shape[axis] - at))) for at in range(0, shape[axis], size)] for axis, size in self.sizes]
        for chosen in product(*cuts):
            yield dict(chosen)


@dataclass
class Buffers:
    """The places of operands of a step in local memory: for each, as many as take turns."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    held: dict[str, tuple[View, View]] = field(default_factory=dict)

    def place(self, name: str, view: View) -> View:
        """Return where the operand's next part goes."""
        buffer = self.tensors[name]
        turn = self.turns.get(name, -1) + 1
        self.turns[name] = turn
        return View(buffer, turn % buffer.shape[0] * buffer.shape[1], view.shape, dense(view.shape))


def tiled(steps: Sequence[Step], homes: Mapping[Tensor, str], chip: Chip) -> list[Step]:
    """Return the steps on local memory that do what these do; raise InputError where one cannot be cut to fit."""
    room = _rooms(steps, homes, chip)
    tiles: list[Tile] = []
    for step, (local, constants) in zip(steps, room):
        tiles += _tiles(step, homes, chip, local, constants)
    return list(_overlapped(tiles))


def _rooms(steps: Sequence[Step], homes: Mapping[Tensor, str], chip: Chip) -> list[tuple[int, int]]:
    """Return the bytes of local memory, and of the constant buffer, that tiles of each step may take."""
    local = [chip["memory.lm_bytes"]] * len(steps)
    for tensor, (first, last) in lives(steps).items():
        if homes[tensor] == "lm":
            for k in range(first, last + 1):
                local[k] -= aligned(tensor.bytes)
    fixed = [tensor for tensor, home in homes.items() if home == "lm" and tensor.kind != "local"]
    taken = sum(aligned(tensor.bytes) for tensor in fixed)
    constants = chip["memory.cb_bytes"] - sum(aligned(t.bytes) for t, home in homes.items() if home == "cb")
    # Half of each: the next step's first tile is loaded while this one's last is computed.
    return [((size - taken) // 2, constants // 2) for size in local]


def _tiles(step: Step, homes: Mapping[Tensor, str], chip: Chip, local: int, constants: int) -> list[Tile]:
    outside = [name for name, view in step.operands.items() if homes[view.tensor] not in ("lm", "cb")]
    if not outside:
        return [Tile([], [step], [])]
    if step.mnemonic == "copy":
        return _moved(step, homes, local)
    found, axes = rules(step)
    tiling = _chosen(step, outside, found, axes, chip, local, constants)
    parts = [part(step, ranges, found) for ranges in tiling.ranges(step.out.shape)]
    buffers = _buffers(step, parts, outside)
    return [_tile(one, outside, buffers) for one in parts]


def _moved(step: Step, homes: Mapping[Tensor, str], local: int) -> list[Tile]:
    """Return a copy of which one side, or both, lie behind."""
    out, x = step.out, step.operands["x"]
    if homes[out.tensor] == "lm":
        return [Tile([Step("load", {"out": out, "x": x}, {}, step.node)], [], [])]
    if homes[x.tensor] == "lm":
        return [Tile([], [], [Step("store", {"out": out, "x": x}, {}, step.node)])]
    found, axes = rules(step)
    tiles = []
    size = local // 2
    sizes = _halved(step.out.shape, axes, lambda shape: aligned(_bytes(shape, out.dtype)) <= size)
    parts = [part(step, ranges, found) for ranges in Tiling(sizes).ranges(out.shape)]
    buffers = _buffers(step, parts, ["x"])
    for one in parts:
        place = buffers.place("x", one.operands["x"])
        load = Step("load", {"out": place, "x": one.operands["x"]}, {}, step.node)
        tiles.append(Tile([load], [], [Step("store", {"out": one.out, "x": place}, {}, step.node)]))
    return tiles


def _halved(shape: Sequence[int], axes: Sequence[int], fits: Any) -> tuple[tuple[int, int], ...]:
    """Return sizes along the dimensions, the outermost cut first, with which a tile fits."""
    sizes = list(shape)
    for axis in axes:
        while sizes[axis] > 1 and not fits(sizes):
            sizes[axis] = ceil(sizes[axis] / 2)
    return tuple((axis, sizes[axis]) for axis in axes if sizes[axis] < shape[axis])


def _bytes(shape: Sequence[int], dtype: str) -> int:
    size = BYTES[dtype]
    for count in shape:
        size *= count
    return size


def _chosen(
    step: Step, outside: Sequence[str], found: Rules, axes: Sequence[int], chip: Chip, local: int, constants: int
) -> Tiling:
    """Return the tiling of the least cycles that fits."""
    shape = step.out.shape
    best: tuple[tuple[float, float], Tiling] | None = None
    least = 1 << 62
    for order in _orders(axes, shape):
        for sizes in product(*(_sizes(shape[axis]) for axis in order)):
            tiling = Tiling(tuple((axis, size) for axis, size in zip(order, sizes) if size < shape[axis]))
            lm, cb, moved, first = _needs(step, outside, found, tiling)
            least = min(least, lm)
            if lm > local or cb > constants:
                continue
            count = 1
            for axis, size in tiling.sizes:
                count *= ceil(shape[axis] / size)
            engine = cycles(chip, first) * _times(shape, tiling)
            memory = moved / chip["memory.dev_bytes_per_cycle"] if chip["memory.dev_bytes"] else moved
            # What no other tile hides: the first one's loads and the last one's store.
            cost = (max(engine, memory) + (engine + memory) / count, moved)
            if best is None or cost < best[0]:
                best = cost, tiling
    if best is None:
        what = step.node.label if step.node else step.mnemonic
        raise InputError(
            f"{what} cannot be cut to fit {spelled(local)} of local memory on {chip.name}: its least part needs {spelled(least)}"
        )
    return best[1]


def _times(shape: Sequence[int], tiling: Tiling) -> float:
    """Return how many first tiles the whole is."""
    times = 1.0
    for axis, size in tiling.sizes:
        times *= shape[axis] / size
    return times


def _orders(axes: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield in which order tiles follow: by rows and then channels, or the other way; batches are outermost."""
    if len(axes) < 2:
        yield tuple(axes)
        return
    *outer, last = axes
    yield (*outer, last)
    yield (last, *outer)


def _sizes(size: int) -> list[int]:
    """Return sizes of tiles to try: equal parts of a dimension."""
    counts = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 112, 128, 224, 256, size}
    found = {ceil(size / count) for count in counts if count <= size}
    found |= {step for step in (8, 16, 32, 64, 128, 256) if step < size}
    return sorted(found, reverse=True)


def _needs(step: Step, outside: Sequence[str], found: Rules, tiling: Tiling) -> tuple[int, int, int, Step]:
    """Return bytes of local memory and of constants that a tiling needs, bytes that it moves, and its greatest tile."""
    shape = step.out.shape
    sizes = dict(tiling.sizes)
    counts = {axis: ceil(shape[axis] / size) for axis, size in tiling.sizes}
    # An inner tile, away from the borders: it reads the most.
    middle = {axis: (min(size * (counts[axis] // 2), shape[axis] - size), size) for axis, size in sizes.items()}
    first = part(step, middle, found)
    order = [axis for axis, _ in tiling.sizes]
    lm = cb = moved = 0
    for name in outside:
        view = first.operands[name]
        followed = {rule.axis for rule in found[name] if rule is not None} & set(order)
        # It changes with each tile of the dimensions it follows, and anew for each turn of those outside of them.
        inner = max((order.index(axis) for axis in followed), default=-1)
        loads = 1
        for axis in order[: inner + 1]:
            loads *= counts[axis]
        size = aligned(view.bytes) * (2 if loads > 1 else 1)
        if view.tensor.kind == "const":
            cb += size
        else:
            lm += size
        moved += loads * view.bytes
    return lm, cb, moved, first


def cycles(chip: Chip, step: Step) -> int:
    """Return the cycles that a step occupies its engine."""
    row = MNEMONICS[step.mnemonic]
    operands = {}
    for name, view in step.operands.items():
        memory = "cb" if view.tensor.kind == "const" else "lm"
        slot = "ew2" if name in WORDS else name
        operands[slot] = Operand(memory, 0, DTYPES[view.dtype], view.shape, view.strides)
    names = {spec.name: spec for spec in row.attributes}
    attributes = {name: value for name, value in step.attributes.items() if name in names and value is not True}
    for spec in row.attributes:
        if spec.default is None and spec.name not in attributes:
            attributes[spec.name] = next((word for word in spec.words if step.attributes.get(word)), 0)
    found = cost_of(chip, build(step.mnemonic, **operands, **attributes))
    return found.occupancy if found is not None else 0


def _buffers(step: Step, parts: Sequence[Step], outside: Sequence[str]) -> Buffers:
    buffers = Buffers()
    for name in outside:
        views = [one.operands[name] for one in parts]
        changes = sum(a != b for a, b in zip(views, views[1:]))
        most = max(view.elements for view in views)
        tensor = views[0].tensor
        count = 2 if changes else 1
        buffer = Tensor(f"{tensor.name}_tile", tensor.dtype, (count, most), "local" if tensor.kind != "const" else "staged")
        buffers.tensors[name] = buffer
    return buffers


def _tile(step: Step, outside: Sequence[str], buffers: Buffers) -> Tile:
    tile = Tile([], [], [])
    operands = dict(step.operands)
    for name in outside:
        view = step.operands[name]
        if name == "out":
            operands[name] = buffers.place(name, view)
            tile.stores.append(Step("store", {"out": view, "x": operands[name]}, {}, step.node))
            continue
        before = buffers.held.get(name)
        if before is None or before[0] != view:
            place = buffers.place(name, view)
            tile.loads.append(Step("load", {"out": place, "x": view}, {}, step.node))
            buffers.held[name] = view, place
        operands[name] = buffers.held[name][1]
    tile.steps.append(Step(step.mnemonic, operands, step.attributes, step.node))
    return tile


def _overlapped(tiles: Sequence[Tile]) -> Iterator[Step]:
    """Yield the steps of tiles, each tile's loads before the step of the tile before it.

    What the tile before is about to store is loaded behind that.
    """
    early = list(tiles[0].loads) if tiles else []
    yield from early
    for tile, following in zip(tiles, [*tiles[1:], None]):
        written = {step.out.tensor for step in (*tile.steps, *tile.stores)}
        loads = following.loads if following else []
        ready = [load for load in loads if load.operands["x"].tensor not in written]
        yield from ready
        yield from tile.steps
        yield from tile.stores
        yield from (load for load in loads if load not in ready)
