"""Which function lowers which operator."""

from collections.abc import Callable

from compiler.graph import Node
from compiler.lower import elementwise, movement, normalise, pooling, products
from compiler.lower.floats import FLOATS
from compiler.lower.lowering import Lowering

LOWER: dict[str, Callable[[Lowering, Node], None]] = {
    "QLinearConv": products.conv,
    "ConvInteger": products.conv_integer,
    "QLinearMatMul": products.matmul,
    "MatMulInteger": products.matmul_integer,
    "QGemm": products.gemm,
    "QLinearAdd": elementwise.add,
    "QLinearMul": elementwise.multiply,
    "DequantizeLinear": elementwise.dequantise,
    "QuantizeLinear": elementwise.quantise,
    **FLOATS,
    "BatchNormalization": normalise.batch,
    "LayerNormalization": normalise.layer,
    "Softmax": normalise.softmax,
    "QLinearSoftmax": normalise.quantised_softmax,
    "MaxPool": pooling.max_pool,
    "QLinearGlobalAveragePool": pooling.global_average,
    "Identity": movement.same,
    "Dropout": movement.same,
    "Reshape": movement.same,
    "Flatten": movement.same,
    "Squeeze": movement.same,
    "Unsqueeze": movement.same,
    "Transpose": movement.transpose,
    "Concat": movement.concat,
    "Split": movement.split,
    "Slice": movement.slices,
}
