"""Whether an instruction, and the code around it, is well formed; and if not, which operand is wrong and why.

Everything here is independent of the chip: sizes of memories are held against a chip when a program is loaded for it.
What must hold between operands is in shape_rules.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import copysign

import numpy as np

from isa.compressed import legal_sizes
from isa.diagnostic import Diagnostic
from isa.errors import shown
from isa.grouped import FORMS, GROUPED_TYPES
from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH, MAX_TERMS, MOST_GROWTH, Operand, packed_strides
from isa.row import AttributeSpec, OperandSpec
from isa.shape_rules import SHAPE_RULES
from isa.view import View

MAX_ELEMENTS = 2**31 - 1


def check_instruction(instruction: Instruction) -> list[Diagnostic[str]]:
    """Return what is wrong with an instruction by itself; shapes are looked at only when all else is right.

    Each diagnostic is at the operand or attribute to point at, "" for the whole; its code is one of missing, memory,
    type, rank, stride, shape, range, align, chain, loop, end.
    """
    view = View(instruction)
    problems: list[Diagnostic[str]] = []
    for spec in view.row.operands:
        operand = view.operands[spec.name]
        if operand is not None:
            problems += check_operand(spec, operand)
        elif not spec.optional:
            problems.append(Diagnostic("missing", spec.name, f"{view.row.mnemonic} needs `{spec.name}`", spec.meaning))
    for attribute in view.row.attributes:
        problems += check_attribute(attribute, view.attributes[attribute.name])
    if instruction.waits and view.row.engine == "seq":
        problems.append(
            Diagnostic("range", "", f"{view.row.mnemonic} cannot wait", "only instructions of an engine have wait bits")
        )
    if not problems:
        problems += [*_choices(view), *_zero_points(view)]
    if not problems:
        problems += _growth(view) if instruction.grows else SHAPE_RULES[instruction.opcode](view)
    return problems


# What takes tensors that grow: all sizes of theirs that have to fit are alike, so that what fits in three tasks, where
# sizes grow linearly, fits in all.
GROWING = ("matmul", "eltwise", "reduce", "copy", "load", "store", "fill", "transpose", "rotate", "topk")


def _growth(view: View) -> Iterator[Diagnostic[str]]:
    """Yield what is wrong with dimensions that grow, and with shapes in the first tasks."""
    growing = {name: one for name, one in view.operands.items() if one and one.growth}
    moduli = {one.growth.modulus for one in growing.values() if one.growth}
    for name, operand in growing.items():
        growth, what = operand.growth, f"`{name}` grows with the task"
        assert growth is not None
        modulus = growth.modulus
        if view.row.mnemonic not in GROWING:
            yield Diagnostic(
                "shape",
                name,
                f"{what}, which {view.row.mnemonic} does not take",
                f"of all only {', '.join(GROWING)} do",
            )
        elif operand.stored:
            yield Diagnostic("shape", name, f"{what}, but is stored in {operand.stored} bytes", "store it dense")
        elif len(moduli) > 1:
            yield Diagnostic("shape", name, f"{what} modulo {modulus}", "let all operands grow by one modulus")
        elif operand.at(modulus - 1).elements > MAX_ELEMENTS:
            yield Diagnostic("shape", name, f"{what} to more than {MAX_ELEMENTS} elements")
        else:
            continue
        return
    for task in range(3):
        problems = check_instruction(view.instruction.at(task))
        for problem in problems:
            yield replace(problem, message=f"{problem.message} (in task {task})")
        if problems:
            return


def check_operand(spec: OperandSpec, operand: Operand) -> Iterator[Diagnostic[str]]:
    """Yield what is wrong with an operand in the slot that `spec` describes."""
    if operand.memory not in spec.memories:
        yield Diagnostic(
            "memory", spec.name, f"`{spec.name}` is in {operand.memory}", f"it must be in {' or '.join(spec.memories)}"
        )
    if operand.core is not None and not (spec.remote and operand.memory == "lm"):
        yield Diagnostic(
            "memory",
            spec.name,
            f"`{spec.name}` is in {operand.memory} of core {operand.core}",
            "only `copy` writes another core's lm: write a tensor of this core, and `copy` it there"
            if spec.access == "write"
            else "nothing reads another core's lm: let that core `copy` it here, and wait for it",
        )
    if operand.dtype not in spec.dtypes:
        expected = " or ".join(map(str, spec.dtypes))
        yield Diagnostic("type", spec.name, f"`{spec.name}` has type {operand.dtype}", f"expected {expected}")
    low, high = spec.ranks
    if not low <= operand.rank <= high:
        expected = f"{low}" if low == high else f"{low} to {high}"
        yield Diagnostic(
            "rank",
            spec.name,
            f"`{spec.name}` has {operand.rank} dimensions {list(operand.shape)}",
            f"expected {expected}",
        )
    if len(operand.strides) != operand.rank or any(size < 1 for size in operand.shape):
        yield Diagnostic("shape", spec.name, f"`{spec.name}` has an empty dimension {list(operand.shape)}")
        return
    if operand.elements > MAX_ELEMENTS:
        yield Diagnostic("shape", spec.name, f"`{spec.name}` has more than {MAX_ELEMENTS} elements")
    if not spec.strided and operand.shape[-1] > 1 and operand.strides[-1] != 1:
        yield Diagnostic(
            "stride",
            spec.name,
            f"`{spec.name}` has an innermost stride of {operand.strides[-1]} elements",
            "the innermost dimension must be contiguous here; make it so with `copy` or `transpose`",
        )
    if any(not -(2**31) <= stride < 2**31 for stride in operand.strides):
        yield Diagnostic("stride", spec.name, f"`{spec.name}` has a stride beyond 32 bits")
    yield from _terms(spec, operand)
    if operand.form:
        yield from _grouped(spec, operand)
    elif operand.stored:
        yield from _compressed(spec, operand)
    widest = operand
    if operand.growth:
        dimension, modulus, step = operand.growth
        if not (0 <= dimension < operand.rank and 2 <= modulus <= MOST_GROWTH and 1 <= step <= MOST_GROWTH):
            yield Diagnostic("range", spec.name, f"`{spec.name}` grows with the task by an impossible growth")
            return
        widest = operand.at(modulus - 1)
    if spec.access == "write" and not _distinct(widest):
        yield Diagnostic(
            "stride",
            spec.name,
            f"`{spec.name}` may write the same element twice: it has strides {list(operand.strides)} over the shape "
            f"{list(operand.shape)}",
            "each stride must pass over all that the smaller ones reach",
        )


def _compressed(spec: OperandSpec, operand: Operand) -> Iterator[Diagnostic[str]]:
    legal = legal_sizes(operand.elements, operand.dtype)
    if not spec.compressible:
        help = "only the w of conv, dwconv and matmul may be: declare a dense weight beside it"
        yield Diagnostic("type", spec.name, f"`{spec.name}` is a compressed weight", help)
    elif operand.strides != packed_strides(operand.shape) or operand.terms:
        yield Diagnostic(
            "stride", spec.name, f"`{spec.name}` is a compressed weight", "it is used whole, or not at all"
        )
    elif operand.stored not in legal:
        message = f"`{spec.name}` is compressed to {operand.stored} bytes"
        help = f"expected {legal[0]} to {legal[-1]}, and a whole number of elements behind the mask"
        yield Diagnostic("range", spec.name, message, help)


def _grouped(spec: OperandSpec, operand: Operand) -> Iterator[Diagnostic[str]]:
    what, form = f"`{spec.name}` is in groups ({operand.form})", FORMS[operand.form]
    if not spec.compressible:
        yield Diagnostic("type", spec.name, what, "only the w of matmul may be: declare a dense weight beside it")
    elif operand.dtype not in GROUPED_TYPES:
        yield Diagnostic("type", spec.name, f"{what}, of type {operand.dtype}", "groups expand to f16 or bf16")
    elif operand.strides != packed_strides(operand.shape):
        yield Diagnostic("stride", spec.name, what, "its rows are used whole, as they follow each other")
    elif not form.stored_bytes(operand.shape):
        help = f"choose smaller groups, or fill {operand.shape[-1]} up with zeros to a multiple of {form.group}"
        yield Diagnostic("shape", spec.name, f"{what}, which do not divide {list(operand.shape)}", help)
    elif operand.stored != form.stored_bytes(operand.shape):
        message = f"`{spec.name}` is stored in {operand.stored} bytes"
        help = f"expected {form.stored_bytes(operand.shape)}: {form.block_bytes} for each group of {form.group}"
        yield Diagnostic("range", spec.name, message, help)


def _terms(spec: OperandSpec, operand: Operand) -> Iterator[Diagnostic[str]]:
    size = operand.dtype.bytes
    if operand.address < 0 or operand.address >= 2**62:
        yield Diagnostic("range", spec.name, f"`{spec.name}` has the impossible address {operand.address}")
    if operand.address % size or any(term.stride % size for term in operand.terms):
        yield Diagnostic(
            "align", spec.name, f"`{spec.name}` is not aligned", f"addresses of {operand.dtype} are multiples of {size}"
        )
    keys = [(term.counter, term.modulus) for term in operand.terms]
    if len(keys) > MAX_TERMS:
        message = f"`{spec.name}` has an address of {len(keys)} terms"
        help = f"expected at most {MAX_TERMS}: each counter, each modulus, and the buffers of a task's input or output"
        yield Diagnostic("range", spec.name, message, help)
    elif keys != sorted(set(keys)):
        yield Diagnostic("range", spec.name, f"`{spec.name}` has terms out of order")
    for term in operand.terms:
        legal_modulus = term.modulus == 0 or 2 <= term.modulus < 2**32
        if not 0 <= term.counter <= MAX_LOOP_DEPTH or not legal_modulus or not 0 < abs(term.stride) < 2**62:
            yield Diagnostic(
                "range", spec.name, f"`{spec.name}` has an impossible term", "modulus from 2, stride other than 0"
            )


def _distinct(operand: Operand) -> bool:
    """Whether no two indices name the same element; sufficient, and exact for slices of dense tensors."""
    reach = 0
    dimensions = zip(operand.shape, operand.strides, strict=True)
    for stride, size in sorted((abs(stride), size) for size, stride in dimensions):
        if size > 1:
            if stride <= reach:
                return False
            reach += stride * (size - 1)
    return True


def check_attribute(spec: AttributeSpec, value: Sequence[float]) -> Iterator[Diagnostic[str]]:
    """Yield what is wrong with an attribute's elements."""
    if len(value) != spec.count:
        yield Diagnostic("range", spec.name, f"`{spec.name}` has {len(value)} elements", f"expected {spec.count}")
    for element in value:
        if not spec.low <= element <= spec.high:
            yield Diagnostic("range", spec.name, f"`{spec.name}` is {shown(element)}", f"it must be {_legal(spec)}")
        elif not spec.is_float and int(element) != element:
            yield Diagnostic("range", spec.name, f"`{spec.name}` is {shown(element)}", f"a whole number {_legal(spec)}")
        elif spec.kind == "f32" and float(np.float32(element)) != element:
            yield Diagnostic("range", spec.name, f"`{spec.name}` is {element!r}, which is not a float32")
        elif element == 0 and copysign(1, element) < 0:
            # Else two encodings would have one meaning, where the sign does not matter.
            yield Diagnostic("range", spec.name, f"`{spec.name}` is -0.0", "write 0")


