"""Operators that move, pick or reduce: equal to onnxruntime's; sums of floats, whose order differs, nearly."""

from pathlib import Path

import numpy as np
import pytest

import ratel
from tests.oracles.both import CHIP, MICROSOFT, Both, Tensor, f32, nchw, pooled

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


def test_square_root() -> None:
    rng, both = np.random.default_rng(14), Both()
    x = (rng.random((64, 999)) * 2.0 ** rng.integers(-149, 127, (64, 999))).astype(f32)
    x[0, :5] = 0, -0.0, np.inf, -1, np.nan
    both.node("Sqrt", [x], x.dtype)
    both.program("eltwise {out}, {x}, sqrt", Tensor(np.zeros_like(x)), {"x": Tensor(x)})
    ((expected, found),) = both.run()
    assert np.where(np.isnan(expected), f32(np.nan), expected).tobytes() == found.tobytes()


def test_division() -> None:
    """Of all kinds of numbers by all kinds, one a row, the same bits but for those of a NaN."""
    rng, both = np.random.default_rng(13), Both()
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 3e38, 1e-38, 1e-45], f32)
    for case in range(CASES):
        shape = (8, int(rng.integers(1, 99)))
        a, b = ((rng.normal(0, 1, shape) * 2.0 ** rng.integers(-60, 60, shape)).astype(f32) for _ in range(2))
        if case % 4 == 0:
            a, b = np.resize(special, (10, 10)), np.repeat(special, 10).reshape(10, 10)
        both.node("Div", [a, b], a.dtype)
        both.program("eltwise {out}, {a}, div={b}", Tensor(np.zeros_like(a)), {"a": Tensor(a), "b": Tensor(b)})
    for expected, found in both.run():
        expected = np.where(np.isnan(expected), f32(np.nan), expected)
        assert expected.tobytes() == found.tobytes()


@pytest.mark.parametrize("dtype", (*DTYPES, "float32"))
def test_max_pool(dtype: str) -> None:
    rng, both = np.random.default_rng(1), Both()
    for case in range(CASES):
        window, stride, up = rng.integers(1, 5, 2), rng.integers(1, 4, 2), case % 2
        pad = rng.integers(0, [*window, *window])
        size = window + rng.integers(0, 8, 2)
        rows, columns = pooled(size, pad, window, stride, up)
        batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 12))
        x = values(rng, dtype, (batch, *size, channels))
        spatial = {"kernel_shape": window.tolist(), "strides": stride.tolist(), "pads": pad.tolist()}
        both.node("MaxPool", [nchw(x)], x.dtype, channels_last=True, ceil_mode=up, **spatial)
        text = f"window={tuple(window.tolist())}, stride={tuple(stride.tolist())}, pad={tuple(pad.tolist())}"
        out = Tensor(np.zeros((batch, rows, columns, channels), dtype))
        both.program(f"maxpool {{out}}, {{x}}, {text}" + ", ceil" * up, out, {"x": Tensor(x)})
    check_equal(both)


@pytest.mark.parametrize("counted", [0, 1])
def test_average_pool(counted: int) -> None:
    """With ceil_mode and count_include_pad the padding counts, and what lies behind it does not."""
    rng, both = np.random.default_rng(10), Both()
    for case in range(CASES):
        window, stride, up = rng.integers(1, 5, 2), rng.integers(1, 4, 2), case % 4 > 0
        pad = rng.integers(0, [*window, *window])
        size = window + rng.integers(0, 8, 2)
        rows, columns = pooled(size, pad, window, stride, up)
        batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 12))
        x = values(rng, "float32", (batch, *size, channels))
        spatial = {"kernel_shape": window.tolist(), "strides": stride.tolist(), "pads": pad.tolist()}
        more = {"count_include_pad": counted, "ceil_mode": int(up)}
        both.node("AveragePool", [nchw(x)], x.dtype, channels_last=True, **spatial, **more)
        text = f"window={tuple(window.tolist())}, stride={tuple(stride.tolist())}, pad={tuple(pad.tolist())}"
        out = Tensor(np.zeros((batch, rows, columns, channels), f32))
        both.program(f"avgpool {{out}}, {{x}}, {text}" + ", count_pad" * counted + ", ceil" * up, out, {"x": Tensor(x)})
    check_equal(both, 2e-5)


@pytest.mark.parametrize("dtype", ("int8", "uint8", "int16", "int32", "float16", "float32"))
def test_gather(dtype: str) -> None:
    rng, both = np.random.default_rng(2), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        axis = int(rng.integers(len(shape)))
        x, size = values(rng, dtype, shape), shape[axis]
        index = rng.integers(-size, size, rng.integers(1, 12)).astype(np.int32)
        both.node("Gather", [x, index], x.dtype, axis=axis)
        out = Tensor(np.zeros((*shape[:axis], len(index), *shape[axis + 1 :]), dtype))
        text = f"gather {{out}}, {{x}}, {{index}}, axis={axis}, from_end"
        both.program(text, out, {"x": Tensor(x), "index": Tensor(index)})
    check_equal(both)


