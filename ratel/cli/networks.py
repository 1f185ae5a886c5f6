"""Networks as commands take them: each of the chip's parts as a program, or all parts run in turn."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isa.bounds_chip import RooflineChip
from isa.chip import load_description
from isa.errors import InputError
from isa.files import is_plain
from isa.suggest import did_you_mean
from ratel.cli.files import check_targets, compiled_for, given, must_be_known, network_options, print_json, save_tensor
from ratel.cli.options import DONE, WRONG, UsageError, pairs

if TYPE_CHECKING:
    import numpy as np

    from compiler.compiled import Compiled, Part
    from compiler.report import Difference
    from emulator.execute.saturation import Saturation
    from ratel.api import Run

# Values that are named where one is not there.
MOST_NAMED = 8
Command = Callable[[argparse.Namespace], int]
# Runs a program on tensors, with dumps, for so many tasks; None where it is not to be run.
Computing = Callable[..., "tuple[Run, Sequence[Saturation] | None] | None"]


def by_part(command: Command) -> Command:
    """Return a command that takes a program as one that takes a network, too: each of the chip's parts, or --part."""

    def action(options: argparse.Namespace) -> int:
        if isinstance(given(options), bytearray | str):
            return command(options)
        compiled = compiled_for(options, first_chip(options))
        numbers = chosen_parts(compiled, options)
        if len(numbers) == 1:
            options.part = numbers[0]
            return command(options)
        if getattr(options, "trace", None) or getattr(options, "page", None):
            raise UsageError(f"a file is written of one part: --part {' or '.join(map(str, numbers))}")
        status = DONE
        if options.json:
            options.found = []
        for options.part in numbers:
            if not options.json:
                print(title(compiled, options.part), flush=True)
            status = max(status, command(options))
        if options.json:
            found = [{"part": number, **one} for number, one in zip(numbers, options.found, strict=True)]
            print_json({"network": compiled.graph.name, "parts": found})
        return status

    return action


def first_chip(options: argparse.Namespace) -> str | None:
    """Return the first chip named that has cycles; None, the default, where there is none."""
    names = options.chip.split(",") if options.chip else []
    return next((name for name in names if name and not isinstance(load_description(name), RooflineChip)), None)


def chosen_parts(compiled: Compiled, options: argparse.Namespace) -> list[int]:
    """Return the numbers, from 1, of the parts that a command is about."""
    numbers = [number for number, part in enumerate(compiled.parts, 1) if part.program is not None]
    name = compiled.graph.name
    if not numbers:
        raise InputError(f"the chip computes no node of {name}", "`ratel compile` lists why")
    if options.part is None:
        return numbers
    if options.part not in numbers:
        of = "the host's" if options.part <= len(compiled.parts) else "not there"
        raise InputError(f"part {options.part} of {name} is {of}", f"the chip's: {', '.join(map(str, numbers))}")
    return [options.part]


def title(compiled: Compiled, number: int) -> str:
    """Return what stands above a part."""
    part = compiled.parts[number - 1]
    return f"part {number} of {len(compiled.parts)}, {part.side}: {nodes_of(part)}"


def nodes_of(part: Part) -> str:
    """Return the numbers of a part's nodes, in words."""
    numbers = sorted(node.number for node in part.graph.nodes)
    if len(numbers) == 1:
        return f"node {numbers[0]}, {part.graph.nodes[0].label}"
    return f"{len(numbers)} nodes, {numbers[0]} to {numbers[-1]}"