def _legal(spec: AttributeSpec) -> str:
    return f"from {shown(spec.low)} to {shown(spec.high)}"


def _choices(view: View) -> Iterator[Diagnostic[str]]:
    """Yield operands and attributes that a choice's word needs, or that belong to a word not chosen."""
    for spec in view.row.choices:
        chosen = view.word(spec.name)
        needed = spec.takes.get(chosen, ())
        for name in dict.fromkeys(taken for names in spec.takes.values() for taken in names):
            if name in view.operands:
                present = view.operands[name] is not None
                if present != (name in needed):
                    verb = "needs" if name in needed else "does not take"
                    yield Diagnostic("chain", name, f"{spec.name} {chosen} {verb} `{name}`")
            elif name not in needed:
                default = next(a.default for a in view.row.attributes if a.name == name)
                if view.attributes[name] != default:
                    yield Diagnostic("chain", name, f"{spec.name} {chosen} does not take `{name}`")


def _zero_points(view: View) -> Iterator[Diagnostic[str]]:
    """Yield zero points that the type of their tensor does not have or hold."""
    for name, operand in view.operands.items():
        if operand is None or f"{name}_zero" not in view.attributes:
            continue
        zero, dtype = view.ints(f"{name}_zero")[0], operand.dtype
        if zero and not dtype.is_quantised:
            what = "a result" if name == "out" else name
            yield Diagnostic("chain", f"{name}_zero", f"{what} of type {dtype} has no zero point")
        elif dtype.is_quantised and not dtype.low <= zero <= dtype.high:
            legal = f"a whole number from {dtype.low} to {dtype.high}"
            yield Diagnostic("range", f"{name}_zero", f"`{name}_zero` is {zero}", f"{dtype} holds {legal}")


