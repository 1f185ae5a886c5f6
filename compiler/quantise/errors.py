"""How far the tensors of a quantised network are from those of the network of floats, sample by sample.

Of each tensor the error is measured in two ways: as the network has it, with all that came before, and of its layer
alone, which is given the floats' own tensors. Both are the root of the squares of differences over that of the squares
of the floats. Nodes run as they are written, one by one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.quantise.quantiser import Held, Made
from compiler.quantise.samples import Feeds
from compiler.runtime import onnx, said, session
from isa.errors import InputError

# What names of tensors end in that are added.
OWN, SEEN, GIVEN = "/own", "/seen", "/given"


@dataclass
class Sums:
    """Sums of squares over all samples: of a tensor's floats, and of what is missing to them."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, right: NDArray[Any], found: NDArray[Any]) -> None:
        wide = right.astype(np.float64).ravel()
        far = wide - found.astype(np.float64).ravel()
        self.signal += float(wide @ wide)
        self.noise += float(far @ far)

    @property
    def error(self) -> float:
        """The relative error; infinite where something stands for nothing."""
        if not self.noise:
            return 0.0
        return sqrt(self.noise / self.signal) if self.signal else inf


@dataclass(frozen=True)
class Errors:
    """The relative errors of a network's tensors, by their names: with all that came before, and of the layer alone."""

    whole: Mapping[str, float]
    own: Mapping[str, float]


class Floats:
    """The network of floats, which gives its tensors: those of `names`, and its outputs."""

    def __init__(self, proto: Any, name: str, names: Iterable[str] = ()) -> None:
        self.name = name
        self.outputs = [one.name for one in proto.graph.output]
        self.names = list(dict.fromkeys([*self.outputs, *names]))
        self.session = session(_showing(proto, self.names).SerializeToString(), name=name)

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        return _run(self.session, self.name, self.names, feeds)


def floats_of(floats: Floats, feeds: Feeds) -> tuple[list[str], int]:
    """Return which tensors are of float32, and the bytes of all tensors together, for a sample."""
    found = floats.run(feeds)
    kinds = [name for name, tensor in found.items() if isinstance(tensor, np.ndarray) and tensor.dtype == np.float32]
    return kinds, sum(found[name].nbytes for name in kinds)


def measured(
    floats: Floats, kinds: Iterable[str], made: Made, samples: Iterable[Feeds], advance: Callable[[int], None]
) -> Errors:
    """Return the errors of those tensors of float32, `kinds`, that the quantised network has, over all samples."""
    held = {name: made.held[name] for name in kinds if name in made.held}
    whole = session(_seen(made.proto, held).SerializeToString(), name=floats.name)
    cut = session(_cut(made.proto, held).SerializeToString(), name=floats.name)
    taken = {one.name for one in cut.get_inputs()}
    sums: dict[str, tuple[Sums, Sums]] = {name: (Sums(), Sums()) for name in held}
    names = [name + SEEN for name in held]
    for done, feeds in enumerate(samples, 1):
        right = floats.run(feeds)
        given = {name: array for name, array in feeds.items() if name in taken}
        given |= {name + GIVEN: right[name] for name in held}
        for which, (runner, fed) in enumerate(((whole, feeds), (cut, given))):
            found = _run(runner, floats.name, names, fed)
            for name, both in sums.items():
                both[which].add(right[name], found[name + SEEN])
        advance(done)
    return Errors(*({name: both[which].error for name, both in sums.items()} for which in (0, 1)))


def output_error(floats: Floats, made: Made, samples: Iterable[Feeds]) -> float:
    """Return the relative error of a quantised network's worst output; of floats, where any output is of them.

    Numbers of classes and the like are further apart than what they stand for.
    """
    runner = session(made.proto.SerializeToString(), name=floats.name)
    sums: dict[str, dict[str, Sums]] = {}
    for feeds in samples:
        right, found = floats.run(feeds), _run(runner, floats.name, floats.outputs, feeds)
        for name in floats.outputs:
            # Others are texts, or sequences.
            if isinstance(right[name], np.ndarray) and (kind := right[name].dtype.kind) in "fiub":
                sums.setdefault(kind, {}).setdefault(name, Sums()).add(right[name], found[name])
    kinds = [sums["f"]] if "f" in sums else sums.values()
    return max((one.error for kind in kinds for one in kind.values()), default=0.0)


def _run(runner: Any, name: str, names: Sequence[str], feeds: Feeds) -> dict[str, NDArray[Any]]:
    try:
        return dict(zip(names, runner.run(list(names), feeds), strict=True))
    except Exception as error:  # Of a dozen kinds, which share no base.
        raise InputError(f"onnxruntime cannot compute {name}: {said(error)}") from error


def _showing(proto: Any, names: Iterable[str]) -> Any:
    """Return a copy of a model whose outputs are these, whatever their types."""
    shown = onnx().ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx().ValueInfoProto(name=name) for name in names)
    return shown


def _seen(proto: Any, held: Mapping[str, Held]) -> Any:
    """Return a quantised network that shows all tensors as floats, each as those that read it have it."""
    shown = _showing(proto, (name + SEEN for name in held))
    for name, one in held.items():
        shown.graph.node.extend(_as_floats(one, one.value, name + SEEN))
    return shown


def _cut(proto: Any, held: Mapping[str, Held]) -> Any:
    """Return the same with each layer by itself: what it reads are inputs, the floats' tensors."""
    helper, package = onnx().helper, onnx()
    shown = _showing(proto, (name + SEEN for name in held))
    renamed = {one.value: one.value + OWN for one in held.values()}
    first, last = [], []
    for name, one in held.items():
        given = name + GIVEN
        shown.graph.input.append(helper.make_tensor_value_info(given, package.TensorProto.FLOAT, None))
        if one.integer:
            first.append(helper.make_node("QuantizeLinear", [given, one.scale, one.zero], [one.value]))
        else:
            first.append(helper.make_node("Identity", [given], [one.value]))
        last += _as_floats(one, renamed[one.value], name + SEEN)
    for node in shown.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = renamed.get(name, name)
    between = list(shown.graph.node)
    del shown.graph.node[:]
    shown.graph.node.extend([*first, *between, *last])
    return shown


def _as_floats(one: Held, value: str, name: str) -> list[Any]:
    """Return nodes that make floats of a value, rounded to 8 bits where the network has them so."""
    node = onnx().helper.make_node
    if not one.scale:
        return [node("Identity", [value], [name])]
    rounded = value if one.integer else f"{name}/rounded"
    nodes = [] if one.integer else [node("QuantizeLinear", [value, one.scale, one.zero], [rounded])]
    return [*nodes, node("DequantizeLinear", [rounded, one.scale, one.zero], [name])]
