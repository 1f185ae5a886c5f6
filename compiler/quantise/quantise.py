"""The passes in turn, from a network of floats and calibration data to one of integers with its errors by layer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from compiler.quantise.errors import Errors, Floats, floats_of, measured, output_error
from compiler.quantise.prepare import prepared
from compiler.quantise.quantiser import FORMS, METHODS, QUANTISED, Made, made, ranges
from compiler.quantise.samples import Input, Samples
from compiler.read.model import Model, loaded, serialised
from compiler.read.network import checked
from compiler.runtime import onnx, session
from isa.errors import InputError, shown
from isa.files import write_whole
from isa.suggest import did_you_mean

# Layers that are tried in floats, of those with the greatest errors of their own, and how long new trials begin.
WORST = 3
TRIAL_SECONDS = 60.0
# What a tensor goes through with its values: who mends what an operator reads mends it before them.
PASSING = ("Relu", "Clip", "LeakyRelu", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")
# An error that is this part of another, or more, is as good as the same.
COUNTS = 0.95
# Told what is being done, and how much of how much is.
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Layer:
    """A node and its relative errors, roots of squares: `error` of its result in the network, `own` of it alone.

    `own` is what its 8 bits cost: its inputs are the floats', rounded, and its weights and its result are rounded.
    `kept` layers are computed in floats.
    """

    name: str
    operator: str
    error: float
    own: float
    kept: bool


@dataclass(frozen=True)
class Trial:
    """The relative error of the worst output with some more layers in floats."""

    keep: tuple[str, ...]
    error: float


@dataclass(frozen=True)
class Quantised:
    """A quantised network: its bytes as an ONNX file, and how far it is from the network of floats.

    `error` is that of the worst output, `layers` stand in the order of their own errors, the greatest first, and
    `trials` in the order of the errors that they leave, the least first.
    """

    network: str
    data: bytes
    form: str
    method: str
    symmetric: bool
    samples: int
    error: float
    layers: tuple[Layer, ...]
    trials: tuple[Trial, ...]

    @property
    def advised(self) -> Trial | None:
        """The trial of the fewest layers that gains about as much as any; None where none gains a part that counts."""
        if not self.trials or self.trials[0].error >= COUNTS * self.error:
            return None
        good = [trial for trial in self.trials if COUNTS * trial.error <= self.trials[0].error]
        return min(good, key=lambda trial: len(trial.keep))

    def save(self, path: str | Path) -> None:
        """Write the network; raise RatelError where that cannot be."""
        write_whole(path, self.data)

    def summary(self) -> dict[str, Any]:
        """Return what `ratel quantise --json` prints; an error that has no number is None."""

        def number(error: float) -> float | None:
            return error if isfinite(error) else None

        layers = [{**vars(layer), "error": number(layer.error), "own": number(layer.own)} for layer in self.layers]
        trials = [{"keep": list(trial.keep), "error": number(trial.error)} for trial in self.trials]
        return {
            "network": self.network,
            "form": self.form,
            "method": self.method,
            "symmetric": self.symmetric,
            "samples": self.samples,
            "bytes": len(self.data),
            "error": number(self.error),
            "layers": layers,
            "trials": trials,
            "advised": None if self.advised is None else list(self.advised.keep),
        }


def quantise(
    model: Any,
    data: Any,
    *,
    form: str = FORMS[0],
    method: str = "minmax",
    symmetric: bool = False,
    keep: Iterable[str] = (),
    trials: int = WORST,
    seconds: float = TRIAL_SECONDS,
    advance: Advance = lambda what, done, total: None,
) -> Quantised:
    """Quantise a network of floats, a path, its bytes or onnx's ModelProto, with calibration data.

    `data` are arrays by the names of inputs (or one array, or a list of such by name, one a sample), or the path of an
    .npz file or a folder of them. Nodes named in `keep` stay in floats. The `trials` worst layers are tried in floats,
    each and with those that make its inputs, then all that gained; no trial begins after `seconds`.
    Raises InputError for a model that cannot be quantised, data that are not its inputs, and unknown options.
    """
    if isinstance(keep, str) or not isinstance(keep, Iterable):
        raise InputError(f"keep is {shown(keep)}", "a list of names of layers")
    for what, number in (("trials", trials), ("seconds", seconds)):
        if not isinstance(number, int | float) or not number >= 0:
            raise InputError(f"{what} is {shown(number)}", "a number, 0 or greater")
    _one_of(form, FORMS, "form")
    _one_of(method, METHODS, "method")
    proto, source = loaded(model)
    name = source.name
    real = _prepared(proto, source)
    kept = _known([*keep], real, name)
    samples = Samples(name, _inputs(real, name), data)
    kinds, sample_bytes = floats_of(Floats(real, name, _results(real)), next(iter(samples)))
    total = len(samples)
    if not kinds:
        raise InputError(f"nothing of {name} is quantised: it makes nothing of float32", "export it in float32")

    def told(what: str) -> Callable[[int], None]:
        advance(what, 0, total)
        return lambda done: advance(what, done, total)

    found = ranges(real, name, samples, method, sample_bytes, told("samples calibrated"))
    first = made(real, name, found, form, kept, symmetric)
    if not first.quantises:
        why = "all that would be is kept in floats" if kept else "it has no products or other operators of 8 bits"
        raise InputError(f"nothing of {name} is quantised: {why}", "keep fewer layers" if kept else "")
    floats = Floats(real, name, kinds)
    errors = measured(floats, kinds, first, samples, told("samples compared"))
    layers = _layers(real, first, errors, kept)
    outputs = Floats(real, name)
    error = output_error(outputs, first, samples)

    tried: dict[tuple[str, ...], float] = {}
    until = time.monotonic() + seconds
    asked = _candidates(real, layers, trials)
    for done in range(len(asked) + 1):
        advance("trials made", done, len(asked) + 1)
        # At last, together what gains something by itself.
        more = asked[done] if done < len(asked) else _together(tried, error)
        if not more or more in tried or time.monotonic() >= until:
            continue
        with suppress(InputError):  # The quantiser may not take every network of some floats.
            one = made(real, name, found, form, [*kept, *more], symmetric)
            if one.quantises:
                tried[more] = output_error(outputs, one, samples)
    return Quantised(
        name,
        _bytes(first, name),
        form,
        method,
        symmetric,
        total,
        error,
        layers,
        tuple(Trial(names, left) for names, left in sorted(tried.items(), key=lambda one: (one[1], len(one[0])))),
    )


def _one_of(word: object, known: Iterable[str], what: str) -> None:
    words = list(known)
    if word not in words:
        help = did_you_mean(str(word), words, f"{what}s: {', '.join(words)}")
        raise InputError(f"there is no {what} {shown(word)}", help)


def _prepared(proto: Any, source: Model) -> Any:
    """Return a network as the quantiser wants it; raise InputError for one that has integers already."""
    proto = checked(proto, source)
    for node in proto.graph.node:
        if node.op_type in QUANTISED or node.op_type.startswith(("QLinear", "DynamicQuantize")):
            raise InputError(
                f"{source.name} is quantised already: {node.op_type} {node.name or node.output[0]!r}",
                "`ratel compile` takes it as it is; quantise the network of floats that it was made of",
            )
    whole = serialised(proto, source, "its quantiser does", "quantise it in parts")
    return prepared(whole, source.name)


def _inputs(real: Any, name: str) -> list[Input]:
    found = []
    kinds = {one.name: one.type.tensor_type.elem_type for one in real.graph.input}
    for one in session(real.SerializeToString(), name=name).get_inputs():
        dtype = np.dtype(onnx().helper.tensor_dtype_to_np_dtype(kinds[one.name]))
        shape = tuple(size if isinstance(size, int) and size > 0 else None for size in one.shape)
        found.append(Input(one.name, dtype, shape))
    return found


def _results(real: Any) -> list[str]:
    return [name for node in real.graph.node for name in node.output if name]


def _known(keep: Sequence[str], real: Any, name: str) -> tuple[str, ...]:
    """Return the names of nodes to keep; a node goes by its result's name, too. Raise InputError for others."""
    nodes = {result: node.name for node in real.graph.node for result in node.output if result}
    nodes |= {node.name: node.name for node in real.graph.node}
    for word in keep:
        if word not in nodes:
            help = did_you_mean(str(word), nodes, "`ratel quantise` lists them; what normalises may be part of another")
            raise InputError(f"{name} has no layer {shown(word)} to keep", help)
    return tuple(dict.fromkeys(nodes[word] for word in keep))


