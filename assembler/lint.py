"""What is odd about a program that is right: data that nothing reads, what is held is written, tensors in one place.

By the bytes that operands can reach over all iterations, between their first and their last: more than they do reach,
so that nothing is said of what may be read.
"""

from collections.abc import Iterator, Sequence

from assembler.declarations import Declarations, Declared
from assembler.resolve import Resolver
from assembler.syntax.diagnostics import Note, Span
from isa.intervals import Interval, meets, union
from isa.loops import trips_at
from isa.operand import region

Region = tuple[int, str]


def lint(declarations: Declarations, resolvers: Sequence[Resolver], tasks: int) -> None:
    """Warn of what is odd in a program without errors."""
    reads: dict[Region, list[Interval]] = {}
    written: dict[int, list[tuple[Interval, Span]]] = {}
    for core, resolver in enumerate(resolvers):
        trips = trips_at(resolver.code, tasks)
        for instruction, counts, span, outs in zip(resolver.code, trips, resolver.spans, resolver.outs, strict=True):
            results = iter(outs)
            for kind, operand in instruction.accesses():
                if kind != "write":
                    where = region(core if operand.core is None else operand.core, operand.memory)
                    reads.setdefault(where, []).append(operand.extent(counts))
                elif (out := next(results)) is not None:
                    written.setdefault(id(out), []).append((operand.extent(counts), span))
    for declared in declarations.declared:
        if declared.kind == "output":
            where = region(declared.core, declared.symbol.memory)
            reads.setdefault(where, []).append((declared.symbol.address, declared.symbol.end))
    _unread(declarations, {where: union(held) for where, held in reads.items()})
    _written(declarations, written)
    for kind in ("input", "output"):
        _together(declarations, kind, written)


def _unread(declarations: Declarations, reads: dict[Region, list[Interval]]) -> None:
    """Warn of data that no instruction reads, and no output has; what is included may be for other programs."""
    names = declarations.names
    for declared in declarations.declared:
        symbol, span = declared.symbol, declared.statement.name.span
        # What a Builder declares has no file yet.
        if declared.kind not in ("input", "weight", "const") or span.file not in ("", names.report.main):
            continue
        if not meets(reads.get(region(declared.core, symbol.memory), []), symbol.address, symbol.end):
            message = f"nothing reads the {declared.kind.replace('const', 'constant')} `{declared.key}`"
            help = "name it in an instruction, or take it out"
            names.warning(declared.scope, "W403", span, message, "", help)


def _written(declarations: Declarations, written: dict[int, list[tuple[Interval, Span]]]) -> None:
    """Warn of weights and constants that an instruction names as its result."""
    for declared in declarations.declared:
        found = written.get(id(_named(declarations, declared)), []) if declared.kind in ("weight", "const") else []
        if found:
            kind = declared.kind.replace("const", "constant")
            help = (
                f"is it meant to be read? a {kind} is set up once, before the first task; what changes is a `.local`, "
                f"and one that begins as this {kind} a view of it: `.local NAME TYPE[SHAPE] at {declared.key}`"
            )
            note = Note("it is declared here", declared.statement.name.span)
            message = f"the {kind} `{declared.key}` is written"
            declarations.names.warning(declared.scope, "W402", found[0][1], message, "", help, note)


def _together(declarations: Declarations, kind: str, written: dict[int, list[tuple[Interval, Span]]]) -> None:
    """Warn of inputs that share bytes, and of outputs that share bytes which both are written to by name."""
    reaches: dict[Region, list[tuple[Interval, Declared]]] = {}
    for declared in declarations.declared:
        if declared.kind == kind:
            symbol = declared.symbol
            taken: Iterator[Interval] = iter([(symbol.address, symbol.end)])
            if kind == "output":
                taken = (reach for reach, _ in written.get(id(_named(declarations, declared)), []))
            where = region(declared.core, symbol.memory)
            reaches.setdefault(where, []).extend((reach, declared) for reach in taken)
    for held in reaches.values():
        last: tuple[Interval, Declared] | None = None
        told: set[tuple[int, str]] = set()
        for (low, high), declared in sorted(held, key=lambda one: one[0]):
            key = declared.core, declared.key
            if last and last[1] is not declared and last[0][1] > low and key not in told:
                told.add(key)
                _share(declarations, kind, declared, last[1])
            if last is None or high > last[0][1]:
                last = (low, high), declared


def _share(declarations: Declarations, kind: str, declared: Declared, other: Declared) -> None:
    other, declared = sorted((declared, other), key=lambda one: (one.at_span.line, one.at_span.column))
    what = "what is moved into one" if kind == "input" else "what is written to one"
    message = f"the {kind}s `{other.key}` and `{declared.key}` share bytes: {what} overwrites the other"
    help = f"place `{declared.key}` elsewhere: without `at` it gets bytes of its own"
    note = Note(f"`{other.key}` is declared here", other.statement.name.span)
    declarations.names.warning(declared.scope, "W401", declared.at_span, message, "", help, note)


def _named(declarations: Declarations, declared: Declared) -> object:
    """Return the symbol that instructions name a tensor by."""
    return declarations.names.of_core(declared.core).tensors.get(declared.key)