def run_network(options: argparse.Namespace, compute: Computing) -> int:
    """Run all parts of a network in turn, as `ratel run` does a program; `compute` runs one of the chip."""
    from emulator.execute.expectations import first_difference
    from emulator.execute.inputs import read_tensor
    from ratel.onnx import by_host, checked, given_to_chip, made_by_chip
    from ratel.show.networks import print_network_run

    if options.tasks is not None:
        raise UsageError("--tasks is for programs: a network runs once, on as many images as its inputs have")
    inputs, outputs, expected = (named(values) for values in (options.input, options.output, options.expect))
    tensors = {name: read_tensor(path) for name, path in inputs.items()}
    wanted = {name: read_tensor(path) for name, path in expected.items()}
    model = given(options)
    assert not isinstance(model, bytearray | str), "the file is a network"
    images = network_options(options).images
    model.fits = {name: (*(size // images for size in one.shape[:1]), *one.shape[1:]) for name, one in tensors.items()}
    compiled = compiled_for(options, options.chip, keep=bool(options.dump))
    graph = compiled.graph
    tensors, outputs, wanted = (
        only(tensors, graph.inputs, "input"),
        only(outputs, graph.outputs, "output"),
        only(wanted, graph.outputs, "output"),
    )
    must_be_known([*outputs, *wanted], graph.outputs)
    check_targets(list(outputs.values()), ".npy", None, options.file)
    places = places_of(compiled, options.dump)
    values, runs = checked(compiled, tensors), list["tuple[Run, Sequence[Saturation] | None] | None"]()
    dumps: dict[str, np.ndarray] = {}
    for number, part in enumerate(compiled.parts, 1):
        if part.program is None:
            values |= by_host(part)(values)
            runs.append(None)
            continue
        mine = {name: view for name, (place, view) in places.items() if place == number}
        done = compute(part.program, given_to_chip(part, values), [view.tensor.name for view in mine.values()], 1)
        if done is None:
            return WRONG
        runs.append(done)
        values |= made_by_chip(part, done[0].outputs)
        dumps |= seen(mine, done[0].dumps)
    found = {name: values[name] for name in graph.outputs}
    dumps = {name: dumps[name] if name in dumps else values[name] for name in options.dump}
    for name, path in outputs.items():
        save_tensor(path, found[name])
    differences = {name: first_difference(tensor, found[name]) for name, tensor in wanted.items()}
    # One rounding instead of two has other bits: how far they are off is said with the results.
    off = (
        off_by(options, {name: values[name] for name in graph.inputs}, found)
        if options.round_once and images == 1
        else ()
    )
    if options.json:
        print_json(summary(compiled, found, differences, dumps, runs) | {"off": [vars(one) for one in off]})
    else:
        print_network_run(compiled, found, differences, dumps, runs, title, [str(one) for one in off])
    return WRONG if any(difference is not None for difference in differences.values()) else DONE


def off_by(
    options: argparse.Namespace, given: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> tuple[Difference, ...]:
    """Return how far each output of a network is from onnxruntime's; nothing of a pipe, which is read once."""
    from compiler.read.model import opened
    from compiler.read.network import read
    from compiler.report import differences

    if not is_plain(options.file):
        return ()
    shapes = {name: one.shape for name, one in given.items()}
    return differences(read(opened(options.file), shapes, network_options(options).always), given, found)


def named(values: Sequence[str]) -> dict[str, str]:
    """Return files by names of values; one alone may stand without, and has the name "" then."""
    if len(values) == 1 and ("=" not in values[0] or values[0].startswith(("/", "./", "../"))):
        return {"": values[0]}
    return pairs(values, "NAME=FILE.npy")


def only(given: dict[str, Any], names: Sequence[str], what: str) -> dict[str, Any]:
    """Return what is given by name, with the only name there is for what stands without."""
    if "" not in given:
        return given
    if len(names) != 1:
        raise InputError(f"the network has {len(names)} {what}s: say which, as NAME=FILE.npy", f"{', '.join(names)}")
    return {names[0]: given[""]}


def places_of(compiled: Compiled, names: Sequence[str]) -> dict[str, tuple[int, Any]]:
    """Return the part and the view of each value to dump; those that go from part to part need none.

    Raises InputError for a name that no tensor holds.
    """
    between = {name for part in compiled.parts for name in (*part.graph.inputs, *part.graph.outputs)}
    views = {
        name: (number, view)
        for number, part in enumerate(compiled.parts, 1)
        for plan in part.plans
        for name, view in plan.views.items()
    }
    if names and (compiled.images > 1 or any(len(part.plans) > 1 for part in compiled.parts)):
        raise InputError("tensors are dumped of one image on one core", "leave --cores and --batch out")
    for name in names:
        if name in between or name in views:
            continue
        held = [*views][:MOST_NAMED]
        known = f"what is held: {', '.join(held)}{', ...' if len(views) > len(held) else ''}"
        if any(name in node.outputs for node in compiled.graph.nodes):
            raise InputError(f"no tensor holds {name!r}: it is inside of an instruction, or of the host's part", known)
        help = did_you_mean(name, [*between, *views], known)
        raise InputError(f"{compiled.graph.name} has no value {name!r}", help)
    return {name: views[name] for name in names if name not in between}


def seen(views: Mapping[str, Any], dumps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return values of the network, by their names, from dumps of the tensors that hold them."""
    from compiler.exchange import seen

    return {name: seen(view, dumps[view.tensor.name]) for name, view in views.items()}


def summary(
    compiled: Compiled,
    outputs: Mapping[str, np.ndarray],
    differences: Mapping[str, str | None],
    dumps: Mapping[str, np.ndarray],
    runs: Sequence[tuple[Run, Sequence[Saturation] | None] | None],
) -> dict[str, Any]:
    """Return what `run --json` prints of a network, ready for json: a program's keys, and the chip's parts."""
    from ratel.api import finite

    parts = []
    for number, done in enumerate(runs, 1):
        if done is not None:
            more = {} if done[1] is None else {"saturation": [vars(one) for one in done[1]]}
            parts.append({"part": number, **done[0].summary(), **more})

    def total(key: str) -> Any:
        found = [part[key] for part in parts]
        return None if None in found else sum(found)

    return {
        "network": compiled.graph.name,
        "chip": compiled.chip.name,
        "changed": compiled.chip.changed,
        **{key: total(key) for key in ("cycles", "seconds", "instructions")},
        "outputs": {name: {"shape": list(one.shape), "dtype": one.dtype.name} for name, one in outputs.items()},
        "expect": {name: difference or "equal" for name, difference in differences.items()},
        "dumps": {name: finite(tensor.tolist()) for name, tensor in dumps.items()},
        "host": sum(part.program is None for part in compiled.parts),
        "parts": parts,
    }
