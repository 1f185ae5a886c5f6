"""The memory of this computer: what is free of it, and the limit that a need is held against before it is taken.

Whoever is about to take much works out how much, and asks `shortage` first; nothing is taken where it has an answer.
The limit is what `limited` says, and else what is free: of the machine, of the process's group, of the process. Needs
that come one after the other and stay are added up by `hold`.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from isa.errors import InputError, shown

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Needs below this are not held against what is free: a look at that takes longer than they do.
SMALL = 2**24
UNKNOWN = 2**62
HELP = "or allow more with --memory SIZE (in Python: memory=BYTES)"
_LIMIT = ContextVar[int | None]("limit", default=None)
ROOT = Path("/")


class _Groups(NamedTuple):
    """Where a version of the system's groups of processes says what a group may take, what it has, and of what."""

    at: str
    most: str
    taken: str
    # Of memory.stat: what is kept of files and not looked at any more, which the system takes back first.
    files: str


# By what the line of /proc/self/cgroup calls the group's controller: nothing in version 2.
_VERSIONS = {
    "": _Groups("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": _Groups("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
# What is held inside `limited`: all of it, and what of it is not taken yet, so that it counts as free still.
_HELD = ContextVar("held", default=(0, 0))


def size_of(text: str) -> int:
    """Return the bytes of a size such as 800M or 4G; raise InputError for what is none."""
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].upper() in UNITS and text[-1:] else (text, "")
    if not (digits.isascii() and digits.isdecimal() and 0 < len(digits) < 16 and int(digits)):
        raise InputError(f"{shown(text)} is no size of memory", "write a whole number of bytes, or as in 800M or 4G")
    return int(digits) * UNITS[unit]


class limited:
    """Hold needs against `limit` bytes inside; None leaves the limit, and what is held of it, as they are.

    What is held inside is let go at the end. Raises InputError for no number of bytes.
    """

    # Each run enters one: a generator would take twice the time.
    __slots__ = ("_before", "_held", "_limit")

    def __init__(self, limit: int | None) -> None:
        if limit is not None and not (isinstance(limit, int) and limit > 0):
            raise InputError(f"{shown(limit)} is no limit of memory", "give a number of bytes, 1 or greater")
        self._limit = limit

    def __enter__(self) -> None:
        self._before = _LIMIT.set(_LIMIT.get() if self._limit is None else self._limit)
        self._held = _HELD.set(_HELD.get() if self._limit is None else (0, 0))

    def __exit__(self, *of_error: object) -> None:
        _HELD.reset(self._held)
        _LIMIT.reset(self._before)


def hold(size: int, taken: bool = True) -> None:
    """Add bytes to all needs up to the end of the innermost `limited`; `taken` are those that are not free any more."""
    held, promised = _HELD.get()
    _HELD.set((held + size, promised + (0 if taken else size)))


def shortage(needs: Mapping[str, int]) -> str | None:
    """Return, in words, how much is needed and what for, where it is more than the limit; None where it is not.

    `needs` are bytes by what takes them.
    """
    needed, limit, (held, promised) = sum(needs.values()), _LIMIT.get(), _HELD.get()
    before = promised if limit is None else held
    if limit is None and needed + before < SMALL:
        return None
    most = free() if limit is None else limit
    if not needed or needed + before <= most:
        return None
    parts = sorted(
        ((size, what) for what, size in {**needs, "what is held already": before}.items() if size), reverse=True
    )
    listed = ", ".join(f"{spelled(size)} for {what}" for size, what in parts)
    return f"it needs {listed}; {spelled(most)} {'are free' if limit is None else 'is the limit'}"


def spelled(size: int) -> str:
    """Return a number of bytes for people."""
    unit = next((unit for unit in ("T", "G", "M", "K") if size >= UNITS[unit]), "")
    return f"{size / UNITS[unit]:,.1f} {unit}iB" if unit else f"{size} bytes"


def free(root: Path = ROOT) -> int:
    """Return the bytes that this process can still take, as far as is known; `root` is that of the file system."""
    found = [UNKNOWN, _left_to_process()]
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for line in _lines(root / "proc/self/cgroup"):
        controllers, _, group = line.partition(":")[2].partition(":")
        for controller in {*controllers.split(",")} & {*_VERSIONS}:
            found += _left_to_group(root, _VERSIONS[controller], group)
    return max(min(found), 0)


def _left_to_group(root: Path, files: _Groups, group: str) -> Iterator[int]:
    """Yield what the limit of a group leaves, and that of each that it is part of; those out of sight are left out."""
    # In a container the path may be that of the machine, whose part that is seen here begins further down.
    within = [] if ".." in group else [PurePosixPath(group), *PurePosixPath(group).parents]
    for path in dict.fromkeys([*(each.relative_to("/") for each in within if each.is_absolute()), PurePosixPath()]):
        at = root / files.at / path
        numbers = [*_lines(at / files.most), *_lines(at / files.taken)]
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            kept = [line.split()[1] for line in _lines(at / "memory.stat") if line.startswith(f"{files.files} ")]
            yield int(numbers[0]) - int(numbers[1]) + sum(int(size) for size in kept)


def _left_to_process() -> int:
    """Return what the process's own limit of addresses leaves."""
    try:
        import resource
    except ImportError:  # no Unix
        return UNKNOWN
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    held = [line.split()[0] for line in _lines(ROOT / "proc/self/statm")]
    if soft == resource.RLIM_INFINITY or not held:
        return UNKNOWN
    return soft - int(held[0]) * resource.getpagesize()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split("\n")[:-1]
    except (OSError, ValueError):
        return []
