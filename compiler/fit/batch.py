"""A plan for several images: each has tensors of its own, all share weights, inputs and outputs are of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compiler.graph import Graph
from compiler.steps import Plan, Step, Tensor, View, free
from isa.errors import InputError


def batched(plan: Plan, graph: Graph, images: int, suffix: str = "", buffers: int = 1) -> Plan:
    """Return the steps of so many images, one image behind the other.

    `suffix` goes behind the names of inputs and outputs, which have `buffers` places each. Raises InputError where an
    input or an output is not of one image: its first dimension is not 1.
    """
    if images > 1 or suffix:
        for name in (*plan.inputs, *plan.outputs):
            if graph.values[name].shape[:1] != (1,):
                raise InputError(
                    f"{graph.name} is not of one image: {graph.values[name]}",
                    "a batch is made of a network whose inputs and outputs have a first dimension of 1",
                )
    names = {view.tensor.name.lower() for step in plan.steps for view in step.operands.values()}
    ends = {
        tensor: replace(
            tensor,
            name=free(f"{tensor.name}{suffix}", names) if suffix else tensor.name,
            shape=(images * tensor.shape[0], *tensor.shape[1:]),
            buffers=buffers,
        )
        for tensor in (*plan.inputs.values(), *plan.outputs.values())
    }
    steps: list[Step] = []
    views: dict[str, View] = {}
    for image in range(images):
        own = _Image(image, ends, names)
        for step in plan.steps:
            steps.append(replace(step, operands={name: own.view(view) for name, view in step.operands.items()}))
        # What can be looked at is the first's.
        views = views or {name: own.view(view) for name, view in plan.views.items()}
    return replace(
        plan,
        steps=tuple(steps),
        inputs={name: ends[tensor] for name, tensor in plan.inputs.items()},
        outputs={name: ends[tensor] for name, tensor in plan.outputs.items()},
        views=views,
    )


@dataclass
class _Image:
    """The tensors of one image: its part of what all share the ends of, and its own of what is local."""

    number: int
    ends: Mapping[Tensor, Tensor]
    names: set[str]
    local: dict[Tensor, Tensor] = field(default_factory=dict)

    def view(self, view: View) -> View:
        tensor = view.tensor
        if tensor in self.ends:
            return replace(view, tensor=self.ends[tensor], offset=view.offset + self.number * tensor.elements)
        if tensor.kind != "local" or not self.number:
            return view
        if tensor not in self.local:
            self.local[tensor] = replace(tensor, name=free(f"{tensor.name}_{self.number}", self.names))
        return replace(view, tensor=self.local[tensor])
