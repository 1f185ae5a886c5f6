"""Reading and writing whole files, with errors that say why not."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from isa.errors import RatelError


def write_whole(path: str | Path, data: bytes, error: type[RatelError] = RatelError) -> None:
    """Write a file whole or not at all: beside its place first, then moved there. Raises `error` where it cannot."""
    part = Path(f"{path}.part")
    try:
        if Path(path).exists() and not Path(path).is_file():
            # A device or a pipe is written to, never replaced; a folder refuses.
            Path(path).write_bytes(data)
            return
        part.write_bytes(data)
        part.replace(path)
    except (OSError, ValueError) as cause:
        with suppress(OSError, ValueError):
            part.unlink()
        raise error(f"cannot write {path}: {reason(cause)}") from cause


def begins_with(path: str | Path, beginning: bytes) -> bool:
    """Return whether a file's first bytes are these; raise RatelError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(beginning)) == beginning
    except (OSError, ValueError) as cause:
        raise RatelError(f"cannot read {path}: {reason(cause)}") from cause


def read_whole(path: str | Path, error: type[RatelError] = RatelError) -> bytes:
    """Return a file's bytes; raise `error` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause


def reason(cause: Exception) -> str:
    """Return the words of an exception on a file, without its path."""
    return getattr(cause, "strerror", None) or str(cause)


def write_generated(arguments: Sequence[str], command: str, text: Callable[[], str]) -> int:
    """Write a generated file as the arguments of `command` say, FILE, or --check FILE: only say whether it is stale.

    Returns the exit status: 0, 1 where it is stale, 2 for other arguments.
    """
    paths = [argument for argument in arguments if argument != "--check"]
    if len(paths) != 1:
        print(f"usage: python -m {command} [--check] FILE", file=sys.stderr)
        return 2
    path = Path(paths[0])
    if "--check" not in arguments:
        path.write_text(text(), "utf-8")
    elif not path.exists() or path.read_text("utf-8") != text():
        print(f"{path} is stale: run `python -m {command} {path}`", file=sys.stderr)
        return 1
    return 0
