"""Show how long a token of a language model takes: on zhenwu810e, and at least on four GPUs.

python -m programs.qwen qwen2.5-7b [--context 576] [-o qwen.npo]
"""

import argparse
import sys
from pathlib import Path

import ratel
from programs.qwen.decoder import decoder
from programs.qwen.shapes import SHAPES

DONE, FAILED = 0, 1
CHIP, GPUS = "zhenwu810e", ("h20", "a800", "biren104", "metax")


def line(name: str, seconds: float, what: str, sign: tuple[str, str] = ("", "")) -> str:
    """Return a line of the table, with what `what` says of its numbers."""
    return f"{name:12} {sign[0]:>2} {seconds * 1e3:8.3f} {sign[1]:>4} {1 / seconds:8.1f}   {what}"


def bounded(program: ratel.Program, chip: str) -> str:
    """Return the line of a chip of bounds."""
    try:
        found = ratel.bounds(program, chip)
    except ratel.Trap as error:
        return f"{chip:12} {str(error).splitlines()[0]}"
    if "device memory" in found.unknown or found.seconds is None:
        return f"{chip:12} how fast its memory is, is not public"
    return line(chip, found.seconds, f"a bound, by {found.limit}", (">=", "<="))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.qwen", description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("--context", type=int, default=576, metavar="N", help="tokens with it (default: %(default)s)")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE.npo", help="keep the program, for `ratel time`")
    options = parser.parse_args()
    try:
        program = decoder(SHAPES[options.model], CHIP, options.context)
        if options.output:
            program.save(options.output)
        timeline = ratel.time(program)
        rows = [line(CHIP, timeline.seconds, "scheduled"), *(bounded(program, chip) for chip in GPUS)]
    except ratel.RatelError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    weights = sum(symbol.bytes for _, symbol in program.of_kind("weight"))
    print(f"{options.model}, {SHAPES[options.model].dtype}, token {options.context}: {weights / 1e9:.2f} GB of weights")
    print(f"{'chip':12}    {'ms':>8}      {'tokens/s':>8}", *rows, sep="\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
