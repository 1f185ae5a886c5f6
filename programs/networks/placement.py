"""Where activations lie: two that live at the same time apart, others at the same place."""

from collections.abc import Collection
from itertools import count

from programs.networks.graph import Network, inputs, outputs

# Tensors begin where the assembler would have them begin.
ALIGNMENT = 256


def placed(network: Network, ends: Collection[int]) -> tuple[dict[str, int], int]:
    """Return where in an arena each activation lies, input and output aside, and how many bytes the arena needs.

    An activation lives from the node that makes it to the last that reads it, or to the first node behind that of
    `ends`: those whose end all cores have seen before one goes on. Each takes the first gap.
    """
    made = {name: k for k, node in enumerate(network.nodes) for name in outputs(node)}
    used = {name: k for k, node in enumerate(network.nodes) for name in (*inputs(node), *outputs(node))}
    last = {name: next(k for k in count(used[name]) if k in ends or k == len(network.nodes)) for name in made}
    places: dict[str, int] = {}
    size = 1
    for name, start in made.items():
        if name == network.output:
            continue
        at = 0
        for other in sorted((held for held in places if last[held] >= start), key=places.__getitem__):
            if at + network.tensors[name].bytes <= places[other]:
                break
            after = places[other] + network.tensors[other].bytes
            at = max(at, after + -after % ALIGNMENT)
        places[name] = at
        size = max(size, at + network.tensors[name].bytes)
    return places, size
