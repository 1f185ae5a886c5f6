"""Targets: kinds of processors that objects are built for ahead (emulator/ship.py), to be shipped in a wheel.

A host uses those of the first target that it has all features of, if it computes products in the same form. They lie in
a folder named after all that they are made of, so of other sources, or for another numba, they are not found.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from llvmlite import binding

from emulator.jit.cache import ROOT, hash_of
from emulator.jit.forms import chosen_form
from emulator.jit.numba_private import config, is_known

SHIPPED = ROOT / "emulator" / "shipped"


class Target(NamedTuple):
    """What LLVM calls a level of processors, the features that it needs of a host, and the form of its products."""

    processor: str
    features: tuple[str, ...]
    form: str


_V3 = ("sse4.2", "popcnt", "cx16", "sahf", "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, *(f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")))
# The fastest first: levels of https://gitlab.com/x86-psABIs/x86-64-ABI, the instructions for products beside.
TARGETS = {
    "x86-64-v4-vnni": Target("x86-64-v4", (*_V4, "avx512vnni"), "vnni"),
    "x86-64-v3-vnni": Target("x86-64-v3", (*_V3, "avxvnni"), "avxvnni"),
    "x86-64-v4": Target("x86-64-v4", _V4, "avx512"),
    "x86-64-v3": Target("x86-64-v3", _V3, "avx2"),
}
# Options of numba that a target stands for.
PROCESSOR = "CPU_NAME", "CPU_FEATURES"


@cache
def shipped() -> Path | None:
    """Return where objects for this host were shipped; None where there are none, or it compiles for itself."""
    if not SHIPPED.is_dir() or not is_known() or any(getattr(config(), name) for name in PROCESSOR):
        return None
    has = {name for name, has in binding.get_host_cpu_features().items() if has}
    for name, target in TARGETS.items():
        if has.issuperset(target.features) and target.form == chosen_form():
            folder = folder_of(name)
            return folder if folder.is_dir() else None
    return None


def folder_of(target: str) -> Path:
    """Return where objects for a target lie, made of the present sources by the present numba."""
    return SHIPPED / hash_of({"target": f"{target} {binding.get_process_triple()}"}, without=PROCESSOR)
