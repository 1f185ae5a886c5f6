"""What a supervisor has to find, go on after and count: errors, ends of processes, waits, memory."""

import ctypes
import os
import random
import signal
import time

from isa.errors import RatelError

KINDS = ("right", "right", "error", "crash", "exit", "slow", "deaf", "memory")


class Faults:
    """The names of things that go wrong; each does."""

    def case(self, chance: random.Random) -> str:
        return chance.choice(KINDS)

    def run(self, kind: str) -> str:
        match kind:
            case "error":
                # Not what is declared at this place: declared errors are caught where they may be.
                raise RatelError("wrong")
            case "crash":
                ctypes.string_at(0)
            case "exit":
                os._exit(7)
            case "slow":
                time.sleep(600)
            case "deaf":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(600)
            case "memory":
                return str(len(bytes(8 * 2**30)))
        return kind
