"""Networks from Python: ratel.compile and what takes its result, ratel.onnx.InferenceSession, what is kept."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

import compiler.compile
import ratel
from emulator.jit import cache
from ratel import kept
from tests.compiler.small_networks import CHIP, alone, by_onnxruntime, floats, shared, written
from tests.compiler.wrong_models import external, model, node

X = floats(1, 3, 8, 8)
BYTES = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of networks alone: functions are compiled and kept where they are."""
    cache.home()
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiled_now(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The networks that were compiled, and not read from what is kept."""
    made, compile = [], compiler.compile.compile
    monkeypatch.setattr(compiler.compile, "compile", lambda *given: made.append(given) or compile(*given))
    return made


def networks(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{kept.SUFFIX}"))


def test_a_script_changes_one_import(tmp_path: Path, own_cache: Path, compiled_now: list[object]) -> None:
    for _ in range(2):
        session = ratel.onnx.InferenceSession(str(written(tmp_path, alone())), providers=["CPU"], chip=CHIP)
        (x,), (y,) = session.get_inputs(), session.get_outputs()
        assert (x.name, x.shape, x.type) == ("x", [1, 3, 8, 8], "tensor(float)")
        assert (y.name, y.shape, y.type) == ("y", [1, 4, 4, 4], "tensor(uint8)")
        for scale in (1, 5):
            (found,) = session.run(None, {"x": X * np.float32(scale)})
            assert np.array_equal(found, by_onnxruntime(alone(), {"x": X * np.float32(scale)})[0])
        assert len(networks(own_cache)) == len(compiled_now) == 1


def test_the_chip_and_the_host_take_turns(own_cache: Path) -> None:
    for _ in range(2):
        with ratel.onnx.InferenceSession(shared(), chip=CHIP) as session:
            assert [part.side for part in session.compiled.parts] == ["chip", "host", "chip"]
            found = session.run(["places", "y"], {"x": BYTES})
        assert [one.dtype for one in found] == [np.int64, np.uint8]
        assert all(map(np.array_equal, found[::-1], by_onnxruntime(shared(), {"x": BYTES})))


def test_feeds_that_do_not_fit() -> None:
    session = ratel.onnx.InferenceSession(alone(), chip=CHIP)
    for feeds, words in {
        "missing": ({}, "the input 'x' of network is missing"),
        "unknown": ({"x": X, "X": X}, "network has no input 'X'\nhelp: did you mean `x`?"),
        "shape": ({"x": X[0]}, "of shape [3, 8, 8]\nhelp: give float32 of shape [1, 3, 8, 8]"),
        "type": (
            {"x": X.astype(np.float64)},
            "of type float64, not float32\nhelp: convert it with .astype(np.float32)",
        ),
        "ragged": ({"x": [[1, 2], [3]]}, "no array of numbers: [[1, 2], [3]]"),
        "no mapping": ([X], "expected arrays by the names of inputs"),
    }.values():
        with pytest.raises(ratel.InputError) as caught:
            session.run(None, feeds)  # type: ignore[arg-type]
        assert words in str(caught.value)
    big_endian = session.run(("y",), {"x": X.astype(">f4")})
    assert np.array_equal(big_endian, session.run(None, {"x": X}))
    for names in ("y", 5):
        with pytest.raises(ratel.InputError, match="is no list of outputs"):
            session.run(names, {"x": X})  # type: ignore[arg-type]
    with pytest.raises(ratel.InputError, match="no output 'Y'\nhelp: did you mean `y`"):
        session.run(["Y"], {"x": X})


def test_what_the_host_cannot_compute_is_said_with_its_node() -> None:
    words = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.STRING, [2])
    made = model([node("Cast", "x", to=onnx.TensorProto.FLOAT)], [words])
    session = ratel.onnx.InferenceSession(made)
    assert session.get_inputs()[0].type == "tensor(string)"
    assert session.run(None, {"x": np.array(["1", "2.5"], object)})[0].tolist() == [1, 2.5]
    with pytest.raises(ratel.InputError, match="onnxruntime cannot compute Cast 'cast_1' of wrong: "):
        session.run(None, {"x": np.array(["1", "two"], object)})


def test_a_compiled_network_is_taken_as_a_program_is(tmp_path: Path) -> None:
    compiled = ratel.compile(onnx.load_from_string(alone()), CHIP)
    want = by_onnxruntime(alone(), {"x": X})[0]
    run = ratel.run(compiled, {"x": X})
    assert np.array_equal(run.outputs["y"], want)
    assert run.cycles == ratel.time(compiled).cycles == compiled.summary()["cycles"]
    assert ratel.check(compiled).verdict == "proven"
    with ratel.Session(compiled) as session:
        assert np.array_equal(session.run({"x": X}).outputs["y"], want)
    for name in ("net.npo", "net.npu"):
        compiled.save(tmp_path / name)
    text = (tmp_path / "net.npu").read_text("utf-8")
    assert text == compiled.text and "; 2 QLinearConv qlinearconv_conv: q -> conv uint8[1, 8, 8, 8]" in text
    for program in (ratel.Program.load(tmp_path / "net.npo"), ratel.assemble(text, tmp_path / "net.npu")):
        assert np.array_equal(ratel.run(program, {"x": X}, CHIP).outputs["y"], want)
    assert "conv" in ratel.disassemble(compiled)
    with pytest.raises(ratel.InputError, match="neither an object"):
        compiled.save(tmp_path / "net.txt")
    two = ratel.compile(shared(), CHIP)
    for use in (ratel.run, ratel.time, ratel.check, ratel.Session, lambda one: one.save(tmp_path / "two.npo")):
        with pytest.raises(ratel.InputError, match="is not one program: the host computes"):
            use(two)
    assert not (tmp_path / "two.npo").exists()


def test_what_is_kept_is_found_again_and_nothing_else(
    tmp_path: Path, own_cache: Path, compiled_now: list[object]
) -> None:
    path = written(tmp_path, alone("N"))

    def parts(**options: object) -> bool:
        """Return whether it was compiled now."""
        before = len(compiled_now)
        ratel.onnx.InferenceSession(path, chip=CHIP, **options)  # type: ignore[arg-type]
        return len(compiled_now) > before

    assert [parts(), parts(), parts(shapes={"x": (2, 3, 8, 8)}), parts(host=False), parts()] == [1, 0, 1, 1, 0]
    assert len(networks(own_cache)) == 3
    for damaged in networks(own_cache):
        data = bytearray(damaged.read_bytes())
        data[-1] ^= 1
        damaged.write_bytes(data)
    assert [parts(), parts()] == [1, 0]
    for cut in networks(own_cache):
        cut.write_bytes(cut.read_bytes()[:20])
    assert [parts(), parts()] == [1, 0]
    # As another user may write there, nothing is taken from it, nor put there.
    os.chmod(own_cache, 0o777)
    assert [parts(), parts()] == [1, 1]


def test_external_data_that_change_are_compiled_anew(tmp_path: Path, own_cache: Path) -> None:
    path = written(tmp_path, external("w.bin", np.ones(16, np.float32).tobytes(), length=64)(tmp_path))
    x = floats(1, 4)
    for scale in (1, 1, 2):
        (tmp_path / "w.bin").write_bytes((scale * np.ones(16, np.float32)).tobytes())
        found = ratel.onnx.InferenceSession(path).run(None, {"x": x})[0]
        assert np.allclose(found, scale * x.sum(), rtol=1e-3)
    assert len(networks(own_cache)) == 1


def test_what_is_kept_is_bounded(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        ratel.onnx.InferenceSession(written(tmp_path, alone(), f"net{k}.onnx"))
    first = min(networks(own_cache), key=lambda path: path.stat().st_mtime_ns)
    monkeypatch.setattr(kept, "MOST", 3 * first.stat().st_size)
    ratel.onnx.InferenceSession(written(tmp_path, alone(), "net3.onnx"))
    assert len(networks(own_cache)) == 3 and first not in networks(own_cache)
