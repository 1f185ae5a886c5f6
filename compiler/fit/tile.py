"""Steps whose tensors lie behind local memory, in tiles: loads, the step on what was loaded, stores.

Each operand that is at home elsewhere has a buffer, or two in turn where it changes from tile to tile. The next tile's
loads stand before this one's stores, so that the memory engine is a tile ahead. How a step is cut is chosen by
what the chip's own costs say: the cycles of the engine, or those of the memory behind, whichever are more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from math import ceil, prod
from typing import Any

from compiler.fit.cut import Follows, Range, Rules, part, repeats, rules
from compiler.fit.place import aligned, lives, together
from compiler.steps import BYTES, EW2_WORDS, Step, Tensor, View
from emulator.timing.costs import Cost, cost_of
from isa.chip import Chip
from isa.dtypes import DTYPES
from isa.errors import InputError
from isa.instruction import build
from isa.memory import spelled
from isa.operand import Operand
from isa.table import MNEMONICS

# What a tiling may take longer than the fastest, where it moves less.
SLOWER = 1.05


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
        def along(axis: int, size: int) -> list[tuple[int, Range]]:
            return [(axis, (at, min(size, shape[axis] - at))) for at in range(0, shape[axis], size)]

        for chosen in product(*(along(axis, size) for axis, size in self.sizes)):
            yield dict(chosen)


@dataclass
class Buffers:
    """The places of operands of a step in local memory: for each, as many as take turns."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    held: dict[str, tuple[View, View]] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[int, int]:
        """Bytes of local memory, and of the constant buffer."""
        local, constants = (
            sum(aligned(tensor.bytes) for tensor in self.tensors.values() if tensor.kind == kind)
            for kind in ("local", "staged")
        )
        return local, constants

    def begin(self, names: Iterable[str]) -> None:
        """Let the next parts of these operands go to the first of their places."""
        for name in names:
            self.turns.pop(name, None)

    def place(self, name: str, view: View) -> View:
        """Return where the operand's next part goes."""
        buffer = self.tensors[name].view()
        turn = self.turns[name] = self.turns.get(name, -1) + 1
        offset = 0
        if buffer.rank > view.rank:
            offset, buffer = turn % 2 * buffer.strides[0], buffer.inner()
        return replace(buffer, offset=offset, shape=view.shape)


@dataclass
class Group:
    """The tiles of a step, and the bytes that their buffers take of local memory and of the constant buffer."""

    tiles: list[Tile]
    needs: tuple[int, int] = (0, 0)


def tiled(steps: Sequence[Step], homes: Mapping[Tensor, str], chip: Chip, share: float = 1.0) -> list[Step]:
    """Return the steps on local memory that do what these do; raise InputError where one cannot be cut to fit.

    `share` is the part of what is free of each memory that tiles may take.
    """
    rooms = _rooms(steps, homes, chip)
    groups = []
    taken = {view.tensor.name for step in steps for view in step.operands.values()}
    for number, (step, room) in enumerate(zip(steps, rooms), 1):
        stem = f"tile{number}"
        while any(name.startswith(stem) for name in taken):
            stem = f"{stem}_"
        groups.append(_tiles(step, stem, homes, chip, tuple(int(size * share) for size in room)))
    return list(_overlapped(groups, rooms))


def _rooms(steps: Sequence[Step], homes: Mapping[Tensor, str], chip: Chip) -> list[tuple[int, int]]:
    """Return the bytes of local memory, and of the constant buffer, that tiles of each step may take."""
    local = [chip["memory.lm_bytes"]] * len(steps)
    for tensor, (first, last) in lives(steps).items():
        if homes[tensor] == "lm":
            for k in range(first, last + 1):
                local[k] -= aligned(tensor.bytes)
    taken = together(tensor for tensor, home in homes.items() if home == "lm" and tensor.kind != "local")
    constants = chip["memory.cb_bytes"] - together(tensor for tensor, home in homes.items() if home == "cb")
    return [(size - taken, constants) for size in local]