@pytest.mark.parametrize("dtype", ("int8", "int32", "float16", "float32"))
def test_scatter(dtype: str) -> None:
    """Of equal places the last stays, as onnxruntime has it, though ONNX leaves it open."""
    rng, both = np.random.default_rng(15), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        axis = int(rng.integers(len(shape)))
        index = rng.integers(-shape[axis], shape[axis], rng.integers(1, 12)).astype(np.int32)
        before, x = values(rng, dtype, shape), values(rng, dtype, (*shape[:axis], len(index), *shape[axis + 1 :]))
        places = np.broadcast_to(np.expand_dims(index, [d for d in range(len(shape)) if d != axis]), x.shape)
        both.node("ScatterElements", [before, places, x], before.dtype, axis=axis)
        text = f"copy {{out}}, {{before}}\nscatter {{out}}, {{x}}, {{index}}, axis={axis}, from_end"
        given = {"before": Tensor(before), "x": Tensor(x), "index": Tensor(index)}
        both.program(text, Tensor(np.zeros(shape, dtype)), given)
    check_equal(both)


def axes_of(rng: np.random.Generator, rank: int) -> np.ndarray:
    return np.sort(rng.choice(rank, rng.integers(1, rank + 1), replace=False)).astype(np.int64)


@pytest.mark.parametrize(
    ("operator", "word", "dtype", "tolerance"),
    [
        ("ReduceMax", "max", "int8", 0),
        ("ReduceMax", "max", "uint8", 0),
        ("ReduceMax", "max", "float32", 0),
        ("ReduceMin", "min", "int8", 0),
        ("ReduceMin", "min", "uint8", 0),
        ("ReduceMin", "min", "int32", 0),
        ("ReduceMin", "min", "float32", 0),
        ("ReduceSum", "sum", "int32", 0),
        ("ReduceSum", "sum", "float32", 2e-5),
        ("ReduceMean", "mean", "float32", 2e-5),
        ("ReduceSumSquare", "sumsq", "float32", 2e-5),
    ],
)
def test_reductions(operator: str, word: str, dtype: str, tolerance: float) -> None:
    rng, both = np.random.default_rng(3), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist())
        axes = axes_of(rng, len(shape))
        # Sums are of 8-bit integers here and of their values in onnxruntime, which has no other.
        x = values(rng, "int8" if word == "sum" and dtype == "int32" else dtype, shape)
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


@pytest.mark.parametrize("domain", ("", MICROSOFT))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-7), ("float16", 2e-3)])
def test_rotary_embedding(domain: str, dtype: str, tolerance: float) -> None:
    """By both pairings, of a batch whose rows stand at any positions."""
    rng, both = np.random.default_rng(13), Both(opset=23)
    for case in range(CASES):
        batch, heads, length, half, more = rng.integers(1, 6, 5).tolist()
        # onnxruntime's table is no shorter than a row.
        most = length + more
        x = values(rng, dtype, (batch, heads, length, 2 * half)) / 16
        angles = rng.uniform(-4, 4, (most, half))
        cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
        at = rng.integers(0, most, (batch, length))
        given = [x, at, cos, sin] if domain else [x, cos, sin, at]
        both.node("RotaryEmbedding", given, x.dtype, domain, interleaved=case % 2)
        text = f"rotate {{out}}, {{x}}, {{cos}}, {{sin}}, {('halves', 'interleaved')[case % 2]}"
        tables = {"cos": Tensor(cos[at][:, None]), "sin": Tensor(sin[at][:, None])}
        both.program(text, Tensor(np.zeros_like(x)), {"x": Tensor(x), **tables})
    check_equal(both, tolerance)


