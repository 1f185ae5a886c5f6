"""The types of the Builder's instructions, from the table: `python -m assembler.builder.stub [--check] FILE`.

The file is instructions.pyi: what type checkers and editors read of methods that exist at run time alone. The Builder's
own methods need none, so that its source stays in the checkers' sight.
"""

import inspect
import sys
from collections.abc import Sequence

from assembler.arguments import is_flag
from assembler.builder.builder import Builder
from isa.files import write_generated
from isa.row import AttributeSpec, Row
from isa.table import ROWS

INDENT = "    "
BEGINNING = '''\
"""The Builder's method for each instruction of the table. Written by `python -m assembler.builder.stub`."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from assembler.builder.sections import Synchroniser
from assembler.builder.values import Slice, Tensor

_Out = TypeVar("_Out", bound=Tensor | Slice)
_Operand = Tensor | Slice
_Flag = bool | np.bool_
_Whole = int | np.integer[Any]
_Number = _Whole | float | np.floating[Any]
_Wholes = _Whole | Sequence[_Whole] | NDArray[np.integer[Any]]
_Numbers = _Number | Sequence[_Number] | NDArray[np.number[Any]]

class Instructions:
'''


def stub() -> str:
    """Return the text of instructions.pyi."""
    return BEGINNING + "\n".join(_method(row) for row in ROWS if row.engine != "seq")


def _method(row: Row) -> str:
    """Return the signature and the docstring of an instruction's method."""
    method = getattr(Builder, row.mnemonic)
    _, *parameters = inspect.signature(method).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    types = ["_Out", *["_Operand"] * len(positional)] if row.operands else ["Synchroniser"]
    parts = ["self", *(f"{name}: {kind}" for name, kind in zip(positional, types, strict=False)), "*"]
    for parameter in parameters[len(positional) :]:
        parts.append(f"{parameter.name}: {_type(row, parameter.name)}{_default(row, parameter)}")
    lines = [f"def {row.mnemonic}(", *(f"{INDENT}{part}," for part in parts)]
    lines.append(f") -> {'_Out' if row.operands else 'None'}:")
    first, *others = inspect.cleandoc(method.__doc__).splitlines()
    lines += [f'{INDENT}"""{first}', *(f"{INDENT}{line}" for line in others), f'{INDENT}"""']
    return "".join(f"{INDENT}{line}".rstrip() + "\n" for line in lines)


def _type(row: Row, name: str) -> str:
    """Return the type of what an instruction takes by name; None is as if it were left out."""
    if name == "wait":
        return "str | None"
    attributes = {spec.name: spec for spec in row.attributes}
    taken = {word: spec.takes.get(word, ()) for spec in row.choices for word in spec.words}
    if name not in taken:
        return _type_of_attribute(attributes[name]) if name in attributes else "_Operand | None"
    if not taken[name]:
        return "_Flag | None"
    if not attributes.keys() >= set(taken[name]):
        return "_Operand | None"
    return "_Number | None" if len(taken[name]) == 1 else "Sequence[_Number] | NDArray[np.number[Any]] | None"


def _type_of_attribute(spec: AttributeSpec) -> str:
    if is_flag(spec):
        return "_Flag | None"
    kind = ("_Number" if spec.is_float else "_Whole") + ("s" if spec.count > 1 else "")
    # A window may be as large as the image.
    word = ' | Literal["global"]' if spec.name == "window" else ""
    return kind + word + (" | None" if spec.default is not None else "")


def _default(row: Row, parameter: inspect.Parameter) -> str:
    """Return ` = ` and what is taken where nothing is given; nothing for what has to be given."""
    is_required = any(spec.name == parameter.name and spec.default is None for spec in row.attributes)
    return "" if is_required else f" = {parameter.default!r}".replace("'", '"')


def main(arguments: Sequence[str]) -> int:
    return write_generated(arguments, "assembler.builder.stub", stub)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
