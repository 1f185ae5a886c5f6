"""The command line: `ratel asm | dis | fmt | run | check | time | annotate | report | chips | manual`.

Exit status: 0 done; 1 the program, its input or a check is wrong; 2 usage.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.bounds_chip import RooflineChip
from isa.chip import Chip, load_chip, load_description, with_cycles
from isa.errors import InputError, RatelError, Trap
from isa.files import begins_with, read_whole, write_whole
from isa.program import Program
from isa.suggest import did_you_mean
from ratel import __version__

if TYPE_CHECKING:
    import numpy as np

    from emulator.checker.findings import Verdict
    from emulator.plan.plan import Plan
    from emulator.timing.stream import Stream
    from emulator.timing.timeline import Timeline
    from ratel.api import Run

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """Raised when an option's value has the wrong form."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # Closed by whoever started us: what is printed goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A path that the terminal cannot say is written with escapes, as Python does on stderr.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        status = options.action(options)
        sys.stdout.flush()
        return int(status)
    except UsageError as error:
        print(f"ratel {options.command}: error: {error}", file=sys.stderr)
        return USAGE
    except RatelError as error:
        report(error)
        return WRONG
    except KeyboardInterrupt as interrupt:
        print(": ".join(["interrupted", *getattr(interrupt, "__notes__", ())]), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as in `ratel chips | head`; keep Python from writing to it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        # What is read and written by name has errors of its own: this is standard output, full or closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return WRONG


def report(error: RatelError) -> None:
    """Print a declared error for a person, on stderr."""
    from ratel.show.tables import to_stderr

    # The assembler's errors come rendered, each with its place.
    to_stderr(str(error) if hasattr(error, "diagnostics") else f"error: {error}")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("ratel", description="Assemble, run and time programs for a T-Head-like NPU.")
    top.add_argument("--version", action="version", version=f"ratel {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(action=action)
        return sub

    def with_chip(sub: argparse.ArgumentParser, json: bool = True) -> None:
        sub.add_argument("--chip", metavar="NAME|FILE.toml", help="chip to use (default: the program's own)")
        sub.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the chip: te.latency=20"
        )
        if json:
            sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = command("asm", assemble, "assemble a program into an object file")
    sub.add_argument("file", metavar="FILE.npu")
    sub.add_argument("-o", dest="object", metavar="FILE.npo", help="object file (default: FILE.npo beside the source)")
    sub.add_argument("--chip", metavar="NAME|FILE.toml", help="chip to assemble for (default: the text's own)")

    sub = command("dis", disassemble, "print an object file as text")
    sub.add_argument("file", metavar="FILE.npo")
    sub.add_argument("-o", dest="text", metavar="FILE.npu", help="write there, larger data beside it")

    sub = command("fmt", format_file, "rewrite a program in the standard form")
    sub.add_argument("file", metavar="FILE.npu")
    sub.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file would change")

    sub = running = command("run", run, "run a program bit for bit")
    sub.add_argument("file", metavar="FILE", help="text (.npu) or object file (.npo)")
    with_chip(sub)
    sub.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input's tensor, or a batch of them"
    )
    sub.add_argument("--output", action="append", default=[], metavar="NAME=FILE.npy", help="save an output there")
    sub.add_argument("--expect", action="append", default=[], metavar="NAME=FILE.npy", help="compare an output exactly")
    sub.add_argument(
        "--dump",
        action="append",
        default=[],
        metavar="LOCAL[@ITERATION]",
        help="print a tensor (coreK.NAME where cores share a name) at the end, or as an iteration of its outermost "
        "loop ends",
    )
    sub.add_argument("--poison", type=seed, metavar="SEED", help="fill unwritten memory with noise instead of 0")

    sub.add_argument(
        "--threads",
        type=count,
        default=1,
        metavar="N",
        help="let N threads of this computer share large instructions (default: 1; the results are the same)",
    )

    sub.add_argument(
        "--saturation", action="store_true", help="say how much of each quantised result is at an end of its type"
    )
    checks = sub.add_mutually_exclusive_group()
    checks.add_argument("--check", action="store_true", help="check it first, as `ratel check` does; stop at an error")
    checks.add_argument(
        "--no-check", action="store_true", help="in compiler order, too, run without looking for races first"
    )

    sub = checking = command("check", check, "prove that no accesses race and nothing deadlocks, or show what does")
    sub.add_argument("file", metavar="FILE", help="text (.npu) or object file (.npo)")
    with_chip(sub)
    sub.add_argument("--fix", action="store_true", help="mend in the text what can be mended there")
    sub.add_argument("--waits", action="store_true", help="find wait bits that order nothing, and what they cost")

    sub = timing = command("time", time, "schedule a program: cycles, engines, critical path")
    sub.add_argument("file", metavar="FILE", help="text (.npu) or object file (.npo)")
    with_chip(sub)
    sub.add_argument("--trace", metavar="FILE.json", help="write a trace that ui.perfetto.dev opens")

    timing.add_argument(
        "--explain", action="store_true", help="say where the cycles went: by kind, engine and loop, and the roofline"
    )
    timing.add_argument(
        "--what-if", action="store_true", help="say what more of each thing on the chip would save, scheduling again"
    )

    sub = command("annotate", annotate, "print the source with the cycles of each line")
    sub.add_argument("file", metavar="FILE", help="text (.npu) or object file (.npo)")
    with_chip(sub)

    sub = reporting = command("report", report_page, "write a page of pictures and tables: why it takes so long")
    sub.add_argument("file", metavar="FILE", help="text (.npu) or object file (.npo)")
    sub.add_argument("-o", dest="page", required=True, metavar="FILE.html", help="the page; it loads nothing")
    with_chip(sub, json=False)

    for sub in (running, timing):
        sub.add_argument(
            "--max-cycles", type=count, metavar="N", help="stop, and say how far it came, where it takes more cycles"
        )
    for sub in (running, checking, timing, reporting):
        sub.add_argument(
            "--tasks", type=count, metavar="N", help="run a stream of N tasks (default: the program's own)"
        )

    sub = command("chips", chips, "show the chips, or one in full with its sources")
    sub.add_argument("name", nargs="?", metavar="NAME|FILE.toml")

    sub = command("manual", manual, "print the manual, or a section of it")
    sub.add_argument("name", nargs="?", metavar="NAME", help="an instruction (conv) or a chapter (chain, cores, tasks)")
    return top


