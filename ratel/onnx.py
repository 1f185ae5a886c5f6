"""Networks from ONNX as onnxruntime runs them, on a chip: a script changes one import.

import ratel.onnx as rt
session = rt.InferenceSession("net.onnx", chip="edge")
scores, = session.run(None, {"x": array})

The chip's parts run bit for bit, the host's by onnxruntime. A network of floats is made one of 8 bits first:

made = rt.quantise("float.onnx", {"x": samples})       # made.save("net.onnx"), made.error, made.layers, made.trials
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa.chip import DEFAULT_CHIP, Chip, load_chip
from isa.errors import InputError, shown
from isa.memory import limited
from isa.suggest import did_you_mean
from ratel import kept
from ratel.api import Session

if TYPE_CHECKING:
    from compiler.compiled import Compiled, Part
    from compiler.options import Options
    from compiler.quantise.quantise import Quantised

# onnxruntime's words for types.
TYPES = {"float32": "float", "float64": "double", "object": "string"}


@dataclass(frozen=True)
class NodeArg:
    """An input or an output: its name, its shape, and its type in onnxruntime's words, such as "tensor(float)"."""

    name: str
    shape: list[int]
    type: str


def quantise(
    model: Any,
    data: Any,
    *,
    form: str = "qdq",
    method: str = "minmax",
    symmetric: bool = False,
    keep: Iterable[str] = (),
    trials: int = 3,
    seconds: float = 60.0,
    memory: int | None = None,
) -> Quantised:
    """Quantise a network of floats to 8 bits by onnxruntime's static quantiser, and measure what that costs by layer.

    `model` is a file, its bytes or onnx's ModelProto. `data` are samples: arrays by the names of inputs, each with its
    samples along the first dimension or with one dimension more in front; lists of arrays; a list of feeds; or the path
    of an .npz file or of a folder of .npy files. `form` is "qdq" or "qoperator", `method` of ranges "minmax", "entropy"
    or "percentile"; weights are symmetric by channel, other tensors where `symmetric`. Nodes named in `keep` stay in
    floats. The worst `trials` layers are tried in floats, each alone and with what makes its inputs; after `seconds` no
    trial begins. `memory` is how many bytes it may take of this computer, None what is free. Raises InputError.
    """
    from compiler.quantise.quantise import quantise

    with limited(memory):
        return quantise(
            model, data, form=form, method=method, symmetric=symmetric, keep=keep, trials=trials, seconds=seconds
        )


class InferenceSession:
    """A network, compiled for a chip and ready to run again and again; a context manager, `close` ends its threads.

    `path_or_bytes` is a file, its bytes, onnx's ModelProto, or what `ratel.compile` gives. `shapes` fix what the file
    leaves open, inputs in `always` are one number, and not fed; `cores` share one image, or compute `batch`
    images each; with `host` False a node that no engine computes is an error; `round_once` is as in `ratel.compile`;
    `threads` of this computer share large instructions, results are the same. `memory` is how many bytes it may take of
    this computer, None what is free. What onnxruntime's own session takes beside, options and providers, is taken, and
    means nothing here.
    Raises InputError, ChipError and Trap.
    """

    def __init__(
        self,
        path_or_bytes: Any,
        sess_options: Any = None,
        providers: Any = None,
        provider_options: Any = None,
        *,
        chip: str | Chip = DEFAULT_CHIP,
        shapes: Mapping[str, Sequence[int]] | None = None,
        always: Mapping[str, float] | None = None,
        order: str = "hardware",
        cores: int = 1,
        batch: int | None = None,
        host: bool = True,
        round_once: bool = False,
        threads: int = 1,
        memory: int | None = None,
    ) -> None:
        from compiler.options import Options

        said: dict[str, Any] = {"order": order, "cores": cores, "batch": batch, "host": host, "round_once": round_once}
        options = Options(shapes or {}, always=always or {}, **said)
        with limited(memory):
            self.compiled = _compiled(path_or_bytes, load_chip(chip), options)
        self._parts: list[tuple[Part, Any]] = []
        for part in self.compiled.parts:
            if part.program is None:
                self._parts.append((part, by_host(part)))
            else:
                self._parts.append((part, Session(part.program, threads=threads, memory=memory)))

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session's threads; it can run no more."""
        for part, runner in self._parts:
            if part.program is not None:
                runner.close()

    def get_inputs(self) -> list[NodeArg]:
        """Return the network's inputs, in its order."""
        return [_described(self.compiled, name) for name in self.compiled.graph.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """Return the network's outputs, in its order."""
        return [_described(self.compiled, name) for name in self.compiled.graph.outputs]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: Any = None
    ) -> list[NDArray[Any]]:
        """Return the outputs asked for, all of them where None is given, in that order.

        Raises InputError for feeds and names that are not the network's, and Trap as `ratel.run` does.
        """
        graph = self.compiled.graph
        if isinstance(output_names, str) or not isinstance(output_names, Iterable | None):
            help = f"as in {list(graph.outputs)}; None for all"
            raise InputError(f"{shown(output_names)} is no list of outputs", help)
        wanted = list(output_names) if output_names else list(graph.outputs)
        for name in wanted:
            if name not in graph.outputs:
                known = f"outputs: {', '.join(graph.outputs)}"
                help = did_you_mean(str(name), graph.outputs, known)
                raise InputError(f"{graph.name} has no output {shown(name)}", help)
        values = checked(self.compiled, input_feed)
        for part, runner in self._parts:
            if part.program is None:
                values |= runner(values)
            else:
                values |= made_by_chip(part, runner.run(given_to_chip(part, values)).outputs)
        return [values[name] for name in wanted]


