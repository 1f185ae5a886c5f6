"""Where activations lie: two that live at the same time apart, others at the same place."""

from collections.abc import Collection, Mapping

from programs.networks.graph import Network, inputs, outputs

# Tensors begin where the assembler would have them begin.
ALIGNMENT = 256


def placed(network: Network, sizes: Mapping[str, int], ends: Collection[int] = ()) -> tuple[dict[str, int], int]:
    """Return where in an arena each activation of `sizes`, in bytes, lies, and how many bytes the arena needs.

    An activation lives from the node that makes it to the last that reads it; with `ends`, on to the first of these
    nodes: those whose results other cores wait for before they go on. Each takes the first gap.
    """
    made = {name: k for k, node in enumerate(network.nodes) for name in outputs(node)}
    last = {name: k for k, node in enumerate(network.nodes) for name in (*inputs(node), *outputs(node))}
    if ends:
        last = {name: min((end for end in ends if end >= k), default=len(network.nodes)) for name, k in last.items()}
    places: dict[str, int] = {}
    size = 1
    for name in sorted(sizes, key=made.__getitem__):
        at = 0
        for other in sorted((held for held in places if last[held] >= made[name]), key=places.__getitem__):
            if at + sizes[name] <= places[other]:
                break
            after = places[other] + sizes[other]
            at = max(at, after + -after % ALIGNMENT)
        places[name] = at
        size = max(size, at + sizes[name])
    return places, size