@pytest.mark.parametrize("dtype", ("int32", "float32"))
def test_top_k(dtype: str) -> None:
    rng, both = np.random.default_rng(12), Both()
    for case in range(CASES):
        shape = tuple(rng.integers(1, 30, rng.integers(1, 5)).tolist())
        k = int(rng.integers(1, shape[-1] + 1))
        # Equal ones, and both zeros: those in front count.
        x = (values(rng, dtype, shape) // 8 * -1).astype(dtype)
        kept = (*shape[:-1], k)
        found = {"out": Tensor(np.zeros(kept, dtype)), "places": Tensor(np.zeros(kept, np.int32))}
        name = "places" if case % 2 else "out"
        both.node("TopK", [x, np.array([k])], np.dtype(np.int64 if case % 2 else dtype), nth=(case % 2, 2))
        (other,) = found.keys() - {name}
        text = f"topk {'{out}, {local}' if name == 'out' else '{local}, {out}'}, {{x}}"
        both.program(text, found[name], {"x": Tensor(x)}, locals={"local": found[other]})
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


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("rounding", ["prefer_floor", "prefer_ceil", "floor", "ceil"])
def test_resize_to_the_nearest(coordinates: str, rounding: str) -> None:
    rng, both = np.random.default_rng(6), Both()
    for case in range(CASES):
        shape = tuple(rng.integers(1, 9, 4).tolist())
        # Whole factors, up or down: onnxruntime's coordinates are float32, and may miss where they are no such number.
        factors = rng.choice([1, 2, 4] if case % 2 else [0.5, 0.25, 1], 2)
        shape = (shape[0], 4 * shape[1], 4 * shape[2], shape[3])
        sizes = (np.array(shape[1:3]) * factors).astype(int).tolist()
        x = values(rng, DTYPES[case % 2], shape)
        resize(both, x, sizes, "nearest", coordinates, f"round_{rounding}" if "prefer" in rounding else rounding)
        out = Tensor(np.zeros((shape[0], *sizes, shape[3]), x.dtype))
        both.program(f"resize {{out}}, {{x}}, nearest, {coordinates}, {rounding}", out, {"x": Tensor(x)})
    check_equal(both)


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_resize_bilinearly(coordinates: str) -> None:
    rng, both = np.random.default_rng(7), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, 4).tolist())
        sizes = rng.integers(1, 20, 2).tolist()
        x = values(rng, "float32", shape)
        resize(both, x, sizes, "linear", coordinates, "floor")
        out = Tensor(np.zeros((shape[0], *sizes, shape[3]), f32))
        both.program(f"resize {{out}}, {{x}}, linear, {coordinates}", out, {"x": Tensor(x)})
    check_equal(both, 2e-5)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("rounding", ["prefer_floor", "prefer_ceil", "floor", "ceil", "linear"])
def test_resize_by_a_factor(coordinates: str, rounding: str) -> None:
    """By any float32 scale, and by the one that onnxruntime makes of sizes: nearest ones are the same pixels."""
    rng, both = np.random.default_rng(11), Both()
    mode = "linear" if rounding == "linear" else "nearest"
    word = f"round_{rounding}" if "prefer" in rounding else "floor" if mode == "linear" else rounding
    for case in range(2 * CASES):
        shape = tuple(rng.integers(1, 9, 4).tolist())
        factors = f32(rng.choice([1.5, 0.6, 0.75, 2.7, 1 / 3, rng.uniform(0.2, 4)], 2))
        sizes = [int(size * f32(factor)) for size, factor in zip(f32(shape[1:3]), factors, strict=True)]
        if case % 2 or 0 in sizes:
            sizes = rng.integers(1, 20, 2).tolist()
            factors = f32(sizes) / f32(shape[1:3])
            scales = None
        else:
            scales = np.array([1, 1, *factors], f32)
        x = values(rng, "float32", shape)
        resize(both, x, sizes, mode, coordinates, word, scales)
        out = Tensor(np.zeros((shape[0], *sizes, shape[3]), f32))
        words = f"{mode}, {coordinates}" + f", {rounding}" * (mode == "nearest")
        both.program(f"resize {{out}}, {{x}}, {words}, factor={tuple(factors.tolist())}", out, {"x": Tensor(x)})
    check_equal(both, 2e-5 if mode == "linear" else 0)


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resize_integers_bilinearly(coordinates: str, dtype: str) -> None:
    """Within 1: onnxruntime cuts the fraction off, the chip rounds."""
    rng, both = np.random.default_rng(9), Both()
    for _ in range(CASES):
        shape = tuple(rng.integers(1, 9, 4).tolist())
        sizes = rng.integers(1, 20, 2).tolist()
        x = values(rng, dtype, shape)
        resize(both, x, sizes, "linear", coordinates, "floor")
        out = Tensor(np.zeros((shape[0], *sizes, shape[3]), x.dtype))
        both.program(f"resize {{out}}, {{x}}, linear, {coordinates}", out, {"x": Tensor(x)})
    for expected, found in both.run():
        assert np.abs(found.astype(np.int64) - expected.astype(np.int64)).max() <= 1


def resize(
    both: Both,
    x: np.ndarray,
    sizes: list[int],
    mode: str,
    coordinates: str,
    rounding: str,
    scales: np.ndarray | None = None,
) -> None:
    whole = np.array([x.shape[0], x.shape[3], *sizes], np.int64)
    both.node(
        "Resize",
        [nchw(x), None, None, whole] if scales is None else [nchw(x), None, scales],
        x.dtype,
        channels_last=True,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )


