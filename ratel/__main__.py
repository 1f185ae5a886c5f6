"""The command `ratel`, also as `python -m ratel`: what is to be said before anything large is loaded."""

import _signal as signal  # type: ignore[import-not-found]
import os
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `leave_when_told`: Ctrl-C ends it as it ends any other program, without a traceback of what loads.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks into the current folder first: a numpy.py or an isa.py there is none of ours, and is not run.
    del sys.path[0]
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if root not in map(os.path.realpath, sys.path):
        # What is not installed is found where this file is.
        sys.path.insert(0, root)

import gc

from ratel.signals import leave_when_told


def main() -> int:
    """Run the command line and return its exit status."""
    leave_when_told()
    # numpy's linear algebra would start a thread for each processor, and is not used: half of what loading it takes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Neither are numba's threads; a number of them that it does not take would end it as it loads.
    os.environ["NUMBA_NUM_THREADS"] = "1"
    # What is loaded stays: to look through it for garbage, a dozen times, takes a twelfth of a short command.
    gc.set_threshold(100_000)
    from ratel.cli.main import main

    status = main()
    # Nor is it looked through as the process ends, which takes an eighth.
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(main())
