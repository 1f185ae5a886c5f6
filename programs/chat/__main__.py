"""Let the character model go on with a text.

python -m programs.chat "The return value is"
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import ratel

DONE, FAILED = 0, 1
FOLDER = Path(__file__).parent
CONTEXT = 128


def continued(prompt: str, chip: str | None = None, threads: int = 1) -> tuple[str, ratel.Run]:
    """Return the prompt with what the model goes on with, CONTEXT characters in all, and the run.

    Raises InputError for a prompt that is empty, too long, or has characters that the model has not seen.
    """
    alphabet, source = (FOLDER / "alphabet.txt").read_text(encoding="ascii"), FOLDER / "chat.npu"
    unknown = sorted(set(prompt) - set(alphabet))
    if unknown:
        raise ratel.InputError(f"the model has not seen {', '.join(map(repr, unknown))}", f"it knows {alphabet!r}")
    if not 0 < len(prompt) < CONTEXT:
        raise ratel.InputError(f"the prompt has {len(prompt)} characters", f"give 1 to {CONTEXT - 1}")
    numbers = np.zeros((CONTEXT, 1, 1), np.int32)
    numbers[: len(prompt), 0, 0] = [alphabet.index(character) for character in prompt]
    pick = (np.arange(CONTEXT) < len(prompt)).astype(np.int32)[:, None]
    program = ratel.assemble(source.read_text(encoding="utf-8"), source, chip)
    run = ratel.run(program, {"prompt": numbers, "pick": pick}, threads=threads)
    said = run.outputs["said"][len(prompt) - 1 : CONTEXT - 1, 0, 0]
    return prompt + "".join(alphabet[number] for number in said), run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.chat", description=__doc__.splitlines()[0])
    parser.add_argument("prompt", nargs="?", default="The return value is", help="what the text begins with")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="share large instructions (default: 1)")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        text, run = continued(options.prompt, threads=options.threads)
    except ratel.RatelError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    host = time.perf_counter() - began
    chip = run.cycles / run.plan.chip.cycles_per_second
    print(text)
    print(f"\n{CONTEXT} characters: {1e3 * host:,.0f} ms here, {1e3 * chip:.2f} ms on {run.plan.chip.label}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
