"""A plan for several images: each has tensors of its own, all share weights, inputs and outputs are of all of them."""

from dataclasses import replace

from compiler.graph import Graph
from compiler.steps import Plan, Step, Tensor, View
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
    ends = {
        tensor: replace(
            tensor,
            name=f"{tensor.name}{suffix}",
            shape=(images * tensor.shape[0], *tensor.shape[1:]),
            buffers=buffers,
        )
        for tensor in (*plan.inputs.values(), *plan.outputs.values())
    }
    steps: list[Step] = []
    views = dict(plan.views)
    for image in range(images):
        own: dict[Tensor, Tensor] = {}

        def placed(view: View) -> View:
            tensor = view.tensor
            if tensor in ends:
                return replace(view, tensor=ends[tensor], offset=view.offset + image * tensor.elements)  # noqa: B023
            if tensor.kind != "local":
                return view
            if tensor not in own:  # noqa: B023
                own[tensor] = replace(tensor, name=f"{tensor.name}_{image}") if image else tensor  # noqa: B023
            return replace(view, tensor=own[tensor])  # noqa: B023

        for step in plan.steps:
            steps.append(replace(step, operands={name: placed(view) for name, view in step.operands.items()}))
        if not image:
            views = {name: placed(view) for name, view in plan.views.items()}
    return replace(
        plan,
        steps=tuple(steps),
        inputs={name: ends[tensor] for name, tensor in plan.inputs.items()},
        outputs={name: ends[tensor] for name, tensor in plan.outputs.items()},
        views=views,
    )
