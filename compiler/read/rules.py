"""What onnxruntime's own operators make: types and shapes, where ONNX has no rules for them.

Inputs that do not fit each other raise ValueError, LookupError, TypeError or ArithmeticError; or InputError where more
can be said.
"""

from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import Any

import numpy as np

from compiler.graph import Node, Value
from isa.errors import InputError

Shape = tuple[int, ...]
FLOAT: Any = np.dtype(np.float32)
# Those that it has in ONNX's domain.
OWN = ("SimplifiedLayerNormalization",)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that shapes are broadcast to."""
    return tuple(int(size) for size in np.broadcast_shapes(*shapes))


Read = Sequence[Value | None]
# A type and a shape.
Made = tuple[Any, Shape]


def _of(read: Read, place: int) -> Value:
    value = read[place]
    if value is None:
        raise InputError(f"input {place} is left out")
    return value


def _same(node: Node, read: Read) -> list[Made]:
    return [(_of(read, 0).dtype, _of(read, 0).shape)]


def _element_wise(node: Node, read: Read) -> list[Made]:
    a, b = _of(read, 0), _of(read, 3)
    return [(a.dtype, broadcast(a.shape, b.shape))]


def _concat(node: Node, read: Read) -> list[Made]:
    parts = [_of(read, place) for place in range(2, len(read), 3)]
    shape = list(parts[0].shape)
    axis = node.attributes["axis"]
    shape[axis] = sum(part.shape[axis] for part in parts)
    return [(_of(read, 1).dtype, tuple(shape))]


def _global_pool(node: Node, read: Read) -> list[Made]:
    x = _of(read, 0)
    kept = {0, len(x.shape) - 1 if node.attributes.get("channels_last") else 1}
    return [(x.dtype, tuple(size if k in kept else 1 for k, size in enumerate(x.shape)))]


def _gemm(node: Node, read: Read) -> list[Made]:
    a, b = _of(read, 0), _of(read, 3)
    rows = a.shape[1 if node.attributes.get("transA") else 0]
    columns = b.shape[0 if node.attributes.get("transB") else 1]
    # Without the result's scale it stays in floats.
    has_scale = len(read) > 7 and read[7] is not None
    return [((a.dtype if has_scale else FLOAT), (rows, columns))]


def _normalised(node: Node, read: Read) -> list[Made]:
    x, gain = _of(read, 0), _of(read, 1)
    axis = range(len(x.shape))[int(node.attributes.get("axis", -1))]
    _must(gain.elements in (1, prod(x.shape[axis:])))
    return [(x.dtype, x.shape), (FLOAT, (*x.shape[:axis], *[1] * (len(x.shape) - axis)))]


def _skipped(node: Node, read: Read) -> list[Made]:
    x, skip, *vectors = (value for value in read if value is not None)
    _must(broadcast(x.shape, skip.shape) == x.shape and skip.dtype == x.dtype)
    _must(all(value.shape == x.shape[-1:] and value.dtype == x.dtype for value in vectors))
    statistic = FLOAT, (*x.shape[:-1], 1)
    return [(x.dtype, x.shape), statistic, statistic, (x.dtype, x.shape)]


def _turned(node: Node, read: Read) -> list[Made]:
    x, places, cosines, sines = (_of(read, place) for place in range(4))
    heads, part = (int(node.attributes.get(name, 0)) for name in ("num_heads", "rotary_embedding_dim"))
    size = x.shape[-1] if len(x.shape) == 4 else x.shape[-1] // heads if heads else 2 * cosines.shape[-1]
    count = x.shape[2] if len(x.shape) == 4 else x.shape[1]
    _must(len(x.shape) == 4 or (len(x.shape) == 3 and x.shape[2] % (heads or size) == 0))
    _must(_are_tables(cosines, sines, size) and part in (0, 2 * cosines.shape[-1]))
    _must(places.shape == (1,) or places.shape == (x.shape[0], count))
    return [(x.dtype, x.shape)]


def _are_tables(cosines: Value, sines: Value, size: int) -> bool:
    return len(cosines.shape) == 2 and cosines.shape == sines.shape and 2 * cosines.shape[1] <= size


def _matmul_of_groups(node: Node, read: Read) -> list[Made]:
    x, data, scales = (_of(read, place) for place in range(3))
    zeros, order, bias = (read[place] if place < len(read) else None for place in (3, 4, 5))
    k, n, block = (int(node.attributes[name]) for name in ("K", "N", "block_size"))
    bits, count = int(node.attributes.get("bits", 4)), ceil(k / block)
    if x.shape[-1] != k:
        raise InputError(f"K is {k}, and the rows of its input have {x.shape[-1]} elements")
    _must(data.elements == n * count * (block * bits // 8) and scales.elements == n * count)
    _must(order is None or order.elements in (k, count * block))
    _must(bias is None or bias.elements == n)
    _must(zeros is None or _fit(zeros, n, count, bits))
    return [(x.dtype, (*x.shape[:-1], n))]


def _rows_of_groups(node: Node, read: Read) -> list[Made]:
    """Of numbers of 4 bits a byte has two, and the last dimension twice as many."""
    table, places, scales = (_of(read, place) for place in range(3))
    zeros = read[3] if len(read) > 3 else None
    bits, block = (int(node.attributes.get(*pair)) for pair in (("bits", 4), ("block_size", 128)))
    width = table.shape[-1] * (8 // bits if table.dtype == np.uint8 else 1)
    axis = range(len(table.shape))[int(node.attributes.get("gather_axis", 0))]
    if int(node.attributes.get("quantize_axis", 1)) in (-1, len(table.shape) - 1):
        rows, count = prod(table.shape[:-1]), ceil(width / block)
        _must(scales.shape == (*table.shape[:-1], count) and (zeros is None or _fit(zeros, rows, count, bits)))
    shape = (*table.shape[:-1], width)
    return [(scales.dtype, (*shape[:axis], *places.shape, *shape[axis + 1 :]))]


def _fit(zeros: Value, rows: int, count: int, bits: int) -> bool:
    """Return whether there are as many zero points as groups: floats, or numbers of so many bits, each row in bytes."""
    return zeros.elements == rows * (ceil(count * bits / 8) if zeros.dtype == np.uint8 else count)


def _grouped_attention(node: Node, read: Read) -> list[Made]:
    query, lengths, total = _of(read, 0), _of(read, 5), _of(read, 6).data
    heads, groups = (int(node.attributes[name]) for name in ("num_heads", "kv_num_heads"))
    batch, places, width = query.shape
    packed = read[1] is None
    size = width // (heads + 2 * groups if packed else heads)
    _must(heads % groups == 0 and width == size * (heads + 2 * groups if packed else heads))
    if not packed:
        _must(all(_of(read, place).shape == (batch, places, groups * size) for place in (1, 2)))
    past = [_of(read, place) for place in (3, 4) if read[3] is not None]
    held = past[0].shape[2] if past else 0
    _must(all(value.shape == (batch, groups, held, size) for value in past) and lengths.elements == batch)
    _must(all(value.dtype == query.dtype for value in (*read[1:3], *past) if value is not None))
    if node.attributes.get("do_rotary"):
        _must(_are_tables(_of(read, 7), _of(read, 8), size))
    if total is None:
        help = "the chip's shapes are fixed: let it be of an input's shape, or constant"
        raise InputError("its total_sequence_length follows the data", help)
    present = query.dtype, (batch, groups, max(int(total.reshape(-1)[0]), held), size)
    return [(query.dtype, (batch, places, heads * size)), present, present]


def _must(fits: bool) -> None:
    if not fits:
        raise ValueError


# Of onnxruntime's own operators; what is not here is tried.
RULES: dict[str, Callable[[Node, Read], list[Made]]] = {
    "QLinearAdd": _element_wise,
    "QLinearMul": _element_wise,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _global_pool,
    "QLinearSigmoid": _same,
    "QLinearLeakyRelu": _same,
    "QLinearSoftmax": _same,
    "QGemm": _gemm,
    "Gelu": _same,
    "FastGelu": _same,
    "QuickGelu": _same,
    "RotaryEmbedding": _turned,
    "SimplifiedLayerNormalization": _normalised,
    "SkipSimplifiedLayerNormalization": _skipped,
    "MatMulNBits": _matmul_of_groups,
    "GatherBlockQuantized": _rows_of_groups,
    "GroupQueryAttention": _grouped_attention,
}
