"""One image on several cores: steps are cut over them, and what a core lacks of what it reads is sent to it.

Each step is cut along the dimension of its result (rows, channels) with which it ends the earliest by the chip's own
costs: what has to be sent before, and the longest part. Channels take their weights with them, rows have all of them
on each core: where these do not fit, the steps with the most of them are cut by channels. What cannot be cut is core
0's, and so are inputs and outputs.

What is sent has a place that nothing else has, so no core has to be asked whether it may be written. It is there when
the tensor engine's queue has waited for the sender's semaphore; other engines wait for that engine where they read it.
A tensor of which something is written twice is core 0's alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.fit.cut import part, rules
from compiler.fit.roll import Item, Sync
from compiler.fit.tile import cost
from compiler.fit.waits import ENGINES
from compiler.steps import MAX_RANK, Plan, Step, Tensor, View, free, merged
from isa.chip import Chip
from isa.table import MNEMONICS

# Cut along no dimension: core 0's.
ALONE = None
# The queue that waits for what is sent.
WAITING = "te"


@dataclass(frozen=True)
class Share:
    """What one core does: its plan, and the items that compute it.

    Of tensors that it writes on other cores, `remote` says on which; `waits` are steps that wait for other engines in
    every order.
    """

    plan: Plan
    items: Sequence[Item]
    remote: Mapping[Tensor, int] = field(default_factory=dict)
    waits: Mapping[Step, str] = field(default_factory=dict)

    @property
    def own(self) -> Plan:
        """Its plan, its steps without what they write elsewhere."""
        steps = []
        for step in self.plan.steps:
            operands = {name: view for name, view in step.operands.items() if view.tensor not in self.remote}
            steps.append(replace(step, operands=operands))
        return replace(self.plan, steps=tuple(steps))


def weighty(plan: Plan) -> list[Step]:
    """Return the steps that have weights, those with the most bytes of them first."""

    def size(step: Step) -> int:
        return sum(view.bytes for view in step.operands.values() if view.tensor.kind == "weight")

    return sorted(filter(size, plan.steps), key=size, reverse=True)


def shared(plan: Plan, chip: Chip, cores: int, by_weights: Iterable[Step]) -> list[Share]:
    """Return what each core does for one image, these steps cut by their weights."""
    cut = _Cut(plan, chip, cores, frozenset(by_weights))
    last = {view.tensor: step for step in plan.steps for view in step.operands.values()}
    for step in plan.steps:
        cut.add(step)
        cut.forget(tensor for tensor in {view.tensor for view in step.operands.values()} if last[tensor] is step)
    cut.gather()
    owners = _Owners(plan, cut)
    return [owners.share(core) for core in range(cores)]


@dataclass(eq=False)
class _Sent:
    """A copy to another core."""

    view: View
    to: int
    step: Step


@dataclass
class _Where:
    """Of each element of a tensor the core that made it, and for each core whether it has it.

    `arrived` says behind how many waits of each core all is there that was sent to it.
    """

    maker: NDArray[np.int8]
    there: NDArray[np.bool_]
    arrived: list[int]

    def needs(self, core: int, view: View) -> int:
        """Return behind how many waits a core has what a view sees: none for what it made itself."""
        return self.arrived[core] if (_seen(self.maker, view) != core).any() else 0


@dataclass
class _Cut:
    """Steps cut over cores, one behind another, and who has what by then."""

    plan: Plan
    chip: Chip
    cores: int
    by_weights: frozenset[Step]
    where: dict[Tensor, _Where] = field(default_factory=dict)
    done: list[list[Step | _Sent | Sync]] = field(init=False)
    bits: dict[Step, str] = field(default_factory=dict)
    # How many waits each core's waiting queue has, and how many of them each of its engines knows of.
    waited: list[int] = field(init=False)
    knows: dict[tuple[int, str], int] = field(default_factory=dict)
    alone: set[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.done = [[] for _ in range(self.cores)]
        self.waited = [0] * self.cores
        self.alone = _written_twice(self.plan)
        for tensor in self.plan.inputs.values():
            where = self._where(tensor)
            where.maker[:] = 0
            where.there[0] = True

    def add(self, step: Step) -> None:
        """Cut the next step, and have sent before what its parts lack."""
        parts = min((self._parts(step, axis) for axis in self._axes(step)), key=self._time)
        self._send(parts, step)
        for core, one in parts.items():
            self.done[core].append(one)
            engine = MNEMONICS[one.mnemonic].engine
            needs = max((self._where(view.tensor).needs(core, view) for view in _values(one)), default=0)
            if engine != WAITING and needs > self.knows.get((core, engine), 0):
                self.bits[one] = ENGINES[WAITING]
                self.knows[core, engine] = self.waited[core]
            where = self._where(one.out.tensor)
            _seen(where.maker, one.out)[...] = core
            for other in range(self.cores):
                _seen(where.there[other], one.out)[...] = other == core

    def forget(self, tensors: Iterable[Tensor]) -> None:
        """Let go of who has tensors that no step touches any more; outputs are asked for at the end."""
        ends = self.plan.outputs.values()
        for tensor in tensors:
            if tensor not in ends:
                self.where.pop(tensor, None)

    def gather(self) -> None:
        """Have sent to core 0 what it lacks of the outputs."""
        for tensor in self.plan.outputs.values():
            whole = tensor.view()
            (whole,) = (whole,) if whole.rank <= MAX_RANK else merged(whole)
            reads = Step("store", {"out": whole, "x": whole}, {}, self.plan.steps[-1].node)
            self._send({0: reads}, reads)

    def _where(self, tensor: Tensor) -> _Where:
        if tensor not in self.where:
            size, cores = tensor.elements, self.cores
            self.where[tensor] = _Where(np.full(size, -1, np.int8), np.zeros((cores, size), np.bool_), [0] * cores)
        return self.where[tensor]

    def _axes(self, step: Step) -> list[int | None]:
        """Return along which dimensions a step may be cut; where its weights are too many, along theirs."""
        if any(view.tensor in self.alone for view in step.operands.values()):
            return [ALONE]
        found, axes = rules(step)
        if step in self.by_weights:
            weights = (name for name, view in step.operands.items() if view.tensor.kind == "weight")
            follows = {rule.axis for name in weights for rule in found[name] if rule is not None}
            return [axis for axis in axes if axis in follows] or [ALONE]
        return [*axes, ALONE]

    def _parts(self, step: Step, axis: int | None) -> dict[int, Step]:
        """Return what each core does of a step."""
        if axis is ALONE:
            return {0: step}
        found, size = rules(step)[0], step.out.shape[axis]
        bounds = [size * core // self.cores for core in range(self.cores + 1)]
        ends = enumerate(pairwise(bounds))
        return {core: part(step, {axis: (low, high - low)}, found) for core, (low, high) in ends if low < high}

    def _time(self, parts: Mapping[int, Step]) -> float:
        """Return in how many cycles the parts of a step have been done, from the end of what came before."""
        sent, received = [0.0] * self.cores, [0.0] * self.cores
        issue = self.chip["seq.issue_cycles"]
        for maker, core, view in self._lacking(parts):
            copy = Step("copy", {"out": view, "x": view}, {}, None)
            cycles = max(view.bytes / self.chip.bytes_per_cycle("ring"), cost(self.chip, copy).occupancy)
            sent[maker] += max(cycles, 2 * issue)
            received[core] += cycles + issue
        most = max(*sent, *received)
        if most:
            keys = ("me.latency", "sync.latency", "seq.launch_cycles")
            most += self.chip.latency("ring") + sum(self.chip[key] for key in keys)
        return most + max(cost(self.chip, one).latency for one in parts.values())

    def _lacking(self, parts: Mapping[int, Step]) -> Iterator[tuple[int, int, View]]:
        """Yield what cores lack of what they read: who made it, who lacks it, and where it is; each part once."""
        for core, one in parts.items():
            for view in _values(one):
                where = self._where(view.tensor)
                lacks, makers = ~_seen(where.there[core], view), _seen(where.maker, view)
                # What nobody made, nobody sends.
                for maker in np.unique(makers[lacks & (makers >= 0)]):
                    for found in _pieces(view, lacks & (makers == maker)):
                        yield int(maker), core, found

    def _send(self, parts: Mapping[int, Step], step: Step) -> None:
        meetings: dict[tuple[int, int], list[View]] = {}
        for maker, core, view in self._lacking(parts):
            where = self._where(view.tensor)
            if _seen(where.there[core], view).all():
                # Another operand of the step has the same.
                continue
            _seen(where.there[core], view)[...] = True
            meetings.setdefault((maker, core), []).append(view)
        for (maker, core), views in meetings.items():
            for view in views:
                copy = Step("copy", {"out": view, "x": view}, {}, step.node)
                self.done[maker].append(_Sent(view, core, copy))
            self.done[maker].append(Sync("signal", f"ready{maker}_{core}", "me"))
        for (maker, core), views in meetings.items():
            self.done[core].append(Sync("wait", f"ready{maker}_{core}", WAITING))
            self.waited[core] += 1
            for view in views:
                self._where(view.tensor).arrived[core] = self.waited[core]


def _values(step: Step) -> list[View]:
    """Return what a step reads that other steps make, what it reads again and again once."""
    values = [view for view in step.reads() if view.tensor.kind not in ("weight", "const")]
    return list(dict.fromkeys(_once(view) for view in values))


def _once(view: View) -> View:
    """Return a view that sees the same elements, those that it repeats once."""
    for axis, stride in enumerate(view.strides):
        if not stride:
            view = view.sliced(axis, 0, 1)
    return view


def _seen(array: NDArray[Any], view: View) -> NDArray[Any]:
    """Return what a view of a tensor sees of an array with an element for each of its."""
    strides = [stride * array.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(array[view.offset :], view.shape, strides)


def _pieces(view: View, mask: NDArray[np.bool_]) -> list[View]:
    """Return views that see what a mask of a view has, and nothing else: as few as its dimensions or its tensor's make.

    Channels of pixels that were flattened are one slice of the image, and elements far apart one of the view.
    """
    boxes, whole = _boxes(mask), view.tensor.view()
    if len(boxes) > 1 and whole.rank <= MAX_RANK:
        held = np.zeros(whole.elements, np.bool_)
        _seen(held, view)[...] = mask
        if len(others := _boxes(held.reshape(whole.shape))) < len(boxes):
            boxes, view = others, whole
    found = []
    for box in boxes:
        piece = view
        for axis, (first, size) in enumerate(box):
            piece = piece.sliced(axis, first, size)
        found.append(piece)
    return found


def _boxes(mask: NDArray[np.bool_]) -> list[tuple[tuple[int, int], ...]]:
    """Return boxes, (first, size) of each dimension, that hold what a mask has, and nothing else."""
    if not mask.any():
        return []
    box = []
    for axis in range(mask.ndim):
        (here,) = np.nonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
        box.append((int(here[0]), int(here[-1] - here[0] + 1)))
    inside = mask[tuple(slice(first, first + size) for first, size in box)]
    if inside.all():
        return [tuple(box)]
    # In parts, wherever it changes along the first dimension along which it is not the same.
    for axis in range(mask.ndim):
        lines = np.moveaxis(inside, axis, 0).reshape(inside.shape[axis], -1)
        changes = np.nonzero((lines[1:] != lines[:-1]).any(axis=1))[0] + 1
        if len(changes):
            break
    found = []
    for slab, behind in zip(np.split(inside, changes, axis=axis), (0, *changes.tolist())):
        for inner in _boxes(slab):
            begins = [first + box[k][0] + (behind if k == axis else 0) for k, (first, _) in enumerate(inner)]
            found.append(tuple((begin, size) for begin, (_, size) in zip(begins, inner)))
    return found


def _written_twice(plan: Plan) -> set[Tensor]:
    """Return the tensors with an element that several steps write."""
    found, counts = set(), dict[Tensor, NDArray[np.bool_]]()
    for step in plan.steps:
        tensor = step.out.tensor
        if tensor not in counts:
            counts[tensor] = np.zeros(tensor.elements, np.bool_)
        seen = _seen(counts[tensor], step.out)
        if seen.any():
            found.add(tensor)
        seen[...] = True
    return found


@dataclass
class _Owners:
    """What each core has of each tensor: a tensor of its own, and with which element it begins."""

    plan: Plan
    cut: _Cut
    own: dict[tuple[int, Tensor], tuple[Tensor, int]] = field(default_factory=dict)
    weights: dict[tuple[int, View], View] = field(default_factory=dict)
    # Of each core's tensors, but for parts of weights until they are there.
    names: list[set[str]] = field(init=False)

    def __post_init__(self) -> None:
        reach: dict[tuple[int, Tensor], tuple[int, int]] = {}
        received = set()
        self.names = [set() for _ in self.cut.done]
        for core, items in enumerate(self.cut.done):
            for item in items:
                for where, view in _touched(item, core):
                    low, high = reach.get((where, view.tensor), view.reach)
                    reach[where, view.tensor] = min(low, view.reach[0]), max(high, view.reach[1])
                    if not _is_part_of_weights(view):
                        self.names[where].add(view.tensor.name.lower())
                if isinstance(item, _Sent):
                    received.add((item.to, item.view.tensor))
        for (core, tensor), ends in reach.items():
            is_end = tensor.kind in ("input", "output")
            if tensor.kind in ("weight", "const") or (core == 0 and is_end):
                self.own[core, tensor] = tensor, 0
            else:
                kind = "received" if (core, tensor) in received else "local"
                self.own[core, tensor] = _part_of(tensor, kind, *ends)

    def view(self, core: int, view: View) -> View:
        """Return where a core has what a view sees."""
        if _is_part_of_weights(view):
            return self._weights(core, view)
        tensor, first = self.own[core, view.tensor]
        return replace(view, tensor=tensor, offset=view.offset - first)

    def _weights(self, core: int, view: View) -> View:
        """Return a part of a weight as a weight of its own."""
        if (core, view) not in self.weights:
            assert view.tensor.data is not None, "a constant"
            order = view.order
            data = np.ascontiguousarray(_seen(view.tensor.data.reshape(-1), view.permuted(order)))
            name = free(view.tensor.name, self.names[core])
            tensor = replace(view.tensor, name=name, shape=data.shape, data=data)
            self.weights[core, view] = tensor.view().permuted([order.index(k) for k in range(view.rank)])
        return self.weights[core, view]

    def share(self, core: int) -> Share:
        items: list[Item] = []
        remote: dict[Tensor, int] = {}
        waits: dict[Step, str] = {}
        for item in self.cut.done[core]:
            if isinstance(item, Sync):
                items.append(item)
                continue
            step = item.step if isinstance(item, _Sent) else item
            operands = {name: self.view(core, view) for name, view in step.operands.items() if name != "out"}
            to = item.to if isinstance(item, _Sent) else core
            operands = {"out": self.view(to, step.out), **operands}
            if to != core:
                remote[operands["out"].tensor] = to
            items.append(made := replace(step, operands=operands))
            if step in self.cut.bits:
                waits[made] = self.cut.bits[step]
        ends = (self.plan.inputs, self.plan.outputs) if core == 0 else ({}, {})
        steps = tuple(item for item in items if isinstance(item, Step))
        return Share(replace(self.plan, steps=steps, inputs=ends[0], outputs=ends[1], views={}), items, remote, waits)


def _is_part_of_weights(view: View) -> bool:
    return view.tensor.kind == "weight" and not view.is_whole


def _touched(item: Step | _Sent | Sync, core: int) -> list[tuple[int, View]]:
    """Return what an item reads and writes, and on which cores."""
    match item:
        case Sync():
            return []
        case _Sent():
            return [(core, item.view), (item.to, item.view)]
    return [(core, view) for view in item.operands.values()]


def _part_of(tensor: Tensor, kind: str, low: int, high: int) -> tuple[Tensor, int]:
    """Return a tensor of the elements of another from `low` to before `high`, in whole rows, and its first."""
    axis = next((k for k, size in enumerate(tensor.shape) if size > 1), len(tensor.shape) - 1)
    row = prod(tensor.shape[axis + 1 :])
    first, last = low // row, -(-high // row)
    shape = (*tensor.shape[:axis], last - first, *tensor.shape[axis + 1 :])
    return replace(tensor, shape=shape, kind=kind, scale=None, zero=0, axes=(), buffers=1), first * row
