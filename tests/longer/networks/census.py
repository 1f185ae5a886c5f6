"""What the corpus holds: operators, attributes, shapes and types, and how large it all is.

    python -m tests.longer.networks.census [--only NAME,...] [--from FOLDER] > census.md

Every network is run once in each form, so shapes and types are those that are; what has no example's shape is not told.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.longer.models import FILES, NETWORKS, corpus_folder, example, model_path
from tests.oracles.onnx_nodes import by_operator, passes
from tests.oracles.onnx_tensors import SETTINGS, Level, options, session, tensors

# What an attribute's value would be if it were not there, and is not worth a word.
PLAIN = {
    "dilations": ([1, 1], [1]),
    "group": (1,),
    "pads": ([0, 0, 0, 0], [0, 0]),
    "auto_pad": ("NOTSET",),
    "ceil_mode": (0,),
    "count_include_pad": (0,),
    "storage_order": (0,),
}
# Those whose shapes matter more than their number.
SHAPED = ("Conv", "QLinearConv", "ConvTranspose", "MaxPool", "AveragePool", "QLinearAveragePool")
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad", "Concat", "QLinearConcat", "Expand", "Resize")
WIDE = 255
LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
Shape = tuple[int, ...]


@dataclass
class Sheet:
    """One file: its nodes as they are, its values' shapes and types, and what it weighs."""

    name: str
    form: str
    model: onnx.ModelProto
    file_bytes: int
    values: dict[str, np.ndarray]
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def operators(self) -> Counter[str]:
        return Counter(_operator(node) for node in self.model.graph.node)

    def described(self, name: str) -> str:
        value = self.values.get(name, self.constants.get(name))
        if value is None:
            return "-" if not name else "?"
        return f"{value.dtype}{list(value.shape)}" + ("c" if name in self.constants else "")


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"


def sheet(name: str, form: str, path: Path) -> Sheet:
    model = onnx.load(path)
    values = tensors(model, example(name))
    made = Sheet(name, form, model, path.stat().st_size, {k: v for k, v in values.items() if isinstance(v, np.ndarray)})
    made.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            made.constants[node.output[0]] = values[node.output[0]]
            made.values.pop(node.output[0])
    return made


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(str(cell) if cell != 0 else "" for cell in row) + " |"
    yield ""


def _places(found: Counter[str]) -> str:
    return ", ".join(f"{where} x{n}" if n > 1 else where for where, n in found.items())


def attributes(node: onnx.NodeProto) -> str:
    told = []
    for attribute in sorted(node.attribute, key=lambda a: a.name):
        value = helper.get_attribute_value(attribute)
        value = list(value) if attribute.type in (attribute.INTS, attribute.FLOATS, attribute.STRINGS) else value
        value = value.decode() if isinstance(value, bytes) else value
        if isinstance(value, onnx.TensorProto):
            value = f"tensor{list(value.dims)}"
        elif isinstance(value, onnx.GraphProto):
            value = f"graph of {len(value.node)}"
        elif isinstance(value, float):
            value = f"{value:.6g}"
        if value not in PLAIN.get(attribute.name, ()):
            told.append(f"{attribute.name}={value}")
    return " ".join(told)


def overview(sheets: Sequence[Sheet]) -> Iterator[str]:
    rows = []
    for s in sheets:
        weights = sum(v.nbytes for v in s.constants.values())
        largest = max(s.values.items(), key=lambda item: item[1].nbytes)
        opsets = " ".join(
            f"{o.domain or 'onnx'}:{o.version}" for o in s.model.opset_import if o.domain in ("", "com.microsoft")
        )
        where = f"{largest[1].dtype}{list(largest[1].shape)}"
        rows.append((s.name, s.form, opsets, len(s.model.graph.node), s.file_bytes, weights, largest[1].nbytes, where))
    yield from table(
        ("network", "form", "opsets", "nodes", "file, bytes", "constants, bytes", "largest value, bytes", "it is"), rows
    )


def operator_table(sheets: Sequence[Sheet]) -> Iterator[str]:
    total: Counter[str] = Counter()
    for s in sheets:
        total += s.operators
    rows = [[operator, *(s.operators[operator] for s in sheets), n] for operator, n in sorted(total.items())]
    yield from table(("operator", *(s.name for s in sheets), "all"), rows)


