"""Models that are wrong, or that are not compiled: what is said of each, word by word, in messages.txt."""

import re
from pathlib import Path

import pytest

import ratel
from isa.files import write_whole
from tests.compiler.wrong_models import WRONG

MESSAGES = Path(__file__).with_name("messages.txt")


def said(name: str, folder: Path) -> str:
    """Return what is said of a model; versions of packages as `VERSION`."""
    path = folder / f"{name}.onnx"
    path.write_bytes(WRONG[name].made(folder))
    with pytest.raises(ratel.RatelError) as caught:
        ratel.compile(path, **WRONG[name].options)
    return re.sub(r"onnx (\d+\.)+\d+( has \d+| reads up to \d+)?", r"onnx VERSION", str(caught.value))


def test_each_wrong_model_has_a_message_that_says_where_what_and_how_to_mend_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert len(WRONG) >= 30
    found = []
    for name in WRONG:
        folder = tmp_path / name
        folder.mkdir()
        found.append(f"--- {name}\n{said(name, folder)}\n")
    if request.config.getoption("--bless"):
        write_whole(MESSAGES, "".join(found).encode())
    assert "".join(found) == MESSAGES.read_text("utf-8")


def test_external_data_beside_the_model_are_read(tmp_path: Path) -> None:
    from tests.compiler.wrong_models import external

    path = tmp_path / "net.onnx"
    path.write_bytes(external("w.bin", bytes(64), length=64)(tmp_path))
    assert ratel.compile(path).graph.values["w"].elements == 16
    with pytest.raises(ratel.InputError, match="give the path of the model"):
        ratel.compile(path.read_bytes())


@pytest.mark.parametrize("model", [5, None, ["net.onnx"], "missing.onnx", "a\0b.onnx"])
def test_what_is_no_model_at_all(model: object) -> None:
    with pytest.raises(ratel.InputError):
        ratel.compile(model)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_said_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ratel.cli.main import main

    monkeypatch.setitem(__import__("sys").modules, name, None)
    assert main(["run", "programs/onnx/digits.onnx"]) == 1
    assert capsys.readouterr().err == (
        f"error: a network is read with {name}, which is not installed\nhelp: pip install 'ratel-npu[onnx]'\n"
    )
