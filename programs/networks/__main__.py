"""Write a network as an ONNX file: `ratel run`, `time` and `compile` take it from there.

python -m programs.networks resnet50 [--form u8u8] [-o resnet50.onnx] [--input image.npy]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from programs.networks import catalogue

DONE, FAILED = 0, 1


def main() -> int:
    try:
        from programs.networks import onnx_model
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        print("error: onnx is not installed\nhelp: pip install -e '.[onnx]'", file=sys.stderr)
        return FAILED
    parser = argparse.ArgumentParser(prog="python -m programs.networks", description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=catalogue.NETWORKS)
    parser.add_argument(
        "--form",
        choices=onnx_model.FORMS,
        default=onnx_model.AS_DESCRIBED.name,
        help="types of activations and weights (default: %(default)s)",
    )
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE.onnx", help="the file (default: NETWORK.onnx)")
    parser.add_argument("--input", type=Path, metavar="FILE.npy", help="also write an input, drawn from a seed")
    options = parser.parse_args()

    network, form = catalogue.network(options.network), onnx_model.FORMS[options.form]
    path = options.output or Path(f"{network.name}.onnx")
    try:
        path.write_bytes(onnx_model.model(network, form).SerializeToString())
        if options.input:
            with options.input.open("wb") as file:
                np.save(file, onnx_model.given(network, form, catalogue.seeded_input(network)))
    except OSError as error:
        print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    sizes = f"{network.macs() / 1e9:.2f} GMAC, {network.weight_bytes() / 1e6:.1f} million weights"
    print(f"{path}: {form.name}, {len(network.nodes)} nodes, {sizes}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
