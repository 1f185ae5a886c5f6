"""How a network is compiled: options, their defaults, and what may be asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from operator import index
from typing import Any

from isa.errors import InputError, shown
from isa.program import ORDERS
from isa.suggest import did_you_mean


@dataclass(frozen=True)
class Options:
    """How a network is compiled; raises InputError for what cannot be asked for.

    `shapes` fix inputs that the file leaves open, by their names, "" is the only one's, or dimensions by theirs, of one
    size. Inputs in `always` are one number: constants, and no inputs any more. `order` of instructions is
    "hardware" or "compiler", which has wait bits. So many `cores` share one image, by rows or channels; with
    a `batch` each computes so many images of its own a task. With `host` False a node that no engine computes is an
    error; with `keep` no tensor takes the place of another, so that each can be dumped behind a run; with `round_once`
    a sum takes a product before it is rounded to 8 bits, and results differ from onnxruntime's (`compiler.report` says
    by how much).
    """

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    order: str = "hardware"
    cores: int = 1
    batch: int | None = None
    host: bool = True
    keep: bool = False
    round_once: bool = False
    always: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            help = did_you_mean(str(self.order), ORDERS, f"orders: {', '.join(ORDERS)}")
            raise InputError(f"there is no order {shown(self.order)}", help)
        object.__setattr__(self, "cores", _count("cores", self.cores))
        if self.batch is not None:
            object.__setattr__(self, "batch", _count("batch", self.batch))
        for name in (one.name for one in fields(self) if one.type is bool):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {shown(getattr(self, name))}", "True or False")
        if not isinstance(self.shapes, Mapping):
            raise InputError(f"{shown(self.shapes)} are no shapes by names of inputs", "as in {'x': (1, 3, 224, 224)}")
        for name in self.shapes:
            if not isinstance(name, str):
                raise InputError(f"{shown(name)} is no name of an input", "as in {'x': (1, 3, 224, 224)}")
        object.__setattr__(self, "shapes", {name: _shape(name, one) for name, one in self.shapes.items()})

        if not isinstance(self.always, Mapping):
            raise InputError(f"{shown(self.always)} are no numbers by names of inputs", "as in {'attention_mask': 1}")
        for name, number in self.always.items():
            if not isinstance(name, str) or not isinstance(number, Real):
                said = f"the input {shown(name)} cannot always be {shown(number)}"
                raise InputError(said, "a name and a number, as in {'attention_mask': 1}")
        object.__setattr__(self, "always", dict(sorted(self.always.items())))

    @property
    def images(self) -> int:
        """How many images a task computes."""
        return self.cores * self.batch if self.batch else 1


def _count(name: str, value: Any) -> int:
    number = _whole(value)
    if number is None or number < 1:
        raise InputError(f"{name} is {shown(value)}", "a whole number, 1 or greater")
    return number


def _shape(name: Any, value: Any) -> tuple[int, ...]:
    sizes = [None] if isinstance(value, str) or not isinstance(value, Iterable) else [_whole(size) for size in value]
    if None in sizes:
        what = f"the input {name!r}" if name else "the input"
        raise InputError(f"{shown(value)} is no shape for {what}", "give whole numbers, as in (1, 3, 224, 224)")
    return tuple(size for size in sizes if size is not None)


def _whole(value: Any) -> int | None:
    """Return a whole number of any kind, NumPy's too, as Python's; None for what is none."""
    return index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else None
