"""`ratel chips` and `manual`: what can be looked up."""

import argparse
import sys

from isa.chip import chip_names, load_description, toml_of
from isa.errors import RatelError
from isa.suggest import did_you_mean
from ratel.cli.options import DONE, Declare, UsageError, overrides


def declare(command: Declare) -> None:
    """Declare chips and manual, each with its options."""
    sub = command("chips", show_chips, "show the chips, or one in full with its sources")
    sub.add_argument("name", nargs="?", metavar="NAME|FILE.toml")
    sub.add_argument("--toml", action="store_true", help="print it as a file, to start one of your own from")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of it")

    sub = command("manual", print_manual, "print the manual, or a section of it")
    sub.add_argument("name", nargs="?", metavar="NAME", help="an instruction (conv) or a chapter (chain, cores, tasks)")


def show_chips(options: argparse.Namespace) -> int:
    from ratel.show.chips import print_chip, print_chips

    if options.name is None and (options.toml or options.set):
        raise UsageError("--toml and --set are of one chip: name it")
    if options.name:
        chip = load_description(options.name, **overrides(options.set))
        if options.toml:
            sys.stdout.write(toml_of(chip))
        else:
            print_chip(chip)
    else:
        print_chips([load_description(name) for name in chip_names()])
    return DONE


def print_manual(options: argparse.Namespace) -> int:
    from isa.manual import chapters, manual, section
    from isa.rows_tensor import CHAIN_ATTRIBUTES
    from isa.table import MNEMONICS
    from ratel.show.tables import print_markdown

    name, texts = options.name, chapters()
    words = {word for spec in CHAIN_ATTRIBUTES for word in spec.words}
    if name is None:
        print_markdown(manual())
    elif name in MNEMONICS:
        print_markdown(section(name))
    elif name in texts:
        print_markdown(texts[name])
    elif name in words:
        raise RatelError(f"{name!r} is no instruction but a word of the tensor engine's", "see `ratel manual chain`")
    else:
        known = f"instructions: {', '.join(MNEMONICS)}; chapters: {', '.join(texts)}"
        help = did_you_mean(name, [*MNEMONICS, *texts], known)
        raise RatelError(f"the manual has no section {name!r}", help)
    return DONE
