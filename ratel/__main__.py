"""The command `ratel`, also as `python -m ratel`: what is to be said before anything large is loaded."""

import gc
import os
import sys


def main() -> int:
    """Run the command line and return its exit status."""
    # numpy's linear algebra would start a thread for each processor, and is not used: half of what loading it takes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What is loaded stays: to look through it for garbage, a dozen times, takes a twelfth of a short command.
    gc.set_threshold(100_000)
    from ratel.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