def regions_of(rng: np.random.Generator, count: int, scale: float) -> np.ndarray:
    """Return regions, [count, 4]: left, top, right, bottom, some of them partly outside an image of 16 pixels."""
    corners = rng.uniform(-2, 16, (count, 2, 2))
    return (np.sort(corners, axis=1).reshape(count, 4) / scale).astype(f32)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_roi_align(half_pixel: bool) -> None:
    rng, both = np.random.default_rng(8), Both()
    for _ in range(CASES):
        batch, channels, count = rng.integers(1, [4, 9, 6]).tolist()
        height, width, ratio = rng.integers(1, [5, 5, 4]).tolist()
        scale = float(2.0 ** rng.integers(-3, 1))
        x, rois = values(rng, "float32", (batch, 16, 16, channels)), regions_of(rng, count, scale)
        index = rng.integers(0, batch, count)
        both.node(
            "RoiAlign",
            [nchw(x), rois, index],
            x.dtype,
            channels_last=True,
            output_height=height,
            output_width=width,
            sampling_ratio=ratio,
            spatial_scale=scale,
            mode="avg",
            coordinate_transformation_mode="half_pixel" if half_pixel else "output_half_pixel",
        )
        samples = Tensor(np.zeros((count, height * ratio, width * ratio, channels), f32))
        options = f"ratio={ratio}, spatial_scale={scale}" + ", half_pixel" * half_pixel
        both.program(
            f"""roisample {{samples}}, {{x}}, {{rois}}, {{index}}, {options}
            avgpool {{out}}, {{samples}}, window={ratio}, stride={ratio}""",
            Tensor(np.zeros((count, height, width, channels), f32)),
            {"x": Tensor(x), "rois": Tensor(rois), "index": Tensor(index.astype(np.int32))},
            locals={"samples": samples},
        )
    check_equal(both, 1e-4)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_roi_align_by_the_size_of_regions(half_pixel: bool) -> None:
    """sampling_ratio=0, where the regions are known: an instruction for each, with its own ratio."""
    rng, both = np.random.default_rng(12), Both()
    for _ in range(CASES):
        batch, channels, count = rng.integers(1, [4, 9, 6]).tolist()
        height, width = rng.integers(1, 5, 2).tolist()
        scale = float(2.0 ** rng.integers(-3, 1))
        x, rois = values(rng, "float32", (batch, 16, 16, channels)), regions_of(rng, count, scale)
        index = rng.integers(0, batch, count)
        both.node(
            "RoiAlign",
            [nchw(x), rois, index],
            x.dtype,
            channels_last=True,
            output_height=height,
            output_width=width,
            sampling_ratio=0,
            spatial_scale=scale,
            mode="avg",
            coordinate_transformation_mode="half_pixel" if half_pixel else "output_half_pixel",
        )
        sizes = (rois[:, [3, 2]] - rois[:, [1, 0]]) * f32(scale)
        sizes = sizes if half_pixel else np.maximum(sizes, 1)
        ratios = np.ceil(sizes / f32([height, width])).astype(int).tolist()
        options = f"spatial_scale={scale}" + ", half_pixel" * half_pixel
        lines, locals = [], {}
        for r, (down, across) in enumerate(ratios):
            locals[f"s{r}_"] = Tensor(np.zeros((1, height * down, width * across, channels), f32))
            taken = f"{{rois}}[{r} : +1], {{index}}[{r} : +1], ratio=({down}, {across})"
            lines.append(f"roisample {{s{r}_}}, {{x}}, {taken}, {options}")
            lines.append(f"avgpool {{out}}[{r} : +1], {{s{r}_}}, window=({down}, {across}), stride=({down}, {across})")
        both.program(
            "\n".join(lines),
            Tensor(np.zeros((count, height, width, channels), f32)),
            {"x": Tensor(x), "rois": Tensor(rois), "index": Tensor(index.astype(np.int32))},
            locals=locals,
        )
    check_equal(both, 1e-4)


def test_roi_max_pool() -> None:
    rng, both = np.random.default_rng(9), Both()
    for _ in range(CASES):
        batch, channels, count = rng.integers(1, [4, 9, 6]).tolist()
        height, width = rng.integers(1, 5, 2).tolist()
        scale = float(2.0 ** rng.integers(-3, 1))
        x, rois = values(rng, "float32", (batch, 16, 16, channels)), regions_of(rng, count, scale)
        index = rng.integers(0, batch, count)
        both.node(
            "MaxRoiPool",
            [nchw(x), np.concatenate([index[:, None], rois], 1).astype(f32)],
            x.dtype,
            channels_last=True,
            pooled_shape=[height, width],
            spatial_scale=scale,
        )
        both.program(
            f"roipool {{out}}, {{x}}, {{rois}}, {{index}}, spatial_scale={scale}",
            Tensor(np.zeros((count, height, width, channels), f32)),
            {"x": Tensor(x), "rois": Tensor(rois), "index": Tensor(index.astype(np.int32))},
        )
    check_equal(both)
