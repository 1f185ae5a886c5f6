"""Automatic multipliers of instructions, and their vectors in the constant buffer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from assembler.operands import Given, Part
from assembler.requantise import MULTIPLIERS, Scaled, ScaleProblem, check_unscaled, fixed_point, multipliers
from isa.dtypes import F32, I32, DType
from isa.instruction import Value
from isa.operand import Operand, Term
from isa.row import Row
from isa.rows_tensor import FIXED_POINT


class Pool:
    """Automatic multipliers: vectors of f32 or pairs of i32, behind the declared constants, each content once."""

    def __init__(self, start: int) -> None:
        self.start = start + -start % 4
        self.data = bytearray()
        self.offsets: dict[bytes, int] = {}

    def operand(self, elements: tuple[float, ...], window: Part | None = None, dtype: DType = F32) -> Operand:
        """Return a vector, of i32 a row of m and one of s, or the window of it that follows loop counters."""
        data = np.asarray(elements, dtype.numpy).tobytes()
        if data not in self.offsets:
            self.offsets[data] = len(self.data)
            self.data += data
        rows: tuple[int, ...] = (2,) if dtype == I32 else ()
        count = len(elements) // (2 if rows else 1)
        strides = (count, 1) if rows else (1,)
        address = self.start + self.offsets[data]
        if window is None or count == 1:
            return Operand("cb", address, dtype, (*rows, count), strides)
        terms = tuple(Term(*key, coefficient * dtype.bytes) for key, coefficient in window.start.terms)
        address += window.start.constant * dtype.bytes
        return Operand("cb", address, dtype, (*rows, window.count or 1), strides, terms)


def chosen(row: Row, attributes: Mapping[str, Value]) -> dict[str, str]:
    """Return the word of each choice of an instruction."""
    return {spec.name: spec.words[int(attributes[spec.name][0])] for spec in row.choices}


def automatic(pool: Pool, row: Row, given: dict[str, Given], attributes: dict[str, Value]) -> dict[str, Operand]:
    """Return the multipliers that follow from the tensors' scales; raise ScaleProblem where they make no sense."""
    if any(not spec.optional and spec.name not in given for spec in row.operands):
        return {}
    words = chosen(row, attributes)
    if row.keeps(words.values()):
        x, y = given["x"].symbol, given["out"].symbol
        if x and y:
            check_unscaled((x.scale, x.zero), (y.scale, y.zero), row.mnemonic)
        return {}
    if not any(spec.name in MULTIPLIERS for spec in row.operands):
        return {}
    _check_taken(given)
    out = given["out"]
    channels = out.operand.shape[-1]
    lists = {name: _scale_list(name, held, row, attributes) for name, held in given.items()}
    moving = {(held.window, len(held.scale)) for held in lists.values() if held.window and held.window.start.terms}
    scales = {name: held.scale if moving else held.taken() for name, held in lists.items() if held.scale}
    window = None
    if moving:
        # Slices that follow a counter take their multipliers from a vector of all channels, the same way.
        windows = {(held.window, len(held.scale)) for held in lists.values() if len(held.scale) > 1}
        (window, channels), *others = windows
        if others or window is None or window.step != 1:
            help = "slice all of them alike, with step 1, or give the multipliers: ew3_scale=..."
            raise ScaleProblem("out", "the scales of these slices do not move together", help)
    form = words.get("sf", "none"), words.get("op", "")
    scaled = Scaled(row.mnemonic, scales, out.operand.dtype, channels, *form, frozenset(given))
    if words.get("ew3_op") in FIXED_POINT:
        return {"ew3_scale": pool.operand(fixed_point(scaled), window, I32)}
    return {name: pool.operand(elements, window) for name, elements in multipliers(scaled).items()}


def _check_taken(given: dict[str, Given]) -> None:
    """Raise ScaleProblem for a scale that the instruction would not look at."""
    for name, held in given.items():
        if held.symbol is None:
            continue
        if name == "ew1_bias" and any(step != 1 for step in held.symbol.scale):
            help = "it is added in real units: store the values themselves, without a scale"
            raise ScaleProblem(name, f"`{name}` has scale {held.symbol.scale[0]:g}, which nothing takes", help)


@dataclass(frozen=True)
class ScaleList:
    """The scales of an operand's whole tensor, and the window of them that the operand takes (None: all)."""

    scale: tuple[float, ...]
    window: Part | None = None

    def taken(self) -> tuple[float, ...]:
        if self.window is None:
            return self.scale
        first = self.window.start.constant
        return self.scale[first :: self.window.step][: self.window.count]


def _scale_list(name: str, held: Given, row: Row, attributes: dict[str, Value]) -> ScaleList:
    if held.symbol is None:
        return ScaleList(())
    scale = held.symbol.scale
    dimension = held.kept[_channel_axis(name, held.operand.rank, row, attributes)]
    if len(scale) < 2 or held.symbol.shape[dimension] != len(scale):
        return ScaleList(scale)
    return ScaleList(scale, held.parts[dimension])


def _channel_axis(name: str, rank: int, row: Row, attributes: dict[str, Value]) -> int:
    """Return the dimension of an operand that its list of scales counts."""
    if name == "w" and row.mnemonic == "conv":
        return 0
    if name == "w" and row.mnemonic == "matmul" and attributes["transpose_w"] == (1,) and rank > 1:
        return rank - 2
    return rank - 1
