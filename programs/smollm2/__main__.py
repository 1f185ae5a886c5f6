"""Let SmolLM2-135M-Instruct go on with a text, or answer a question, on the emulated chip.

python -m programs.smollm2 "The capital of France is"
python -m programs.smollm2 --ask "Why is the sky blue?" --tokens 60
"""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

import ratel
from programs.smollm2 import model as smollm2
from programs.smollm2.decoder import decoder

DONE, FAILED = 0, 1


def continued(tokens: list[int], most: int, program: ratel.Program, threads: int = 1) -> Iterator[int]:
    """Yield what the model goes on with, token by token, `most` at most; it ends with an answer's end.

    Raises InputError where the context has not so many.
    """
    context = program.tasks
    if not 0 < len(tokens) <= context - most:
        raise ratel.InputError(f"{len(tokens)} tokens, and {most} more", f"together there may be 1 to {context}")
    with ratel.Session(program, threads=threads) as session:
        token = tokens[0]
        for place in range(len(tokens) + most - 1):
            said = int(session.run({"given": np.array([token], np.int32)}, task=place).outputs["token"][0, 0])
            token = tokens[place + 1] if place + 1 < len(tokens) else said
            if place + 1 >= len(tokens):
                if said == smollm2.END:
                    return
                yield said


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.smollm2", description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", default="The capital of France is", help="what to go on with")
    parser.add_argument("--ask", action="store_true", help="take the text for a question")
    parser.add_argument("--tokens", type=int, default=24, metavar="N", help="as many at most (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="share large instructions (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dense", action="store_true", help="weights as f16, not in the groups that the file has")
    form.add_argument("--int8", action="store_true", help="weights and what they multiply as i8, with scales")
    options = parser.parse_args()
    try:
        tokenizer, text = smollm2.tokenizer(), options.text
        tokens = tokenizer.encode(smollm2.conversation(text) if options.ask else text).ids
        program = decoder(smollm2.load(), form="int8" if options.int8 else "dense" if options.dense else "groups")
        found: list[int] = []
        shown, began = "" if options.ask else text, 0.0
        print(shown, end="", flush=True)
        for token in continued(tokens, options.tokens, program, options.threads):
            began = began or time.perf_counter()
            found.append(token)
            # Some characters take several tokens.
            whole = tokenizer.decode(found if options.ask else [*tokens, *found])
            if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
                print(whole[len(shown) :], end="", flush=True)
                shown = whole
    except ratel.RatelError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    seconds = time.perf_counter() - began
    chip = program.chip.cycles_per_second / ratel.time(program, tasks=1).cycles
    rate = f"{(len(found) - 1) / seconds:.1f}" if len(found) > 1 else "-"
    print(f"\n\n{len(found)} tokens: {rate} a second here, {chip:,.0f} on {program.chip.label}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
