"""A compiled network as bytes, and back: what is to be run again, without reading or compiling anything.

Programs are object files, and verified as those are; models of the host's parts are ONNX files. Graphs are kept without
their weights, plans without their steps, for that is in the programs; texts are not kept. A checksum stands in front.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compiler.compiled import Compiled, Part
from compiler.graph import Graph, Node, Value
from compiler.steps import Plan, Tensor, View
from isa.chip import Chip
from isa.errors import ObjectError
from isa.object_file import from_bytes, to_pieces
from isa.program import Program

MAGIC = b"RATELNET"
LENGTH = struct.Struct("<Q")
DIGEST = hashlib.sha256


def packed(compiled: Compiled, notes: Mapping[str, str]) -> list[bytes]:
    """Return a compiled network as bytes, in pieces, with notes of who keeps it; no program's data are copied."""
    blobs = [to_pieces(part.program) if part.program is not None else [part.model] for part in compiled.parts]
    sizes = [sum(map(len, blob)) for blob in blobs]
    text = json.dumps({"notes": dict(notes), "bytes": sizes, **_said(compiled)}).encode()
    pieces, digest = [LENGTH.pack(len(text)), text, *(piece for blob in blobs for piece in blob)], DIGEST()
    for piece in pieces:
        digest.update(piece)
    return [MAGIC, digest.digest(), *pieces]


def bare(compiled: Compiled) -> Compiled:
    """Return a compiled network as it is when it was kept: its weights are in the programs alone."""
    held = [part.program if part.program is not None else part.model for part in compiled.parts]
    return _as_compiled(_said(compiled), compiled.chip, held)


def _said(compiled: Compiled) -> dict[str, Any]:
    """Return what a compiled network is beside its programs and models, ready for json."""
    places = {node: place for place, node in enumerate(compiled.graph.nodes)}
    return {
        "images": compiled.images,
        "graph": _graph(compiled.graph),
        "refused": [[places[node], why] for node, why in compiled.refused.items()],
        "parts": [
            {
                "side": part.side,
                "graph": _graph(part.graph),
                "plans": [_plan(plan, part.graph) for plan in part.plans],
            }
            for part in compiled.parts
        ],
    }


def _as_compiled(said: Mapping[str, Any], chip: Chip, held: Sequence[Program | bytes]) -> Compiled:
    graph, parts = _as_graph(said["graph"]), []
    for one, what in zip(said["parts"], held, strict=True):
        own = _as_graph(one["graph"])
        if isinstance(what, Program):
            parts.append(Part(one["side"], own, what, plans=tuple(_as_plan(plan, own) for plan in one["plans"])))
        else:
            parts.append(Part(one["side"], own, model=what))
    refused = {graph.nodes[place]: why for place, why in said["refused"]}
    return Compiled(graph, chip, tuple(parts), refused, said["images"])


def unpacked(data: bytes, chip: Chip, holds: Callable[[Mapping[str, str]], bool]) -> Compiled | None:
    """Return the network that was kept, for the chip that it was kept for.

    None where it is damaged, or what was noted with it does not hold.
    """
    start = len(MAGIC) + DIGEST().digest_size
    body = memoryview(data)[start:]
    if data[:start] != MAGIC + DIGEST(body).digest():
        return None
    at = LENGTH.size + LENGTH.unpack_from(body)[0]
    said = json.loads(bytes(body[LENGTH.size : at]))
    if not holds(said["notes"]):
        return None
    held: list[Program | bytes] = []
    for one, size in zip(said["parts"], said["bytes"], strict=True):
        blob = body[at : at + size]
        at += size
        try:
            held.append(from_bytes(blob) if one["plans"] else bytes(blob))
        except ObjectError:
            return None
    return _as_compiled(said, chip, held)


def _graph(graph: Graph) -> dict[str, Any]:
    made = {name for node in graph.nodes for name in node.outputs if name}
    kept = [*dict.fromkeys([*graph.inputs, *graph.outputs, *made])]
    return {
        "name": graph.name,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "values": [[name, graph.values[name].dtype.str, graph.values[name].shape] for name in kept],
        "constants": {name: data.tolist() for name in graph.outputs if (data := graph.values[name].data) is not None},
        "nodes": [[node.op, node.domain, node.name, node.inputs, node.outputs, node.number] for node in graph.nodes],
        "opsets": dict(graph.opsets),
        "reader": graph.reader,
    }


def _as_graph(said: Mapping[str, Any]) -> Graph:
    values = {name: Value(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in said["values"]}
    for name, data in said["constants"].items():
        values[name] = replace(values[name], data=np.array(data, values[name].dtype).reshape(values[name].shape))
    nodes = (
        Node(op, domain, name, tuple(read), tuple(made), {}, number, None)
        for op, domain, name, read, made, number in said["nodes"]
    )
    inputs, outputs = tuple(said["inputs"]), tuple(said["outputs"])
    return Graph(said["name"], inputs, outputs, values, tuple(nodes), said["opsets"], said["reader"])


def _plan(plan: Plan, graph: Graph) -> dict[str, Any]:
    """Return what a plan says of its ends and of its nodes, and where values lie."""
    views = {name: view for name, view in plan.views.items() if view.tensor.data is None}
    ends = [*plan.inputs.values(), *plan.outputs.values()]
    tensors = list(dict.fromkeys([*ends, *(view.tensor for view in views.values())]))
    number = {tensor: place for place, tensor in enumerate(tensors)}
    return {
        "tensors": [[t.name, t.dtype, t.shape, t.kind, t.scale, t.zero, t.axes] for t in tensors],
        "inputs": {name: number[tensor] for name, tensor in plan.inputs.items()},
        "outputs": {name: number[tensor] for name, tensor in plan.outputs.items()},
        "views": {name: [number[v.tensor], v.offset, v.shape, v.strides] for name, v in views.items()},
        "inexact": [[graph.nodes.index(node), far] for node, far in plan.inexact.items()],
        "fused": plan.fused,
        "unfused": plan.unfused,
    }


def _as_plan(said: Mapping[str, Any], graph: Graph) -> Plan:
    tensors = [
        Tensor(name, dtype, tuple(shape), kind, None, scale, zero, tuple(axes))
        for name, dtype, shape, kind, scale, zero, axes in said["tensors"]
    ]
    inputs, outputs = ({name: tensors[k] for name, k in said[ends].items()} for ends in ("inputs", "outputs"))
    views = {
        name: View(tensors[k], offset, tuple(shape), tuple(strides))
        for name, (k, offset, shape, strides) in said["views"].items()
    }
    inexact = {graph.nodes[place]: far for place, far in said["inexact"]}
    return Plan((), inputs, outputs, views, inexact, tuple(said["fused"]), tuple(said["unfused"]))
