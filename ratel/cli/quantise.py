"""`ratel quantise`: a network of floats as one of 8 bits, and what that costs by layer."""

from __future__ import annotations

import argparse

from isa.errors import RatelError
from ratel.cli.files import check_targets, print_json, read_program
from ratel.cli.options import DONE, Declare, UsageError, add_json, add_memory, seed


def declare(command: Declare) -> None:
    """Declare quantise with its options."""
    sub = command("quantise", quantise, "quantise an ONNX network of floats to 8 bits, and say what that costs")
    sub.add_argument("file", metavar="NET.onnx")
    sub.add_argument(
        "--calibrate",
        required=True,
        metavar="DATA.npz|FOLDER",
        help="samples: arrays by the names of inputs, or .npy files of them",
    )
    sub.add_argument("-o", dest="network", metavar="NET.int8.onnx", help="write the quantised network")
    sub.add_argument(
        "--method", choices=("minmax", "entropy", "percentile"), default="minmax", help="of ranges (default: minmax)"
    )
    sub.add_argument(
        "--form",
        choices=("qdq", "qoperator"),
        default="qdq",
        help="floats between QuantizeLinear and DequantizeLinear, or operators of integers (default: qdq)",
    )
    sub.add_argument("--symmetric", action="store_true", help="zero points are 0, as those of weights are anyway")
    sub.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="LAYER,...",
        help="leave layers in floats, which the host computes",
    )
    sub.add_argument(
        "--trials", type=seed, default=3, metavar="N", help="try the N worst layers in floats (default: 3; 0: none)"
    )
    add_json(sub)
    add_memory(sub)


def quantise(options: argparse.Namespace) -> int:
    from ratel.show.networks import print_quantised
    from ratel.show.progress import Progress

    model = read_program(options.file)
    if isinstance(model, bytearray | str):
        raise RatelError(f"{options.file} is no ONNX network", "networks are quantised, as they were exported: .onnx")
    if options.network is not None:
        if not options.network.endswith(".onnx"):
            raise UsageError(f"-o {options.network} does not end in .onnx")
        check_targets([options.network], ".onnx")
    from compiler.quantise.quantise import quantise

    keep = [name for names in options.keep for name in names.split(",") if name]
    with Progress(model.name) as progress:
        made = quantise(
            model,
            options.calibrate,
            form=options.form,
            method=options.method,
            symmetric=options.symmetric,
            keep=keep,
            trials=options.trials,
            advance=progress.quantising,
        )
    if options.network is not None:
        made.save(options.network)
    if options.json:
        print_json(made.summary())
    else:
        print_quantised(made, options.network)
    return DONE
