"""Let the character model go on with a text.

python -m programs.chat "The return value is"
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ratel

DONE, FAILED = 0, 1
FOLDER = Path(__file__).parent
CONTEXT = 128


def numbers_of(prompt: str) -> list[int]:
    """Return the characters of a prompt by number.

    Raises InputError for a prompt that is empty, too long, or has characters that the model has not seen.
    """
    alphabet = (FOLDER / "alphabet.txt").read_text(encoding="ascii")
    unknown = sorted(set(prompt) - set(alphabet))
    if unknown:
        raise ratel.InputError(f"the model has not seen {', '.join(map(repr, unknown))}", f"it knows {alphabet!r}")
    if not 0 < len(prompt) < CONTEXT:
        raise ratel.InputError(f"the prompt has {len(prompt)} characters", f"give 1 to {CONTEXT - 1}")
    return [alphabet.index(character) for character in prompt]


def continued(prompt: str, threads: int = 1) -> Iterator[str]:
    """Yield what the model goes on with, character by character, until there are CONTEXT with the prompt.

    Raises InputError as `numbers_of` does.
    """
    alphabet, numbers = (FOLDER / "alphabet.txt").read_text(encoding="ascii"), numbers_of(prompt)
    with ratel.Session(program(), tasks=CONTEXT, threads=threads) as session:
        for place in range(CONTEXT - 1):
            given = numbers[place] if place < len(prompt) else 0
            inputs = {"prompt": np.array([[given]], np.int32), "pick": np.array([place < len(prompt)], np.int32)}
            said = session.run(inputs, task=place).outputs["said"]
            if place >= len(prompt) - 1:
                yield alphabet[int(said[0, 0])]


def program() -> ratel.Program:
    """Return the program, assembled."""
    source = FOLDER / "chat.npu"
    return ratel.assemble(source.read_text(encoding="utf-8"), source)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.chat", description=__doc__.splitlines()[0])
    parser.add_argument("prompt", nargs="?", default="The return value is", help="what the text begins with")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="share large instructions (default: 1)")
    options = parser.parse_args()
    try:
        began, shown = 0.0, 0
        for character in continued(options.prompt, options.threads):
            if not shown:
                began = time.perf_counter()
                print(options.prompt, end="")
            print(character, end="", flush=True)
            shown += 1
    except ratel.RatelError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    host = (shown - 1) / max(time.perf_counter() - began, 1e-9)
    timed = ratel.time(program(), tasks=CONTEXT)
    chip = CONTEXT * timed.plan.chip.cycles_per_second / timed.cycles
    print(f"\n\n{host:,.0f} characters a second here, {chip:,.0f} on {timed.plan.chip.label}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
