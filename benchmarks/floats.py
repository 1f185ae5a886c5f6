"""Products of floats: many rows and one, of f16, bf16 and weights in groups, beside onnxruntime's of the same sizes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.results import FLOAT16, FLOAT32, FLOAT_GROUPS, GROUPS, LARGE, PROMPT, STEP, FloatProducts, Measured
from benchmarks.timing import Contender, clocked, interleaved
from emulator.execute.session import Session
from emulator.plan.load import load
from isa.chip import load_chip
from isa.grouped import FORMS
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
    contenders[GROUPS] = _ratel("f16", rows, summed, columns, count, f" stored={GROUPS}", "0")
    contenders |= {kind: _runtime(kind, rows, summed, columns, count) for kind in (*KINDS, FLOAT_GROUPS)}
    return Measured(name, macs, "GMAC/s", interleaved(contenders, rounds), (), "floats", macs, 2 * summed * columns)


def _ratel(
    kind: str, rows: int, summed: int, columns: int, count: int, stored: str = "", value: str = "0.25"
) -> Contender:
    text = (
        f".input x {kind}[{rows}, {summed}] = 0.5\n.weight w {kind}[{columns}, {summed}]{stored} = {value}\n"
        f".output y {kind}[{rows}, {columns}]\nloop i, {count}\n    matmul y, x, w, transpose_w\nbrnz i\nend"
    )
    session = Session(load(assemble(text), load_chip("zhenwu810e")))
    session.run({})
    return Contender(lambda: session.run({}), count)


def _runtime(kind: str, rows: int, summed: int, columns: int, count: int) -> Contender:
    code, dtype = KINDS.get(kind, KINDS[FLOAT32])
    ends = [
        helper.make_tensor_value_info(end, code, shape)
        for end, shape in (("x", (rows, summed)), ("y", (rows, columns)))
    ]
    if kind == FLOAT_GROUPS:
        blocks = summed // FORMS[GROUPS].group
        weights = [
            _constant("w", TensorProto.UINT8, np.zeros((columns, blocks, FORMS[GROUPS].group // 2), np.uint8)),
            _constant("s", code, np.zeros(columns * blocks, dtype)),
        ]
        # Accuracy 0: activations stay floats.
        node = helper.make_node(
            "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=summed, N=columns, bits=4,
            block_size=FORMS[GROUPS].group, accuracy_level=0,
        )  # fmt: skip
    else:
        weights = [_constant("w", code, np.full((summed, columns), 0.25, dtype))]
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"x": np.full((rows, summed), 0.5, dtype)}
    session.run(None, given)

    def run() -> None:
        for _ in range(count):
            session.run(None, given)

    return Contender(run, count)


def _constant(name: str, code: int, values: np.ndarray) -> onnx.TensorProto:
    return helper.make_tensor(name, code, values.shape, values.tobytes(), True)
