"""Files that commands read and write: programs, networks, tensors, texts made of programs, JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.chip import DEFAULT_CHIP, load_chip
from isa.diagnostic import Diagnostic
from isa.errors import InputError, RatelError
from isa.file_kinds import ENDINGS, MOST, TEXT_EXPECTED, is_network, other_kind, refuse_foreign
from isa.files import (
    MAX_TEXT_BYTES,
    Refused,
    is_input,
    is_plain,
    led_to,
    open_given,
    read_at_most,
    reason,
    write_whole,
)
from isa.memory import hold
from isa.program import Assembly, Program
from isa.suggest import did_you_mean
from ratel.cli.options import UsageError, overrides

# Options that only networks have.
OF_NETWORKS = ("shape", "always", "order", "cores", "batch", "round_once", "no_host", "part")

if TYPE_CHECKING:
    import numpy as np

    from compiler.compiled import Compiled
    from compiler.options import Options
    from compiler.read.model import Model


def read_program(path: str, text: bool = False) -> bytearray | str | Model:
    """Return the bytes of an object file, the text of a program, or a network as it is; a pipe is read once.

    Raises RatelError for a file of another kind, which is said, and for an object file where it has to be a `text`.
    """
    from isa.object_file import MAGIC, read

    try:
        with open_given(path) as file:
            beginning = file.read(MOST)
            is_object = beginning.startswith(MAGIC)
            if is_object and text:
                help = "`ratel dis` makes one of it"
                raise RatelError(f"{path} is an object file: expected an assembly text (.npu)", help)
            if is_object or (path.endswith(".npo") and not text):
                return read(file, path, beginning)
            if is_network(path, beginning):
                if text:
                    what, help = ENDINGS[".onnx"]
                    raise RatelError(f"{path} is {what}: {TEXT_EXPECTED}", help)
                from compiler.read.model import opened

                return opened(path, file, beginning)
            refuse_foreign(path, beginning)
            return text_of(beginning + read_at_most(file, MAX_TEXT_BYTES), path)
    except (OSError, ValueError) as cause:
        raise RatelError(f"cannot read {path}: {reason(cause)}") from cause


def read_text(path: str) -> str:
    """Return the text of a program; raise RatelError for an object file."""
    found = read_program(path, text=True)
    assert isinstance(found, str)
    return found


def text_of(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RatelError(f"{path} is not text in UTF-8 (byte {error.start})") from error


def load_program(options: argparse.Namespace) -> Program:
    """Return the program of a command's file, as `load_quietly` does; tell what is odd, as `tell` does."""
    program, odd = load_quietly(options)
    hold(program.data_bytes)
    tell(odd, options.strict)
    return program


def load_quietly(options: argparse.Namespace) -> Assembly:
    """Return the program of a command's file, for the chip to run it on; its caller tells what is odd.

    That is the chip named, else the program's own, with numbers, of the form KEY=VALUE, changed. Of a network it is the
    part that `options.part` numbers.
    """
    return program_of(given(options), options, options.chip)


def given(options: argparse.Namespace) -> bytearray | str | Model:
    """Return what a command's file has, as `read_program` does: it is read once, for it may be a pipe."""
    if not hasattr(options, "given"):
        options.given = read_program(options.file)
    found: bytearray | str | Model = options.given
    if isinstance(found, bytearray | str) and any(vars(options)[name] for name in OF_NETWORKS):
        words = ", ".join(f"--{name.replace('_', '-')}" for name in OF_NETWORKS)
        raise UsageError(f"{words} are for networks (.onnx), and {options.file} is none")
    return found


def program_of(found: bytearray | str | Model, options: argparse.Namespace, chip: str | None) -> Assembly:
    """Return the program of what was read of a command's file, as `load_quietly` has it."""
    from isa.object_file import named_from_bytes

    if isinstance(found, str):
        return assemble_text(found, options.file, chip, options.set)
    if not isinstance(found, bytearray):
        program = compiled_for(options, chip).parts[options.part - 1].program
        assert program is not None, "commands are given parts of the chip"
        return Assembly(program)
    program = named_from_bytes(found, options.file)
    if chip is None and not options.set:
        return Assembly(program)
    return Assembly(replace(program, chip=load_chip(chip or program.chip, **overrides(options.set))))


def compiled_for(options: argparse.Namespace, chip: str | None, keep: bool = False) -> Compiled:
    """Return the network in a command's file, compiled for a chip as the options say, or kept from before.

    With `keep` each of its tensors has a place of its own.
    """
    from compiler.read.model import Model
    from ratel import kept
    from ratel.show.progress import Progress

    if not hasattr(options, "compiled"):
        options.compiled = {}
    if chip not in options.compiled:
        model = given(options)
        assert isinstance(model, Model), "the file is a network"
        # The bytes are let go as they are read: only where another chip is to come they are still wanted.
        model = replace(model) if "," in (options.chip or "") else model
        with Progress(model.name) as progress:
            options.compiled[chip] = kept.compiled(
                model,
                load_chip(chip or DEFAULT_CHIP, **overrides(options.set)),
                network_options(options, keep),
                on_compile=progress.compiling_network,
            )
    found: Compiled = options.compiled[chip]
    return found


