"""Which function lowers which operator."""

from collections.abc import Callable

from compiler.graph import Node
from compiler.lower import elementwise, movement, normalise, picking, pooling, products, reductions, resizing
from compiler.lower.floats import FLOATS
from compiler.lower.language import attention, norms, rotary, weights
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
    "MatMul": products.float_matmul,
    "Gemm": products.float_gemm,
    **FLOATS,
    "BatchNormalization": normalise.batch,
    "LayerNormalization": normalise.layer,
    "SimplifiedLayerNormalization": norms.simplified,
    "RMSNormalization": norms.simplified,
    "SkipSimplifiedLayerNormalization": norms.skipped,
    "MatMulNBits": weights.matmul,
    "GatherBlockQuantized": weights.gather,
    "RotaryEmbedding": rotary.embedding,
    "GroupQueryAttention": attention.grouped,
    "Softmax": normalise.softmax,
    "QLinearSoftmax": normalise.quantised_softmax,
    "MaxPool": pooling.max_pool,
    "NhwcMaxPool": pooling.max_pool,
    "GlobalMaxPool": pooling.global_maximum,
    "AveragePool": pooling.average_pool,
    "QLinearAveragePool": pooling.quantised_average_pool,
    "GlobalAveragePool": pooling.global_float_average,
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
    "QLinearWhere": picking.quantised_where,
    "Resize": resizing.resize,
    "Upsample": resizing.resize,
    "ReduceMax": reductions.maximum,
    "ReduceMin": reductions.minimum,
    "ReduceSum": reductions.total,
    "ReduceMean": reductions.mean,
    "ArgMax": reductions.place,
}

_OF_FLOATS = "it multiplies floats, which the chip does in MatMul and Gemm of float16 alone: quantise it"
# Why others are the host's, where more can be said than that no engine computes them.
UNABLE = {
    **dict.fromkeys(("Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Einsum", "Attention"), _OF_FLOATS),
    "DynamicQuantizeLinear": "its scale follows the data, and so would that of all that read it",
    "DynamicQuantizeLSTM": "its scales follow the data",
}

# Those whose images lie with their channels innermost.
OF_IMAGES = frozenset(
    ("QLinearConv", "ConvInteger", "MaxPool", "AveragePool", "QLinearAveragePool", "QLinearGlobalAveragePool", "Resize")
)
