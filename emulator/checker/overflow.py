"""Overflow: products whose sums can pass the accumulator's 32 bits, for some input of the declared type.

A sum of K products (x - x_zero) (w - w_zero) and a bias is greatest where each x is the end of its type that its weight
makes greatest. Weights that the program holds and never writes are taken as they are; others as their type allows.
Products of 16 bits have an accumulator of 64, which no sum passes.
"""

import numpy as np

from emulator.checker.findings import Edit, Finding
from emulator.plan.plan import Plan
from isa.compressed import expand
from isa.diagnostic import Place
from isa.dtypes import I16, I32, DType
from isa.instruction import Instruction
from isa.operand import Operand
from isa.program import Core


def can_overflow(plan: Plan) -> list[Finding]:
    """Return the products whose accumulator some input makes overflow, with the first channel where it does."""
    findings = []
    for part in plan.cores:
        held = _Constants(part.core)
        for index, instruction in enumerate(part.core.code):
            if not any(spec.name == "w" for spec in instruction.row.operands):
                continue
            x, w = instruction.operand("x"), instruction.operand("w")
            assert x is not None and w is not None
            bias = _bias(held, instruction)
            if x.dtype == I16 or _of_types(instruction, x, w) + int(np.abs(bias).max()) <= I32.high:
                continue
            found = _worst(held, instruction, x, w, bias)
            if found is not None:
                channel, value = found
                place = Place(part.number, index)
                findings.append(_finding(place, instruction, channel, value))
    return findings


def _finding(place: Place, instruction: Instruction, channel: int, value: int) -> Finding:
    bound = I32.high if value > 0 else I32.low
    parts = -(-abs(value) // abs(bound))
    edits: tuple[Edit, ...] = ()
    if instruction.row.mnemonic == "matmul":
        edits = (Edit(place.core, place.index, "split sum", str(parts)),)
    return Finding(
        "C501",
        place,
        f"the sum of channel {channel} can reach {value:,}, but the accumulator wraps at {bound:,}",
        f"sum in {parts} parts, each into f32, adding the one before (`add=`); or use smaller weights",
        (),
        edits,
    )


def length(instruction: Instruction, x: Operand, w: Operand) -> int:
    """Return how many products each sum has."""
    match instruction.row.mnemonic:
        case "matmul":
            return x.shape[-2 if instruction.attribute("transpose_x")[0] else -1]
        case "dwconv":
            return w.elements // w.shape[-1]
    return w.elements // w.shape[0]


def _ends(dtype: DType, zero: int) -> tuple[int, int]:
    return int(dtype.low) - zero, int(dtype.high) - zero


def _zeros(instruction: Instruction) -> tuple[int, int]:
    x_zero, w_zero = (int(instruction.attribute(name)[0]) for name in ("x_zero", "w_zero"))
    return x_zero, w_zero


def _of_types(instruction: Instruction, x: Operand, w: Operand) -> int:
    """Return a bound of the magnitude of a sum of products that the types alone give."""
    x_zero, w_zero = _zeros(instruction)
    most_x, most_w = (max(map(abs, _ends(*of))) for of in ((x.dtype, x_zero), (w.dtype, w_zero)))
    return length(instruction, x, w) * most_x * most_w


def _bias(held: "_Constants", instruction: Instruction) -> np.ndarray:
    """Return the bias of each channel, or of all; 0 where there is none, or none that is known."""
    bias = instruction.operand("bias")
    known = None if bias is None else held.tensor(bias)
    return np.zeros(1, np.int64) if known is None else known.astype(np.int64)


def _worst(
    constants: "_Constants", instruction: Instruction, x: Operand, w: Operand, bias: np.ndarray
) -> tuple[int, int] | None:
    """Return the first channel whose sum can pass 32 bits, and what it can reach; None for none."""
    x_zero, w_zero = _zeros(instruction)
    low, high = _ends(x.dtype, x_zero)
    held = constants.tensor(w)
    count = length(instruction, x, w)
    if held is None:
        ends = [a * b for a in (low, high) for b in _ends(w.dtype, w_zero)]
        least, most = np.array([count * min(ends)]), np.array([count * max(ends)])
    else:
        factors = held.astype(np.int64) - w_zero
        match instruction.row.mnemonic:
            case "matmul":
                # [batches, products, channels]
                if instruction.attribute("transpose_w")[0]:
                    factors = factors.swapaxes(-1, -2)
                factors = factors.reshape(-1, *factors.shape[-2:])
            case "dwconv":
                factors = factors.reshape(1, -1, factors.shape[-1])
            case _:
                factors = factors.reshape(factors.shape[0], -1).T[None]
        least = np.minimum(factors * low, factors * high).sum(axis=1).min(axis=0)
        most = np.maximum(factors * low, factors * high).sum(axis=1).max(axis=0)
    least, most = least + bias, most + bias
    passes = np.flatnonzero((least < I32.low) | (most > I32.high))
    if not len(passes):
        return None
    channel = int(passes[0])
    least, most = np.broadcast_arrays(least, most)
    return channel, int(most[channel] if most[channel] > I32.high else least[channel])


class _Constants:
    """The tensors of a core that the program holds, and no instruction writes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._written = [
            (operand.memory, *operand.extent(trips))
            for instruction, trips in zip(core.code, core.trips())
            for kind, operand in instruction.accesses()
            if kind == "write"
        ]

    def tensor(self, operand: Operand) -> np.ndarray | None:
        """Return the tensor of an operand that no loop moves, or None."""
        if operand.terms:
            return None
        low, high = (operand.address + end for end in operand.span())
        held = [s for s in self._core.segments if s.memory == operand.memory and s.address <= low and high <= s.end]
        if not held or any(m == operand.memory and first < high and low < last for m, first, last in self._written):
            return None
        data = np.frombuffer(held[0].data, np.uint8)[low - held[0].address : high - held[0].address]
        if operand.stored:
            return expand(data, operand.dtype, operand.shape)
        values = data.view(operand.dtype.numpy)
        first = (operand.address - low) // operand.dtype.bytes
        strides = [stride * operand.dtype.bytes for stride in operand.strides]
        return np.lib.stride_tricks.as_strided(values[first:], operand.shape, strides)
