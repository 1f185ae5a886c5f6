"""Parts of a long command on the workers of a Dask scheduler: `--scheduler tcp://host:8786`.

A worker is started in a clone of the same state, `dask worker tcp://host:8786 --nthreads 1`. Each part is a process of
its own there, for signals, limits of memory and crashes are the process's.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scheduler", metavar="ADDRESS", help="share it out over a Dask cluster: tcp://host:8786")


def shared(address: str, part: Callable[..., Any], each: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield what a function makes of each tuple of arguments, as it comes; it and all that it takes is picklable."""
    from distributed import Client, as_completed

    with Client(address, timeout=10) as client:
        name = f"{_module(part)}:{part.__name__}"
        tasks = [client.submit(in_a_process, name, arguments, pure=False) for arguments in each]
        for _, made in as_completed(tasks, with_results=True):
            yield made


def in_a_process(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return what a function makes of arguments, in a process of its own; raise RuntimeError where that fails."""
    with tempfile.TemporaryDirectory(prefix="longer-") as folder:
        into = Path(folder, "made")
        found = subprocess.run(
            [sys.executable, "-m", "tests.longer.cluster", name, str(into)],
            input=pickle.dumps(arguments),
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        if found.returncode or not into.exists():
            raise RuntimeError(f"{name}{arguments} ended with {found.returncode}:\n{found.stderr.decode()[-4000:]}")
        return pickle.loads(into.read_bytes())


def _module(part: Callable[..., Any]) -> str:
    """Return the module of a function, which where it is the command itself is called __main__."""
    module = sys.modules[part.__module__]
    return module.__spec__.name if module.__spec__ else module.__name__


def main() -> int:
    from importlib import import_module

    module, _, name = sys.argv[1].partition(":")
    made = getattr(import_module(module), name)(*pickle.loads(sys.stdin.buffer.read()))
    Path(sys.argv[2]).write_bytes(pickle.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
