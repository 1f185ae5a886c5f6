"""Commands that get Ctrl-C or SIGTERM at random moments: how they end, and what they leave.

    python -m tests.longer.signals [--warm 300] [--cold 16] [--seed 1]

A command has to end with 130 or 143, or as it would have, where it was done; without a traceback, and with no file but
those that it writes whole. Warm ones have their functions in the cache; cold ones, with an empty one, compile. Before
the first line of ours Python itself is at work, and ends as it likes: those are counted apart.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.ratel.cli.test_signals import LONG, STATUS, by_default

LOOP = ".input x i8[64] = 1\n.output y i8[64]\nloop i, 3000000\ncopy y, x\nbrnz i\nend\n"
# Text, command, and the files that it may leave.
COMMANDS = {
    "an instruction of hours": (LONG, "run a.npu --output y=y.npy", {"y.npy"}),
    "many instructions": (LOOP, "run a.npu --output y=y.npy", {"y.npy"}),
    "a schedule": (LOOP, "time a.npu --explain", set[str]()),
    "a check": (LOOP, "check a.npu", set[str]()),
    "a report": (LOOP.replace("3000000", "3000"), "report a.npu -o a.html --tasks 20", {"a.html"}),
    "an object": (".weight w i8[8M] = 3\nend\n", "asm a.npu", {"a.npo"}),
    "a trace": (LOOP.replace("3000000", "3000"), "time a.npu --trace a.json", {"a.json"}),
    "two threads": (LONG, "run a.npu --threads 2 --output y=y.npy", {"y.npy"}),
}
# Seconds that a process may take to end; those after which a warm and a cold one are certainly at work.
PATIENCE, WARM, COLD = 20, 4.0, 30.0


def started(folder: Path, command: str, cache: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ratel", *command.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RATEL_CACHE": cache},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=by_default,
        start_new_session=True,
    )


def ending(name: str, number: signal.Signals, delay: float, cache: str) -> tuple[str, str]:
    """Return how a command ends that gets a signal after so many seconds, and what it said."""
    text, command, files = COMMANDS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a.npu").write_text(text)
        process = started(folder, command, cache)
        try:
            _, said = process.communicate(timeout=delay)
            return ("done before" if process.returncode == 0 else "wrong status"), said
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return "lost", process.communicate()[1]
        left = {one.name for one in folder.iterdir()} - {"a.npu"}
        if not left <= files:
            return f"left {sorted(left - files)}", said
        if process.returncode in (-number, 1) and "ratel/" not in said.replace("-m ratel", ""):
            return "before the first line", said
        if "Traceback" in said:
            return "traceback", said
        if process.returncode == 0:
            return "done", said
        return ("ended" if process.returncode == STATUS[number] else f"status {process.returncode}"), said


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.signals")
    parser.add_argument("--warm", type=int, default=300)
    parser.add_argument("--cold", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw, wrong = random.Random(options.seed), 0
    warm = os.environ.get("RATEL_CACHE", "")
    for kind, count in (("warm", options.warm), ("cold", options.cold)):
        counts: Counter[str] = Counter()
        for _ in range(count):
            name = draw.choice(list(COMMANDS))
            number = draw.choice(list(STATUS))
            # Half of them in the first second, while all is loaded.
            most = draw.choice([1.0, WARM if kind == "warm" else COLD])
            delay, cache = draw.uniform(0, most), warm
            if kind == "cold":
                cache = tempfile.mkdtemp()
            began = time.monotonic()
            found, said = ending(name, number, delay, cache)
            if kind == "cold":
                shutil.rmtree(cache, ignore_errors=True)
            counts[found] += 1
            if found not in ("ended", "done", "done before", "before the first line"):
                wrong += 1
                print(f"{kind}, {name}, {number.name} after {delay:.3f} s: {found}\n{said}", flush=True)
            elif time.monotonic() - began - delay > 5:
                counts["of these, later than 5 s"] += 1
        print(f"{kind}: {count}: " + ", ".join(f"{held} {words}" for words, held in counts.most_common()), flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
