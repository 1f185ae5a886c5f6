"""Which function lowers which operator."""

from collections.abc import Callable

from compiler.graph import Node
from compiler.lower import elementwise, movement, picking, pooling, products, reductions
from compiler.lower.lowering import Lowering

LOWER: dict[str, Callable[[Lowering, Node], None]] = {
    "QLinearConv": products.conv,
    "ConvInteger": products.conv_integer,
    "QLinearMatMul": products.matmul,
    "MatMulInteger": products.matmul_integer,
    "QGemm": products.gemm,
    "QLinearAdd": elementwise.add,
    "DequantizeLinear": elementwise.dequantise,
    "Relu": elementwise.relu,
    "MaxPool": pooling.max_pool,
    "QLinearGlobalAveragePool": pooling.global_average,
    "Identity": movement.same,
    "Dropout": movement.dropout,
    "Reshape": movement.same,
    "Flatten": movement.same,
    "Squeeze": movement.same,
    "Unsqueeze": movement.same,
    "Transpose": movement.transpose,
    "Concat": movement.concat,
    "QLinearConcat": movement.quantised_concat,
    "Split": movement.split,
    "Slice": movement.slices,
    "Pad": movement.pad,
    "Expand": movement.expand,
    "Tile": movement.tile,
    "DepthToSpace": movement.depth_to_space,
    "SpaceToDepth": movement.space_to_depth,
    "Cast": movement.cast,
    "Gather": picking.gather,
    "Where": picking.where,
    "ReduceMax": reductions.maximum,
    "ReduceMin": reductions.minimum,
    "ReduceSum": reductions.total,
    "ArgMax": reductions.place,
}