def _tiles(step: Step, stem: str, homes: Mapping[Tensor, str], chip: Chip, room: tuple[int, ...]) -> Group:
    outside = [name for name, view in step.operands.items() if homes[view.tensor] not in ("lm", "cb")]
    if not outside:
        return Group([Tile([], [step], [])])
    if step.mnemonic == "copy":
        return _moved(step, stem, homes, room[0])
    found, axes = rules(step)
    if repeats(step):
        axes = tuple(sorted({*axes, 1}))
    tiling = _chosen(step, outside, found, axes, chip, *room)
    parts = [part(step, ranges, found) for ranges in tiling.ranges(step.out.shape)]
    buffers = _buffers(stem, parts, outside)
    inner = prod(ceil(step.out.shape[axis] / size) for axis, size in tiling.sizes[1:])
    group = Group([], buffers.needs)
    for number, one in enumerate(parts):
        if len(tiling.sizes) > 1 and number % inner == 0:
            # Each row of tiles begins in the same places, so that rows are turns of a loop.
            buffers.begin(name for name in outside if _follows(found[name], tiling.sizes[1:]))
        group.tiles.append(_tile(one, outside, buffers))
    return group


def _follows(rule: Sequence[Follows | None], sizes: Sequence[tuple[int, int]]) -> bool:
    return any(one is not None and one.axis == axis for one in rule for axis, _ in sizes)


def _moved(step: Step, stem: str, homes: Mapping[Tensor, str], local: int) -> Group:
    """Return a copy of which one side, or both, lie behind."""
    out, x = step.out, step.operands["x"]
    if homes[out.tensor] == "lm":
        return Group([Tile([Step("load", {"out": out, "x": x}, {}, step.node)], [], [])])
    if homes[x.tensor] == "lm":
        return Group([Tile([], [], [Step("store", {"out": out, "x": x}, {}, step.node)])])
    found, axes = rules(step)
    sizes = _halved(step.out.shape, axes, lambda shape: 2 * aligned(_bytes(shape, out.dtype)) <= local)
    parts = [part(step, ranges, found) for ranges in Tiling(sizes).ranges(out.shape)]
    buffers = _buffers(stem, parts, ["x"])
    group = Group([], buffers.needs)
    for one in parts:
        place = buffers.place("x", one.operands["x"])
        load = Step("load", {"out": place, "x": one.operands["x"]}, {}, step.node)
        group.tiles.append(Tile([load], [], [Step("store", {"out": one.out, "x": place}, {}, step.node)]))
    return group


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
    """Return the tiling that fits and moves the least, of those of hardly more cycles than the fastest.

    Images are cut by columns only where rows are not enough.
    """
    shape = step.out.shape
    if len(axes) == 3 and step.out.rank == 4:
        try:
            return _chosen(step, outside, found, [axes[0], axes[2]], chip, local, constants)
        except InputError:
            pass
    fitting: list[tuple[float, int, Tiling]] = []
    least = 1 << 62
    behind = "dev" if chip["memory.dev_bytes"] else "pcie"
    bandwidth = chip.bytes_per_cycle(behind)
    # Of a load and a store.
    latency = 2 * (chip["me.latency"] + chip.latency(behind) + chip["seq.launch_cycles"])
    for order in _orders(axes, shape):
        # Of a step that cannot be cut there is one: the whole.
        others, longest = order[:-1], order[-1:]
        for sizes in product(*(_sizes(shape[axis], _unit(found, axis)) for axis in others)):
            # The greatest part of the last dimension that fits, and the next one: smaller ones move no less.
            found_one = 0
            for last in product(*(_sizes(shape[axis], _unit(found, axis)) for axis in longest)):
                given = zip(order, (*sizes, *last))
                tiling = Tiling(tuple((axis, size) for axis, size in given if size < shape[axis]))
                lm, cb, moved, middle = _needs(step, outside, found, tiling)
                least = min(least, lm)
                if lm > local or cb > constants:
                    continue
                count = prod(ceil(shape[axis] / size) for axis, size in tiling.sizes)
                whole = cost(chip, middle)
                engine = whole.occupancy * _times(shape, tiling)
                memory = moved / bandwidth
                # A tile is loaded, computed and stored, while another one in the other buffers is.
                chain = (engine + memory) / count + whole.latency - whole.occupancy + latency
                # What no other tile hides: the first one's loads and the last one's store.
                fitting.append((max(engine, memory, count * chain / 2) + chain, moved, tiling))
                if (found_one := found_one + 1) == 2:
                    break
    if not fitting:
        what = step.node.label if step.node else step.mnemonic
        raise InputError(
            f"{what} cannot be cut to fit {spelled(local)} of local memory on {chip.name}: its least part needs "
            f"{spelled(least)}",
            "compile for a chip with more local memory, or for smaller sizes, where the network leaves them open",
        )
    fastest = min(time for time, _, _ in fitting)
    near = [(moved, time, tiling.sizes) for time, moved, tiling in fitting if time <= fastest * SLOWER]
    return Tiling(min(near)[2])


