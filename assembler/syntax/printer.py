"""From syntax nodes to text: the parser the other way, for the statements that a Builder makes."""

from json import dumps

from assembler.syntax import nodes
from isa.row import WAIT_LETTERS
from isa.verify_program import NAME

SPACED = {"+", "-", "%"}
SUMS = {"+", "-"}
# What lies deeper the parser judges: it counts all brackets of a line.
SURE_DEPTH = 8


def printed(statement: nodes.Statement) -> str:
    """Return a statement as the line of text that is parsed to it."""
    match statement:
        case nodes.Setting():
            return " ".join([statement.keyword, _word(statement.value), *map(_clause, statement.changes)])
        case nodes.Tasks():
            return f".tasks {value(statement.count)}"
        case nodes.CoreSection():
            return f".core {value(statement.number)}"
        case nodes.Synchroniser():
            return f".{statement.kind} {_word(statement.name)}"
        case nodes.Tensor():
            return _tensor(statement)
        case nodes.Include():
            return f".include {statement.path.value}"
        case nodes.Check():
            start = f".check {_word(statement.output)} {_word(statement.kind)} {value(statement.data)}"
            return " ".join([start, *map(_clause, statement.settings)])
    assert isinstance(statement, nodes.Instruction), f"no Builder makes a {type(statement).__name__}"
    waits = f"{statement.waits.text} " if statement.waits else ""
    return f"{waits}{statement.mnemonic.text} {', '.join(map(_argument, statement.arguments))}".rstrip()


def value(node: nodes.Value) -> str:
    """Return a value as text."""
    match node:
        case nodes.Number():
            return node.text
        case nodes.Reference():
            return node.name
        case nodes.Text():
            return dumps(node.value)
        case nodes.Negative():
            return f"-{_factor(node.value)}"
        case nodes.Chain():
            return _chain(node)
        case nodes.Sliced():
            return f"{node.name.text}{_indices(node.indices)}"
        case nodes.Raw():
            strides = f" strides {value(node.strides)}" if node.strides else ""
            stored = f" stored={value(node.stored)}" if node.stored else ""
            place = f"in {_word(node.memory)} at {value(node.address)}"
            return f"{_word(node.dtype)}{_indices(node.shape)} {place}{strides}{stored}"
        case nodes.Tuple():
            return f"({', '.join(map(value, node.items))})"
        case nodes.List():
            return f"[{', '.join(map(value, node.items))}]"


def _word(word: nodes.Word) -> str:
    return dumps(word.text) if word.quoted else word.text


def _chain(node: nodes.Chain) -> str:
    """Return operators and their operands; a chain without operators is a value in brackets."""
    operand = value if any(operator.text in SUMS for operator, _ in node.rest) else _factor
    text = operand(node.first) if node.rest else value(node.first)
    for operator, right in node.rest:
        space = " " if operator.text in SPACED else ""
        text += f"{space}{operator.text}{space}{operand(right)}"
    return text


def _factor(node: nodes.Value) -> str:
    return f"({value(node)})" if isinstance(node, nodes.Chain) else value(node)


def _indices(indices: tuple[nodes.Value | nodes.Range, ...]) -> str:
    return f"[{', '.join(_range(index) if isinstance(index, nodes.Range) else value(index) for index in indices)}]"


def _range(node: nodes.Range) -> str:
    """Return `start:stop:step`, with spaces around the colons where something is calculated."""
    parts = (node.start, node.stop, node.step)
    wide = node.length or any(part and not isinstance(part, nodes.Number | nodes.Reference) for part in parts)
    first, last, step = ("" if part is None else value(part) for part in parts)
    last = f"+{last}" if node.length else last
    text = f"{first} : {last}" if wide else f"{first}:{last}"
    if node.step is not None:
        text += f" : {step}" if wide else f":{step}"
    return text.strip()


