"""Rows of the memory engine: what moves tensors and rearranges them."""

from dataclasses import replace

from isa.dtypes import I32
from isa.row import (
    DILATION,
    PAD,
    STRIDE,
    WINDOW,
    WINDOW_FORMULA,
    AttributeSpec,
    OperandSpec,
    Row,
    flag,
    moved,
    zero_point,
)

ROWS = (
    Row(
        0x30,
        "load",
        "me",
        (
            moved("out", "write", "lm cb", "where the tensor goes"),
            moved("x", "read", "host dev", "tensor in host or device memory"),
        ),
        (),
        "Copy a tensor from host or device memory into local memory or the constant buffer.",
        "out = x",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64] in host
.output out i8[4, 64]

load out, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x31,
        "store",
        "me",
        (
            moved("out", "write", "host dev", "where the tensor goes, in host or device memory"),
            moved("x", "read", "lm", "tensor in local memory"),
        ),
        (),
        "Copy a tensor from local memory to host or device memory.",
        "out = x",
        ("bounds", "memory"),
        """\
.input  x i8[4, 64]
.output out i8[4, 64] in host

store out, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x32,
        "copy",
        "me",
        (
            moved(
                "out", "write", "lm cb", "where the tensor goes; may lie in another core's local memory", remote=True
            ),
            moved("x", "read", "lm", "tensor in local memory"),
        ),
        (),
        "Copy a tensor within local memory, to another core's or into the constant buffer; slices make it a "
        "concatenation or a cut.",
        "out = x",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 2]
.input  y i8[4, 2]
.output out i8[4, 4]

copy out[:, 0:2], x
copy out[:, 2:4], y
end
""",
        keeps_values=True,
    ),
    Row(
        0x33,
        "fill",
        "me",
        (moved("out", "write", "lm dev", "what is filled"),),
        (AttributeSpec("value", "f64", -3.4e38, 3.4e38, (0.0,), "value of each element"),),
        "Set every element to one value.",
        """\
out = value                                           ; i8, u8, i16, i32: a whole number of the type
out = value, rounded to float32, then to the type     ; floats: no NaN, and nothing beyond the greatest of the type""",
        ("bounds", "memory", "overlap"),
        """\
.output out i8[4, 64]

fill out, value=-1
end
""",
    ),
    Row(
        0x34,
        "transpose",
        "me",
        (moved("out", "write", "lm", "result"), moved("x", "read", "lm", "tensor to transpose")),
        (
            AttributeSpec(
                "perm",
                "u8",
                0,
                3,
                None,
                "dimension of x that each dimension of out takes; those beyond the rank stay",
                ("0", "1", "2", "3"),
                identity=True,
            ),
        ),
        "Permute dimensions.",
        "out[i] = x[j], where j[perm[k]] = i[k] for each dimension k of out",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[4, 64]
.output out i8[64, 4]

transpose out, x, perm=(1, 0)
end
""",
        keeps_values=True,
    ),
    Row(
        0x35,
        "gather",
        "me",
        (
            moved("out", "write", "lm", "result, of the shape of x, with the elements of index counted by `axis`"),
            moved("x", "read", "lm dev", "tensor whose rows, or what else `axis` counts, are picked", chosen="out"),
            OperandSpec("index", "read", ("lm",), (I32,), (1, 1), "the place in x for each of out", strided=True),
        ),
        (
            AttributeSpec("axis", "u8", 0, 3, (0,), "the dimension along which is picked"),
            flag("from_end", "an index below 0 counts from the end: -1 is the last"),
        ),
        "Gather rows of a tensor in local or device memory, or what lies along another dimension, by an index tensor.",
        "out[a, i, b] = x[a, index[i], b]                      ; a: the dimensions before `axis`, b: those behind it",
        ("bounds", "memory", "overlap", "index"),
        """\
.input  index i32[3]
.input  x i8[10, 64]
.output out i8[3, 64]

gather out, x, index
end
""",
        keeps_values=True,
    ),
    Row(
        0x38,
        "scatter",
        "me",
        (
            moved("out", "write", "lm dev", "where they are put; what index does not name stays", chosen="x"),
            moved("x", "read", "lm", "rows, or what else `axis` counts, of the shape of those of out"),
            OperandSpec("index", "read", ("lm",), (I32,), (1, 1), "the place in out for each of x", strided=True),
        ),
        (
            AttributeSpec("axis", "u8", 0, 3, (0,), "the dimension along which is put"),
            flag("from_end", "an index below 0 counts from the end: -1 is the last"),
        ),
        "Scatter rows to a tensor in local or device memory, or what lies along another dimension, by an index tensor.",
        """\
out[a, index[i], b] = x[a, i, b]                      ; a: the dimensions before `axis`, b: those behind it
                                                      ; i in order: of equal places the last stays""",
        ("bounds", "memory", "overlap", "index"),
        """\
.input  index i32[3]
.input  x i8[3, 64]
.local  cache i8[10, 64]
.output out i8[10, 64]

fill cache
scatter cache, x, index
copy out, cache
end
""",
        keeps_values=True,
    ),
    Row(
        0x36,
        "flatten",
        "me",
        (
            replace(moved("out", "write", "lm", "result: the window of every output pixel as a row"), ranks=(4, 4)),
            replace(moved("x", "read", "lm", "activations, NHWC"), ranks=(4, 4)),
        ),
        (WINDOW, STRIDE, PAD, DILATION, zero_point("x_zero", "zero point of x, which padding contributes")),
        "Lay out the window of each output pixel as a row, so that `matmul` with OHWI weights convolves.",
        "out[n, oh, ow, (kh * window.width + kw) * channels + c] = x[n, ih, iw, c], or x_zero outside x"
        + WINDOW_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 3] scale=0.02
.weight w i8[16, 27] scale=0.01 = 1
.local  rows i8[1, 4, 4, 27] scale=0.02
.output out i8[1, 4, 4, 16] scale=0.05

flatten rows, x, window=3, stride=2, pad=(0, 0, 1, 1)
matmul out, rows, w, transpose_w
end
""",
        keeps_values=True,
    ),
    Row(
        0x37,
        "toweight",
        "me",
        (
            replace(moved("out", "write", "lm", "weights, OHWI"), ranks=(4, 4)),
            replace(moved("x", "read", "lm", "matrix, a column for each output channel"), ranks=(2, 2)),
        ),
        (),
        "Turn a matrix into the weights of a convolution.",
        "out[o, kh, kw, c] = x[(kh * width + kw) * channels + c, o], for out of [filters, height, width, channels]",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[27, 16] scale=0.01
.output out i8[16, 3, 3, 3] scale=0.01

toweight out, x
end
""",
        keeps_values=True,
    ),
)
