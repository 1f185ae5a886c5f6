"""Measure this emulator beside onnxruntime and numpy on the machine at hand: `python -m benchmarks`.

Results are checked before they are timed: in fp32 they equal onnxruntime's of the same model, of int8, to the last bit
where no function is the chip's own. Exit status: 0 measured, whatever the figures; 1 a result is wrong; 2 usage.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from isa.files import write_whole
from ratel.cli.options import count

RIGHT, WRONG, USAGE = 0, 1, 2
PARTS = ("layers", "networks", "moves", "floats", "instructions", "building", "scheduling", "memory", "processes")
ROUNDS = 5
BEGAN = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = argparse.ArgumentParser("python -m benchmarks", description=__doc__.splitlines()[0])
    options.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    options.add_argument(
        "--rounds", type=count, default=ROUNDS, metavar="N", help=f"turns of each contender ({ROUNDS})"
    )
    options.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="leave the other parts out")
    options.add_argument(
        "--scalesim",
        type=Path,
        metavar="PYTHON",
        help="time SCALE-Sim too; PYTHON has it",
    )
    chosen = options.parse_args(arguments)
    try:
        from benchmarks import measure, tables
        from benchmarks.results import Wrong
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        print(f"error: {error.name} is not installed\nhelp: pip install -e '.[oracles]'", file=sys.stderr)
        return USAGE
    try:
        # Said now, not after minutes.
        if chosen.json:
            chosen.json.open("a").close()
    except OSError as error:
        print(f"error: cannot write {chosen.json}: {error.strerror}", file=sys.stderr)
        return USAGE
    try:
        results = measure.everything(machine(), chosen.only, chosen.rounds, say, chosen.scalesim)
    except Wrong as error:
        print(f"\nWRONG: {error}\nNothing was measured behind it.", file=sys.stderr)
        return WRONG
    tables.print_results(results)
    if chosen.json:
        write_whole(chosen.json, (json.dumps(results.summary(), indent=1) + "\n").encode())
    return RIGHT


def say(text: str) -> None:
    """Print what is being done, on stderr."""
    print(f"[{time.monotonic() - BEGAN:4.0f} s] {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Return what the figures depend on: the processor, where the system tells it, and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    known = {"machine": names[0] if names else platform.processor() or platform.machine()}
    versions = {name: version(name) for name in ("numpy", "onnxruntime", "numba")}
    return {**known, "cores": str(os.cpu_count()), "Python": platform.python_version(), **versions}


if __name__ == "__main__":
    sys.exit(main())
