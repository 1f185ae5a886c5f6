"""The command line: `ratel asm | dis | fmt | run | check | time | annotate | report | chips | manual`.

Exit status: 0 done; 1 the program, its input or a check is wrong; 2 usage.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from isa.errors import CacheWarning, RatelError
from ratel import __version__
from ratel.cli.check import check
from ratel.cli.options import (
    DONE,
    INTERRUPTED,
    USAGE,
    WRONG,
    UsageError,
    add_chip,
    add_json,
    add_program,
    count,
    seed,
)
from ratel.cli.reference import print_manual, show_chips
from ratel.cli.run import run
from ratel.cli.text import assemble, disassemble, format_file
from ratel.cli.time import annotate, report, time


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
        with warnings.catch_warnings():
            warnings.showwarning = in_words(warnings.showwarning)
            status = options.action(options)
        sys.stdout.flush()
        return int(status)
    except UsageError as error:
        print(f"ratel {options.command}: error: {error}", file=sys.stderr)
        return USAGE
    except RatelError as error:
        print_error(error)
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


def in_words(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Return what prints a warning that is meant for people as they read it, and hands on any other."""

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, CacheWarning):
            print(f"warning: {message}", file=sys.stderr)
        else:
            otherwise(message, category, *place)

    return show


def print_error(error: RatelError) -> None:
    """Print a declared error for a person, on stderr."""
    from ratel.show.tables import to_stderr

    to_stderr(error.printed)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("ratel", description="Assemble, run and time programs for a T-Head-like NPU.")
    top.add_argument("--version", action="version", version=f"ratel {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(action=action)
        return sub

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
    add_program(sub)
    add_chip(sub)
    add_json(sub)
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
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    sub.add_argument("--fix", action="store_true", help="mend in the text what can be mended there")
    sub.add_argument("--waits", action="store_true", help="find wait bits that order nothing, and what they cost")

    sub = timing = command("time", time, "schedule a program: cycles, engines, critical path")
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    sub.add_argument("--trace", metavar="FILE.json", help="write a trace that ui.perfetto.dev opens")

    timing.add_argument(
        "--explain", action="store_true", help="say where the cycles went: by kind, engine and loop, and the roofline"
    )
    timing.add_argument(
        "--what-if", action="store_true", help="say what more of each thing on the chip would save, scheduling again"
    )

    sub = command("annotate", annotate, "print the source with the cycles of each line")
    add_program(sub)
    add_chip(sub)
    add_json(sub)

    sub = reporting = command("report", report, "write a page of pictures and tables: why it takes so long")
    add_program(sub)
    sub.add_argument("-o", dest="page", required=True, metavar="FILE.html", help="the page; it loads nothing")
    add_chip(sub)

    for sub in (running, timing):
        sub.add_argument(
            "--max-cycles", type=count, metavar="N", help="stop, and say how far it came, where it takes more cycles"
        )
    for sub in (running, checking, timing, reporting):
        sub.add_argument(
            "--tasks", type=count, metavar="N", help="run a stream of N tasks (default: the program's own)"
        )

    sub = command("chips", show_chips, "show the chips, or one in full with its sources")
    sub.add_argument("name", nargs="?", metavar="NAME|FILE.toml")

    sub = command("manual", print_manual, "print the manual, or a section of it")
    sub.add_argument("name", nargs="?", metavar="NAME", help="an instruction (conv) or a chapter (chain, cores, tasks)")
    return top
