"""What people see: results as tables and lines, on a terminal or in a file. Every number has its unit."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from emulator.execute.saturation import Saturation
    from emulator.plan.plan import Plan
    from emulator.timing.stream import Stream
    from emulator.timing.timeline import EngineTime, Timeline
    from ratel.api import Run

# Rows of a critical path that are shown; --json has them all.
PATH_ROWS = 12
# Work longer than this shows progress.
PATIENCE_SECONDS = 1.0
# Elements of a tensor that are shown, and of one that is shown whole.
SHOWN = 12
SHOWN_WHOLE = 64


def console() -> Console:
    from rich.console import Console

    # In a pipe or a file, lines are not broken to a terminal's width.
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    # Names and messages are plain text, whatever brackets they hold: no markup.
    return Console(width=width, highlight=False, soft_wrap=True, markup=False)


def to_stderr(text: str) -> None:
    """Print an error, its first words in red on a terminal."""
    if sys.stderr.isatty():
        text = text.replace("error", "\x1b[1;31merror\x1b[0m", 1)
    print(text.rstrip("\n"), file=sys.stderr)


def table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """Return a table with columns (heading, "left" or "right")."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for heading, side in columns:
        made.add_column(heading, justify="right" if side == "right" else "left")
    return made


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return text of plain parts and of (text, style)."""
    from rich.text import Text

    return Text.assemble(*parts)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


class Progress:
    """A line on stderr for work that takes longer than a second: what is compiled, then how far the run is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.shown = 0.0
        self.terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal and self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def compiling(self, name: str) -> None:
        print(f"compiling {name} (once; kept in the cache)", file=sys.stderr, flush=True)

    def advance(self, done: int, total: int) -> None:
        self._show(done, total, "instructions")

    def trying(self, done: int, total: int) -> None:
        self._show(done, total, "changes of the chip tried")

    def _show(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - self.began < PATIENCE_SECONDS or now - self.shown < 0.2 or not self.terminal:
            return
        self.shown = now
        print(f"\r\x1b[K{self.name}: {share(done, total)} of {total:,} {what}", end="", file=sys.stderr, flush=True)


def print_run(
    result: Run, differences: Mapping[str, str | None], timeline: Timeline | Stream | None, untimed: str = ""
) -> None:
    """Print results, then cycles; `untimed` says why there is no timeline, where there is none."""
    chip = result.plan.chip
    out = console()
    out.print(styled((result.plan.program.name, "bold"), f" on {chip.name}"))
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
    if timeline is None:
        out.print(f"{count(result.instructions, 'instruction')}; no cycles: {untimed}")
        return
    out.print(
        styled(
            (f"{timeline.cycles:,} cycles", "bold"),
            f", {seconds(timeline.seconds)} at {chip['chip.frequency_mhz']:g} MHz; "
            f"{count(result.instructions, 'instruction')}; set-up before the first task {timeline.setup:,} cycles",
        )
    )
    print_stream(out, timeline)
    print_engines(out, timeline)
    print_path(out, timeline, 5)


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


def print_engines(out: Console, timeline: Timeline | Stream) -> None:
    columns = [("engine", "left"), ("instructions", "right"), ("busy cycles", "right"), ("share", "right")]
    columns += [("stall cycles", "right"), ("idle cycles", "right"), ("stalled by", "left")]
    engines = table("engines", columns)
    for name, times in timeline.engines.items():
        engines.add_row(
            name,
            f"{times.instructions:,}",
            f"{times.busy:,}",
            share(times.busy, timeline.cycles),
            f"{times.stall:,}",
            f"{times.idle:,}",
            stalled_by(times),
        )
    out.print(engines)


def stalled_by(times: EngineTime) -> str:
    return ", ".join(f"{reason} {cycles:,}" for reason, cycles in times.stalls.items() if cycles)


def print_path(out: Console, timeline: Timeline | Stream, rows: int) -> None:
    several = len(timeline.plan.cores) > 1
    columns = [("core", "right")] if several else []
    columns += [("line", "left"), ("instruction", "left"), ("engine", "left"), ("reason", "left"), ("limit", "left")]
    columns += [("times", "right"), ("cycles", "right"), ("share", "right")]
    path = table("critical path: what the length of the run is made of", columns)
    entries = timeline.critical_path
    for entry in entries[:rows]:
        place = f"{entry.file}:{entry.line}" if entry.line else "-"
        of_core = ("-" if entry.core is None else str(entry.core),) if several else ()
        fields = (*of_core, place, entry.instruction, entry.engine, entry.reason, entry.limit)
        path.add_row(*fields, f"{entry.count:,}", f"{entry.cycles:,}", share(entry.cycles, timeline.cycles))
    rest = entries[rows:]
    if rest:
        cycles = sum(entry.cycles for entry in rest)
        count = sum(entry.count for entry in rest)
        core = [""] if several else []
        path.add_row(
            *core, f"{len(rest)} more", "", "", "", "", f"{count:,}", f"{cycles:,}", share(cycles, timeline.cycles)
        )
    out.print(path)


def print_stream(out: Console, timeline: Timeline | Stream) -> None:
    """Print what a stream of several tasks has beside its cycles; nothing where it is none."""
    from emulator.timing.stream import Stream

    if isinstance(timeline, Stream):
        bound = timeline.bound + (": its latency, which more buffers hide" if timeline.by_latency else "")
        overlap = f"{timeline.in_turn / timeline.cycles:.2f} x as fast as one after another"
        out.print(
            f"{count(timeline.tasks, 'task')}: the first done after {timeline.first:,} cycles, then one every "
            f"{timeline.interval:,.1f} cycles ({timeline.rate:,.0f} a second); {overlap}; bound by {bound}"
        )


def print_timeline(timeline: Timeline | Stream) -> None:
    from emulator.timing.stream import Stream

    chip = timeline.plan.chip
    out = console()
    out.print(
        styled(
            (timeline.plan.program.name, "bold"),
            f" on {chip.name}: ",
            (f"{timeline.cycles:,} cycles", "bold"),
            f", {seconds(timeline.seconds)} at {chip['chip.frequency_mhz']:g} MHz",
        )
    )
    print_stream(out, timeline)
    task, whose = (timeline.timelines[0], "one task: ") if isinstance(timeline, Stream) else (timeline, "")
    out.print(
        f"{whose}transfer in {task.transfer_in:,}, compute {task.compute_cycles:,}, "
        f"transfer out {task.transfer_out:,} cycles; {count(timeline.instructions, 'instruction')}; "
        f"set-up {timeline.setup:,} cycles"
    )
    print_engines(out, timeline)
    print_path(out, timeline, PATH_ROWS)


def number(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_markdown(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        print(text.rstrip("\n"))
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))
