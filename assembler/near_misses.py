"""What may have been meant by an instruction that does not fit: the smallest change with which it would."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations, product

from assembler.arguments import Arguments
from assembler.operands import Given
from assembler.syntax import nodes
from assembler.syntax.diagnostics import listed
from isa.instruction import Instruction
from isa.operand import SHARED, Operand, packed_strides
from isa.verify import check_instruction

# Orders of dimensions that other tools use, by what ratel expects: name, and how the dimensions move.
ACTIVATIONS = {"NCHW": (0, 2, 3, 1)}
LAYOUTS = {
    "conv": {"x": ACTIVATIONS, "out": ACTIVATIONS, "w": {"OIHW": (0, 2, 3, 1), "HWIO": (3, 0, 1, 2)}},
    "dwconv": {"x": ACTIVATIONS, "out": ACTIVATIONS, "w": {"C1HW": (1, 2, 3, 0), "HWC1": (3, 0, 1, 2)}},
    "maxpool": {"x": ACTIVATIONS, "out": ACTIVATIONS},
    "avgpool": {"x": ACTIVATIONS, "out": ACTIVATIONS},
    "resize": {"x": ACTIVATIONS, "out": ACTIVATIONS},
}
EXPECTED = {"conv": "OHWI", "dwconv": "1HWC"}


def mending(
    instruction: Instruction, statement: nodes.Instruction, bound: Arguments, given: Mapping[str, Given]
) -> str:
    """Return how an instruction with problems would be right, "" where nothing simple helps."""
    return _swapped(instruction, statement, given) or _sized(instruction, bound) or _laid_out(instruction)


def _fits(instruction: Instruction) -> bool:
    return not check_instruction(instruction)


def elsewhere(instruction: Instruction, name: str, given: Mapping[str, Given]) -> str:
    """Return how what is given for an operand comes into the memory that it must be in, or to the type of a bias."""
    names = [spec.name for spec in instruction.row.operands]
    operand = instruction.operand(name) if name in names else None
    if operand is None or operand.core is not None:
        return ""
    spec = instruction.row.operands[names.index(name)]
    symbol = held.symbol if (held := given.get(name)) else None
    own = symbol.name if symbol else name
    if name == "bias" and operand.dtype.is_float:
        return (
            "a bias is counted in steps of x.scale * w.scale: `ratel.quantise.bias` makes it of floats; "
            "`ew1_bias=` takes floats, which are added behind the sum, once it is scaled"
        )
    if operand.memory in spec.memories:
        return ""
    if spec.memories == ("cb",):
        return f"biases, scales and tables lie in the constant buffer: declare `{own}` with `.const`"
    if operand.memory in SHARED and "lm" in spec.memories:
        way = "`load` it into a `.local` first" if spec.access == "read" else "write a `.local`, and `store` that"
        return f"`{own}` is in {operand.memory}, which `{instruction.row.mnemonic}` does not reach: {way}"
    return ""


def _swapped(instruction: Instruction, statement: nodes.Instruction, given: Mapping[str, Given]) -> str:
    """Try other orders of the operands; none that would write what the program is given."""
    row = instruction.row
    required = [k for k, spec in enumerate(row.operands) if not spec.optional]
    written = [argument.value.span for argument in statement.arguments if argument.name is None]
    if len(required) < 2 or len(written) < len(required):
        return ""
    symbols = [held.symbol if (held := given.get(spec.name)) else None for spec in row.operands]
    is_given = [symbol is not None and symbol.kind in ("input", "weight", "const") for symbol in symbols]
    for order in permutations(required):
        moves = [(k, other) for k, other in zip(required, order, strict=True) if k != other]
        if any(row.operands[k].access == "write" and is_given[other] for k, other in moves):
            continue
        operands = list(instruction.operands)
        for k, other in zip(required, order, strict=True):
            operands[k] = instruction.operands[other]
        if _fits(replace(instruction, operands=tuple(operands))):
            texts = [written[k].text[written[k].column - 1 : written[k].end - 1] for k in order]
            return f"in this order it would fit: {row.mnemonic} {', '.join(texts)}"
    return ""


def _sized(instruction: Instruction, bound: Arguments) -> str:
    """Try the stride, the padding and the rounding of sizes that are not given."""
    row = instruction.row
    for name, value, text in _sizes(instruction):
        index = row.attribute_index(name)
        if name not in bound.values and name not in bound.flags:
            attributes = list(instruction.attributes)
            attributes[index] = value
            if _fits(replace(instruction, attributes=tuple(attributes))):
                is_now = f"it is {instruction.attributes[index][0]:g}" if text else "sizes are rounded down"
                return f"is `{name}{text}` missing? {is_now}"
    return ""


def _sizes(instruction: Instruction) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield likely strides, paddings and flags: attribute, value, and how it is written behind the name."""
    names = [spec.name for spec in instruction.row.attributes]
    if "window" in names:
        window = tuple(int(size) for size in instruction.attribute("window"))
        yield "stride", window, "=" + _pair(window)
    if "ceil" in names:
        yield "ceil", (1,), ""
    if "stride" in names and "window" not in names:
        kernel = instruction.operands[instruction.row.operand_index("w")]
        yield "stride", (2, 2), "=2"
        if kernel is not None and kernel.rank == 4:
            half = (kernel.shape[1] // 2, kernel.shape[2] // 2)
            yield "pad", half * 2, "=" + _pair(half)


def _pair(sizes: tuple[int, ...]) -> str:
    return f"{sizes[0]}" if len(set(sizes)) == 1 else f"({', '.join(map(str, sizes))})"


def _laid_out(instruction: Instruction) -> str:
    """Try the orders of dimensions that other tools use."""
    row = instruction.row
    layouts = LAYOUTS.get(row.mnemonic, {})
    names = list(layouts)
    for chosen in product(*(("", *layouts[name]) for name in names)):
        moved = {name: layout for name, layout in zip(names, chosen, strict=True) if layout}
        operands = list(instruction.operands)
        for name, layout in moved.items():
            k = row.operand_index(name)
            operands[k] = _moved(operands[k], layouts[name][layout])
        if (
            moved
            and all(operands[row.operand_index(name)] for name in moved)
            and _fits(replace(instruction, operands=tuple(operands)))
        ):
            activations = [f"`{name}`" for name in ("x", "out") if name in moved]
            looks = f"{listed(activations, 'and')} {'look' if len(activations) > 1 else 'looks'} like NCHW"
            said = [f"{looks}; activations are NHWC"] if activations else []
            said += [f"`w` looks like {moved['w']}; weights are {EXPECTED[row.mnemonic]}"] if "w" in moved else []
            return "\n".join(said)
    return ""


def _moved(operand: Operand | None, order: tuple[int, ...]) -> Operand | None:
    """Return an operand with its dimensions in another order, as if it was stored so."""
    if operand is None or operand.rank != 4:
        return None
    shape = tuple(operand.shape[k] for k in order)
    return replace(operand, shape=shape, strides=packed_strides(shape))
