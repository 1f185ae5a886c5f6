"""Compiled networks that are kept: compiled once, and read back by whoever asks for the same.

They lie in the cache of compiled functions (emulator/jit/cache.py), by its rules: in a folder named after all that
makes them, the compiler's sources, what it builds on, and the versions of onnx and onnxruntime; nothing is read from
one that somebody else may write; it is removed as those of other sources are. Within it a file is named after the hash
of the model, the chip and the options, and holds the hashes of the model's external data: where these have others, it
is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isa.chip import Chip
from isa.errors import RatelError
from isa.files import MAX_OBJECT_BYTES, Refused, hash_of_file, open_inside, read_whole, write_whole

if TYPE_CHECKING:
    from compiler.compiled import Compiled
    from compiler.options import Options
    from compiler.read.model import Model

ROOT = Path(__file__).parents[1]
# Of the emulator, what costs are told by: the compiler chooses by them.
ROOMS = "compiler", "assembler", "isa", "emulator/timing"
SUFFIX = ".network"
# Assumed: bytes of all that is kept, and of one; those that were used last stay.
MOST, MOST_OF_ONE = 2**31, 2**30


def compiled(
    model: Model,
    chip: Chip,
    options: Options,
    *,
    anew: bool = False,
    on_compile: Callable[[str], None] | None = None,
) -> Compiled:
    """Return a network as `compiler.compile` compiles it: kept from before, or compiled now, and kept.

    It has neither text nor steps, but with `anew`: then it is compiled in any case. `on_compile` is called with the
    model's name before it is compiled. Raises InputError and ChipError.
    """
    from compiler.keep import bare, packed, unpacked

    folder, digest = _folder(), _digest(model, chip)

    def path(options: Options) -> Path | None:
        named = digest.copy()
        named.update(f"{replace(options, shapes=dict(sorted(options.shapes.items())))}".encode())
        return folder and folder / f"{named.hexdigest()}{SUFFIX}"

    fitted = replace(options, shapes={**model.fits, **options.shapes})

    def holds(external: Mapping[str, str]) -> bool:
        return all(_hash(model.folder, name) == hashed for name, hashed in external.items())

    for kept in [] if anew else list(dict.fromkeys((path(options), path(fitted)))):
        data = None if kept is None else _read(kept)
        found = None if data is None else unpacked(data, chip, holds)
        if found is not None and all(_has(found, name, shape) for name, shape in model.fits.items()):
            return found
    from compiler.compile import compile

    if on_compile is not None:
        on_compile(model.name)
    made = compile(model, chip, options)
    if not anew:
        made = bare(made)
    if (kept := path(fitted if model.fitted else options)) is not None:
        size = sum(len(part.model) + (part.program.data_bytes if part.program else 0) for part in made.parts)
        if size <= MOST_OF_ONE:
            with suppress(RatelError, OSError):
                _write(kept, packed(made, model.external))
    return made


def _digest(model: Model, chip: Chip) -> hashlib._Hash:
    """Return the hash of a model and a chip."""
    # The folder of the model is not in it: external data have hashes of their own.
    said = f"{model.name}\0{sorted(chip.values.items())}\0{chip.changed}\0"
    digest = hashlib.sha256(said.encode())
    digest.update(model.data)
    return digest


def _has(made: Compiled, name: str, shape: Sequence[int]) -> bool:
    """Return whether an input, "" where it is the only one, is of a shape; nothing is said of one that is not there."""
    name = name or next(iter(made.graph.inputs), "")
    return name not in made.graph.inputs or made.graph.values[name].shape == tuple(shape)


def _folder() -> Path | None:
    """Return the folder of this compiler's networks, made where it is missing; None where nothing can be kept."""
    from compiler.runtime import versions
    from emulator.jit.cache import cache_root, usable

    made_by = versions()
    if (root := cache_root()) is None:
        return None
    digest = hashlib.sha256(f"networks {made_by}".encode())
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(f"\0{path.relative_to(ROOT).as_posix()}\0".encode())
            digest.update(hashlib.sha256(read_whole(path)).digest())
    folder = root / digest.hexdigest()[:16]
    return folder if usable(folder) else None


def _read(path: Path) -> bytes | None:
    """Return what is kept there; None where there is nothing."""
    try:
        os.utime(path)
        return read_whole(path, most=MAX_OBJECT_BYTES)
    except (RatelError, OSError):
        return None


def _hash(folder: Path | None, name: str) -> str | None:
    if folder is None:
        return None
    try:
        with open_inside(folder, name)[0] as file:
            return hash_of_file(file)
    except (Refused, OSError, ValueError):
        return None


def _write(path: Path, pieces: Sequence[bytes]) -> None:
    """Keep a network, whole or not at all, and let go of those that were not used for longest."""
    write_whole(path, pieces)
    entries = [(entry.stat(), entry.path) for entry in os.scandir(path.parent) if entry.name.endswith(SUFFIX)]
    total = 0
    for found, old in sorted(entries, key=lambda one: -one[0].st_mtime_ns):
        total += found.st_size
        if total > MOST:
            with suppress(OSError):
                os.unlink(old)