def _compiled(model: Any, chip: Chip, options: Options) -> Compiled:
    from compiler.compiled import Compiled
    from compiler.read.model import Model, opened

    if isinstance(model, Compiled):
        return model
    if isinstance(model, str | Path):
        model = opened(model)
    elif isinstance(model, bytes):
        model = Model("network", model)
    else:
        from compiler.compile import compile

        return compile(model, chip, options)
    return kept.compiled(model, chip, options)


def _described(compiled: Compiled, name: str) -> NodeArg:
    kind = compiled.graph.values[name].dtype.name
    return NodeArg(name, list(compiled.shape(name)), f"tensor({TYPES.get(kind, kind)})")


def checked(compiled: Compiled, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return what is fed as arrays of the network's types and shapes; an input without elements may be left out.

    Raises InputError that names all that is wrong.
    """
    if not isinstance(feeds, Mapping):
        raise InputError(f"expected arrays by the names of inputs, not {shown(feeds)}", "as in {'x': array}")
    graph, wrong = compiled.graph, list[InputError]()
    # Outputs that no node makes are there already.
    values = {name: data for name in graph.outputs if (data := graph.values[name].data) is not None}
    for name in feeds:
        if name not in graph.inputs:
            known = f"inputs: {', '.join(graph.inputs)}" if graph.inputs else "it has no inputs"
            help = did_you_mean(str(name), graph.inputs, known)
            wrong.append(InputError(f"{graph.name} has no input {shown(name)}", help))
    for name in graph.inputs:
        value, shape = graph.values[name], compiled.shape(name)
        form = f"{value.dtype.name} of shape {list(shape)}"
        if name not in feeds and 0 in shape:
            values[name] = np.empty(shape, value.dtype)
            continue
        if name not in feeds:
            wrong.append(InputError(f"the input {name!r} of {graph.name} is missing", f"it is {form}"))
            continue
        try:
            array = np.asarray(feeds[name])
        except (ValueError, TypeError, OverflowError):
            wrong.append(InputError(f"the input {name!r} is no array of numbers: {shown(feeds[name])}", f"give {form}"))
            continue
        if array.shape != shape:
            help = f"give {form}, or compile for other sizes, where the network leaves them open (--shape, shapes=)"
            wrong.append(InputError(f"the input {name!r} is of shape {list(array.shape)}", help))
        elif array.dtype.newbyteorder("=") != value.dtype:
            help = f"convert it with .astype(np.{value.dtype.name})"
            wrong.append(InputError(f"the input {name!r} is of type {array.dtype.name}, not {value.dtype.name}", help))
        else:
            values[name] = array.astype(value.dtype, copy=False)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        found = [diagnostic for error in wrong for diagnostic in error.diagnostics]
        helps = "\n".join(error.help for error in wrong)
        raise InputError("\n".join(error.message for error in wrong), helps, found)
    return values


def given_to_chip(part: Part, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a chip's part, by the names of its program, from values of the network."""
    from compiler.exchange import given

    return given(part.plans, values)


def made_by_chip(part: Part, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the values of the network that a chip's part has made, from the outputs of its program."""
    from compiler.exchange import made

    return made(part.plans, part.graph, outputs)


def by_host(part: Part) -> Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
    """Return what computes a host's part, from values of the network to those that it makes.

    Raises InputError where onnxruntime does not take it, or what it is given.
    """
    from compiler.runtime import said, session

    own, graph = session(part.model, name=part.graph.name), part.graph

    def run(values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            made = own.run(list(graph.outputs), {name: values[name] for name in graph.inputs})
        except Exception as error:  # Of a dozen kinds, which share no base.
            nodes = ", ".join(node.label for node in graph.nodes[:3])
            raise InputError(f"onnxruntime cannot compute {nodes} of {graph.name}: {said(error)}") from error
        return dict(zip(graph.outputs, made, strict=True))

    return run
