"""`ratel time`, `annotate` and `report`: how long a program takes, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from isa.bounds_chip import RooflineChip
from isa.chip import Chip, load_description, with_cycles
from isa.diagnostic import Diagnostic
from isa.errors import Trap
from isa.files import write_whole
from isa.program import Program
from ratel.cli.files import check_targets, given, load_program, print_json, program_of, tell
from ratel.cli.networks import by_part
from ratel.cli.options import (
    DONE,
    Declare,
    UsageError,
    add_chip,
    add_json,
    add_max_cycles,
    add_part,
    add_program,
    add_tasks,
    overrides,
)

if TYPE_CHECKING:
    from compiler.read.model import Model
    from emulator.timing.result import Schedule


def declare(command: Declare) -> None:
    """Declare time, annotate and report, each with its options."""
    sub = command("time", by_part(time), "schedule a program: cycles, engines, critical path")
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    sub.add_argument("--trace", metavar="FILE.json", help="write a trace that ui.perfetto.dev opens")
    sub.add_argument(
        "--explain", action="store_true", help="say where the cycles went: by kind, engine and loop, and the roofline"
    )
    sub.add_argument(
        "--what-if", action="store_true", help="say what more of each thing on the chip would save, scheduling again"
    )
    sub.add_argument("--energy", action="store_true", help="say what it takes, in microjoules, and the average power")
    add_max_cycles(sub)
    add_tasks(sub)
    add_part(sub)

    sub = command("annotate", by_part(annotate), "print the source with the cycles of each line")
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    add_part(sub)

    sub = command("report", by_part(report), "write a page of pictures and tables: why it takes so long")
    add_program(sub)
    sub.add_argument("-o", dest="page", required=True, metavar="FILE.html", help="the page; it loads nothing")
    add_chip(sub)
    add_tasks(sub)
    add_part(sub)


def time(options: argparse.Namespace) -> int:
    from emulator.explain.energy import attojoules, energy
    from emulator.explain.what_if import what_if
    from emulator.timing.bounds import Bounds
    from ratel import api
    from ratel.show.bounds import print_bounds, print_comparison
    from ratel.show.explained import print_energy, print_explained, print_what_if
    from ratel.show.findings import warn_of_order
    from ratel.show.progress import Progress
    from ratel.show.schedules import print_schedule

    names = options.chip.split(",") if options.chip is not None else [None]
    if "" in names:
        raise UsageError(f"--chip {options.chip!r} names no chip, or one too few")
    if options.trace is not None and len(names) > 1:
        raise UsageError("--trace is of one chip: name one with --chip")
    # Once, for it may be a pipe.
    read = given(options)
    found = [load_for_time(read, options, name) for name in names]
    # What is odd about the text is mostly so for each chip.
    tell(list(dict.fromkeys(one for _, _, odd in found for one in odd)), options.strict)
    loaded = [(program, chip) for program, chip, _ in found]
    if options.explain or options.what_if or options.energy or options.trace is not None:
        for _, chip in loaded:
            with_cycles(chip)
    for _, chip in loaded if options.energy else ():
        attojoules(with_cycles(chip))
    if options.trace is not None:
        check_targets([options.trace], ".json", loaded[0][0], options.file)
    with Progress(loaded[0][0].name) as progress:
        results = [
            api.bounds(program, chip, tasks=options.tasks)
            if isinstance(chip, RooflineChip)
            else api.time(
                program,
                chip,
                tasks=options.tasks,
                max_cycles=options.max_cycles,
                on_compile=progress.compiling,
                on_progress=progress.advance,
            )
            for program, chip in loaded
        ]
        tried = {
            timeline: what_if(timeline.plan, progress.trying)
            for timeline in results
            if options.what_if and not isinstance(timeline, Bounds)
        }
    # Whatever the chip.
    for timed in [one for one in results if not isinstance(one, Bounds)][:1]:
        warn_of_order(timed.plan)
    if options.trace is not None and not isinstance(results[0], Bounds):
        from emulator.explain.chrome_trace import trace

        write_whole(options.trace, trace(results[0]).encode())
    if options.json:
        summaries = [
            one.summary()
            if isinstance(one, Bounds)
            else {
                **one.summary(),
                **(explanation(one) if options.explain else {}),
                **({"energy": energy(one).summary()} if options.energy else {}),
                **({"what_if": [vars(change) for change in tried[one]]} if one in tried else {}),
            }
            for one in results
        ]
        print_json(summaries[0] if len(summaries) == 1 else {"chips": summaries}, options)
        return DONE
    for (program, _), one in zip(loaded, results, strict=True):
        if isinstance(one, Bounds):
            print_bounds(one, program.chip.name)
            continue
        print_schedule(one)
        if options.explain:
            print_explained(one)
        if options.energy:
            print_energy(energy(one))
        if one in tried:
            print_what_if(tried[one], one.cycles)
    if len(results) > 1:
        print_comparison(results)
    return DONE


def load_for_time(
    found: bytearray | str | Model, options: argparse.Namespace, name: str | None
) -> tuple[Program, Chip | RooflineChip, tuple[Diagnostic[Any], ...]]:
    """Return the program, the chip to time it on, and what is odd; for a chip of bounds it stays one for its own."""
    if name is not None:
        chip = load_description(name, **overrides(options.set))
        if isinstance(chip, RooflineChip):
            # Its numbers are none of those of the program's own chip.
            program, odd = program_of(found, argparse.Namespace(**{**vars(options), "set": []}), None)
            return program, chip, odd
    program, odd = program_of(found, options, name)
    return program, program.chip, odd


def explanation(schedule: Schedule) -> dict[str, Any]:
    """Return what --explain adds to the JSON: breakdown, by_engine, by_loop, roofline."""
    from emulator.explain.breakdown import breakdown, by_engine, by_loop
    from emulator.explain.roofline import roofline

    found = roofline(schedule)
    return {
        "breakdown": [vars(part) for part in breakdown(schedule)],
        "by_engine": [vars(part) for part in by_engine(schedule)],
        "by_loop": [vars(loop) for loop in by_loop(schedule)],
        "roofline": {**vars(found), "points": [vars(point) for point in found.points]},
    }


def annotate(options: argparse.Namespace) -> int:
    from emulator.explain.annotate import annotate
    from emulator.timing.stream import task_of
    from emulator.timing.timeline import MOST_RECORDS
    from ratel import api
    from ratel.show.explained import print_annotated, sources
    from ratel.show.findings import warn_of_order
    from ratel.show.progress import Progress

    program = load_program(options)
    check_length(program, MOST_RECORDS, "the records of")
    with Progress(program.name) as progress:
        timed = api.time(program, tasks=1, on_compile=progress.compiling, on_progress=progress.advance)
    warn_of_order(timed.plan)
    timeline = task_of(timed)
    lines = annotate(timeline)
    if options.json:
        found = [{**vars(line)} for line in lines]
        print_json(
            {"chip": program.chip.name, "changed": program.chip.changed, "cycles": timeline.cycles, "lines": found},
            options,
        )
    else:
        print_annotated(timeline, lines, sources(options.file, program))
    return DONE


def report(options: argparse.Namespace) -> int:
    from emulator.explain.annotate import annotate
    from emulator.timing.stream import task_of
    from ratel import api
    from ratel.show.explained import sources
    from ratel.show.findings import warn_of_order
    from ratel.show.gantt import MOST_DRAWN
    from ratel.show.progress import Progress
    from ratel.show.report import report

    program = load_program(options)
    check_targets([options.page], ".html", program, options.file)
    check_length(program, MOST_DRAWN, "a report of")
    with Progress(program.name) as progress:
        timed = api.time(program, tasks=options.tasks, on_compile=progress.compiling, on_progress=progress.advance)
    warn_of_order(timed.plan)
    lines = annotate(task_of(timed))
    page = report(timed, lines, sources(options.file, program))
    write_whole(options.page, page.encode())
    print(f"{options.page}: {timed.cycles:,} cycles on {program.chip.label}")
    return DONE


def check_length(program: Program, most: int, what: str) -> None:
    """Raise Trap, before any time is spent, where a task has more instructions than can be shown."""
    from emulator.timing.timeline import MOST_INSTRUCTIONS

    count = sum(core.executions for core in program.cores)
    if count > most:
        as_it_is = ": `ratel time` takes it as it is" if count <= MOST_INSTRUCTIONS else ""
        raise Trap(
            f"{what} a task of {count:,} instructions would be too long: at most {most:,}",
            f"give its longest loop a smaller count{as_it_is}",
        )