def _times(shape: Sequence[int], tiling: Tiling) -> float:
    """Return how many first tiles the whole is."""
    times = 1.0
    for axis, size in tiling.sizes:
        times *= shape[axis] / size
    return times


def _orders(axes: Sequence[int], shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return in which order tiles may follow: by rows and then channels, or the other way."""
    if len(axes) < 2:
        return [tuple(axes)]
    return [tuple(axes), tuple(reversed(axes))]


def _unit(found: Rules, axis: int) -> int:
    """Return of what a tile has a multiple along a dimension of the result."""
    return max(rule.times for rule in (*found.get("x", ()), Follows(axis)) if rule is not None and rule.axis == axis)


def _sizes(size: int, unit: int) -> list[int]:
    """Return sizes of tiles to try, the greatest first: a dimension in 1, 2, 3, 4, 6, 8 ... parts, of whole units."""
    if unit > 1:
        return [unit * one for one in _sizes(size // unit, 1)]
    counts = [1, *(count for k in range(1, 16) for count in (2**k, 3 * 2 ** (k - 1)) if count < size), size]
    return sorted({ceil(size / count) for count in counts}, reverse=True)


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


def cost(chip: Chip, step: Step) -> Cost:
    """Return what a step costs on a chip, by the emulator's own formulas."""
    row = MNEMONICS[step.mnemonic]
    given: dict[str, Any] = {}
    for name, view in step.operands.items():
        memory = "cb" if view.tensor.kind == "const" else "lm"
        slot = "ew2" if name in EW2_WORDS else name
        given[slot] = Operand(memory, 0, DTYPES[view.dtype], view.shape, view.strides)
    names = {spec.name: spec for spec in row.attributes}
    given |= {name: value for name, value in step.attributes.items() if name in names and value is not True}
    for spec in row.attributes:
        if spec.default is None and spec.name not in given:
            given[spec.name] = next((word for word in spec.words if step.attributes.get(word)), 0)
    found = cost_of(chip, build(step.mnemonic, **given))
    assert found is not None, "steps are instructions of engines"
    return found


def _buffers(stem: str, parts: Sequence[Step], outside: Sequence[str]) -> Buffers:
    buffers = Buffers()
    for name in outside:
        views = [one.operands[name] for one in parts]
        shape = tuple(max(view.shape[k] for view in views) for k in range(views[0].rank))
        if any(a != b for a, b in pairwise(views)):
            shape = (2, *shape)
        kind = "staged" if views[0].tensor.kind == "const" else "local"
        buffers.tensors[name] = Tensor(f"{stem}_{name}", views[0].dtype, shape, kind)
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


def _overlapped(groups: Sequence[Group], rooms: Sequence[tuple[int, int]]) -> Iterator[Step]:
    """Yield the steps of tiles, each tile's loads between the step and the stores of the tile before it.

    What those store is loaded behind them, and so is the first tile of a step whose buffers do not fit beside those of
    the step before. So the memory engine has the next loads before it waits for the stores, and in compiler order a
    step waits for no load but its own.
    """
    for number, (group, room) in enumerate(zip(groups, rooms)):
        following = groups[number + 1] if number + 1 < len(groups) else None
        if not number:
            yield from group.tiles[0].loads
        fits = following is not None and all(
            a + b <= size for a, b, size in zip(group.needs, following.needs, map(min, room, rooms[number + 1]))
        )
        upcoming = [*group.tiles[1:], following.tiles[0] if following else Tile([], [], [])]
        for tile, after in zip(group.tiles, upcoming):
            written = {step.out.tensor for step in (*tile.steps, *tile.stores)}
            is_beside = fits or tile is not group.tiles[-1]
            late = [load for load in after.loads if load.operands["x"].tensor in written or not is_beside]
            yield from tile.steps
            yield from (load for load in after.loads if load not in late)
            yield from tile.stores
            yield from late
