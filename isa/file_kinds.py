"""What a file is, by how it begins and what it is called: a program, a network, and what may take its place."""

from pathlib import Path

from isa.errors import RatelError

# As many bytes of a file as its kind is told from.
MOST = 64
TEXT_EXPECTED = "expected an assembly text (.npu) or an object file (.npo)"
COMPILED = "`ratel compile` makes a program of it; `run`, `time`, `check`, `annotate` and `report` take it as it is"
EXPORTED = "export it to ONNX, which `ratel compile` and `ratel run` take"
A_TENSOR = "a tensor is given to a program: `--input NAME=FILE.npy`, or in its text `.weight NAME TYPE[SHAPE] = FILE`"
# (what it is, how to go on) by the first bytes of a file, at an offset.
BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x93NUMPY", "a tensor (.npy)", A_TENSOR),
    (4, b"TFL3", "a TensorFlow Lite model", EXPORTED),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes its models", EXPORTED),
    (0, b"GGUF", "a GGUF model", EXPORTED),
    (0, b"\x80\x02", "a Python pickle, as PyTorch once wrote its models", EXPORTED),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (0, b"\x7fELF", "a compiled program of this computer (ELF)", ""),
    (0, b"MZ", "a compiled program of Windows", ""),
    (0, b"\xcf\xfa\xed\xfe", "a compiled program of macOS", ""),
    (0, b"\x1f\x8b", "compressed (gzip)", "decompress it first: gunzip"),
    (0, b"BZh", "compressed (bzip2)", "decompress it first: bunzip2"),
    (0, b"\xfd7zXZ\x00", "compressed (xz)", "decompress it first: unxz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)", "decompress it first: unzstd"),
    (0, b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (0, b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (0, b"\x89PNG", "a picture (PNG)", ""),
    (0, b"%PDF", "a PDF document", ""),
)
# The same by the end of its name, programs too: what is of another kind does not take its place.
ENDINGS: dict[str, tuple[str, str]] = {
    ".npu": ("the text of a program", ""),
    ".inc": ("a part of a program's text", ""),
    ".npo": ("an object file", ""),
    ".npy": ("a tensor (.npy)", A_TENSOR),
    ".onnx": ("an ONNX model", COMPILED),
    ".tflite": ("a TensorFlow Lite model", EXPORTED),
    ".pt": ("a PyTorch model", EXPORTED),
    ".pth": ("a PyTorch model", EXPORTED),
    ".pt2": ("a PyTorch model", EXPORTED),
    ".safetensors": ("a file of weights (safetensors)", EXPORTED),
    ".h5": ("a Keras model", EXPORTED),
    ".keras": ("a Keras model", EXPORTED),
    ".pb": ("a TensorFlow model", EXPORTED),
    ".mlir": ("an MLIR module", EXPORTED),
    ".npz": ("an archive of tensors (.npz)", A_TENSOR),
    ".toml": ("a chip file or settings (.toml)", "a chip is named beside the program: `--chip FILE.toml`"),
    ".py": ("a Python script", "run it with python: ratel.run runs what its Builder has built"),
}
# What is read as a program, whatever else it may turn out to be.
PROGRAMS = (".npu", ".inc", ".npo")
ZIP = b"PK\x03\x04"
# What begins an ONNX model: its version of the format, then the name of its producer, its opset, or its graph.
ONNX_VERSIONS, ONNX_FIELDS = range(1, 32), b"\x12\x3a\x42"


def is_network(path: str | Path, beginning: bytes) -> bool:
    """Return whether a file is an ONNX model, by its first bytes, MOST of them, and its name."""
    return bool(beginning) and foreign(path, beginning) == ENDINGS[".onnx"]


def refuse_foreign(path: str | Path, beginning: bytes) -> None:
    """Raise RatelError where a file is no program, by its first bytes, MOST of them, and its name."""
    what, help = foreign(path, beginning)
    if what:
        raise RatelError(f"{path} is {what}: {TEXT_EXPECTED}", help)


def foreign(path: str | Path, beginning: bytes) -> tuple[str, str]:
    """Return what a file is that is no program, and how to go on; ("", "") where nothing speaks against a program.

    `beginning` are its first bytes, at least MOST of them where it has so many.
    """
    ending = Path(path).suffix.lower()
    if not beginning:
        return "empty", ""
    for offset, known, what, help in BEGINNINGS:
        if beginning[offset : offset + len(known)] == known:
            return what, help
    if ending in ENDINGS and ending not in PROGRAMS:
        return ENDINGS[ending]
    if beginning.startswith(ZIP):
        return "an archive (zip), as PyTorch writes its models", "unpack it first, if a program is in it"
    if len(beginning) > 2 and beginning[0] == 8 and beginning[1] in ONNX_VERSIONS and beginning[2] in ONNX_FIELDS:
        return ENDINGS[".onnx"]
    return "", ""


def other_kind(path: str | Path, suffix: str) -> str:
    """Return what speaks against a name for a file of the kind that `suffix` stands for; "" where nothing does."""
    ending = Path(path).suffix.lower()
    return f"would replace {ENDINGS[ending][0]}, or pass for one" if ending in ENDINGS and ending != suffix else ""
