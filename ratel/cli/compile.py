"""`ratel compile`: a network as a program, and what went where."""

from __future__ import annotations

import argparse
from pathlib import Path

from isa.chip import DEFAULT_CHIP, load_chip
from isa.errors import RatelError
from ratel.cli.files import check_targets, network_options, print_json, read_program
from ratel.cli.options import DONE, Declare, UsageError, add_json, add_memory, add_network, overrides


def declare(command: Declare) -> None:
    """Declare compile with its options."""
    sub = command("compile", compile, "compile an ONNX network, and say what went where")
    sub.add_argument("file", metavar="NET.onnx")
    sub.add_argument(
        "-o", dest="program", metavar="NET.npo|NET.npu", help="write the program: an object, or a text with its data"
    )
    sub.add_argument("--chip", metavar="NAME|FILE.toml", help=f"chip to compile for (default: {DEFAULT_CHIP})")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the chip: te.latency=20"
    )
    add_network(sub)
    add_json(sub)
    add_memory(sub)


def compile(options: argparse.Namespace) -> int:
    from ratel import kept
    from ratel.show.networks import print_compiled
    from ratel.show.progress import Progress

    model = read_program(options.file)
    if isinstance(model, bytearray | str):
        raise RatelError(f"{options.file} is no ONNX network", "a program (.npu) is assembled: `ratel asm`")
    if options.program is not None:
        suffix = Path(options.program).suffix
        if suffix not in (".npo", ".npu"):
            raise UsageError(f"-o {options.program} ends in neither .npo nor .npu: an object, or a text with its data")
        check_targets([options.program], suffix)
    chip = load_chip(options.chip or DEFAULT_CHIP, **overrides(options.set))
    with Progress(model.name) as progress:
        compiled = kept.compiled(
            model,
            chip,
            network_options(options),
            anew=True,
            on_compile=progress.compiling_network,
        )
        summary = compiled.summary()
    if options.program is not None:
        compiled.save(options.program)
    if options.json:
        print_json(summary)
    else:
        print_compiled(summary, options.program)
    return DONE
