"""Gives the tensors that a program declares their addresses."""

from collections.abc import Sequence
from dataclasses import replace

from assembler import layout
from assembler.declarations import Declarations, Declared
from assembler.symbols import Names
from assembler.syntax.diagnostics import Note
from isa.chip import Chip
from isa.operand import SHARED, region

CODES = {"beyond": "E404", "full": "E401", "overlap": "E402", "lacking": "E403", "align": "E404", "base": "E404"}


def place(declarations: Declarations, chip: Chip) -> list[int]:
    """Give every tensor its address; report what does not fit the chip.

    Returns where the constants of each core end.
    """
    ends = [0] * declarations.names.cores
    regions: dict[tuple[int, str], list[int]] = {}
    for k, declared in enumerate(declarations.declared):
        regions.setdefault(region(declared.core, declared.symbol.memory), []).append(k)
    for (core, memory), held in regions.items():
        end = _place(declarations, held, memory, chip)
        if memory == "cb":
            ends[core] = end
    return ends


def _place(declarations: Declarations, held: Sequence[int], memory: str, chip: Chip) -> int:
    """Place the tensors of one memory, and return where they end; `held` are their positions among all."""
    names = declarations.names

    def called(core: int, key: str) -> str:
        return f"core{core}.{key}" if memory in SHARED and names.sections and key else key

    by_name = {called(d.core, d.key): d for d in (declarations.declared[k] for k in held)}
    requests = [
        layout.Request(
            name,
            memory,
            d.symbol.buffers * d.symbol.bytes,
            d.symbol.dtype.bytes,
            d.at,
            called(d.core, d.base),
            _held(d, names),
        )
        for name, d in by_name.items()
    ]
    found = layout.place(requests, {memory: chip.memory_bytes(memory)}, chip.name)
    for problem in found.problems:
        declared = by_name[problem.place]
        declarations.misplaced.add((declared.core, declared.key))
        notes = [Note(note.message, by_name[note.place].statement.name.span) for note in problem.notes]
        code = CODES[problem.code]
        span = declared.statement.name.span if code in ("E401", "E403") else declared.at_span
        names.error(declared.scope, code, span, problem.message, "", problem.help, *notes)
    for k, name in zip(held, by_name, strict=True):
        declared = declarations.declared[k]
        declared = replace(declared, symbol=replace(declared.symbol, address=found.addresses.get(name, 0)))
        declarations.declared[k] = declarations.by_name[declared.core, declared.key] = declared
        if declared.kind != "data":
            names.of_core(declared.core).tensors[declared.key] = declared.symbol
    return found.ends[memory]


def _held(declared: Declared, names: Names) -> str:
    """Return what a tensor holds at first, as the layout wants to know it."""
    if declared.kind == "input":
        return "input"
    data = declared.statement.data
    if declared.kind in ("weight", "const") and data is not None and not names.is_none(data, declared.scope):
        return "constant"
    return ""