def attribute_list(sheets: Sequence[Sheet]) -> Iterator[str]:
    """List each operator with its attributes, and its operands' types, and where."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for s in sheets:
        for node in s.model.graph.node:
            if node.op_type not in SHAPED and node.op_type not in MOVES and node.op_type != "Constant":
                types = ",".join(_type(s, name) for name in node.input)
                ranks = "x".join(
                    str(v.ndim) for v in (s.values.get(n, s.constants.get(n)) for n in node.input[:2]) if v is not None
                )
                key = f"({types}) rank {ranks or 0} {attributes(node)}".strip()
                found[_operator(node), key][s.name] += 1
    yield from table(
        ("operator", "operand types (c: constant), ranks of the first two, attributes", "where"),
        ((op, key, _places(n)) for (op, key), n in sorted(found.items())),
    )


def _type(s: Sheet, name: str) -> str:
    value = s.values.get(name, s.constants.get(name))
    if value is None:
        return "-" if not name else "?"
    short = {"float32": "f32", "uint8": "u8", "int8": "i8", "int32": "i32", "int64": "i64"}.get(
        str(value.dtype), str(value.dtype)
    )
    return short + ("c" if name in s.constants else "")


def windows(sheets: Sequence[Sheet]) -> Iterator[str]:
    """List convolutions and poolings by what matters: window, strides, pads, groups; and how many channels."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for s in sheets:
        for node in s.model.graph.node:
            if node.op_type in SHAPED:
                key = attributes(node)
                if node.op_type in ("Conv", "QLinearConv", "ConvTranspose"):
                    x, w = (
                        s.values.get(n, s.constants.get(n))
                        for n in (node.input[0], node.input[3 if "QL" in node.op_type else 1])
                    )
                    group = next((a.i for a in node.attribute if a.name == "group"), 1)
                    if group > 1 and w is not None and x is not None:
                        multiplier = w.shape[0] // group
                        kind = f"depthwise x{multiplier}" if group == x.shape[1] else f"{group} groups"
                        key = " ".join(part for part in key.split(" ") if not part.startswith("group=")) + f" {kind}"
                    if w is not None and "kernel_shape" not in key:
                        key += f" kernel={list(w.shape[2:])}"
                found[_operator(node), key][s.name] += 1
    yield from table(
        ("operator", "attributes", "where"), ((op, key, _places(n)) for (op, key), n in sorted(found.items()))
    )


def moves(sheets: Sequence[Sheet]) -> Iterator[str]:
    """List what moves data, with shapes before and after."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for s in sheets:
        for node in s.model.graph.node:
            if node.op_type in MOVES:
                ins = [s.described(n) for n in node.input]
                if node.op_type in ("Slice", "Pad", "Resize", "Squeeze", "Unsqueeze"):
                    ins = [ins[0], *(_constant(s, n) for n in node.input[1:])]
                elif node.op_type == "QLinearConcat":
                    ins = [ins[k] for k in range(2, len(ins), 3)]
                elif node.op_type in ("Reshape", "Expand"):
                    ins = [ins[0], "" if node.input[1] in s.constants else "computed shape"]
                if len(ins) > 6:
                    ins = [*ins[:3], f"... {len(ins)} operands"]
                text = f"{' '.join(filter(None, ins))} -> {s.described(node.output[0])} {attributes(node)}"
                found[_operator(node), text][s.name] += 1
    yield from table(
        ("operator", "operands -> result, attributes", "where"),
        ((op, key, _places(n)) for (op, key), n in sorted(found.items())),
    )


def _constant(s: Sheet, name: str) -> str:
    if not name:
        return "-"
    if name not in s.constants:
        return "computed"
    value = s.constants[name]
    return str(value.tolist()) if value.size < 9 else s.described(name)


def odd(sheets: Sequence[Sheet]) -> Iterator[str]:
    """List what a compiler may trip over."""
    for s in sheets:
        graph, notes = s.model.graph, []
        ranks = Counter(v.ndim for v in s.values.values())
        types = Counter(str(v.dtype) for v in s.values.values())
        notes.append("ranks " + ", ".join(f"{r}: {n}" for r, n in sorted(ranks.items())))
        notes.append("types " + ", ".join(f"{t}: {n}" for t, n in sorted(types.items())))
        if empty := [k for k, v in s.values.items() if v.size == 0]:
            notes.append(f"{len(empty)} empty values")
        graphs = Counter(n.op_type for n in graph.node for a in n.attribute if a.type == a.GRAPH)
        if graphs:
            notes.append("graphs inside " + _places(graphs))
        dynamic = Counter(
            n.op_type
            for n in graph.node
            if n.op_type
            in ("Reshape", "Slice", "Resize", "Expand", "Pad", "Tile", "Gather", "Range", "ConstantOfShape")
            and any(i and i not in s.constants for i in n.input[1:])
        )
        if dynamic:
            notes.append("second operands that are computed: " + _places(dynamic))
        wide = [
            (n.op_type, list(a.ints))
            for n in graph.node
            for a in n.attribute
            if a.name == "strides" and max(a.ints) > WIDE
        ]
        if wide:
            notes.append(f"strides over {WIDE}: {wide}")
        if products := Counter(filter(None, (_weights(s, node) for node in graph.node))):
            notes.append(_places(products))
        shared = Counter(name for n in graph.node for name in set(n.input))
        reused = [name for name, n in shared.items() if n > 1 and name in s.constants and s.constants[name].size > 1]
        if reused:
            notes.append(f"{len(reused)} constants of more than one element have more than one reader")
        yield f"- {s.name} {s.form}: " + "; ".join(notes)
    yield ""


def levels(names: Sequence[str], folder: Path) -> Iterator[str]:
    """Say where onnxruntime's own results change with the level of graph optimisation, in how many elements."""
    rows = []
    for name in names:
        for form in ("float", "u8u8", "s8s8", "qdq"):
            path = model_path(name, form, folder)
            alone = model_path(name, "qdq.extended" if form == "qdq" else form, folder)
            if not path.exists() or not alone.exists():
                continue
            expected = session(alone, options()).run(None, example(name))
            row: list[Any] = [name, form]
            for level in (
                Level.ORT_DISABLE_ALL,
                Level.ORT_ENABLE_BASIC,
                Level.ORT_ENABLE_EXTENDED,
                Level.ORT_ENABLE_ALL,
            ):
                made = options(level)
                for key, value in SETTINGS.items():
                    made.add_session_config_entry(key, value)
                row.append(_difference(expected, session(path, made).run(None, example(name))))
            rows.append(row)
    yield from table(("network", "form", *LEVELS), rows)


