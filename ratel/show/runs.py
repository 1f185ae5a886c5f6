"""What people see of a run: checks, outputs, cycles, saturation. Every number has its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ratel.show.schedules import print_engines, print_path, print_stream
from ratel.show.tables import console, count, seconds, share, styled, table

if TYPE_CHECKING:
    import numpy as np

    from emulator.execute.saturation import Saturation
    from emulator.plan.plan import Plan
    from ratel.api import Run

# Elements of a tensor that are shown, and of one that is shown whole.
SHOWN = 12
SHOWN_WHOLE = 64
# Rows of its critical path that are shown; `ratel time` shows more.
SHOWN_PATH = 5


def print_run(result: Run, differences: Mapping[str, str | None]) -> None:
    """Print results, then cycles, or why there are none; `differences` are None for outputs that are as expected."""
    chip = result.plan.chip
    out = console()
    out.print(styled((result.plan.program.name, "bold"), f" on {chip.label}"))
    if result.checks:
        checks = table("checks", [("output", "left"), ("check", "left"), ("result", "left"), ("", "left")])
        for check in result.checks:
            verdict = styled(("passed", "green") if check.passed else ("failed", "red"))
            checks.add_row(check.output, check.kind, check.message, verdict)
        out.print(checks)
        out.print()
    elif result.plan.program.checks:
        own = result.plan.program.tasks
        out.print(f"checks not evaluated: they are for {count(own, 'task')}, and this run has {result.plan.tasks:,}")
    for name, difference in differences.items():
        out.print(styled(f"{name}: ", ("as expected", "green") if difference is None else (difference, "red")))
    ranked = {check.output for check in result.checks if check.kind == "top1"}
    for _, symbol in result.plan.program.of_kind("output"):
        tensor = result.outputs[symbol.name]
        words = predictions(tensor) if symbol.name in ranked else contents(tensor)
        out.print(f"{symbol.name} {symbol.dtype}{list(tensor.shape)}{words}")
    for name, tensor in result.dumps.items():
        out.print(f"{name} {list(tensor.shape)}\n{tensor}")
    print_times(result)


def print_times(result: Run) -> None:
    """Print the cycles of a run, engines and critical path, or why there are none."""
    out, chip = console(), result.plan.chip
    if result.untimed:
        out.print(f"{count(result.instructions, 'instruction')}; no cycles: {result.untimed}")
        return
    timeline = result.timeline
    out.print(
        styled(
            (f"{timeline.cycles:,} cycles", "bold"),
            f", {seconds(timeline.seconds)} at {chip['chip.frequency_mhz']:g} MHz; "
            f"{count(result.instructions, 'instruction')}; set-up before the first task {timeline.setup:,} cycles",
        )
    )
    print_stream(out, timeline)
    print_engines(out, timeline)
    print_path(out, timeline, SHOWN_PATH)


def print_saturation(plan: Plan, found: Sequence[Saturation]) -> None:
    """Print how much of each quantised result is at an end of its type."""
    headings = {"line": "right", "instruction": "left", "elements": "right", "least": "right", "greatest": "right"}
    columns = list(headings.items())
    shown = table("saturation: quantised results at the least and the greatest value of their type", columns)
    for one in found:
        line = plan.cores[one.core].line(one.index)
        shares = share(one.at_low, one.elements), share(one.at_high, one.elements)
        shown.add_row(f"{line.file}:{line.number}", line.text, f"{one.elements:,}", *shares)
    console().print(shown)


def predictions(tensor: np.ndarray) -> str:
    """Return where the greatest element of the first rows of scores stands."""
    best = tensor.reshape(-1, tensor.shape[-1]).argmax(1)
    return f": predicted {', '.join(map(str, best[:SHOWN]))}" + (", ..." if len(best) > SHOWN else "")


def contents(tensor: np.ndarray) -> str:
    """Return a small tensor whole, of a large one the first elements."""
    if tensor.size <= SHOWN_WHOLE:
        return f"\n{tensor}"
    return f": {', '.join(f'{value:g}' for value in tensor.ravel()[:SHOWN])}, ..."
