"""What lies at the edges of what networks are: windows that see nothing but padding, results that nothing makes, names
of operators in domains that nobody knows, values that the chip does not have."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratel.onnx
from compiler.compile import compile
from compiler.fit.cut import part, rules
from compiler.steps import Step, Tensor
from isa.errors import InputError
from tests.compiler.oracle import check, network, refusals

RNG = np.random.default_rng(1)


def convolution(pads: list[int], size: int = 1) -> Any:
    held = {
        "s": np.float32(0.05),
        "z": np.uint8(100),
        "w": RNG.integers(0, 256, (4, 3, size, size), dtype=np.uint8),
    }
    x = RNG.integers(0, 256, (1, 3, 5, 16), dtype=np.uint8)
    nodes = ("QLinearConv", "x s z w s z s z", "y", {"pads": pads})
    return network(nodes, given={"x": x}, constants={name: np.asarray(array) for name, array in held.items()})


@pytest.mark.parametrize(
    ("pads", "size"), [([1, 1, 1, 1], 1), ([20, 20, 20, 20], 1), ([3, 0, 4, 0], 3), ([0, 5, 0, 0], 2)]
)
def test_windows_that_see_nothing_but_padding(pads: list[int], size: int) -> None:
    check(convolution(pads, size))


@given(st.data())
def test_parts_are_the_whole(data: Any) -> None:
    """The pixels that the parts of a convolution read, and their padding, are those of the whole."""
    size, window, stride = (data.draw(st.integers(*ends)) for ends in ((1, 20), (1, 5), (1, 3)))
    before, behind = data.draw(st.integers(0, window - 1)), data.draw(st.integers(0, window - 1))
    rows = (size + before + behind - window) // stride + 1
    if rows < 1:
        return
    shapes = {"out": (1, rows, 1, 2), "x": (1, size, 1, 3), "w": (2, window, 1, 3)}
    operands = {name: Tensor(name, "i8", shape).view() for name, shape in shapes.items()}
    attributes = {"stride": (stride, 1), "pad": (before, 0, behind, 0)}
    step = Step("conv", operands, attributes, None)
    found, axes = rules(step)
    if rows > 1:
        assert 1 in axes
    begin = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - begin))
    one = part(step, {1: (begin, count)}, found)
    top, _, bottom, _ = one.attributes.get("pad") or (0, 0, 0, 0)
    read = one.operands["x"]
    first = read.offset // 3
    assert first - top == max(begin * stride - before, -before) and first >= 0 and first + read.shape[1] <= size
    assert (read.shape[1] + top + bottom - window) // stride + 1 == count


def test_results_that_nothing_makes() -> None:
    net = network(
        ("Relu", "x", "y"), given={"x": -np.ones((2, 3), np.float32)}, constants={"c": np.arange(3.0)}, outputs="y c"
    )
    y, c = ratel.onnx.InferenceSession(net.model).run(None, dict(net.given))
    assert np.array_equal(y, np.zeros((2, 3))) and np.array_equal(c, [0, 1, 2])


def test_operators_of_a_domain_that_nobody_knows() -> None:
    """Their names are no sign of what they are: onnxruntime's blocked layouts have a MaxPool of their own."""
    net = network(("MaxPool", "x", "y", {"kernel_shape": [1, 1]}), given={"x": np.ones((1, 64, 4, 4), np.float32)})
    net.model.graph.node[0].domain = "com.microsoft.nchwc"
    net.model.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
    try:
        refused = compile(net.model).refused
    except InputError as error:
        # Not every build of onnxruntime has it.
        assert "com.microsoft.nchwc" in error.message
    else:
        assert list(refused.values()) == ["no engine computes com.microsoft.nchwc.MaxPool"]


def test_integers_beyond_32_bits() -> None:
    x = np.array([[1, 2]], np.int64)
    net = network(("Concat", "x c", "y", {"axis": 1}), given={"x": x}, constants={"c": np.array([[2**40 + 3]])})
    assert refusals(net) == ["'c' has values beyond 32 bits, which the chip does not have"]


def test_zero_points_above_nothing() -> None:
    """Weights that are all above their channels' zero points."""
    held = {
        "s": np.float32(0.05),
        "z": np.uint8(3),
        "w": RNG.integers(150, 256, (8, 3, 1, 1), dtype=np.uint8),
        "ws": np.full(8, 0.01, np.float32),
        "wz": np.arange(8, dtype=np.uint8),
    }
    x = RNG.integers(0, 256, (1, 3, 4, 4), dtype=np.uint8)
    check(
        network(
            ("QLinearConv", "x s z w ws wz s z", "y"),
            given={"x": x},
            constants={k: np.asarray(v) for k, v in held.items()},
        )
    )


def test_infinities_behind_a_mask_are_the_hosts() -> None:
    given_ = {"m": np.array([[True, False, True]]), "x": np.ones((1, 3), np.float32)}
    net = network(("Where", "m x c", "y"), given=given_, constants={"c": np.array(-np.inf, np.float32)})
    assert refusals(net) == ["its mask follows the data, and it takes infinities, which are not masked by a product"]


NO_IMAGES = [({"cores": "2"}, "cores is '2'"), ({"cores": 2, "batch": 1}, "is not of one image")]


@pytest.mark.parametrize(("options", "said"), NO_IMAGES)
def test_cores_of_what_has_no_images(options: dict[str, Any], said: str) -> None:
    net = network(("Relu", "x", "y"), given={"x": np.float32(1)})
    with pytest.raises(InputError, match=said):
        compile(net.model, **options)


def test_names_with_line_breaks() -> None:
    net = network(("Relu", "x", "y"), given={"x": -np.ones((2, 3), np.float32)})
    net.model.graph.node[0].name = "two\nlines"
    compiled = check(net)
    assert "two\\nlines" in compiled.parts[0].text


def test_a_number_that_the_chip_does_not_have() -> None:
    constants = {"p": np.array([1, 1]), "v": np.array(2**40 + 1)}
    net = network(("Pad", "x p v", "y"), given={"x": np.array([1, 2])}, constants=constants)
    assert refusals(net) == ["it writes 1099511627777, which i32 does not hold"]