def _difference(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> str:
    apart = sum(int(np.count_nonzero(a != b)) for a, b in zip(expected, found))
    if not apart:
        return "="
    widest = max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in zip(expected, found))
    return f"{apart} of {sum(a.size for a in expected)}, {widest:.1e} of the greatest"


def _weights(s: Sheet, node: onnx.NodeProto) -> str:
    """Say of which type a product's weights are, with which zero points and scales; nothing where they are computed."""
    if node.op_type not in ("QLinearConv", "QLinearMatMul", "QGemm"):
        return ""
    scale, zero = (s.constants.get(name) for name in node.input[4:6])
    if scale is None or zero is None:
        return ""
    scales = "one scale" if scale.size == 1 else "scales by channel"
    return f"{node.op_type} of {zero.dtype} weights, zero point {'not ' if zero.any() else ''}0, {scales}"


def node_cases() -> Iterator[str]:
    rows = []
    for operator, cases in by_operator().items():
        plain = [c for c in cases if not c.expanded]
        scope = [c for c in plain if c.types <= {"float", "uint8", "int8", "int32", "int64", "bool"}]
        types = Counter(t for c in plain for t in c.types)
        passed = sum(map(passes, scope))
        rows.append((operator, len(plain), len(scope), passed, len(cases) - len(plain), ", ".join(sorted(types))))
    heads = ("operator", "cases", "of f32, u8, i8, i32, i64, bool alone", "pass in onnxruntime", "expanded", "types")
    yield from table(heads, rows)
    plain, typed, passed, expanded = (sum(row[k] for row in rows) for k in (1, 2, 3, 4))
    yield f"{plain} cases, {typed} of them of those types alone ({passed} pass), and {expanded} expanded ones."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.networks.census", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(NETWORKS), help="some of the networks")
    parser.add_argument("--from", dest="folder", type=Path, default=corpus_folder(), help="the folder")
    asked = parser.parse_args()
    found: dict[str, list[Sheet]] = {form: [] for form in FILES}
    failed: list[str] = []
    for name in asked.only.split(","):
        for form in FILES:
            path = model_path(name, form, asked.folder)
            if path.exists():
                print(f"{name} {form}", file=sys.stderr, flush=True)
                try:
                    made = sheet(name, form, path)
                except Exception as error:  # onnxruntime raises classes of its own.
                    failed.append(f"- {name} {form}: onnxruntime does not run it: {error}")
                    continue
                made.values = {k: np.broadcast_to(v.dtype.type(0), v.shape) for k, v in made.values.items()}
                found[form].append(made)
    every = [s for sheets in found.values() for s in sheets]
    print("# What the corpus holds\n\n## Files\n", *overview(sorted(every, key=lambda s: s.name)), *failed, sep="\n")
    for form, sheets in found.items():
        print(f"## Operators: {form}\n", *operator_table(sheets), sep="\n")
    runs = [form for form in FILES if form != "qdq"]
    print("## Convolutions and poolings\n")
    for form in ("float", "qdq.extended"):
        print(f"### {form}\n", *windows(found[form]), sep="\n")
    print("## Operands and attributes of all others\n")
    for form in runs:
        print(f"### {form}\n", *attribute_list(found[form]), sep="\n")
    print("## Moves\n")
    for form in runs:
        print(f"### {form}\n", *moves(found[form]), sep="\n")
    print("## Ranks, types, and what is odd\n", *odd(every), sep="\n")
    print("## Levels\n\nResults of the form as the oracle runs it, against other levels of graph optimisation.\n")
    print(*levels(asked.only.split(","), asked.folder), sep="\n")
    print("## The standard's test cases\n", *node_cases(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
