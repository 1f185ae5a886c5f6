"""What fuzzers make, one case after another, and what has to be true of each.

`case(chance)` draws a case, a text or bytes; `run(case)` returns in a word how it went, and raises where the rule is
broken: any exception but the declared error, and what an assertion says of results. A case runs in a folder of its
process's own, with a tensor and an include in it. `words` has what things are changed into. `faults` are no fuzzer but
all that can go wrong with one.
"""

from importlib import import_module
from typing import Any

FUZZERS = {
    "texts": "texts.Texts",
    "objects": "objects.Objects",
    "chips": "chips.Chips",
    "tensors": "tensors.Tensors",
    "commands": "commands.Commands",
    "fmt": "forms.Forms",
    "faults": "faults.Faults",
}
# What is run where nothing is asked for.
USUAL = [what for what in FUZZERS if what != "faults"]


def make(what: str) -> Any:
    """Return the fuzzer of a kind; what the others would load is not loaded."""
    stem, name = FUZZERS[what].split(".")
    return getattr(import_module(f"{__name__}.{stem}"), name)()