def seed(text: str) -> int:
    """Return a whole number from 0; argparse prints the message of its own error as it is."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def count(text: str) -> int:
    """Return a whole number from 1, as `seed`."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def read_text(path: str) -> str:
    try:
        return read_whole(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RatelError(f"{path} is not text in UTF-8 (byte {error.start})") from error


def load_program(path: str, chip: str | None = None, numbers: Sequence[str] = ()) -> tuple[Program, Chip]:
    """Return the program of a text or an object file, and the chip to run it on.

    That is the chip named, else the program's own, with `numbers`, of the form KEY=VALUE, changed.
    """
    from isa.object_file import MAGIC

    if begins_with(path, MAGIC) or path.endswith(".npo"):
        program = Program.load(path)
        return program, load_chip(chip or program.chip, **overrides(numbers))
    return assemble_text(read_text(path), path, chip, numbers)


def assemble_text(text: str, path: str, chip: str | None, numbers: Sequence[str]) -> tuple[Program, Chip]:
    """Return the program of a text, and the chip to run it on, as `load_program` has it."""
    from assembler.assemble import assemble_for

    changes = overrides(numbers)
    return assemble_for(text, path, None if chip is None else load_chip(chip, **changes), changes)


def pairs(values: Sequence[str], form: str) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name or not rest:
            raise UsageError(f"{value!r} is not of the form {form}")
        if name in found:
            raise UsageError(f"{name} is given twice")
        found[name] = rest
    return found


def overrides(values: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in pairs(values, "KEY=VALUE").items():
        try:
            found[key] = int(text, 0)
        except ValueError:
            try:
                found[key] = float(text)
            except ValueError:
                found[key] = text
    return found


def assemble(options: argparse.Namespace) -> int:
    source = Path(options.file)
    target = options.object or (str(source.with_suffix(".npo")) if source.name else "")
    if not target or Path(target) == source:
        raise UsageError(f"the object file cannot be {target or options.file}: name another with -o")
    from assembler.assemble import assemble_for

    text = read_text(options.file)
    program, _ = assemble_for(text, options.file, load_chip(options.chip) if options.chip else None)
    program.save(target)
    count = sum(len(core.code) for core in program.cores)
    held = sum(len(segment.data) for core in program.cores for segment in core.segments)
    cores = f" on {len(program.cores)} cores" if len(program.cores) > 1 else ""
    print(f"{target}: {count} instructions{cores}, {held} bytes of weights and constants")
    return DONE


def disassemble(options: argparse.Namespace) -> int:
    from assembler.disassemble import disassemble

    program = Program.load(options.file)
    if options.text is None:
        sys.stdout.write(disassemble(program))
    else:
        write_whole(options.text, disassemble(program, Path(options.text).parent).encode())
    return DONE


def format_file(options: argparse.Namespace) -> int:
    from ratel import api

    before = read_text(options.file)
    after = api.format(before, options.file)
    if options.check:
        if before != after:
            print(f"{options.file} is not in the standard form; `ratel fmt {options.file}` rewrites it")
        return WRONG if before != after else DONE
    if before != after:
        write_whole(options.file, after.encode())
    return DONE


def run(options: argparse.Namespace) -> int:
    from emulator.execute.expectations import first_difference
    from emulator.execute.inputs import count_tasks, read_tensor
    from emulator.execute.saturation import find_saturation
    from emulator.precompile import compile_run
    from ratel import api
    from ratel.show import tables

    inputs, outputs, expected = (
        pairs(values, "NAME=FILE.npy") for values in (options.input, options.output, options.expect)
    )
    program, chip = load_program(options.file, options.chip, options.set)
    known = [symbol.name for _, symbol in program.of_kind("output")]
    for name in (*outputs, *expected):
        if name not in known:
            outputs_are = f"outputs: {', '.join(known) or 'none'}"
            raise InputError(f"there is no output {name!r}", did_you_mean(name, known, outputs_are))
    tensors = {name: read_tensor(path) for name, path in inputs.items()}
    wanted = {name: read_tensor(path) for name, path in expected.items()}
    tasks = count_tasks(program, tensors, options.tasks)
    checked = (options.check or program.order == "compiler") and not options.no_check
    if checked and not may_run(api.plan_for(program, chip, tasks), options.check):
        return WRONG
    with tables.Progress(program.name) as progress:
        if options.max_cycles is not None:
            # Before anything is computed: cycles do not depend on it.
            api.time(
                program,
                chip,
                tasks=tasks,
                max_cycles=options.max_cycles,
                on_compile=progress.compiling,
                on_progress=progress.advance,
            )
        saturation = None
        if options.saturation:
            # First, for it refuses what is too long.
            plan = api.plan_for(program, chip, tasks)
            compile_run(plan.opcodes, progress.compiling)
            saturation = find_saturation(plan, tensors, options.poison, progress.compiling)
        result = api.run(
            program,
            tensors,
            chip,
            tasks=tasks,
            poison=options.poison,
            dumps=options.dump,
            threads=options.threads,
            on_compile=progress.compiling,
            on_progress=progress.advance,
        )
        timeline, untimed = timed(result)
    for name, path in outputs.items():
        save_tensor(path, result.outputs[name])
    differences = {name: first_difference(tensor, result.outputs[name]) for name, tensor in wanted.items()}
    if options.json:
        summary = run_summary(result, differences, timeline, untimed)
        print_json(summary | ({} if saturation is None else {"saturation": [vars(found) for found in saturation]}))
    else:
        tables.print_run(result, differences, timeline, untimed)
        if saturation is not None:
            tables.print_saturation(result.plan, saturation)
    wrong = not result.passed or any(difference is not None for difference in differences.values())
    return WRONG if wrong else DONE


def may_run(plan: Plan, for_all: bool) -> bool:
    """Return whether a plan has no race, and where it is checked `for_all` no other error; print what it has.

    Execution is in order, so a race would show in no result.
    """
    from emulator.checker.check import check, check_order
    from ratel.show import findings as findings_shown
    from ratel.show.tables import to_stderr

    verdict = check(plan) if for_all else check_order(plan)
    if verdict.verdict == "race" or (for_all and not verdict.passed):
        findings_shown.print_verdict(plan, verdict)
        hides = "--no-check runs it in program order, which hides a race"
        to_stderr(f"not run; {'--check stops at an error' if for_all else hides}")
        return False
    if verdict.verdict == "not proven":
        to_stderr(f"warning: {plan.program.name} is not proven free of races: {verdict.why}")
    return True


def timed(result: Run) -> tuple[Timeline | Stream | None, str]:
    """Return the timeline, or None and why there is none: a run may be longer than what a schedule can hold."""
    try:
        return result.timeline, ""
    except Trap as trap:
        return None, str(trap)


def save_tensor(path: str, tensor: np.ndarray) -> None:
    import numpy as np

    data = io.BytesIO()
    np.save(data, tensor)
    write_whole(path, data.getvalue())


def write_beside(path: str, program: Program, source: str, text: str) -> None:
    """Write a text that is made of a program; raise UsageError where it would replace the program or its source."""
    files = {line.file for core in program.cores for line in core.lines if line.file.isprintable()}
    sources = {Path(source), *(Path(source).parent / file for file in files)}
    kept = (".npu", ".npo", ".npy", ".inc", ".toml")
    if Path(path).suffix in kept or Path(path).resolve() in {one.resolve() for one in sources}:
        raise UsageError(f"{path} would replace a program, its data or a chip file: name another file")
    write_whole(path, text.encode())


def print_json(value: object) -> None:
    print(json.dumps(value, allow_nan=False))


def finite(value: Any) -> Any:
    """Return nested lists of numbers with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, list):
        return [finite(element) for element in value]
    return value if isinstance(value, int) or isfinite(value) else None


def run_summary(
    result: Run, differences: dict[str, str | None], timeline: Timeline | Stream | None, untimed: str
) -> dict[str, Any]:
    """Return what `run --json` prints; where there is no timeline its numbers are null, and `untimed` says why."""
    return {
        "chip": result.plan.chip.name,
        "tasks": result.plan.tasks,
        "cycles": timeline.cycles if timeline else None,
        "seconds": timeline.seconds if timeline else None,
        "setup": timeline.setup if timeline else None,
        **({"untimed": untimed} if untimed else {}),
        "instructions": result.instructions,
        "outputs": {
            name: {"shape": list(tensor.shape), "dtype": tensor.dtype.name} for name, tensor in result.outputs.items()
        },
        "checks": [
            {
                "output": check.output,
                "kind": check.kind,
                "value": check.value,
                "bound": check.bound,
                "passed": check.passed,
                "message": check.message,
            }
            for check in result.checks
        ],
        "expect": {name: difference or "equal" for name, difference in differences.items()},
        "dumps": {name: finite(tensor.tolist()) for name, tensor in result.dumps.items()},
        "engines": engines_summary(timeline.engines) if timeline else {},
        **stream_summary(timeline),
    }


def stream_summary(timeline: Timeline | Stream | None) -> dict[str, Any]:
    """Return what only a stream of several tasks has, under one key; nothing where it is none."""
    from emulator.timing.stream import Stream

    if not isinstance(timeline, Stream):
        return {}
    numbers = {
        "first": timeline.first,
        "interval": timeline.interval,
        "tasks_per_second": timeline.rate,
        "bound": timeline.bound,
        "by_latency": timeline.by_latency,
        "in_turn": timeline.in_turn,
    }
    return {"stream": numbers}


def engines_summary(engines: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in vars(times).items() if key != "stalls"} for name, times in engines.items()
    }


def check(options: argparse.Namespace) -> int:
    from emulator.checker.check import check
    from ratel import api
    from ratel.show import findings as findings_shown

    if options.fix:
        return fix(options)
    program, chip = load_program(options.file, options.chip, options.set)
    plan = api.plan_for(program, chip, options.tasks)
    verdict = check(plan, waits=options.waits)
    saved = cycles_saved(plan, verdict) if options.waits else None
    if options.json:
        print_json({**findings_shown.summary(plan, verdict), "cycles_saved": saved})
    else:
        findings_shown.print_verdict(plan, verdict)
        if saved is not None:
            print(f"without the wait bits that order nothing: {saved:,} cycles less")
    return DONE if verdict.passed else WRONG


def cycles_saved(plan: Plan, verdict: Verdict) -> int:
    """Return the cycles of a task that go with the wait bits that order nothing; less than 0 where more come."""
    from emulator.checker.synchronisation import without_waits
    from emulator.timing.timeline import schedule

    useless = [finding for finding in verdict.findings if finding.code == "C201"]
    return schedule(plan).cycles - schedule(without_waits(plan, useless)).cycles if useless else 0


def fix(options: argparse.Namespace) -> int:
    from ratel import api
    from ratel.fix import fix
    from ratel.show import findings as findings_shown

    if options.json or Path(options.file).suffix != ".npu":
        raise UsageError("--fix changes a text (.npu), and prints no JSON")

    def planned(text: str) -> Plan:
        program, chip = assemble_text(text, options.file, options.chip, options.set)
        return api.plan_for(program, chip, options.tasks)

    before = read_text(options.file)
    fixed = fix(before, Path(options.file).name, planned, options.waits)
    if fixed.text != before:
        write_whole(options.file, fixed.text.encode())
    for said in fixed.done:
        print(f"{options.file}, {said}")
    if not fixed.done and not fixed.verdict.passed:
        print(f"{options.file} is as it was: no change that --fix knows leaves fewer findings")
    findings_shown.print_verdict(fixed.plan, fixed.verdict)
    return DONE if fixed.verdict.passed else WRONG


def time(options: argparse.Namespace) -> int:
    from emulator.explain.what_if import what_if
    from emulator.timing.bounds import Bounds
    from ratel import api
    from ratel.show import bounds as bounds_tables
    from ratel.show import explained, tables

    names = options.chip.split(",") if options.chip is not None else [None]
    if "" in names:
        raise UsageError(f"--chip {options.chip!r} names no chip, or one too few")
    if options.trace is not None and len(names) > 1:
        raise UsageError("--trace is of one chip: name one with --chip")
    loaded = [load_for_time(options.file, name, options.set) for name in names]
    if options.explain or options.what_if or options.trace is not None:
        for _, chip in loaded:
            with_cycles(chip)
    with tables.Progress(loaded[0][0].name) as progress:
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
    if options.trace is not None and not isinstance(results[0], Bounds):
        from emulator.explain.chrome_trace import trace

        write_beside(options.trace, loaded[0][0], options.file, trace(results[0]))
    if options.json:
        summaries = [
            bounds_tables.bounds_summary(one)
            if isinstance(one, Bounds)
            else {
                **timeline_summary(one),
                **(explained.explained(one) if options.explain else {}),
                **({"what_if": [vars(change) for change in tried[one]]} if one in tried else {}),
            }
            for one in results
        ]
        print_json(summaries[0] if len(summaries) == 1 else {"chips": summaries})
        return DONE
    for (program, _), one in zip(loaded, results, strict=True):
        if isinstance(one, Bounds):
            bounds_tables.print_bounds(one, program.chip)
            continue
        tables.print_timeline(one)
        if options.explain:
            explained.print_explained(one)
        if one in tried:
            explained.print_what_if(tried[one], one.cycles)
    if len(results) > 1:
        bounds_tables.print_comparison(results)
    return DONE


def load_for_time(path: str, name: str | None, numbers: Sequence[str]) -> tuple[Program, Chip | RooflineChip]:
    """Return the program and the chip to time it on; for a chip of bounds a text is assembled for its own chip."""
    if name is not None:
        chip = load_description(name, **overrides(numbers))
        if isinstance(chip, RooflineChip):
            return load_program(path)[0], chip
    return load_program(path, name, numbers)


def timeline_summary(timeline: Timeline | Stream) -> dict[str, Any]:
    return {
        "chip": timeline.plan.chip.name,
        "tasks": timeline.plan.tasks,
        "cycles": timeline.cycles,
        "seconds": timeline.seconds,
        "setup": timeline.setup,
        "instructions": timeline.instructions,
        "engines": engines_summary(timeline.engines),
        "critical_path": [vars(entry) for entry in timeline.critical_path],
        **stream_summary(timeline),
    }


def check_length(program: Program, most: int, what: str) -> None:
    """Raise Trap, before any time is spent, where a task has more instructions than can be shown."""
    from isa.loops import executions

    count = sum(executions(core.code) for core in program.cores)
    if count > most:
        raise Trap(
            f"{what} a task of {count:,} instructions would be too long: at most {most:,}",
            "give its longest loop a smaller count: `ratel time` takes it as it is",
        )


def annotate(options: argparse.Namespace) -> int:
    from emulator.explain.annotate import annotate
    from emulator.timing.timeline import MOST_RECORDS, Timeline
    from ratel import api
    from ratel.show import explained, tables

    program, chip = load_program(options.file, options.chip, options.set)
    check_length(program, MOST_RECORDS, "the records of")
    with tables.Progress(program.name) as progress:
        timeline = api.time(program, chip, tasks=1, on_compile=progress.compiling, on_progress=progress.advance)
    assert isinstance(timeline, Timeline), "one task"
    lines = annotate(timeline)
    if options.json:
        found = [{**vars(line)} for line in lines]
        print_json({"chip": chip.name, "cycles": timeline.cycles, "lines": found})
    else:
        explained.print_annotated(timeline, lines, explained.sources(options.file, lines))
    return DONE


def report_page(options: argparse.Namespace) -> int:
    from emulator.explain.annotate import annotate
    from emulator.explain.chrome_trace import MOST_EXECUTIONS
    from emulator.timing.stream import Stream
    from ratel import api
    from ratel.show import explained, tables
    from ratel.show.report import report

    program, chip = load_program(options.file, options.chip, options.set)
    check_length(program, MOST_EXECUTIONS, "a report of")
    with tables.Progress(program.name) as progress:
        timed = api.time(
            program, chip, tasks=options.tasks, on_compile=progress.compiling, on_progress=progress.advance
        )
    lines = annotate(timed.timelines[0] if isinstance(timed, Stream) else timed)
    page = report(timed, lines, explained.sources(options.file, lines))
    write_beside(options.page, program, options.file, page)
    print(f"{options.page}: {timed.cycles:,} cycles on {chip.name}")
    return DONE


def chips(options: argparse.Namespace) -> int:
    from isa.chip import chip_names
    from ratel.show import chips as chip_tables

    if options.name:
        chip_tables.print_chip(load_description(options.name))
    else:
        chip_tables.print_chips([load_description(name) for name in chip_names()])
    return DONE


def manual(options: argparse.Namespace) -> int:
    from isa import manual as book
    from isa.table import MNEMONICS
    from ratel.show import tables

    name, chapters = options.name, book.chapters()
    words = {word for row in MNEMONICS.values() if row.engine == "te" for spec in row.choices for word in spec.words}
    if name is None:
        tables.print_markdown(book.manual())
    elif name in MNEMONICS:
        tables.print_markdown(book.section(name))
    elif name in chapters:
        tables.print_markdown(chapters[name])
    elif name in words:
        raise RatelError(f"{name!r} is no instruction but a word of the tensor engine's", "see `ratel manual chain`")
    else:
        known = f"instructions: {', '.join(MNEMONICS)}; chapters: {', '.join(chapters)}"
        help = did_you_mean(name, [*MNEMONICS, *chapters], known)
        raise RatelError(f"the manual has no section {name!r}", help)
    return DONE
