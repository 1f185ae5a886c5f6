"""Files that commands read and write: programs, tensors, texts made of programs, JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.chip import load_chip
from isa.diagnostic import Diagnostic
from isa.errors import RatelError
from isa.file_kinds import MOST, other_kind, refuse_foreign
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
from ratel.cli.options import UsageError, overrides

if TYPE_CHECKING:
    import numpy as np


def read_program(path: str, text: bool = False) -> bytearray | str:
    """Return the bytes of an object file, or the text of a program; a pipe is read once.

    Raises RatelError for a file of another kind, which is said, and for an object file where it has to be a `text`.
    """
    from isa.object_file import MAGIC, read

    try:
        with open_given(path) as file:
            beginning = file.read(MOST)
            if beginning.startswith(MAGIC) and text:
                help = "`ratel dis` makes one of it"
                raise RatelError(f"{path} is an object file: expected an assembly text (.npu)", help)
            if beginning.startswith(MAGIC) or (path.endswith(".npo") and not text):
                return read(file, path, beginning)
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


def load_program(path: str, chip: str | None = None, numbers: Sequence[str] = (), strict: bool = False) -> Program:
    """Return the program of a text or an object file, for the chip to run it on; tell what is odd, as `tell` does.

    That is the chip named, else the program's own, with `numbers`, of the form KEY=VALUE, changed.
    """
    program, odd = load_quietly(path, chip, numbers)
    hold(program.data_bytes)
    tell(odd, strict)
    return program


def load_quietly(path: str, chip: str | None = None, numbers: Sequence[str] = ()) -> Assembly:
    """Load a program as `load_program` does; its caller tells what is odd."""
    return program_of(read_program(path), path, chip, numbers)


def program_of(found: bytearray | str, path: str, chip: str | None = None, numbers: Sequence[str] = ()) -> Assembly:
    """Return the program of what was read of a file, as `load_quietly` has it."""
    from isa.object_file import named_from_bytes

    if isinstance(found, str):
        return assemble_text(found, path, chip, numbers)
    program = named_from_bytes(found, path)
    if chip is None and not numbers:
        return Assembly(program)
    return Assembly(replace(program, chip=load_chip(chip or program.chip, **overrides(numbers))))


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


def print_json(value: object) -> None:
    print(json.dumps(value, allow_nan=False))
