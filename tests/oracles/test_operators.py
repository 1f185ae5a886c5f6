"""Operators that move, pick or reduce: equal to onnxruntime's; sums of floats, whose order differs, nearly."""

from pathlib import Path

import numpy as np
import pytest

import ratel
from tests.oracles.both import CHIP, Both, Tensor, f32, nchw

DTYPES = ("int8", "uint8")
CASES = 20
MOVES = Path(__file__).parents[2] / "programs" / "shapes" / "shapes.npu"


def values(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype.startswith("float"):
        return rng.normal(0, 8, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def check_equal(both: Both, tolerance: float = 0) -> None:
    for expected, found in both.run():
        assert expected.shape == found.shape
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), tolerance, tolerance)


@pytest.mark.parametrize("dtype", (*DTYPES, "float32"))
def test_max_pool(dtype: str) -> None:
    rng, both = np.random.default_rng(1), Both()
    for _ in range(CASES):
        window, stride = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
        pad = rng.integers(0, [*window, *window])
        size = window + rng.integers(0, 8, 2)
        rows, columns = ((size + pad[:2] + pad[2:] - window) // stride + 1).tolist()
        batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 12))
        x = values(rng, dtype, (batch, *size, channels))
        spatial = {"kernel_shape": window.tolist(), "strides": stride.tolist(), "pads": pad.tolist()}
        both.node("MaxPool", [nchw(x)], x.dtype, channels_last=True, **spatial)
        text = f"window={tuple(window.tolist())}, stride={tuple(stride.tolist())}, pad={tuple(pad.tolist())}"
        out = Tensor(np.zeros((batch, rows, columns, channels), dtype))
        both.program(f"maxpool {{out}}, {{x}}, {text}", out, {"x": Tensor(x)})
    check_equal(both)


@pytest.mark.parametrize("dtype", ("int8", "uint8", "int16", "int32", "float16", "float32"))
def test_gather(dtype: str) -> None:
    rng, both = np.random.default_rng(2), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        x, index = values(rng, dtype, shape), rng.integers(0, shape[0], rng.integers(1, 12)).astype(np.int32)
        both.node("Gather", [x, index], x.dtype, axis=0)
        out = Tensor(np.zeros((len(index), *shape[1:]), dtype))
        both.program("gather {out}, {x}, {index}", out, {"x": Tensor(x), "index": Tensor(index)})
    check_equal(both)


def axes_of(rng: np.random.Generator, rank: int) -> np.ndarray:
    return np.sort(rng.choice(rank, rng.integers(1, rank + 1), replace=False)).astype(np.int64)


@pytest.mark.parametrize(
    ("operator", "word", "dtype", "tolerance"),
    [
        ("ReduceMax", "max", "int8", 0),
        ("ReduceMax", "max", "uint8", 0),
        ("ReduceMax", "max", "float32", 0),
        ("ReduceSum", "sum", "int32", 0),
        ("ReduceSum", "sum", "float32", 2e-5),
        ("ReduceMean", "mean", "float32", 2e-5),
    ],
)
def test_reductions(operator: str, word: str, dtype: str, tolerance: float) -> None:
    rng, both = np.random.default_rng(3), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        axes = axes_of(rng, len(shape))
        # Sums are of 8-bit integers here and of their values in onnxruntime, which has no other.
        x = values(rng, "int8" if dtype == "int32" else dtype, shape)
        kept = tuple(1 if k in axes else size for k, size in enumerate(shape))
        both.node(operator, [x.astype(dtype), axes], np.dtype(dtype), keepdims=1)
        both.program(f"reduce {{out}}, {{x}}, {word}", Tensor(np.zeros(kept, dtype)), {"x": Tensor(x)})
    check_equal(both, tolerance)


@pytest.mark.parametrize("dtype", (*DTYPES, "float32"))
def test_arg_max(dtype: str) -> None:
    rng, both = np.random.default_rng(4), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        axis = int(rng.integers(len(shape)))
        x = values(rng, dtype, shape)
        # Equal ones: the first counts.
        x = (x // 32).astype(dtype)
        kept = tuple(1 if k == axis else size for k, size in enumerate(shape))
        both.node("ArgMax", [x], np.dtype(np.int64), axis=axis, keepdims=1)
        both.program("reduce {out}, {x}, argmax", Tensor(np.zeros(kept, np.int32)), {"x": Tensor(x)})
    check_equal(both)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    """The program of macros in programs/shapes, on data of our own."""
    x = values(np.random.default_rng(5), "int8", (2, 6, 4, 8))
    found = ratel.run(ratel.assemble(MOVES.read_text(), MOVES), {"x": x}, CHIP).outputs
    both = Both()
    # onnxruntime has it for floats alone, which hold these integers.
    both.node("DepthToSpace", [nchw(x).astype(f32)], np.dtype(f32), channels_last=True, blocksize=2, mode=mode)
    both.program("copy {out}, {x}", Tensor(found[mode.lower()]), {"x": Tensor(found[mode.lower()])})
    check_equal(both)
