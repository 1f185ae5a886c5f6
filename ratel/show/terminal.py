"""The terminal: what everything that is printed passes through.

A program, an object, a chip file and the name of a file are foreign: what of them cannot be seen (escape sequences,
controls of writing direction, blanks that are letters) is written with escapes. A reader who has gone, as in
`ratel chips | head`, is no error: the rest is not printed, and the status is the command's own.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from isa import visible
from isa.errors import RatelError

# Our own; no foreign text has a line end (isa/object_file.py, assembler/syntax/parser.py, ratel/cli/main.py).
KEPT = "\n\t"


def escaped(text: str) -> str:
    """Return a text in which all that cannot be seen, but line ends and tabs, is an escape, as Python writes it."""
    return visible.escaped(text, KEPT)


class Stream:
    """Standard output or standard error, `name`: text is written escaped; `own` takes what is to be written as it is.

    Raises RatelError where it cannot be written to; then, and where its reader has gone, what follows goes nowhere.
    """

    def __init__(self, under: TextIO, name: str, escapes: bool = True) -> None:
        self.under, self.name, self.escapes = under, name, escapes

    @property
    def own(self) -> Stream:
        return Stream(self.under, self.name, escapes=False)

    def write(self, text: str) -> int:
        with self._told():
            self.under.write(escaped(text) if self.escapes else text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            self.under.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still held goes nowhere, now and as Python ends.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.under.fileno())
                os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise RatelError(f"cannot write to {self.name}: {error.strerror}") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.under, name)


def own(stream: Any) -> Any:
    """Return what takes text as it is, for our own colours and cursors."""
    return stream.own if isinstance(stream, Stream) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Let all that is printed pass through here, as long as this holds."""
    before = sys.stdout, sys.stderr
    # Closed by whoever started us: what is printed goes nowhere.
    out, err = (stream or Path(os.devnull).open("w") for stream in before)  # noqa: SIM115
    for stream in (out, err):
        # What the terminal's encoding cannot say is written with escapes, as Python does on stderr.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    streams = Stream(out, "standard output"), Stream(err, "standard error")
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for passed in streams:
            with suppress(RatelError):
                passed.flush()
        sys.stdout, sys.stderr = before
