"""The command line: `ratel asm | dis | fmt | quantise | compile | run | check | time | annotate | ...`.

Exit status: 0 done; 1 the program, its input or a check is wrong; 2 usage; 128 + the number of a signal that ended it.
It is the same where a reader of what is printed has gone.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

from isa.errors import RatelError, RatelWarning, shown
from isa.files import inputs_are_kept
from isa.memory import limited
from isa.suggest import did_you_mean
from isa.visible import escaped
from ratel import __version__
from ratel.cli.options import INTERRUPTED, USAGE, WRONG, UsageError
from ratel.show.terminal import guarded
from ratel.signals import Hearing

# The commands, and the module here that declares each.
COMMANDS = {
    **dict.fromkeys(("asm", "dis", "fmt"), "text"),
    "quantise": "quantise",
    "compile": "compile",
    "run": "run",
    "check": "check",
    **dict.fromkeys(("time", "annotate", "report"), "time"),
    "sweep": "sweep",
    "fleet": "fleet",
    **dict.fromkeys(("chips", "manual"), "reference"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    with guarded(), inputs_are_kept():
        return command(arguments)


def command(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit status; whatever ends it is said."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for argument in arguments:
        if "\n" in argument:
            # Of a message that quotes it, the rest would stand there as a line of ours.
            print(f"ratel: error: a line break stands in {escaped(argument)}", file=sys.stderr)
            return USAGE
    try:
        options = parsed(arguments)
    except UsageError as error:
        print(f"ratel: error: {error}", file=sys.stderr)
        return USAGE
    hearing = Hearing()
    try:
        with hearing, limited(getattr(options, "memory", None)), warnings.catch_warnings():
            warnings.showwarning = in_words(warnings.showwarning)
            status = options.action(options)
            sys.stdout.flush()
        return int(status)
    except UsageError as error:
        print(f"ratel {options.command}: error: {error}", file=sys.stderr)
        return USAGE
    except (RatelError, RatelWarning) as error:
        # A warning where Python is told to take warnings for errors.
        print_error(error)
        return WRONG
    except KeyboardInterrupt as interrupt:
        print(": ".join(["interrupted", *getattr(interrupt, "__notes__", ())]), file=sys.stderr)
        return 128 + hearing.number if hearing.number else INTERRUPTED
    except MemoryError as error:
        print_error(RatelError(f"there is not enough memory: {str(error) or 'the computer has no more'}"))
        return WRONG
    except OSError as error:
        # Files of programs have errors of their own: this is the computer, out of something.
        of = f"{error.filename}: " if error.filename else ""
        print_error(RatelError(f"{of}{error.strerror or error}"))
        return WRONG


def in_words(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Return what prints a warning that is meant for people as they read it, and hands on any other."""

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if isinstance(message, RatelWarning):
            print(message.printed, file=sys.stderr)
        else:
            otherwise(message, category, *place)

    return show


def print_error(error: RatelError | RatelWarning) -> None:
    """Print a declared error for a person, on stderr."""
    from ratel.show.tables import to_stderr

    to_stderr(error.printed)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what arguments ask for; raise UsageError for a command or an option that there is not."""
    first = next(iter(arguments), "-")
    if not first.startswith("-") and first not in COMMANDS:
        listed = f"commands: {', '.join(COMMANDS)}"
        raise UsageError(f"there is no command {shown(first)}; {did_you_mean(first, COMMANDS, listed)}")
    top, commands = parser(frozenset((COMMANDS[first],) if first in COMMANDS else COMMANDS.values()))
    options, rest = top.parse_known_args(arguments)
    for word in rest:
        name = word.partition("=")[0]
        if name.startswith("-") and len(name) > 1:
            known = re.findall(r"(?<=[\s\[])--?[a-z][a-z-]*", commands[options.command].format_help())
            listed = f"`ratel {options.command} --help` lists what there is"
            raise UsageError(f"{options.command} has no option {shown(name)}; {did_you_mean(name, known, listed)}")
    if rest:
        raise UsageError(f"{options.command} does not take {', '.join(map(shown, rest))} besides")
    return options


def parser(modules: Collection[str]) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of command lines with the commands of some modules, and that of each by its name."""
    top = argparse.ArgumentParser("ratel", description="Assemble, run and time programs for a T-Head-like NPU.")
    top.add_argument("--version", action="version", version=f"ratel {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(action=action)
        return sub

    for module in dict.fromkeys(COMMANDS.values()):
        if module in modules:
            import_module(f"ratel.cli.{module}").declare(command)
    return top, commands.choices
