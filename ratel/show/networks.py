"""What people see of a network: what went where, and what its parts made. Every number has its unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isa.memory import spelled
from ratel.show.runs import contents, print_saturation, print_times
from ratel.show.tables import console, count, styled, table

if TYPE_CHECKING:
    import numpy as np

    from compiler.compiled import Compiled
    from compiler.quantise.quantise import Quantised
    from emulator.execute.saturation import Saturation
    from ratel.api import Run

# Layers of a quantised network that are shown.
WORST_SHOWN = 20
# Nodes of the host that are shown by name, of each reason.
MOST_NAMED = 3
MEMORIES = {"lm": "local memory", "cb": "constant buffer", "ib": "code", "dev": "device memory", "host": "host memory"}


def print_compiled(summary: Mapping[str, Any], path: str | None) -> None:
    """Print what went where, as Compiled.summary says it; `path` is where the program was written, if it was."""
    out = console()
    nodes = count(summary["nodes"], "node")
    out.print(styled((summary["network"], "bold"), f" on {summary['chip']}, read with {summary['reader']}"))
    cycles = "" if summary["cycles"] is None else f", {count(summary['cycles'], 'cycle')}"
    out.print(f"{nodes} in {count(summary['instructions'], 'instruction')}{cycles}")
    columns = [("part", "right"), ("side", "left"), ("nodes", "right"), ("instructions", "right")]
    columns += [("cycles", "right"), ("bytes", "left"), ("inputs", "left"), ("outputs", "left")]
    shown = table("parts, in the order in which they run", columns)
    for number, part in enumerate(summary["parts"], 1):
        held = ", ".join(f"{spelled(size)} of {MEMORIES[name]}" for name, size in part.get("bytes", {}).items())
        shown.add_row(
            f"{number}",
            part["side"],
            f"{part['nodes']:,}",
            f"{part['instructions']:,}" if "instructions" in part else "",
            "" if part.get("cycles") is None else f"{part['cycles']:,}",
            held,
            *(", ".join(f"{name} {form(one)}" for name, one in part[ends].items()) for ends in ("inputs", "outputs")),
        )
    out.print(shown)
    reasons: dict[str, list[str]] = {}
    for node in summary["host"]:
        reasons.setdefault(node["why"], []).append(f"{node['node']} {node['operator']} {node['name']}")
    if reasons:
        host = table("what the host computes", [("nodes", "right"), ("because", "left"), ("which", "left")])
        for why, names in sorted(reasons.items(), key=lambda one: -len(one[1])):
            more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            host.add_row(f"{len(names):,}", why, ", ".join(names[:MOST_NAMED]) + more)
        out.print(host)
    if path is not None:
        out.print(f"written: {path}")


def form(one: Mapping[str, Any]) -> str:
    return f"{one['dtype']}[{', '.join(map(str, one['shape']))}]"


def print_network_run(
    compiled: Compiled,
    outputs: Mapping[str, np.ndarray],
    differences: Mapping[str, str | None],
    dumps: Mapping[str, np.ndarray],
    runs: Sequence[tuple[Run, Sequence[Saturation] | None] | None],
    title: Callable[[Compiled, int], str],
    off: Sequence[str],
) -> None:
    """Print a network's outputs, how far they are off, then the cycles of each of the chip's parts.

    None stands for the host's.
    """
    out = console()
    out.print(styled((compiled.graph.name, "bold"), f" on {compiled.chip.label}"))
    for name, difference in differences.items():
        out.print(styled(f"{name}: ", ("as expected", "green") if difference is None else (difference, "red")))
    for name, tensor in outputs.items():
        out.print(f"{name} {tensor.dtype}{list(tensor.shape)}{contents(tensor)}")
    for line in off:
        out.print(line)
    for name, tensor in dumps.items():
        out.print(f"{name} {tensor.dtype}{list(tensor.shape)}\n{tensor}")
    for number, done in enumerate(runs, 1):
        if len(runs) > 1:
            out.print(styled("\n", (title(compiled, number), "bold")))
        if done is None:
            why = {node.number: why for node, why in compiled.refused.items()}
            said = dict.fromkeys(why.get(node.number, "") for node in compiled.parts[number - 1].graph.nodes)
            out.print(f"by onnxruntime: {'; '.join([one for one in said if one][:MOST_NAMED])}")
            continue
        result, saturation = done
        print_times(result)
        if saturation is not None:
            print_saturation(result.plan, saturation)


def print_quantised(made: Quantised, path: str | None) -> None:
    """Print what a quantised network costs, by layer; `path` is where it was written, if it was."""
    out = console()
    by = f" in form {made.form}, ranges by {made.method} of {count(made.samples, 'sample')}"
    out.print(styled((made.network, "bold"), by))
    out.print(f"error of the worst output: {percent(made.error)}")
    columns = [("layer", "left"), ("operator", "left"), ("alone", "right"), ("in the network", "right"), ("", "left")]
    shown = table("errors by layer, the worst first: relative, root of mean square", columns)
    for one in made.layers[:WORST_SHOWN]:
        kept = "in floats" if one.kept else ""
        shown.add_row(one.name, one.operator, percent(one.own), percent(one.error), kept)
    out.print(shown)
    if len(made.layers) > WORST_SHOWN:
        out.print(f"and {count(len(made.layers) - WORST_SHOWN, 'layer')} more: --json lists all")
    if made.trials:
        columns = [("left in floats (or 16 bits)", "left"), ("error of the worst output", "right")]
        tried = table("what would be gained, the most first", columns)
        for trial in made.trials:
            tried.add_row(",".join(trial.keep), percent(trial.error))
        out.print(tried)
        if (best := made.advised) is not None:
            out.print(f"--keep {','.join(best.keep)} leaves {percent(best.error)} of {percent(made.error)}")
        else:
            out.print("none of these gains a part that counts")
    if path is not None:
        out.print(f"written: {path}")


def percent(error: float) -> str:
    return f"{100 * error:.3g} %"