def _layers(real: Any, first: Made, errors: Errors, kept: Sequence[str]) -> tuple[Layer, ...]:
    """Return the nodes that have a result in the quantised network; one that is folded into another is part of it."""
    readers: dict[str, list[Any]] = {}
    for node in real.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found, claimed = [], set[str]()
    for node in real.graph.node:
        result = node.output[0]
        while result not in first.held and len(readers.get(result, ())) == 1:
            result = readers[result][0].output[0]
        if result in errors.own and result not in claimed:
            claimed.add(result)
            found.append(Layer(node.name, node.op_type, errors.whole[result], errors.own[result], node.name in kept))
    return tuple(sorted(found, key=lambda layer: -layer.own))


def _candidates(real: Any, layers: Sequence[Layer], most: int) -> list[tuple[str, ...]]:
    """Return what is tried in floats: each of the worst layers, and with it those that make what it reads."""
    nodes = {node.name: node for node in real.graph.node}
    makers = {name: node for node in real.graph.node for name in node.output}
    known = {layer.name for layer in layers}
    found: dict[tuple[str, ...], None] = {}
    for layer in [one for one in layers if one.own > 0 and not one.kept][:most]:
        found[(layer.name,)] = None
        before, left = list[str](), list(nodes[layer.name].input)
        while left:
            node = makers.get(left.pop(0))
            if node is None or node.name in before:
                continue
            before.append(node.name)
            if node.name not in known or node.op_type in PASSING:
                left += node.input[:1]
        found[(layer.name, *before)] = None
    return list(found)


def _together(tried: Mapping[tuple[str, ...], float], error: float) -> tuple[str, ...]:
    """Return all layers without which the error is less by a part that counts."""
    return tuple(dict.fromkeys(name for names, left in tried.items() if left < COUNTS * error for name in names))


def _bytes(first: Made, name: str) -> bytes:
    try:
        return bytes(first.proto.SerializeToString())
    except Exception as error:  # Of protobuf, which has no more than 2 GiB in one piece.
        raise InputError(f"{name} has more than 2 GiB, quantised", "quantise a part of it at a time") from error
