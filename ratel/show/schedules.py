"""What people see of a schedule: its cycles, engines, critical path. Every number has its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratel.show.tables import console, count, seconds, share, styled, table

if TYPE_CHECKING:
    from rich.console import Console

    from emulator.timing.result import EngineTime, Schedule

# Rows of a critical path that are shown; --json has them all.
PATH_ROWS = 12


def print_schedule(schedule: Schedule) -> None:
    from emulator.timing.stream import task_of

    chip = schedule.plan.chip
    out = console()
    out.print(
        styled(
            (schedule.plan.program.name, "bold"),
            f" on {chip.label}: ",
            (f"{schedule.cycles:,} cycles", "bold"),
            f", {seconds(schedule.seconds)} at {chip['chip.frequency_mhz']:g} MHz",
        )
    )
    print_stream(out, schedule)
    task, whose = task_of(schedule), "one task: " if schedule.tasks > 1 else ""
    out.print(
        f"{whose}transfer in {task.transfer_in:,}, compute {task.compute_cycles:,}, "
        f"transfer out {task.transfer_out:,} cycles; {count(schedule.instructions, 'instruction')}; "
        f"set-up {schedule.setup:,} cycles"
    )
    print_engines(out, schedule)
    print_path(out, schedule, PATH_ROWS)


def print_engines(out: Console, schedule: Schedule) -> None:
    columns = [("engine", "left"), ("instructions", "right"), ("busy cycles", "right"), ("share", "right")]
    columns += [("stall cycles", "right"), ("idle cycles", "right"), ("stalled by", "left")]
    engines = table("engines", columns)
    for name, times in schedule.engines.items():
        engines.add_row(
            name,
            f"{times.instructions:,}",
            f"{times.busy:,}",
            share(times.busy, schedule.cycles),
            f"{times.stall:,}",
            f"{times.idle:,}",
            stalled_by(times),
        )
    out.print(engines)


def stalled_by(times: EngineTime) -> str:
    return ", ".join(f"{reason} {cycles:,}" for reason, cycles in times.stalls.items() if cycles)


def print_path(out: Console, schedule: Schedule, rows: int) -> None:
    several = len(schedule.plan.cores) > 1
    columns = [("core", "right")] if several else []
    columns += [("line", "left"), ("instruction", "left"), ("engine", "left"), ("reason", "left"), ("limit", "left")]
    columns += [("times", "right"), ("cycles", "right"), ("share", "right")]
    path = table("critical path: what the length of the run is made of", columns)
    entries = schedule.critical_path
    for entry in entries[:rows]:
        place = f"{entry.file}:{entry.line}" if entry.line else "-"
        of_core = ("-" if entry.core is None else str(entry.core),) if several else ()
        fields = (*of_core, place, entry.instruction, entry.engine, entry.reason, entry.limit)
        path.add_row(*fields, f"{entry.count:,}", f"{entry.cycles:,}", share(entry.cycles, schedule.cycles))
    rest = entries[rows:]
    if rest:
        cycles = sum(entry.cycles for entry in rest)
        count = sum(entry.count for entry in rest)
        core = [""] if several else []
        path.add_row(
            *core, f"{len(rest)} more", "", "", "", "", f"{count:,}", f"{cycles:,}", share(cycles, schedule.cycles)
        )
    out.print(path)


def print_stream(out: Console, schedule: Schedule) -> None:
    """Print what a stream of several tasks has beside its cycles; nothing where it is none."""
    from emulator.timing.stream import Stream

    if isinstance(schedule, Stream):
        bound = schedule.bound + (": its latency, which more buffers hide" if schedule.by_latency else "")
        overlap = f"{schedule.in_turn / schedule.cycles:.2f} x as fast as one after another"
        out.print(
            f"{count(schedule.tasks, 'task')}: the first done after {schedule.first:,} cycles, then one every "
            f"{schedule.interval:,.1f} cycles ({schedule.rate:,.0f} a second); {overlap}; bound by {bound}"
        )
