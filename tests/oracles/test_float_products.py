"""Products of floats against float64, within the bound of a sum in order, and against onnxruntime's MatMul and Conv."""

import ml_dtypes
import numpy as np
import pytest

import ratel
from isa.grouped import group

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, TensorProto = onnx.helper, onnx.TensorProto

# Half the distance of neighbours in binary32.
UNIT = 2.0**-24
BF16 = np.dtype(ml_dtypes.bfloat16)
PLANES = ((np.dtype(np.float16), "f16"), (BF16, "bf16"))


def drawn(seed: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return numbers of magnitudes that are far apart, some of them 0."""
    rng = np.random.default_rng(seed)
    values = np.ldexp(rng.normal(0, 1, shape), rng.integers(-6, 4, shape))
    return np.where(rng.random(shape) < 0.1, 0, values).astype(np.float32).astype(dtype)


def run(instruction: str, out: tuple[int, ...], **inputs: tuple[str, np.ndarray]) -> np.ndarray:
    declared = "".join(f".input {name} {kind}{list(value.shape)}\n" for name, (kind, value) in inputs.items())
    text = f".chip zhenwu810e\n{declared}.output y f32{list(out)}\n{instruction}\nend\n"
    return ratel.run(ratel.assemble(text), {name: value for name, (_, value) in inputs.items()}).outputs["y"]


def bound(terms: int, magnitude: np.ndarray) -> np.ndarray:
    """Return how far a sum in binary32 may be from the exact one: gamma_k (Higham, Accuracy and Stability, 3.1)."""
    return terms * UNIT / (1 - terms * UNIT) * magnitude


def onnx_run(
    op: str, out: tuple[int, ...], kind: int, x: np.ndarray, w: np.ndarray, **attributes: object
) -> np.ndarray:
    infos = [helper.make_tensor_value_info(name, kind, value.shape) for name, value in (("x", x), ("w", w))]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        "one",
        infos,
        [helper.make_tensor_value_info("y", kind, out)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x, "w": w})[0], np.float64)


@pytest.mark.parametrize(("dtype", "name"), PLANES, ids=["f16", "bf16"])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 700, 33), (29, 130, 70), (16, 1, 1)])
def test_matrices(dtype: np.dtype, name: str, rows: int, depth: int, columns: int) -> None:
    x, w = drawn(1, (rows, depth), dtype), drawn(2, (depth, columns), dtype)
    found = run("matmul y, x, w", (rows, columns), x=(name, x), w=(name, w)).astype(np.float64)
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    most = bound(depth, np.abs(wide_x) @ np.abs(wide_w))
    assert (np.abs(found - wide_x @ wide_w) <= most).all()
    theirs = onnx_run("MatMul", found.shape, TensorProto.FLOAT, x.astype(np.float32), w.astype(np.float32))
    assert (np.abs(found - theirs) <= 2 * most).all()
    if name == "f16":
        halves = onnx_run("MatMul", found.shape, TensorProto.FLOAT16, x, w)
        # They round once more as they store.
        assert (np.abs(found - halves) <= 2 * most + 2.0**-10 * np.abs(found) + 2.0**-24).all()


@pytest.mark.parametrize(("dtype", "name"), PLANES, ids=["f16", "bf16"])
@pytest.mark.parametrize(("groups", "stride", "pad"), [(1, 1, 1), (2, 2, 0)])
def test_convolutions(dtype: np.dtype, name: str, groups: int, stride: int, pad: int) -> None:
    x, w = drawn(3, (1, 12, 11, 6), dtype), drawn(4, (10, 3, 3, 6 // groups), dtype)
    size = tuple((n + 2 * pad - 3) // stride + 1 for n in (12, 11))
    instruction = f"conv y, x, w, stride={stride}, pad={pad}, groups={groups}"
    found = run(instruction, (1, *size, 10), x=(name, x), w=(name, w)).astype(np.float64)
    planes = [np.ascontiguousarray(value.astype(np.float32).transpose(0, 3, 1, 2)) for value in (x, w)]
    given = {"strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
    theirs, sizes = (
        onnx_run("Conv", (1, 10, *size), TensorProto.FLOAT, *values, **given).transpose(0, 2, 3, 1)
        for values in (planes, [np.abs(plane) for plane in planes])
    )
    assert (np.abs(found - theirs) <= 2 * bound(9 * 6 // groups + 1, sizes)).all()


@pytest.mark.parametrize(("dtype", "name"), PLANES, ids=["f16", "bf16"])
def test_every_float_is_the_number_that_ml_dtypes_has(dtype: np.dtype, name: str) -> None:
    """Times 1 as i8 and as a float of its own; infinities stay, NaN is NaN; -0 + 0 is 0."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype).reshape(256, 256)
    expected = every.astype(np.float32)
    identity = np.eye(256)
    finite = np.where(np.isfinite(expected), every, dtype.type(0)).astype(dtype)
    for kind, one in ((name, identity.astype(dtype)), ("i8", identity.astype(np.int8))):
        found = run("matmul y, x, w", (256, 256), x=(name, finite), w=(kind, one))
        np.testing.assert_array_equal(found, finite.astype(np.float32))
    ones = np.ones((1, 1), dtype)
    found = run("matmul y, x, w", (2**16, 1), x=(name, every.reshape(-1, 1)), w=(name, ones))[:, 0]
    np.testing.assert_array_equal(found, expected.ravel())


@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_floats_of_a_byte_are_those_of_ml_dtypes(name: str) -> None:
    """As weights, all 256 of them, and as results: of drawn numbers, of all ties and their neighbours, and of NaN."""
    dtype = np.dtype({"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}[name])
    every = np.arange(256, dtype=np.uint8).view(dtype)
    wide = every.astype(np.float32)
    for plane, x in PLANES:
        found = run("matmul y, x, w", (1, 256), x=(x, np.ones((1, 1), plane)), w=(name, every[None]))
        np.testing.assert_array_equal(found[0], wide)
    ties = ((wide[:-1].astype(np.float64) + wide[1:]) / 2).astype(np.float32)
    around = [np.nextafter(ties, np.float32(end)) for end in (-np.inf, np.inf)]
    rng = np.random.default_rng(8)
    drawn = np.ldexp(rng.normal(0, 1, 4096), rng.integers(-30, 30, 4096)).astype(np.float32)
    last = np.array([464, 465, 61439, 61440, np.inf, np.nan], np.float32)
    x = np.concatenate([wide, ties, *around, drawn, last, -last])
    text = f".chip zhenwu810e\n.input x f32[{x.size}]\n.output y {name}[{x.size}]\neltwise y, x\nend\n"
    found = ratel.run(ratel.assemble(text), {"x": x}).outputs["y"]
    with np.errstate(all="ignore"):
        expected = x.astype(dtype)
    # One NaN, without a sign.
    expected[np.isnan(expected)] = np.nan
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))
    assert set(found[np.isnan(found)].view(np.uint8)) == {{"e4m3": 0x7F, "e5m2": 0x7E}[name]}


def test_weights_in_groups() -> None:
    """MatMulNBits, symmetric, of 4 bits, with sums of float32 (accuracy 0)."""
    rng, rows, k, n = np.random.default_rng(7), 5, 256, 48
    blocks = group(rng.normal(0, 1, (n, k)).astype(np.float32), "q4_32").reshape(n, k // 32, 18)
    scales, numbers = blocks[..., :2].copy().view(np.float16).astype(np.float32), blocks[..., 2:]
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=32, accuracy_level=0
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (rows, k))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, n))],
        [
            helper.make_tensor("w", TensorProto.UINT8, numbers.shape, numbers.tobytes(), raw=True),
            helper.make_tensor("s", TensorProto.FLOAT, (n * (k // 32),), scales.tobytes(), raw=True),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.normal(0, 1, (rows, k)).astype(np.float16)
    theirs = session.run(None, {"x": x.astype(np.float32)})[0]
    b = ratel.Builder(chip="edge")
    w = b.weight("w", blocks.reshape(-1), "f16", (n, k), stored="q4_32")
    y = b.output("y", "f32", (rows, n))
    b.matmul(y, b.input("x", "f16", x.shape), w, transpose_w=True)
    ours = ratel.run(b.build(), {"x": x}).outputs["y"]
    exact = (numbers[..., :, None] >> np.array([0, 4], np.uint8) & 15).reshape(n, k // 32, 32) - 8.0
    dense = np.abs((exact * scales).reshape(n, k))
    # Ours rounds each weight to f16 once (2**-11 of it), and sums as theirs do: k roundings each.
    bound = np.abs(x.astype(np.float64)) @ dense.T * (2.0**-11 + 2 * k * UNIT)
    assert (np.abs(ours - theirs) <= bound).all()
