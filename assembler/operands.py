"""Operands: slices of tensors by name, and operands that no tensor names."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

from assembler.expressions import Affine, Evaluator, affine
from assembler.symbols import Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, listed
from isa.dtypes import DTYPES
from isa.grouped import FORMS, Form
from isa.operand import MAX_RANK, MEMORIES, SHARED, TASK_COUNTER, Bound, Growth, Operand, Term, extremes, packed_strides
from isa.program import Symbol
from isa.suggest import did_you_mean

# What others call types and memories.
USUAL_TYPES = {
    "int8": "i8",
    "s8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "s16": "i16",
    "int32": "i32",
    "s32": "i32",
    "int": "i32",
    "float32": "f32",
}
USUAL_TYPES |= {"float": "f32", "fp32": "f32", "single": "f32"}
USUAL_TYPES |= {"float16": "f16", "fp16": "f16", "half": "f16", "bfloat16": "bf16"}
USUAL_TYPES |= {"fp8": "e4m3", "float8_e4m3fn": "e4m3", "float8_e4m3": "e4m3", "float8_e5m2": "e5m2"}
USUAL_MEMORIES = {"sram": "lm", "l1": "lm", "local": "lm", "dram": "dev", "ddr": "dev", "hbm": "dev", "const": "cb"}


@dataclass(frozen=True)
class Part:
    """What is taken of one dimension: `count` elements from `start` on, `step` apart; 0 drops the dimension.

    With a negative step `start` is the greatest index. `growth`: modulus of the task, and the step that it grows by.
    """

    start: Affine
    count: int
    step: int
    growth: tuple[int, int] | None = None


@dataclass(frozen=True)
class Given:
    """An operand as given: `symbol` is the tensor that it is taken from, None for a raw one.

    `kept` says for each of its dimensions which one of the symbol's it is, `parts` what is taken of each of those.
    """

    operand: Operand
    symbol: Symbol | None = None
    kept: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()


def operand(names: Names, node: nodes.Value, scope: Scope) -> Given:
    """Return the operand that a value means; raise Failed, reported, where it means none."""
    node, scope = names.follow(node, scope)
    evaluator = Evaluator(names, scope)
    match node:
        case nodes.Reference():
            return _whole(evaluator, node)
        case nodes.Sliced():
            return _sliced(evaluator, node)
        case nodes.Raw():
            return Given(_raw(evaluator, node))
        case nodes.Text():
            help = "declare it with `.weight NAME TYPE[SHAPE] = FILE` and use its name"
            raise evaluator.error("E205", node, "a text stands where a tensor is needed", "expected a tensor", help)
    what = "a tuple" if isinstance(node, nodes.Tuple) else "a list" if isinstance(node, nodes.List) else "a number"
    raise evaluator.error("E205", node, f"{what} stands where a tensor is needed", "expected a tensor")


@dataclass(frozen=True)
class _Found:
    """A tensor, and whose it is: None for the own core, and for what lies in memories that all share."""

    symbol: Symbol
    core: int | None = None


def _found(evaluator: Evaluator, name: str, node: nodes.Node) -> _Found:
    names = evaluator.names
    if "." in name:
        return _of_core(evaluator, name, node)
    if name in names.tensors:
        return _Found(names.tensors[name])
    what = "a constant" if name in names.constants else "a counter" if names.counter(name) is not None else ""
    if what:
        raise evaluator.error("E205", node, f"`{name}` is {what}", "expected a tensor")
    raise names.unknown(name, node.span, evaluator.scope, "a tensor")


def _of_core(evaluator: Evaluator, name: str, node: nodes.Node) -> _Found:
    """Return the tensor that `coreK.NAME` means."""
    core, name = _core_named(evaluator, name, node)
    tensors = evaluator.names.of_core(core).tensors
    if name not in tensors:
        if name in evaluator.names.poisoned or evaluator.names.report.guessing:
            raise Failed
        known = f"tensors of core {core}: {', '.join(tensors) or 'none'}"
        message, label = f"core {core} has no tensor `{name}`", "expected one that its section declares"
        raise evaluator.error("E201", node, message, label, did_you_mean(name, tensors, known))
    symbol = tensors[name]
    return _Found(symbol, None if core == evaluator.names.core or symbol.memory in SHARED else core)


def _core_named(evaluator: Evaluator, name: str, node: nodes.Node) -> tuple[int, str]:
    """Return the parts of `coreK.NAME`; raise Failed, reported, where there is no such core."""
    prefix, _, rest = name.partition(".")
    digits, cores = prefix.removeprefix("core"), evaluator.names.cores
    if len(digits) > 3 or int(digits) >= cores:
        message = f"there is no core {digits}"
        label = f"expected 0 to {cores - 1}" if cores > 1 else "this program has core 0 alone"
        raise evaluator.error("E802", node, message, label, "each core has a section `.core N`")
    return int(digits), rest


def _whole(evaluator: Evaluator, node: nodes.Reference) -> Given:
    found = _found(evaluator, node.name, node)
    symbol = found.symbol
    rank = len(symbol.shape)
    if rank > MAX_RANK:
        label = f"expected at most {MAX_RANK} dimensions: take one buffer of it, as in `{node.name}[0]`"
        raise evaluator.error("E305", node, f"`{node.name}` has {rank} dimensions {list(symbol.shape)}", label)
    return take(symbol, [Part(Affine(0, ()), size, 1) for size in symbol.shape], found.core)


def _sliced(evaluator: Evaluator, node: nodes.Sliced) -> Given:
    """Return a slice: an index drops its dimension, a range keeps it, dimensions not given are whole."""
    name = node.name.text
    binding = evaluator.scope.find(name)
    if binding is not None and binding.node is not None:
        target, scope = evaluator.names.follow(binding.node, binding.scope)
        if isinstance(target, nodes.Sliced | nodes.Raw):
            label = "the parameter stands for a slice: slice it where the macro is called, or here"
            raise evaluator.error("E307", node, f"`{name}` is sliced twice", label)
        if not isinstance(target, nodes.Reference):
            raise evaluator.error("E205", node.name, f"`{name}` stands for no tensor", "expected a tensor")
        found = _found(Evaluator(evaluator.names, scope), target.name, target)
    elif name in DTYPES and name not in evaluator.names.tensors:
        help = "an operand without a name is written `TYPE[SHAPE] in MEMORY at ADDRESS`"
        raise evaluator.error("E205", node, f"`{name}` is a type", "expected a tensor", help)
    else:
        found = _found(evaluator, name, node.name)
    symbol = found.symbol
    if symbol.stored and not symbol.form:
        help = "leave `compressed` out of its declaration, or slice the result"
        raise evaluator.error("E307", node, f"`{name}` is a compressed weight", f"expected `{name}` whole", help)
    if len(node.indices) > len(symbol.shape):
        label = f"`{symbol.name}` has {len(symbol.shape)} dimensions {list(symbol.shape)}"
        raise evaluator.error("E307", node, f"{len(node.indices)} indices are given", label)
    parts: list[Part] = []
    failed = False
    for dimension, size in enumerate(symbol.shape):
        if dimension >= len(node.indices):
            parts.append(Part(Affine(0, ()), size, 1))
            continue
        try:
            parts.append(_index(evaluator, node.indices[dimension], symbol, dimension))
        except Failed:
            failed = True
    if failed:
        raise Failed
    if sum(part.growth is not None for part in parts) > 1:
        raise evaluator.error("E307", node, "two dimensions grow with the task", "expected one at most")
    left = sum(part.count > 0 for part in parts)
    if not 1 <= left <= MAX_RANK:
        label = "expected at least one: a range such as `3 : +1` keeps its dimension" if not left else ""
        raise evaluator.error("E307", node, f"{left} dimensions are left", label or f"expected at most {MAX_RANK}")
    if symbol.form and parts[-1] != Part(Affine(0, ()), symbol.shape[-1], 1):
        label = "expected its innermost dimension whole"
        raise evaluator.error("E307", node, f"`{name}` is in groups ({symbol.form})", label)
    return take(symbol, parts, found.core)


def take(symbol: Symbol, parts: Sequence[Part], core: int | None = None) -> Given:
    """Return the operand that takes one part of each dimension of a tensor, in the buffer of the task.

    `core` is as in Operand.
    """
    shape, strides, kept, growth = list[int](), list[int](), list[int](), None
    offset = 0
    terms = {(term.counter, term.modulus): term.stride for term in symbol.terms}
    form = FORMS[symbol.form] if symbol.form else None

    def bytes_of(elements: int) -> int:
        """Return the bytes of so many elements; whole groups where there are any."""
        return elements // form.group * form.block_bytes if form else elements * symbol.dtype.bytes

    for dimension, (part, stride) in enumerate(zip(parts, symbol.strides, strict=True)):
        offset += part.start.constant * stride
        for key, coefficient in part.start.terms:
            terms[key] = terms.get(key, 0) + bytes_of(coefficient * stride)
        if part.growth:
            growth = Growth(len(shape), *part.growth)
        if part.count:
            shape.append(part.count)
            strides.append(stride * part.step)
            kept.append(dimension)
    address = symbol.address + bytes_of(offset)
    held = (symbol.memory, address, symbol.dtype, tuple(shape), tuple(strides), _terms(terms))
    stored = form.stored_bytes(tuple(shape)) if form else symbol.stored
    taken = Operand(*held, core, stored, symbol.form, growth)
    return Given(taken, symbol, tuple(kept), tuple(parts))


def _terms(strides: dict[tuple[int, int], int]) -> tuple[Term, ...]:
    return tuple(Term(counter, modulus, stride) for (counter, modulus), stride in sorted(strides.items()) if stride)


def _index(evaluator: Evaluator, index: nodes.Value | nodes.Range, symbol: Symbol, dimension: int) -> Part:
    """Return what an index or a range takes of one dimension."""
    size = symbol.shape[dimension]
    if not isinstance(index, nodes.Range):
        start = evaluator.whole(index)
        _check_reach(evaluator, index, symbol, dimension, start, 1)
        return Part(start, 0, 1)
    step = 1 if index.step is None else evaluator.integer(index.step, what="the step")
    if step == 0:
        assert index.step is not None
        help = "leave it out to take every element; `: : -1` takes them from the end"
        raise evaluator.error("E307", index.step, "the step is 0", "expected another number", help)
    start = Affine(0, ()) if index.start is None else evaluator.whole(index.start)
    if index.length:
        assert index.stop is not None
        length = evaluator.integer(index.stop, what="the length")
    else:
        stop = Affine(size, ()) if index.stop is None else evaluator.whole(index.stop)
        if step == 1 and (growth := _growth(start, stop)):
            length = stop.constant - start.constant
            if length < 1:
                message = f"this slice has {length} elements in task 0"
                raise evaluator.error("E307", index, message, "expected at least 1")
            _check_reach(evaluator, index, symbol, dimension, start, length + growth[1] * (growth[0] - 1))
            return Part(start, length, 1, growth)
        if stop.terms != start.terms:
            label = "expected a constant number of elements"
            help = (
                "let both ends follow the same counters, as in `i*2 : i*2 + 4`; a length may grow with the task alone, "
            )
            help += "as in `0 : task % 256 + 1`"
            raise evaluator.error("E307", index, "the length of this slice changes with a counter", label, help)
        length = stop.constant - start.constant
    if length < 1:
        help = "a slice is `first : end` (end not included) or `first : +length`, counted from 0"
        if step < 0:
            help += "; a negative step takes a range from its last element on: 0:6:2 is 0 2 4, 0:6:-2 is 5 3 1"
        raise evaluator.error("E307", index, f"this slice has {length} elements", "expected at least 1", help)
    _check_reach(evaluator, index, symbol, dimension, start, length)
    if step < 0:
        start = Affine(start.constant + length - 1, start.terms)
    return Part(start, -(-length // abs(step)), step)


def _growth(start: Affine, stop: Affine) -> tuple[int, int] | None:
    """Return modulus and step of a slice whose length grows with the task, and with nothing else."""
    more = [term for term in stop.terms if term not in start.terms]
    if len(more) != 1 or any(term not in stop.terms for term in start.terms):
        return None
    ((counter, modulus), step) = more[0]
    return (modulus, step) if counter == TASK_COUNTER and modulus and step > 0 else None


def _check_reach(
    evaluator: Evaluator, node: nodes.Node, symbol: Symbol, dimension: int, start: Affine, length: int
) -> None:
    """Report a slice that leaves its tensor, in any iteration, naming the iteration."""
    names = evaluator.names
    bounds = reach(start, names.trips())
    if bounds is None:
        help = "tasks come without end: use `task % 2` for double buffers"
        raise evaluator.error("E308", node, "the number of tasks is not known here", "", help)
    (low, first), (high, last) = bounds
    size = symbol.shape[dimension]
    if low >= 0 and high + length <= size:
        return
    bad, counters = (low, first) if low < 0 else (high, last)
    where = ", ".join(f"{names.counter_name(counter)} = {count}" for counter, count in counters.items())
    when = f" when {where}" if where else ""
    covers = f"{bad} : {bad + length}" if isinstance(node, nodes.Range) else f"{bad}"
    message = f"`{symbol.name}` has {size} elements in dimension {dimension}, but this is {covers}{when}"
    label = f"expected 0 to {size - 1}" if not isinstance(node, nodes.Range) else f"expected within 0 : {size}"
    help = "indices count from 0; negative ones do not count from the end" if bad < 0 and not counters else ""
    raise evaluator.error("E306", node, message, label, help)


def reach(start: Affine, trips: Sequence[int]) -> tuple[Bound, Bound] | None:
    """Return the least and the greatest value of an affine start, each with the counters where it is taken.

    None where it follows the task's number alone, which has no end.
    """
    terms = [Term(*key, coefficient) for key, coefficient in start.terms]
    of_task = [term.modulus for term in terms if term.counter == TASK_COUNTER]
    if 0 in of_task:
        return None
    # Tasks take every remainder.
    (low, first), (high, last) = extremes(terms, [lcm(*of_task), *trips[1:]])
    return (start.constant + low, first), (start.constant + high, last)


def dtype_named(evaluator: Evaluator, word: nodes.Word) -> str:
    """Return the name of a type; raise Failed, reported, for another word."""
    if word.text not in DTYPES:
        near = USUAL_TYPES.get(word.text.lower())
        help = f"did you mean `{near}`?" if near else did_you_mean(word.text, DTYPES)
        label = f"expected {listed(DTYPES)}"
        raise evaluator.error("E207", word, f"`{word.text}` is no type", label, help)
    return word.text


def memory_named(evaluator: Evaluator, word: nodes.Word) -> str:
    """Return the name of a memory; raise Failed, reported, for another word."""
    if word.text not in MEMORIES:
        label, near = f"expected {listed(MEMORIES)}", USUAL_MEMORIES.get(word.text.lower())
        help = f"did you mean `{near}`?" if near else did_you_mean(word.text, MEMORIES)
        raise evaluator.error("E207", word, f"`{word.text}` is no memory", label, help)
    return word.text


def shape_of(evaluator: Evaluator, sizes: Sequence[nodes.Value | nodes.Range], low: int = 1) -> tuple[int, ...]:
    """Return a shape; each dimension is a constant."""
    shape = []
    for node in sizes:
        if isinstance(node, nodes.Range):
            raise evaluator.error("E307", node, "a range stands where a size is needed", "expected a number")
        shape.append(evaluator.integer(node, low, 2**31 - 1, "the size"))
    return tuple(shape)


def _growing_shape(
    evaluator: Evaluator, sizes: Sequence[nodes.Value | nodes.Range]
) -> tuple[tuple[int, ...], Growth | None]:
    """Return the shape of an operand in task 0, and how one dimension grows: `f16[4, task % 256 + 1]`."""
    growth, plain = None, list(sizes)
    for dimension, node in enumerate(sizes):
        size = None if isinstance(node, nodes.Range) else evaluator.value(node)
        if isinstance(size, Affine) and growth is None and (found := _growth(Affine(0, ()), size)):
            growth = Growth(dimension, *found)
            plain[dimension] = nodes.Number(node.span, str(size.constant))
    return shape_of(evaluator, plain), growth


def form_of(node: nodes.Node | None) -> Form | None:
    """Return the form of groups that `stored=` names; None where it is a number of bytes, or is not there."""
    return FORMS.get(node.name) if isinstance(node, nodes.Reference) else None


def _raw(evaluator: Evaluator, node: nodes.Raw) -> Operand:
    dtype = DTYPES[dtype_named(evaluator, node.dtype)]
    core, word = None, node.memory
    if "." in word.text:
        core, rest = _core_named(evaluator, word.text, word)
        word = nodes.Word(word.span, rest)
    memory = memory_named(evaluator, word)
    if core == evaluator.names.core or memory in SHARED:
        core = None
    shape, growth = _growing_shape(evaluator, node.shape)
    if len(shape) > MAX_RANK:
        raise evaluator.error("E305", node, f"{len(shape)} dimensions", f"expected at most {MAX_RANK}")
    strides = packed_strides(shape)
    if node.strides is not None:
        strides = tuple(evaluator.integer(item, what="the stride") for item in node.strides.items)
        if len(strides) != len(shape):
            label = f"expected {len(shape)}: one for each dimension, in elements"
            raise evaluator.error("E310", node.strides, f"{len(strides)} strides are given", label)
    address = affine(evaluator.whole(node.address))
    form = form_of(node.stored)
    stored = 0
    if form:
        stored = form.stored_bytes(shape)
    elif node.stored is not None:
        stored = evaluator.integer(node.stored, 1, 2**62, "the size")
    held = memory, address.constant, dtype, shape, strides, _terms(dict(address.terms)), core
    return Operand(*held, stored, form.name if form else "", growth)
