"""The test cases of the ONNX standard, for each operator, as the onnx wheel generates them.

Each case is a model, mostly of one node, with inputs and the outputs expected within a tolerance. A name that ends in
`_expanded`, or `_expanded_ver` and a number, is a case of an operator that is a function, written as its body.
"""

import logging
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.oracles.onnx_tensors import options, session


@dataclass(frozen=True)
class Case:
    """A test case; inputs and expected outputs in the order of the graph's.

    A value that is no tensor (a sequence, an optional) is None or a list.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    relative: float
    absolute: float

    @property
    def feeds(self) -> dict[str, Any]:
        return dict(zip((value.name for value in self.model.graph.input), self.inputs))

    @property
    def types(self) -> frozenset[str]:
        """Return the types of inputs and outputs, as onnx spells them; `other` for what is no tensor."""
        values = [*self.model.graph.input, *self.model.graph.output]
        return frozenset(
            TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower()
            if v.type.HasField("tensor_type")
            else "other"
            for v in values
        )

    @property
    def expanded(self) -> bool:
        return re.search(r"_expanded(_ver\d+)?$", self.name) is not None


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases that have data; it takes 15 seconds, for their data is drawn and computed."""
    from onnx.backend.test.case.node import collect_testcases

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The global generator is what the wheel draws from.
            kept = np.random.get_state()
            np.random.seed(0)
            collected = collect_testcases(None)
            np.random.set_state(kept)
    finally:
        logging.disable(logging.NOTSET)
    found, operators = [], {}
    for case in collected:
        for inputs, outputs in case.data_sets or ():
            first = case.model.graph.node[0] if case.model.graph.node else None
            # A body is not the operator: its case's name is the operator's case and an ending.
            whole = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
            if whole == case.name and first is not None:
                operators[whole] = (
                    first.op_type if first.domain in ("", "ai.onnx") else f"{first.domain}.{first.op_type}"
                )
            values = (tuple(map(_array, values)) for values in (inputs, outputs))
            found.append(Case(case.name, operators.get(whole, ""), case.model, *values, case.rtol, case.atol))
    return tuple(found)


def _array(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def passes(case: Case) -> bool:
    """Say whether onnxruntime runs the case and gives what is expected, within the case's tolerance."""
    try:
        results = session(case.model, options()).run(None, case.feeds)
    except Exception:  # It raises classes of its own, RuntimeError, and what pybind11 does.
        return False
    try:
        for result, expected in zip(results, case.outputs, strict=True):
            np.testing.assert_allclose(result, expected, case.relative, case.absolute)
            if np.asarray(result).dtype != np.asarray(expected).dtype:
                return False
    except (AssertionError, TypeError, ValueError):
        return False
    return True


def by_operator() -> dict[str, list[Case]]:
    """Return the cases of each operator."""
    found = defaultdict(list)
    for case in cases():
        found[case.operator].append(case)
    return dict(sorted(found.items()))


def counts() -> Counter[str]:
    """Return how many cases each operator has."""
    return Counter(case.operator for case in cases())