def check_code(code: Sequence[Instruction]) -> list[tuple[int, Diagnostic[str]]]:
    """Return what is wrong with one core's code: (index of the instruction, diagnostic)."""
    problems = [(k, problem) for k, instruction in enumerate(code) for problem in check_instruction(instruction)]
    if problems:
        return problems
    open_loops: list[int] = []
    for k, instruction in enumerate(code):
        mnemonic, depth = instruction.row.mnemonic, len(open_loops)
        if mnemonic == "loop":
            open_loops.append(k)
            if len(open_loops) > MAX_LOOP_DEPTH:
                return [(k, Diagnostic("loop", "", f"loops nest deeper than {MAX_LOOP_DEPTH}"))]
            if instruction.attribute("counter") != (len(open_loops),):
                problems.append((k, Diagnostic("loop", "counter", f"the loop's counter must be {len(open_loops)}")))
        elif mnemonic == "brnz":
            if not open_loops:
                return [*problems, (k, Diagnostic("loop", "counter", "brnz closes no open loop"))]
            if instruction.attribute("counter") != (depth,):
                message = f"brnz must close the innermost loop, counter {depth}"
                return [*problems, (k, Diagnostic("loop", "counter", message))]
            open_loops.pop()
        elif mnemonic == "end" and k != len(code) - 1:
            problems.append((k, Diagnostic("end", "", "code follows `end`")))
        for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
            for term in () if operand is None else operand.terms:
                if term.counter > depth:
                    message = f"`{spec.name}` follows counter {term.counter}, but {depth} loops are open here"
                    problems.append((k, Diagnostic("loop", spec.name, message)))
    problems += [(k, Diagnostic("loop", "", "the loop is never closed", "close it with `brnz`")) for k in open_loops]
    if not code or code[-1].row.mnemonic != "end":
        problems.append((max(len(code) - 1, 0), Diagnostic("end", "", "the code does not end", "finish it with `end`")))
    return problems