def network_options(options: argparse.Namespace, keep: bool = False) -> Options:
    """Return how a network is compiled; what a command does not say is as it is by default."""
    from compiler.options import Options

    said = {name: value for name in ("order", "cores", "batch") if (value := getattr(options, name)) is not None}
    said |= {"host": not options.no_host, "keep": keep, "round_once": options.round_once}
    return Options(shapes(options), always=always(options), **said)


def always(options: argparse.Namespace) -> dict[str, float]:
    """Return the numbers that --always gives, by the names of inputs."""
    found: dict[str, float] = {}
    for text in options.always:
        name, _, word = text.rpartition("=")
        try:
            number = int(word) if word.strip().lstrip("-").isdecimal() else float(word)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"--always {text!r} is not of the form NAME=NUMBER, as in attention_mask=1")
        if name in found:
            raise UsageError(f"--always gives {name} twice")
        found[name] = number
    return found


def shapes(options: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """Return the shapes that --shape gives, by the names of inputs; "" is the name of the only one."""
    found = {}
    for text in options.shape:
        name, _, sizes = text.rpartition("=")
        words = [size.strip() for size in sizes.split(",")]
        if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
            raise UsageError(f"--shape {text!r} is not of the form NAME=SIZE,SIZE,..., as in x=1,3,224,224")
        if name in found:
            raise UsageError(f"--shape gives {name or 'the input'} twice")
        found[name] = tuple(map(int, words))
    return found


def assemble_text(text: str, path: str, chip: str | None, numbers: Sequence[str]) -> Assembly:
    """Return the program of a text, for the chip to run it on, as `load_quietly` has it."""
    from assembler.assemble import assemble_for

    changes = overrides(numbers)
    # What came through a pipe has no folder, so it names files in the current one.
    place = path if is_plain(path) else None
    return assemble_for(text, place, None if chip is None else load_chip(chip, **changes), changes)


def tell(odd: Sequence[Diagnostic[Any]], strict: bool) -> None:
    """Print on stderr what is odd about a text; where `strict`, raise it as AssemblyError."""
    if odd:
        from assembler.syntax.diagnostics import refuse_if_strict, rendered
        from ratel.show.tables import to_stderr

        refuse_if_strict(odd, strict)
        to_stderr(rendered(odd, "warning"))


def must_be_known(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise InputError for the name of an output that there is not."""
    for name in names:
        if name not in known:
            outputs_are = f"outputs: {', '.join(known) or 'none'}"
            raise InputError(f"there is no output {name!r}", did_you_mean(name, known, outputs_are))


def save_tensor(path: str, tensor: np.ndarray) -> None:
    from isa.npy import npy

    write_whole(path, npy(tensor))


def check_targets(paths: Sequence[str], suffix: str, program: Program | None = None, source: str = "") -> None:
    """Raise UsageError, before anything is computed, for a file that may not be written; `suffix` is what they have.

    That is one which the command has read, which a program's lines come from, or whose name says that it is of another
    kind, and one that is named twice.
    """
    names = () if program is None else {line.file for core in program.cores for line in core.lines}
    sources = {identity(Path(source).parent / name) for name in names if "\0" not in name}
    taken: dict[object, str] = {}
    for path in paths:
        try:
            same = identity(led_to(path))
        except (Refused, ValueError) as refusal:
            help = getattr(refusal, "help", "")
            raise UsageError(f"{path} cannot be written: {reason(refusal)}{f'; {help}' if help else ''}") from None
        except OSError:
            continue  # It is refused with its reason where it is written.
        if other := other_kind(path, suffix):
            raise UsageError(f"{path} {other}: name another file")
        if is_input(path) or same in sources:
            of = "what this command reads, or what its program was made of"
            raise UsageError(f"{path} would replace {of}: name another file")
        if same in taken and (is_plain(path) or not os.path.exists(path)):
            raise UsageError(f"{taken[same]} and {path} are one file: name another for one of them")
        taken[same] = path


def identity(path: Path) -> object:
    """Return what is the same of two paths where they are one file, there already or not."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def print_json(value: object, options: argparse.Namespace | None = None) -> None:
    """Print a value as one JSON object; keep it in `options.found` where it is of one part of several."""
    if options is not None and hasattr(options, "found"):
        options.found.append(value)
    else:
        print(json.dumps(value, allow_nan=False))
