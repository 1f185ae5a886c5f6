"""What comes of a network: its parts, their programs and texts, and what went where."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compiler.graph import Graph, Node
from compiler.steps import Plan
from isa.chip import Chip
from isa.encoding import encode
from isa.errors import InputError, RatelError, Trap
from isa.file_kinds import other_kind
from isa.files import write_whole
from isa.npy import npy
from isa.program import Program

CHIP, HOST = "chip", "host"


@dataclass(frozen=True, eq=False)
class Part:
    """What one side computes at once: its graph says of what inputs, values of the network, which outputs.

    The chip's parts have a program, its text with the arrays of the files that it names, and for each core the plan
    that it was made of; the host's a model.
    """

    side: str
    graph: Graph
    program: Program | None = None
    text: str = ""
    plans: tuple[Plan, ...] = ()
    model: bytes = b""
    files: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def cycles(self) -> int | None:
        """Cycles of one task of a chip's part; None of a host's, and of one that has no schedule."""
        if self.program is None:
            return None
        from emulator.plan.load import load
        from emulator.timing.timeline import schedule

        try:
            return schedule(load(self.program, self.program.chip, 1)).cycles
        except Trap:
            return None

    def summary(self) -> dict[str, Any]:
        """Return what the part is, ready for json; sizes are in bytes, cycles those of one task."""
        found: dict[str, Any] = {
            "side": self.side,
            "nodes": len(self.graph.nodes),
            "inputs": {name: _described(self.graph, name) for name in self.graph.inputs},
            "outputs": {name: _described(self.graph, name) for name in self.graph.outputs},
        }
        if self.program is None:
            return found
        engines = Counter(one.row.engine for core in self.program.cores for one in core.code)
        return {
            **found,
            "instructions": sum(count for engine, count in engines.items() if engine != "seq"),
            "engines": {engine: engines[engine] for engine in sorted(engines)},
            "bytes": held(self.program),
            "cycles": self.cycles,
        }


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network, compiled: its parts in the order in which they run, and why nodes are the host's.

    A task computes `images` times what the network does: of inputs and outputs the first dimension is so much larger.
    """

    graph: Graph
    chip: Chip
    parts: tuple[Part, ...]
    refused: Mapping[Node, str]
    images: int = 1

    @property
    def inexact(self) -> dict[Node, str]:
        """The nodes that the chip computes in its own way, each with how far it may be from onnxruntime's."""
        return {node: far for part in self.parts for plan in part.plans for node, far in plan.inexact.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input or an output as a task has it."""
        first, *rest = self.graph.values[name].shape or (1,)
        return (first * self.images, *rest) if self.images > 1 else self.graph.values[name].shape

    @property
    def program(self) -> Program:
        """The program of a network that the chip computes alone; raises InputError where the host has a part."""
        if len(self.parts) == 1 and self.parts[0].program is not None:
            return self.parts[0].program
        raise InputError(
            f"{self.graph.name} is not one program: the host computes {len(self.refused)} of its nodes",
            "ratel.onnx.InferenceSession runs all parts; `ratel compile` lists why",
        )

    @property
    def text(self) -> str:
        """The text of the program; of several parts each, and between them what the host computes."""
        if len(self.parts) == 1:
            return self.parts[0].text
        return "\n".join(
            f"; part {number}, {part.side}: {len(part.graph.nodes)} nodes\n{part.text}"
            for number, part in enumerate(self.parts, 1)
        )

    def save(self, path: str | Path) -> None:
        """Write the program, whole or not at all: an object (.npo), or a text (.npu) with its .npy files beside it.

        Raises InputError where it is not one program, or the name has another ending, RatelError where a file cannot be
        written.
        """
        program = self.program
        if Path(path).suffix == ".npo":
            program.save(path)
            return
        if Path(path).suffix != ".npu":
            raise InputError(f"{path} is neither an object (.npo) nor a text (.npu)", "name one of these")
        if other := other_kind(path, ".npu"):
            raise RatelError(f"{path} {other}")
        for name, array in self.parts[0].files.items():
            write_whole(Path(path).parent / name, npy(array))
        write_whole(path, self.text.encode())

    def summary(self) -> dict[str, Any]:
        """Return what went where, ready for json: parts, nodes of the host by reason, bytes and cycles.

        `cycles` are those of all parts of the chip, one after another, and None where one has no schedule.
        """
        parts = [part.summary() for part in self.parts]
        cycles = [part["cycles"] for part in parts if part["side"] == CHIP]
        return {
            "network": self.graph.name,
            "reader": self.graph.reader,
            "chip": self.chip.name,
            "changed": self.chip.changed,
            "images": self.images,
            "nodes": len(self.graph.nodes),
            "instructions": sum(part.get("instructions", 0) for part in parts),
            "cycles": None if None in cycles else sum(cycles),
            "parts": parts,
            "host": [{**_named(node), "why": why} for node, why in self.refused.items()],
            "inexact": [{**_named(node), "error": far} for node, far in self.inexact.items()],
            **{what: self._said(what) for what in ("fused", "unfused")},
        }

    def _said(self, what: str) -> list[str]:
        """Return what the plans of the parts say, which is the same for each core."""
        return [one for part in self.parts for plan in part.plans[:1] for one in getattr(plan, what)]


def held(program: Program) -> dict[str, int]:
    """Return how many bytes of each memory a program uses, up to the last, of the core that uses most."""
    most = {"ib": max(sum(map(len, encode(core.code))) for core in program.cores)}
    for core in program.cores:
        symbols = [(symbol.memory, symbol.end) for symbol in core.symbols]
        for memory, end in symbols + [(segment.memory, segment.end) for segment in core.segments]:
            most[memory] = max(most.get(memory, 0), end)
    return most


def _named(node: Node) -> dict[str, Any]:
    return {"node": node.number, "operator": node.op, "name": node.name or node.outputs[0]}


def _described(graph: Graph, name: str) -> dict[str, Any]:
    value = graph.values[name]
    return {"shape": list(value.shape), "dtype": value.dtype.name}
