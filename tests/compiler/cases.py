"""The ONNX standard's cases of the operators that the compiler is about: what becomes of each, as a table.

    python -m tests.compiler.cases          # writes the section of docs/compiler.md

What says a shape, dimensions, or a scale is an input in many cases. Here it is a constant, as in networks that are
exported: a chip's shapes are fixed.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.compile import compile
from isa.errors import InputError
from tests.compiler.oracle import chip, differences, results
from tests.oracles.onnx_nodes import Case, cases, passes

PAGE = Path(__file__).parents[2] / "docs" / "compiler.md"
BEGIN, END = "<!-- cases: python -m tests.compiler.cases -->", "<!-- end of cases -->"
OPERATORS = [
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "GRU",
    "Gather",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "Where",
]
TYPES = frozenset(("float", "uint8", "int8", "int32", "int64", "bool"))
# Names, in the standard's own words, of inputs that say something of the others.
SAYING = frozenset(
    [
        "shape",
        "axes",
        "starts",
        "ends",
        "steps",
        "split",
        "pads",
        "constant_value",
        "repeats",
        "roi",
        "scales",
        "sizes",
        "min",
        "max",
        "condition",
        "ratio",
        "training_mode",
        "w",
        "W",
        "B",
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What became of a case: chip, host (a part of it, or all), or refused; and why it was not the chip."""

    case: Case
    what: str
    whys: tuple[str, ...] = ()


def fixed(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a case's model with constants for what says something of other inputs, and what is left to give."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    feeds = case.feeds
    (node,) = model.graph.node if len(model.graph.node) == 1 else (None,)
    if node is None:
        return model, feeds
    version = next((one.version for one in model.opset_import if one.domain == ""), 1)
    formal = onnx.defs.get_schema(node.op_type, version, node.domain).inputs
    for name, described in zip(node.input, formal):
        word = described.name
        if name in feeds and (
            word in SAYING or node.op_type == "ConstantOfShape" or "scale" in word or "zero_point" in word
        ):
            model.graph.initializer.append(numpy_helper.from_array(feeds.pop(name), name))
    kept = [value for value in model.graph.input if value.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, feeds


def outcome(case: Case) -> Outcome:
    """Compile and run a case; each tensor of the chip is held against onnxruntime's, and the results against the case.

    Raises AssertionError where one is wrong.
    """
    if not passes(case):
        return Outcome(case, "refused", ("onnxruntime does not compute it, or not as the standard says",))
    model, feeds = fixed(case)
    if not all(array.size for array in feeds.values()):
        return Outcome(case, "refused", ("an input has no elements",))
    try:
        compiled = compile(model, chip(), keep=True)
    except InputError as error:
        return Outcome(case, "refused", (_short(error),))
    try:
        wrong = differences(compiled, feeds)
        found = results(compiled, feeds)
    except InputError as error:
        return Outcome(case, "refused", (_short(error),))
    assert not wrong, f"{case.name}: {wrong}"
    for value, expected in zip(found, case.outputs, strict=True):
        np.testing.assert_allclose(value, expected, case.relative, case.absolute, err_msg=case.name)
        assert value.dtype == np.asarray(expected).dtype, case.name
    return Outcome(case, "host" if compiled.refused else "chip", tuple(compiled.refused.values()))


def _short(error: InputError) -> str:
    """Return what an error says, without the names of the case."""
    said = str(error).splitlines()[0]
    known = ("the shape of its result follows the data", "has dimensions that are open")
    return next((words for words in known if words in said), said)


def outcomes() -> list[Outcome]:
    """Return what becomes of each case of these operators, of the chip's types."""
    chosen = [case for case in cases() if case.operator in OPERATORS and case.types <= TYPES and not case.expanded]
    return [outcome(case) for case in chosen]


def section(found: list[Outcome]) -> str:
    """Return the section of the page: a table by operator, and one of reasons."""
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    where: dict[str, set[str]] = defaultdict(set)
    for one in found:
        by_operator[one.case.operator][one.what] += 1
        for why in set(one.whys):
            reasons[why] += 1
            where[why].add(one.case.operator)
    counts = Counter(one.what for one in found)
    lines = [
        BEGIN,
        "",
        f"Of the {len(found)} cases {counts['chip']} are computed by the chip alone and {counts['host']} by the host",
        f"or by both, with the results that the standard expects; {counts['refused']} are refused.",
        "",
        "| operator | chip | host | refused |",
        "| --- | --- | --- | --- |",
    ]
    for operator, of in sorted(by_operator.items()):
        lines.append(
            f"| {operator} | " + " | ".join(str(of[what] or "") for what in ("chip", "host", "refused")) + " |"
        )
    lines += ["", "| cases | why they are not the chip's | operators |", "| --- | --- | --- |"]
    for why, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
        lines.append(f"| {count} | {why} | {', '.join(sorted(where[why]))} |")
    return "\n".join([*lines, "", END])


def written(page: str, part: str) -> str:
    """Return the page with another section of cases."""
    before, _, rest = page.partition(BEGIN)
    return before + part + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8"), section(outcomes())), "utf-8")