def _tensor(statement: nodes.Tensor) -> str:
    name = "" if statement.kind == "data" else f" {_word(statement.name)}"
    parts = [f".{statement.kind}{name} {_word(statement.dtype)}{value(statement.shape)}"]
    parts += map(_clause, statement.clauses)
    if statement.data is not None:
        parts.append(f"= {value(statement.data)}")
    return " ".join(parts)


def _clause(clause: nodes.Clause) -> str:
    keyword = clause.keyword.text
    content = _word(clause.value) if isinstance(clause.value, nodes.Word) else value(clause.value)
    if keyword in ("in", "at"):
        return f"{keyword} {content}"
    return content if keyword == "compressed" else f"{keyword}={content}"


def _argument(argument: nodes.Argument) -> str:
    content = value(argument.value)
    return f"{argument.name.text}={content}" if argument.name else content


def reads_back(statement: nodes.Statement) -> bool:
    """Whether the text of a statement is sure to be parsed to the same nodes.

    Nodes can hold what no text says, such as a tuple of tuples in a place for a number; of what is not sure here, the
    parser has to be asked.
    """
    match statement:
        case nodes.Setting():
            return _is_plain(statement.value.text) and all(map(_reads_back_clause, statement.changes))
        case nodes.Synchroniser():
            return statement.kind in ("semaphore", "barrier")
        case nodes.Tasks():
            return _is_expression(statement.count)
        case nodes.CoreSection() | nodes.Include():
            return True
        case nodes.Tensor():
            clauses = statement.clauses
            held = statement.data is None or _is_value(statement.data)
            named = _is_plain(statement.name.text)
            return named and held and not statement.dtype.quoted and all(map(_reads_back_clause, clauses))
        case nodes.Check():
            is_kind = NAME.fullmatch(statement.kind.text) is not None
            return (
                is_kind
                and _is_plain(statement.output.text)
                and _is_value(statement.data)
                and all(map(_reads_back_clause, statement.settings))
            )
    assert isinstance(statement, nodes.Instruction)
    waits = statement.waits.text[3:-1] if statement.waits else "t"
    known = len(set(waits)) == len(waits) and WAIT_LETTERS.keys() >= set(waits)
    return known and all(_is_argument(argument.value) for argument in statement.arguments)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _reads_back_clause(clause: nodes.Clause) -> bool:
    if isinstance(clause.value, nodes.Word):
        return not clause.value.quoted
    return _is_expression(clause.value) if clause.keyword.text == "at" else _is_value(clause.value)


def _is_argument(node: nodes.Value) -> bool:
    if not isinstance(node, nodes.Raw):
        return _is_value(node)
    words = not node.dtype.quoted and not node.memory.quoted
    parts = (*node.shape, node.address, *([node.stored] if node.stored else ()))
    return words and bool(node.shape) and all(map(_is_index, parts)) and (not node.strides or _is_value(node.strides))


def _is_value(node: nodes.Value, depth: int = 0) -> bool:
    if isinstance(node, nodes.List):
        return depth < SURE_DEPTH and all(_is_value(item, depth + 1) for item in node.items)
    return _is_plain(node.value) if isinstance(node, nodes.Text) else _is_expression(node, depth)


def _is_expression(node: nodes.Value, depth: int = 0) -> bool:
    match node:
        case nodes.Number() | nodes.Reference():
            return True
        case nodes.Negative():
            return _is_expression(node.value, depth)
        case nodes.Chain():
            operands = (node.first, *(right for _, right in node.rest))
            return depth < SURE_DEPTH and all(_is_expression(operand, depth + 1) for operand in operands)
        case nodes.Sliced():
            return bool(node.indices) and all(map(_is_index, node.indices))
        case nodes.Tuple():
            return len(node.items) > 1 and all(
                not isinstance(item, nodes.Tuple) and _is_expression(item) for item in node.items
            )
    return False


def _is_index(node: nodes.Value | nodes.Range) -> bool:
    if not isinstance(node, nodes.Range):
        return _is_expression(node)
    return all(part is None or _is_expression(part) for part in (node.start, node.stop, node.step))
