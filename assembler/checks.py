"""Reads `.check`: which output is checked, how, and what is expected of it."""

from contextlib import suppress
from math import prod

from assembler.data import MAX_BYTES, Reader
from assembler.declarations import Declarations, article
from assembler.expressions import Evaluator
from assembler.symbols import Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, listed
from isa.program import CHECK_BOUNDS, CHECK_KINDS, Check, Symbol
from isa.suggest import did_you_mean

# The setting that each kind of check takes for its bound.
BOUND_NAMES = {"top1": "min", "within": "atol", "exact": ""}


def read_checks(declarations: Declarations) -> list[Check]:
    """Return the checks that a program declares, with what they expect."""
    checks = []
    for core, statement, scope in declarations.checks:
        declarations.names.enter(core)
        with suppress(Failed):
            checks.append(_read_check(statement, scope, declarations))
    return checks


def _read_check(statement: nodes.Check, scope: Scope, declarations: Declarations) -> Check:
    names, tasks = declarations.names, declarations.tasks
    evaluator = Evaluator(names, scope)
    output = names.named(statement.output, scope)
    symbol = _checked(output, scope, declarations)
    kind = statement.kind
    if kind.text not in CHECK_KINDS:
        help = did_you_mean(kind.text, CHECK_KINDS, "top1 compares classes, exact all bits, within a tolerance")
        label = f"expected {listed(CHECK_KINDS)}"
        raise evaluator.error("E207", kind, f"`{kind.text}` is no check", label, help)
    bound, source = _settings(statement, evaluator)
    reader = Reader(evaluator, declarations.folder)
    node, _ = names.follow(statement.data, scope)
    if isinstance(node, nodes.Text) and source is None:
        source = node.value
    shape = symbol.host_shape if tasks == 1 else (tasks, *symbol.host_shape)
    if kind.text == "top1":
        expected = reader.labels(statement.data, prod(shape[:-1]), shape[:-1])
    else:
        size = tasks * symbol.bytes
        if size > MAX_BYTES:
            raise evaluator.error("E506", output, f"{size:,} bytes to compare", "")
        expected = reader.tensor(statement.data, symbol.dtype, shape)
    return Check(symbol.name, kind.text, bound, source or "", expected)  # type: ignore[arg-type]


def _checked(output: nodes.Word, scope: Scope, declarations: Declarations) -> Symbol:
    """Return the output that a check names."""
    # Names of outputs are unique over all cores; any other tensor of that name is meant by mistake.
    named = [d.symbol for d in declarations.declared if d.kind != "data" and d.key == output.text]
    symbol = min(named, key=lambda symbol: symbol.kind != "output", default=None)
    if symbol is None or output.text in declarations.names.poisoned:
        raise declarations.names.unknown(output.text, output.span, scope, "an output")
    if symbol.kind != "output":
        label = f"expected an output; this is {article(symbol.kind)}"
        spans = [d.statement.name.span for d in declarations.declared if d.symbol is symbol]
        note = Note("it is declared here", spans[0])
        message = f"`{symbol.name}` cannot be checked"
        raise declarations.names.error(scope, "E603", output.span, message, label, "", note)
    return symbol


def _settings(statement: nodes.Check, evaluator: Evaluator) -> tuple[float, str | None]:
    """Return the bound of a check, and its source where it is given."""
    kind = statement.kind.text
    name, (low, high) = BOUND_NAMES[kind], CHECK_BOUNDS[kind]
    bound, source = None, None
    for setting in statement.settings:
        word, value = setting.keyword, setting.value
        assert not isinstance(value, nodes.Word)
        if word.text == "source" and isinstance(value, nodes.Text):
            source = value.value
        elif word.text == name and bound is None:
            bound = float(evaluator.constant(value))
            if not low <= bound <= high:
                label = f"expected {low:g} to {high:g}"
                help = "the share of rows that must be right: 0.98 for 98 %" if kind == "top1" else ""
                raise evaluator.error("E603", value, f"`{name}` is {bound:g}", label, help)
        elif word.text == name:
            raise evaluator.error("E603", setting, f"`{name}` is given twice", "once is enough")
        else:
            help = f"write {kind} ... {name}=NUMBER" if name else "exact compares bit for bit and takes no bound"
            raise evaluator.error("E603", setting, f"a check `{kind}` has no `{word.text}`", "", help)
    if bound is None and name:
        help = "the share of rows that must be right" if kind == "top1" else "the greatest difference that is right"
        raise evaluator.error("E603", statement.kind, f"the check lacks `{name}`", f"expected `{name}=NUMBER`", help)
    return bound or 0.0, source
