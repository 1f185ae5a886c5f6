"""The declared errors: whatever is wrong with text, object files, chips or inputs ends in one of these."""

import sys
import warnings
from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any

from isa.diagnostic import Diagnostic, Place

PACKAGES = ("ratel", "explore", "compiler", "assembler", "emulator", "isa")


def shown(value: object) -> str:
    """Return a value as a message quotes it: short, however long or deep it is."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a huge number"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return shortened(value)


class RatelError(Exception):
    """Base of every declared error.

    `message` says what is wrong and where, `help` how to mend it (may be empty); `diagnostics` are the same as values,
    one for each thing that is wrong.
    """

    def __init__(self, message: str, help: str = "", diagnostics: Sequence[Diagnostic[Any]] = ()) -> None:
        super().__init__(message if not help else f"{message}\nhelp: {help}")
        self.message = message
        self.help = help
        self.diagnostics: tuple[Diagnostic[Any], ...] = tuple(diagnostics) or (Diagnostic("", None, message, help),)

    @property
    def printed(self) -> str:
        """What is printed for a person."""
        return f"error: {self}"


class RatelWarning(UserWarning):
    """Base of every declared warning: what is odd, and no error by itself."""

    @property
    def printed(self) -> str:
        """What is printed for a person."""
        return f"warning: {self}"


def warn_outside(warning: RatelWarning) -> None:
    """Issue a warning as Python's, at the line that called from outside of the packages."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)


class CacheWarning(RatelWarning):
    """Says that compiled functions are not kept for the next run, and why; results are the same."""


class CheckWarning(RatelWarning):
    """Says what a run would hide: that a program is not proven free of races, or gives less than it seems to."""


class ObjectError(RatelError):
    """Raised when an object file cannot be read: truncated, corrupt, another version, or an invalid program."""


class ChipError(RatelError):
    """Raised when a chip file cannot be read, or holds an unknown key, a missing key or an illegal value."""


class InputError(RatelError):
    """Raised when an input tensor, or a file that should hold one, has the wrong name, shape or type."""


class Trap(RatelError):
    """Raised when a program cannot run on a chip, or an instruction may not run with its operands or their values.

    `core` is the number of the core, `instruction` the index in its code, `line` the source line that it came from,
    `address` the byte address concerned; None where unknown. Where core and instruction are known, the
    diagnostic has their Place.
    """

    def __init__(
        self,
        message: str,
        help: str = "",
        *,
        instruction: int | None = None,
        line: int | None = None,
        address: int | None = None,
        core: int | None = None,
        diagnostics: Sequence[Diagnostic[Any]] = (),
    ) -> None:
        if core is not None and instruction is not None:
            diagnostics = diagnostics or (Diagnostic("", Place(core, instruction), message, help),)
        super().__init__(message, help, diagnostics)
        self.instruction = instruction
        self.line = line
        self.address = address
        self.core = core


def index_trap(
    place: int,
    value: int,
    rows: int,
    where: str = "",
    axis: int = 0,
    from_end: bool = False,
    of: str = "x",
    *,
    core: int | None = None,
    instruction: int | None = None,
    line: int | None = None,
    address: int | None = None,
) -> Trap:
    """Return the trap of an instruction whose `index` has at `place` a value that is none of the `rows` of x, or out.

    They are counted by dimension `axis`; with `from_end` those below 0 count back from the end.
    """
    dimension, low = f"dimension {axis}" if axis else "the first dimension", -rows if from_end else 0
    return Trap(
        f"{where}index[{place}] is {value}, but {dimension} of {of} has {rows} element{'s' if rows > 1 else ''}",
        f"every element of `index` must be from {low} to {rows - 1}; clip or correct the tensor that it is read from",
        core=core,
        instruction=instruction,
        line=line,
        address=address,
    )
