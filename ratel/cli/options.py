"""Options that commands share, their values, and the exit statuses."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from isa.errors import InputError
from isa.memory import size_of

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130
# Makes a command of its name, of what runs it, and of its help.
Declare = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


class UsageError(Exception):
    """Raised when an option's value has the wrong form."""


def add_program(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="text (.npu), object file (.npo) or network (.onnx)")
    add_strict(command)
    add_memory(command)
    add_network(command)
    command.set_defaults(part=None)


def add_network(command: argparse.ArgumentParser) -> None:
    """Add what is said of networks alone."""
    command.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1,3,224,224",
        help="of a network: fix sizes of an input or a dimension",
    )
    command.add_argument(
        "--always", action="append", default=[], metavar="NAME=NUMBER", help="of a network: an input is this number"
    )
    command.add_argument(
        "--order", choices=("hardware", "compiler"), help="of a network: who orders instructions (default: hardware)"
    )
    command.add_argument("--cores", type=count, metavar="N", help="of a network: cores, which share one image")
    command.add_argument("--batch", type=count, metavar="N", help="of a network: images that each core has of its own")
    command.add_argument(
        "--round-once", action="store_true", help="of a network: let sums take products before they are rounded"
    )
    command.add_argument("--no-host", action="store_true", help="of a network: refuse nodes that no engine computes")


def add_part(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--part", type=count, metavar="N", help="of a network: part N, as `ratel compile` counts (default: each)"
    )


def add_strict(command: argparse.ArgumentParser) -> None:
    command.add_argument("--strict", action="store_true", help="take warnings for errors")


def add_memory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--memory",
        type=memory,
        metavar="SIZE",
        help="refuse what would take more memory of this computer, as in 4G (default: what is free)",
    )


def add_chip(command: argparse.ArgumentParser) -> None:
    command.add_argument("--chip", metavar="NAME|FILE.toml", help="chip to use (default: the program's own)")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the chip: te.latency=20"
    )


def add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")


def add_max_cycles(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-cycles", type=count, metavar="N", help="stop, and say how far it came, where it takes more cycles"
    )


def add_tasks(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tasks", type=count, metavar="N", help="run a stream of N tasks (default: the program's own)"
    )


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


def memory(text: str) -> int:
    """Return a size of memory in bytes, as `seed`."""
    try:
        return size_of(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(f"{error.message}: {error.help}") from None


def pairs(values: Sequence[str], form: str) -> dict[str, str]:
    """Return values of the form NAME=VALUE by their names; raise UsageError for another form, or a name given twice."""
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
    """Return numbers of a chip, of the form KEY=VALUE, by their keys; what is no number stays a word."""
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
