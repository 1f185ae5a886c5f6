"""From text, or from its nodes, to Program."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from assembler.checks import read_checks
from assembler.declarations import Declarations
from assembler.expand import Expander, Stop
from assembler.files import Folder
from assembler.lint import lint
from assembler.multipliers import Pool
from assembler.placement import place
from assembler.resolve import Resolver
from assembler.scales import Scales
from assembler.symbols import Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, Report, Span, TooMany, issue
from assembler.syntax.parser import parse
from assembler.syntax.source import SourceFile
from isa.chip import DEFAULT_CHIP, Chip, load_chip
from isa.diagnostic import Place
from isa.encoding import DESCRIPTOR, WORD_BYTES
from isa.files import hash_of, name_of
from isa.program import Assembly, Core, Program, Segment
from isa.synchronisation import check_synchronisation

MAX_DISTINCT_OPERANDS = 65535


def assemble(text: str, path: str | Path | None = None, chip: Chip | None = None, *, strict: bool = False) -> Program:
    """Return the program that a text means.

    Files that it names are looked for in the folder of `path` (the current one where None), which also gives the
    program its name. `chip` takes the place of the text's own. Raises AssemblyError with all that is wrong. What is
    odd is issued as AssemblyWarning, or raised too where `strict`.
    """
    done = assemble_for(text, path, chip)
    issue(done.warnings, strict)
    return done.program


def assemble_for(
    text: str,
    path: str | Path | None = None,
    chip: Chip | None = None,
    changes: Mapping[str, Any] | None = None,
    held: Mapping[str, Any] | None = None,
) -> Assembly:
    """Return the program that a text means, for its own chip, with `changes`, or for `chip`, and what is odd about it.

    `held` are tensors in memory that stand for the .npy files of these names.
    Raises ChipError for changes that are not possible, and as `assemble` does.
    """
    given = Path(path) if path is not None else None
    named = name_of(given) if given else ""
    source = SourceFile(named or "<text>", text)
    report = Report(source.name)
    name = Path(named).stem if named else "program"
    if given is None and re.fullmatch(r'[^\n;"]+\.npu\s*', text):
        help = "this looks like a file's name: give its text, and the name as the second argument"
        report.error("E313", source.span(1, 0, len(text)), "the program does not end", "", help)
        report.raise_if_any()
    names, folder = Names(report), Folder(given.parent if given else Path(), held or {})
    if named:
        folder.hashes[source.path] = hash_of(text.encode("utf-8", "surrogatepass"))
    statements = Expander(names, folder).unfold(source.path, parse(source, report))
    return _assemble(statements, source.span(1, 0, 0), names, folder, name, chip, changes or {})


def assemble_nodes(
    statements: Iterable[nodes.Statement], report: Report, chip: Chip | None, held: Mapping[str, Any]
) -> Assembly:
    """Return the program that statements mean, however many they are; the last is an `end`.

    `chip` and `held` are as in `assemble_for`. Raises AssemblyError with all that is wrong.
    """
    names, folder, start = Names(report), Folder(Path(), held), Span(report.main, 1, 1, 1, "")
    unfolded = Expander(names, folder, most=inf).unfold(report.main, statements)
    return _assemble(unfolded, start, names, folder, "program", chip, {})


def _assemble(
    statements: Iterable[tuple[nodes.Statement, Scope]],
    start: Span,
    names: Names,
    folder: Folder,
    name: str,
    given: Chip | None,
    changes: Mapping[str, Any],
) -> Assembly:
    """Return the program, and what is odd about it; raise AssemblyError with all that is wrong."""
    done = None
    with suppress(TooMany):
        done = _resolve(statements, start, names, folder, name, given, changes)
    names.report.raise_if_any()
    assert done is not None
    return Assembly(done, names.report.warnings)


def _resolve(
    statements: Iterable[tuple[nodes.Statement, Scope]],
    start: Span,
    names: Names,
    folder: Folder,
    name: str,
    given: Chip | None,
    changes: Mapping[str, Any],
) -> Program | None:
    """Return the program; None where something was wrong before its size could be known."""
    report, declarations, listing = names.report, Declarations(names, folder), _Listing(start)
    with suppress(Stop):
        for statement, scope in statements:
            _declare(statement, scope, declarations, names, listing)
    chip = given or (declarations.chip or load_chip(DEFAULT_CHIP)).replace(**changes)
    ends = place(declarations, chip)
    held = declarations.read_data()
    explicit = declarations.word(".scales", "automatic") == "explicit"
    pools = [Pool(end) for end in ends]
    scales = Scales(names)
    resolvers = [Resolver(names, None if explicit else pool, scales) for pool in pools]
    for core, resolver in enumerate(resolvers):
        names.enter(core)
        for instruction, scope in listing.instructions[core]:
            _guarded(instruction, scope, resolver)
        resolver.finish(listing.last(core))
    checks = read_checks(declarations)
    if report.found:
        return None
    _check_cores(names, resolvers, listing, chip)
    cores = []
    for core, (resolver, pool, (symbols, segments)) in enumerate(zip(resolvers, pools, held, strict=True)):
        if pool.data:
            segments.append(Segment("cb", pool.start, bytes(pool.data)))
        _check_sizes(resolver, pool, chip, listing.last(core), report)
        cores.append(Core(tuple(resolver.code), tuple(resolver.lines), tuple(segments), tuple(symbols)))
    if not report.found:
        lint(declarations, resolvers, declarations.tasks)
    files = dict.fromkeys(line.file for core in cores for line in core.lines)
    return Program(
        declarations.word(".name", name),
        chip,
        declarations.word(".order", "hardware"),  # type: ignore[arg-type]
        tuple(cores),
        tuple(checks),
        declarations.tasks,
        tuple(names.synchronisers["semaphore"]),
        tuple(names.synchronisers["barrier"]),
        tuple((file, folder.hashes[file]) for file in files if file in folder.hashes),
    )


class _Listing:
    """The instructions of each core, kept until all tensors have their place; `sections` says where each begins."""

    def __init__(self, start: Span) -> None:
        self.instructions: list[list[tuple[nodes.Instruction | nodes.Broken, Scope]]] = [[]]
        self.sections: list[Span] = [start]

    def open(self, span: Span, first: bool) -> None:
        """Begin the section of a core; the first takes what stood before it."""
        if first:
            self.sections = [span]
        else:
            self.instructions.append([])
            self.sections.append(span)

    def last(self, core: int) -> Span:
        """Return the last instruction of a core, or where its section begins."""
        return self.instructions[core][-1][0].span if self.instructions[core] else self.sections[core]


def _check_cores(names: Names, resolvers: Sequence[Resolver], listing: _Listing, chip: Chip) -> None:
    """Report semaphores and barriers that do not pair up, and more cores, semaphores or barriers than the chip has."""
    report, declared = names.report, names.synchronisers
    for kind, spans in (
        ("core", listing.sections),
        ("semaphore", list(declared["semaphore"].values())),
        ("barrier", list(declared["barrier"].values())),
    ):
        most = chip["chip.cores" if kind == "core" else f"sync.{kind}s"]
        if len(spans) > most:
            message = f"{chip.name} has {most} {kind}{'' if most == 1 else 's'}, but the program {len(spans)}"
            report.error("E804", spans[most], message, "one too many")

    def span_of(place: Place) -> Span:
        return resolvers[place.core].spans[place.index]

    codes = [resolver.code for resolver in resolvers]
    for problem in check_synchronisation(codes, list(declared["semaphore"]), list(declared["barrier"])):
        notes = [Note(note.message, span_of(note.place)) for note in problem.notes]
        report.error("E803", span_of(problem.place), problem.message, "", problem.help, notes)


def _declare(
    statement: nodes.Statement,
    scope: Scope,
    declarations: Declarations,
    names: Names,
    listing: _Listing,
) -> None:
    """Take a directive at once; keep an instruction until all tensors have their place."""
    try:
        match statement:
            case nodes.Setting():
                declarations.setting(statement, scope)
            case nodes.Tasks():
                declarations.count_tasks(statement, scope)
            case nodes.Constant():
                declarations.constant(statement, scope)
            case nodes.Tensor():
                declarations.tensor(statement, scope)
            case nodes.CoreSection():
                _open(statement, scope, declarations, names, listing)
            case nodes.Synchroniser():
                with suppress(Failed):
                    declarations.synchroniser(statement, scope)
            case nodes.Check():
                declarations.check(statement, scope)
            case nodes.Broken(words=(word, *declared)) if word.startswith("."):
                names.poisoned.update(declared[:1])
                # A section whose number is not known would be confused with others.
                names.report.guessing |= word == ".core"
            case nodes.Instruction() | nodes.Broken():
                listing.instructions[names.core].append((statement, scope))
    except RecursionError:
        _too_deep(statement, scope, names)


def _open(
    statement: nodes.CoreSection, scope: Scope, declarations: Declarations, names: Names, listing: _Listing
) -> None:
    first, before = not names.sections, listing.instructions[0]
    listing.open(statement.span, first)
    with suppress(Failed):
        declarations.core(statement, scope, before[0][0].span if first and before else None)


def _guarded(statement: nodes.Instruction | nodes.Broken, scope: Scope, resolver: Resolver) -> None:
    try:
        if isinstance(statement, nodes.Broken):
            resolver.broken(statement)
        else:
            resolver.instruction(statement, scope)
    except RecursionError:
        _too_deep(statement, scope, resolver.names)


def _too_deep(statement: nodes.Node, scope: Scope, names: Names) -> Failed:
    help = "arguments of macros that hold arguments of macros add up"
    return names.error(scope, "E105", statement.span, "this expression is too deep to follow", "", help)


def _check_sizes(resolver: Resolver, pool: Pool, chip: Chip, last: Span, report: Report) -> None:
    """Report code and multipliers that the chip cannot hold."""
    constants = chip.memory_bytes("cb")
    if pool.data and pool.start + len(pool.data) > constants:
        message = (
            f"cb is full: {len(pool.data):,} bytes of automatic multipliers lie behind {pool.start:,} of constants"
        )
        report.error(
            "E401", last, message, f"{chip.name} has {constants:,} bytes", "scales shared by tensors share a place"
        )
    distinct = {operand for instruction in resolver.code for operand in instruction.operands if operand is not None}
    size = WORD_BYTES * len(resolver.code) + DESCRIPTOR.itemsize * len(distinct)
    help = "hardware loops (`loop NAME, COUNT` ... `brnz NAME`) repeat code without growing it"
    if len(distinct) > MAX_DISTINCT_OPERANDS:
        report.error(
            "E405",
            last,
            f"the code has {len(distinct):,} distinct operands",
            f"expected {MAX_DISTINCT_OPERANDS:,}",
            help,
        )
    elif size > chip["memory.ib_bytes"] and not chip.fetches:
        message = (
            f"the code takes {size:,} bytes: {len(resolver.code):,} instructions of {WORD_BYTES}, "
            f"{len(distinct):,} operands of {DESCRIPTOR.itemsize}"
        )
        help = f"{help}; {chip.name} does not fetch code from device memory, as others do"
        report.error(
            "E405", last, message, f"the instruction buffer of {chip.name} has {chip['memory.ib_bytes']:,}", help
        )
