"""Progress: what is said on stderr of work that takes a while."""

from __future__ import annotations

import sys
import time

from ratel.show.tables import share
from ratel.show.terminal import escaped, own

# Work longer than this shows progress.
PATIENCE_SECONDS = 1.0


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """A line on stderr for work that takes longer than a second: what is compiled, then how far the run is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.shown = 0.0
        self.terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal and self.shown:
            print("\r\x1b[K", end="", file=own(sys.stderr), flush=True)

    def compiling(self, name: str) -> None:
        from emulator.jit.cache import home

        kept = " (once; kept in the cache)" if home().lasts else ""
        print(f"compiling {name}{kept}", file=sys.stderr, flush=True)

    def compiling_network(self, name: str) -> None:
        """Say that a network is compiled, while it is."""
        if self.terminal:
            self.shown = time.monotonic()
            print(f"\r\x1b[K{escaped(name)}: compiling", end="", file=own(sys.stderr), flush=True)

    def advance(self, done: int, total: int) -> None:
        self._show(done, total, "instructions")

    def trying(self, done: int, total: int) -> None:
        self._show(done, total, "changes of the chip tried")

    def sweeping(self, done: int, total: int) -> None:
        """Say how many points are done, how many a second, and how long the rest takes at that rate."""
        rate = done / max(time.monotonic() - self.began, 1e-9)
        left = f"{rate:,.3g} a second, {clock((total - done) / rate)} left" if done else "the first is computed"
        self._show(done, total, f"points, {left}")

    def planning(self, what: str, done: int, total: int) -> None:
        self._show(done, total, what)

    def quantising(self, what: str, done: int, total: int) -> None:
        self._show(done, total, what)

    def _show(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - self.began < PATIENCE_SECONDS or now - self.shown < 0.2 or not self.terminal:
            return
        self.shown = now
        line = f"{escaped(self.name)}: {share(done, total)} of {total:,} {what}"
        print(f"\r\x1b[K{line}", end="", file=own(sys.stderr), flush=True)
