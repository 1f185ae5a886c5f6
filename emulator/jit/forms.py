"""The forms of integer products: a set of vector instructions each, of which a host has some, and its register tile."""

import os
from functools import cache
from typing import NamedTuple

from llvmlite import binding

from emulator.jit.numba_private import config
from isa.errors import InputError


class Tile(NamedTuple):
    """A register tile: lines x (vectors of so many 32-bit lanes), of elements of so many bytes."""

    rows: int
    vectors: int
    lanes: int
    element: int


# The fastest first, and the host's features that each needs.
FORMS = {
    "vnni": ("avx512vnni",),
    "avxvnni": ("avxvnni",),
    "avx512": ("avx512bw",),
    "avx2": ("avx2",),
    "portable": (),
}
# In which there is an instruction for products of bf16 beside: a host has it or not.
DOT_FORM = "vnni"
TILES = {
    "vnni": Tile(14, 2, 16, 1),
    "avxvnni": Tile(6, 2, 8, 1),
    "avx512": Tile(14, 2, 16, 2),
    "avx2": Tile(6, 2, 8, 2),
    "portable": Tile(4, 4, 4, 2),
}


def _features() -> set[str]:
    """Return the features of the host that code is compiled for."""
    given = config().CPU_FEATURES
    if given is None:
        return {name for name, has in binding.get_host_cpu_features().items() if has}
    return {name[1:] for name in given.split(",") if name.startswith("+")}


def possible_forms() -> list[str]:
    """Return the forms of products that this host can compute, the fastest first."""
    features = _features()
    # Hosts whose vectors of 512 bits have the instruction have it for 256 too.
    if {"avx512vnni", "avx512vl"} <= features:
        features.add("avxvnni")
    return [form for form, needed in FORMS.items() if features.issuperset(needed)]


@cache
def chosen_form() -> str:
    """Return the form of products to compile; raise InputError where $RATEL_PRODUCTS is none that this host has."""
    possible = possible_forms()
    wanted = os.environ.get("RATEL_PRODUCTS") or possible[0]
    if wanted not in possible:
        what = "this computer lacks the instructions" if wanted in FORMS else "there is no such form of products"
        help = f"leave the variable out, or use one of: {', '.join(possible)}"
        raise InputError(f"RATEL_PRODUCTS={wanted}: {what}", help)
    return wanted


@cache
def has_dot() -> bool:
    """Return whether the host has the instruction for pairs of bf16, in the form that it comes with.

    Code of that form has it in any case: a row says whether it may be reached (emulator/kernels/table.py), so that what
    is compiled, and shipped, is the same for hosts that lack it.
    """
    return chosen_form() == DOT_FORM and "avx512bf16" in _features()
