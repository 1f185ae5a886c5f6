"""Products of floats: many rows and one, of f16 and bf16, beside onnxruntime's MatMul of the same sizes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.results import FLOAT16, FLOAT32, LARGE, PROMPT, STEP, FloatProducts, Measured
from benchmarks.timing import Contender, clocked, interleaved
from emulator.execute.session import Session
from emulator.plan.load import load
from isa.chip import load_chip
from ratel import assemble

# Rows, summed and columns.
SIZES = {PROMPT: (128, 576, 1536), STEP: (1, 576, 1536), LARGE: (1, 4096, 4096)}
KINDS = {FLOAT32: (TensorProto.FLOAT, np.float32), FLOAT16: (TensorProto.FLOAT16, np.float16)}
# Multiply-adds of a turn, about; and bytes that are read to see how fast memory is.
TURN, READ_BYTES = 2e9, 2**28


def floats(rounds: int, share: float = 1.0) -> FloatProducts:
    """Return the rates of all SIZES, each turn `share` of TURN, and bytes a second of reading memory."""
    products = [_measured(name, rounds, share) for name in SIZES]
    numbers = np.ones(max(1, int(READ_BYTES * share)) // 4, np.float32)
    seconds = min(clocked(lambda: numbers.sum()) for _ in range(rounds + 1))
    return FloatProducts(products, numbers.nbytes / seconds)


def _measured(name: str, rounds: int, share: float) -> Measured:
    rows, summed, columns = SIZES[name]
    macs = rows * summed * columns
    count = max(1, int(TURN * share / macs))
    contenders = {kind: _ratel(kind, rows, summed, columns, count) for kind in ("f16", "bf16")}
    contenders |= {kind: _runtime(kind, rows, summed, columns, count) for kind in KINDS}
    return Measured(name, macs, "GMAC/s", interleaved(contenders, rounds), (), "floats", macs, 2 * summed * columns)


def _ratel(kind: str, rows: int, summed: int, columns: int, count: int) -> Contender:
    text = (
        f".input x {kind}[{rows}, {summed}] = 0.5\n.weight w {kind}[{columns}, {summed}] = 0.25\n"
        f".output y {kind}[{rows}, {columns}]\nloop i, {count}\n    matmul y, x, w, transpose_w\nbrnz i\nend"
    )
    session = Session(load(assemble(text), load_chip("zhenwu810e")))
    session.run({})
    return Contender(lambda: session.run({}), count)


def _runtime(kind: str, rows: int, summed: int, columns: int, count: int) -> Contender:
    code, dtype = KINDS[kind]
    weight = helper.make_tensor("w", code, (summed, columns), np.full((summed, columns), 0.25, dtype).tobytes(), True)
    ends = [
        helper.make_tensor_value_info(end, code, shape)
        for end, shape in (("x", (rows, summed)), ("y", (rows, columns)))
    ]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"x": np.full((rows, summed), 0.5, dtype)}
    session.run(None, given)

    def run() -> None:
        for _ in range(count):
            session.run(None, given)

    return Contender(run, count)
