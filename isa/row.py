"""What a row of the table is made of: engines, specifications of operands and attributes, and those that rows share.

The rows stand in rows_tensor.py, rows_pool.py, rows_memory.py and rows_sequencer.py; table.py puts them together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from isa.dtypes import BF16, DTYPES, E4M3, E5M2, F16, F32, I8, I16, U8, DType

# Engines in the order of their wait bits; synchronisation sits in the queue of the engine that it names; the sequencer
# runs loops itself and has no queue.
ENGINES = ("te", "pe", "me")
ALL_ENGINES = (*ENGINES, "sync", "seq")
ENGINE_NAMES = {
    "te": "tensor engine",
    "pe": "pooling engine",
    "me": "memory engine",
    "sync": "synchronisation",
    "seq": "sequencer",
}

# The wait bit of each engine as written: (w.t), (w.p), (w.m), or several: (w.tp).
WAIT_LETTERS = {"t": "te", "p": "pe", "m": "me"}


@dataclass(frozen=True)
class OperandSpec:
    """What an instruction accepts in one operand slot.

    `ranks` is the least and greatest rank; `strided` allows an innermost stride other than 1; an `optional` operand
    may be absent, and then the step of the meaning that uses it is absent too; `remote` allows the local memory of
    another core, `compressible` a compressed weight. Of one that is `chosen` from by an index as many bytes pass as the
    operand of that name has.
    """

    name: str
    access: Literal["read", "write"]
    memories: tuple[str, ...]
    dtypes: tuple[DType, ...]
    ranks: tuple[int, int]
    meaning: str
    optional: bool = False
    strided: bool = False
    remote: bool = False
    compressible: bool = False
    chosen: str = ""


@dataclass(frozen=True)
class AttributeSpec:
    """What an instruction accepts for one attribute.

    `kind` is the encoding of one element: u8, i8, u16, i16, u32, f32 or f64. `count` elements are written as a tuple,
    `names` says what each is; a single value in the text stands for all of them. `default` None makes it required.
    `words` turns the attribute into a choice that is written as one of these words; `takes` names the operand or the
    attributes that a word brings with it, as in `add=residual` or `clip=(0, 6)`; they are absent with another word.
    With `identity`, elements left out at the end of the tuple are their own index. `declared` names the kind of thing
    whose number it is, "semaphore" or "barrier": it is written first, without a name, as the program calls it.
    """

    name: str
    kind: Literal["u8", "i8", "u16", "i16", "u32", "f32", "f64"]
    low: float
    high: float
    default: tuple[float, ...] | None
    meaning: str
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    takes: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    identity: bool = False
    declared: str = ""

    @cached_property
    def count(self) -> int:
        return max(1, len(self.names))

    @property
    def is_float(self) -> bool:
        return self.kind in ("f32", "f64")


@dataclass(frozen=True)
class Row:
    """One instruction.

    `meaning` is one line, `formula` the arithmetic, one assignment a line; `traps` what it may trap on (codes of
    TRAPS); `program` a small complete program that shows it. The operands of `in_place` may be the result itself. One
    that keeps values, always or with some words of its choices, knows no scales and zero points.
    """

    opcode: int
    mnemonic: str
    engine: Literal["te", "pe", "me", "sync", "seq"]
    operands: tuple[OperandSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    meaning: str
    formula: str
    traps: tuple[str, ...]
    program: str
    in_place: tuple[str, ...] = ()
    keeps_values: bool = False
    keeping_words: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """Return the line of `program` that holds the instruction."""
        lines = (line.strip() for line in self.program.splitlines())
        return next(line for line in lines if line.split()[:1] == [self.mnemonic])

    def keeps(self, words: Iterable[str]) -> bool:
        """Whether it only takes values of x to out, or finds their place, with these words chosen."""
        return self.keeps_values or not set(words).isdisjoint(self.keeping_words)

    def operand_index(self, name: str) -> int:
        return [spec.name for spec in self.operands].index(name)

    def attribute_index(self, name: str) -> int:
        return [spec.name for spec in self.attributes].index(name)

    @property
    def choices(self) -> tuple[AttributeSpec, ...]:
        """The attributes that are written as a word."""
        return tuple(spec for spec in self.attributes if spec.words)


VALUES = (I8, U8, I16, E4M3, E5M2, F16, BF16, F32)
ANY = tuple(DTYPES.values())

# What can stop a program, decided when it is loaded for a chip (bounds, memory) or as an instruction starts, which then
# writes nothing.
TRAPS = {
    "bounds": "an operand reaches outside its memory on this chip, in some iteration",
    "memory": "the chip does not have the operand's memory",
    "factors": "the tensor engine of this chip has no multipliers for the type of x",
    "overlap": "the result shares bytes with a tensor that the same instruction reads (where it may not work in "
    "place), or with a compressed weight, which nothing may write",
    "index": "an element of `index` is no place along the dimension of x, of `scatter` of out, that it counts (the "
    "first, or `axis`): beyond its last, or below 0, from where `from_end` counts back to its first",
    "deadlock": "no core can go on: each has ended, or waits for what only the others could bring",
}


def read(name: str, memories: str, dtypes: tuple[DType, ...], ranks: tuple[int, int], meaning: str) -> OperandSpec:
    return OperandSpec(name, "read", tuple(memories.split()), dtypes, ranks, meaning)


def constant(name: str, dtype: DType, meaning: str) -> OperandSpec:
    """An optional vector in the constant buffer."""
    return OperandSpec(name, "read", ("cb",), (dtype,), (1, 1), meaning, optional=True)


def moved(
    name: str, access: Literal["read", "write"], memories: str, meaning: str, remote: bool = False, chosen: str = ""
) -> OperandSpec:
    """A tensor that the memory engine moves: any type, any strides."""
    places = tuple(memories.split())
    return OperandSpec(name, access, places, ANY, (1, 4), meaning, strided=True, remote=remote, chosen=chosen)


def zero_point(name: str, meaning: str) -> AttributeSpec:
    """The zero point of the operand that `name` begins with, which must hold it."""
    return AttributeSpec(name, "i16", -(2**15), 2**15 - 1, (0,), meaning)


def flag(name: str, meaning: str) -> AttributeSpec:
    return AttributeSpec(name, "u8", 0, 1, (0,), meaning)


STRIDE = AttributeSpec("stride", "u16", 1, 65535, (1, 1), "step of the window, in input pixels", ("height", "width"))
PAD = AttributeSpec("pad", "u8", 0, 255, (0, 0, 0, 0), "pixels of padding", ("top", "left", "bottom", "right"))
DILATION = AttributeSpec("dilation", "u8", 1, 255, (1, 1), "distance of the taps, in input pixels", ("height", "width"))
WINDOW = AttributeSpec(
    "window", "u16", 1, 65535, None, "size of the window; `global` is the whole of x", ("height", "width")
)
WINDOW_FORMULA = """
ih  = oh * stride.height - pad.top + kh * dilation.height
iw  = ow * stride.width - pad.left + kw * dilation.width"""
