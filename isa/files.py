"""Reading and writing whole files, with errors that say why not."""

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
