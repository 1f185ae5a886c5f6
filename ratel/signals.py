"""Signals: Ctrl-C, SIGTERM and a closed terminal end a command, whenever they come, with status 128 + their number.

While it loads, and once it is done, there is nothing to tidy up, and it is left at once. In between the signal is an
exception, so that what is half written goes, threads end, and main says how far it came. Some code swallows
exceptions, or makes others of them: the signal comes again until main has it. An import is never broken off, for
modules in C print what they meet as they load: the signal comes once it is done. A second signal leaves at once.
"""

from __future__ import annotations

# `signal` itself first loads what takes longer than all that comes before the first signal is heard.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

# Seconds after which a signal that main has not got comes again, and how often; and after which an import is looked at.
AGAIN_SECONDS, MOST_TIMES, SOON_SECONDS = 1.0, 5, 0.02
_HEARD = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(KeyboardInterrupt):
    """Raised where a signal comes.

    A class of its own: once a KeyboardInterrupt itself has passed through `exec` of a text, as dataclasses have it,
    Python ends the process by SIGINT, whatever its status.
    """


def leave_at(number: int, _: FrameType | None) -> None:
    """Leave the process at once, quietly."""
    os._exit(128 + number)


def leave_when_told() -> None:
    """Have signals end this process at once, from now on; one that whoever started it has ignored stays so."""
    for number in _HEARD:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave_at)


class Hearing:
    """A context in which signals are KeyboardInterrupt; `number` is that of the one that came, or 0.

    It ends in KeyboardInterrupt if one came, whatever has become of the exception. Elsewhere than in the main thread,
    which alone can have signals, it does nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        self._times, self._ends = 0, False
        self._before: dict[int, object] = {}
        self._otherwise = sys.unraisablehook

    def __enter__(self) -> Hearing:
        import threading

        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _HEARD if signal.getsignal(number) is not signal.SIG_IGN]
            if hasattr(signal, "setitimer"):
                self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._again)
            self._otherwise, sys.unraisablehook = sys.unraisablehook, self._swallowed
            for number in heard:
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # From here on one that comes is only noted.
        self._ends = True
        if self.number and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self._before and not self.number:
            # Objects that were interrupted as they were made are destroyed later, and complain: of nothing new.
            sys.unraisablehook = self._otherwise
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.number and not isinstance(error, KeyboardInterrupt):
            raise Interrupted

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for other in self._before:
            if other in _HEARD:
                signal.signal(other, leave_at)
        self._again(number, frame)

    def _swallowed(self, error: sys.UnraisableHookArgs) -> None:
        """Hear again soon what was raised where nobody takes it: in a callback of C, or as an object is destroyed."""
        if not self.number:
            self._otherwise(error)
        elif issubclass(error.exc_type, Interrupted) and not self._ends and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, SOON_SECONDS)

    def _again(self, _: int, frame: FrameType | None) -> None:
        if self._ends:
            return
        again = hasattr(signal, "setitimer")
        if again and _imports(frame):
            signal.setitimer(signal.ITIMER_REAL, SOON_SECONDS)
            return
        self._times += 1
        if self._times > MOST_TIMES:
            leave_at(self.number, None)
        if again:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise Interrupted


def _imports(frame: FrameType | None) -> bool:
    """Return whether a frame is reached by way of an import."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
