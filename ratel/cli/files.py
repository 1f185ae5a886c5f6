"""Files that commands read and write: programs, tensors, texts made of programs, JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isa.chip import load_chip
from isa.errors import RatelError
from isa.files import begins_with, read_whole, write_whole
from isa.program import Program
from ratel.cli.options import UsageError, overrides

if TYPE_CHECKING:
    import numpy as np


def read_text(path: str) -> str:
    try:
        return read_whole(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RatelError(f"{path} is not text in UTF-8 (byte {error.start})") from error


def load_program(path: str, chip: str | None = None, numbers: Sequence[str] = ()) -> Program:
    """Return the program of a text or an object file, for the chip to run it on.

    That is the chip named, else the program's own, with `numbers`, of the form KEY=VALUE, changed.
    """
    from isa.object_file import MAGIC

    if begins_with(path, MAGIC) or path.endswith(".npo"):
        program = Program.load(path)
        if chip is None and not numbers:
            return program
        return replace(program, chip=load_chip(chip or program.chip, **overrides(numbers)))
    return assemble_text(read_text(path), path, chip, numbers)


def assemble_text(text: str, path: str, chip: str | None, numbers: Sequence[str]) -> Program:
    """Return the program of a text, for the chip to run it on, as `load_program` has it."""
    from assembler.assemble import assemble_for

    changes = overrides(numbers)
    return assemble_for(text, path, None if chip is None else load_chip(chip, **changes), changes)


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
