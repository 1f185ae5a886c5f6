"""Which nodes the chip computes and which the host, in as few parts as their order allows.

Parts take turns: a node is in the first part of its side that is not before any part that it reads. So no part waits
for another that waits for it, and what one of them computes it computes at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.graph import Graph, Node

HOST, CHIP = "host", "chip"


@dataclass(frozen=True, eq=False)
class Region:
    """Nodes that one side computes together, as a graph of its own."""

    side: str
    graph: Graph


def regions(graph: Graph, refused: Mapping[Node, str]) -> list[Region]:
    """Return the parts of a network in the order in which they are computed; `refused` are the host's nodes."""
    made: dict[str, int] = {}
    turns: dict[int, list[Node]] = {}
    for node in graph.nodes:
        turn = max((made.get(name, 0) for name in node.inputs if name), default=0)
        # The host's turns are even.
        turn += turn % 2 != (node not in refused)
        turns.setdefault(turn, []).append(node)
        made |= {name: turn for name in node.outputs if name}
    parts = [(HOST if turn % 2 == 0 else CHIP, nodes) for turn, nodes in sorted(turns.items())]
    return [Region(side, _part(graph, nodes)) for side, nodes in parts]


def _part(graph: Graph, nodes: list[Node]) -> Graph:
    """Return some nodes as a graph: what they read of others are its inputs, what others read its outputs."""
    inside = set(nodes)
    made = {name for node in nodes for name in node.outputs if name}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    outside = {name for node in graph.nodes if node not in inside for name in node.inputs}
    inputs = tuple(name for name in read if name not in made and graph.values[name].data is None)
    ends = outside.union(graph.outputs) - {""}
    outputs = tuple(name for node in nodes for name in node.outputs if name in ends)
    return replace(graph, inputs=inputs, outputs=outputs, nodes=tuple(nodes))
