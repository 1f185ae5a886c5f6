"""Rows of the pooling engine: windows, reductions, interpolation and regions of interest."""

from dataclasses import replace

from isa.dtypes import F32, I32
from isa.row import ANY, PAD, STRIDE, VALUES, WINDOW, AttributeSpec, OperandSpec, Row, constant, flag, read, zero_point

# What the pooling engine makes of its vector format.
TO_STORAGE = """
out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
out = v, rounded to the type                          ; floats"""
POOL_SCALE = constant("scale", F32, "multiplier, one for all")

# The floating form of a sum; float(sum) is what leaves it.
SUM_FORMULA = """
sum = sum + x, from 0, in that order                  ; floats: x and each step rounded to the sum format"""
CEIL = flag("ceil", "round the result's sizes up: the last windows may reach beyond the padding; each begins inside x")
POOL_WINDOW_FORMULA = """
ih  = oh * stride.height - pad.top + kh
iw  = ow * stride.width - pad.left + kw"""

# The regions that step 1 of ROI-align and ROI pooling look at, and the images, all of which may be looked at.
IMAGES = OperandSpec("x", "read", ("lm",), VALUES, (4, 4), "images, NHWC", chosen="x")
REGIONS = (
    read("rois", "lm", (F32,), (2, 2), "regions, [n, 4]: left, top, right and bottom, in pixels of an image"),
    read("index", "lm", (I32,), (1, 1), "the image of x that each region lies in"),
)
SPATIAL_SCALE = AttributeSpec(
    "spatial_scale", "f32", 0, 3.4e38, (1.0,), "pixels of x to one pixel of the regions' image"
)
FOUR_PIXELS = """
p   = (x[n, row, column, c] - x_zero) * (weight of row * weight of column)   ; in the sum format: x and each product
sum = p(r0, c0) + p(r0, c1) + p(r1, c0) + p(r1, c1)   ; in this order, each step rounded to the sum format
v   = float(sum) * scale                              ; the scale where given"""

ROWS = (
    Row(
        0x20,
        "maxpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC, of the type of x"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
        ),
        (WINDOW, STRIDE, PAD, CEIL),
        "Take the greatest value of each window; padding never wins.",
        "out = max over kh, kw inside x of x[n, ih, iw, c]    ; the first of equals; a NaN is greater than any number"
        + POOL_WINDOW_FORMULA,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 8, 8, 16]
.output out i8[1, 4, 4, 16]

maxpool out, x, window=2, stride=2
end
""",
        keeps_values=True,
    ),
    Row(
        0x21,
        "avgpool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
            POOL_SCALE,
        ),
        (
            WINDOW,
            STRIDE,
            PAD,
            flag("count_pad", "divide by the pixels inside x with its padding, not by those inside x"),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
            CEIL,
        ),
        "Average each window.",
        "sum = total over kh, kw inside x of (x[n, ih, iw, c] - x_zero), exact where x is an integer"
        + SUM_FORMULA
        + POOL_WINDOW_FORMULA
        + """
count = pixels of the window that lie inside x, or, with count_pad, inside x with its padding
m   = scale / count                                   ; rounded once, count exact; scale 1 where absent
v   = float(sum) * m"""
        + TO_STORAGE,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 7, 7, 16] scale=0.02
.output out i8[1, 1, 1, 16] scale=0.01

avgpool out, x, window=global
end
""",
    ),
    Row(
        0x22,
        "reduce",
        "pe",
        (
            OperandSpec(
                "out",
                "write",
                ("lm",),
                ANY,
                (1, 4),
                "result, of the rank of x: each dimension has the size of x's, or 1, which reduces it",
            ),
            read("x", "lm", ANY, (1, 4), "tensor to reduce"),
            POOL_SCALE,
        ),
        (
            AttributeSpec(
                "op",
                "u8",
                0,
                6,
                None,
                "what many elements become",
                words=("sum", "mean", "max", "argmax", "min", "absmax", "sumsq"),
            ),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Reduce dimensions to one element: sum, mean, sum of squares, greatest, least, greatest magnitude, or place of "
        "the greatest.",
        """\
i   = the elements of x that become one of out, in row-major order; count of them
sum = total over i of (x[i] - x_zero), exact where x is an integer"""
        + SUM_FORMULA
        + """
sum = total over i of (x[i] - x_zero)**2, exact where x is an integer   ; sumsq
sum = fma(x, x, sum), from 0, in that order           ; sumsq of floats: x and each step rounded to the sum format
top = max over i of |x[i] - x_zero|                   ; absmax; a NaN is greater than any number
m   = scale for sum, sumsq and absmax, scale / count for mean   ; rounded once, count exact; scale 1 where absent
v   = float(sum) * m                                  ; sum, mean, sumsq: beyond 2**53 by way of float64
v   = float(top) * m                                  ; absmax"""
        + TO_STORAGE
        + """
out = sum, wrapped to 32 bits                         ; sum of integers to i32, without a scale
out = max over i of x[i]                              ; max: the first of equals; a NaN is greater than any number
out = min over i of x[i]                              ; min: the first of equals; a NaN is less than any number
out = the first place in i where x[i] is the greatest ; argmax, i32""",
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 7, 7, 16] scale=0.02
.output out f32[1, 1, 1, 16]

reduce out, x, mean
end
""",
        keeping_words=("max", "argmax", "min"),
    ),
    Row(
        0x26,
        "topk",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), ANY, (1, 4), "the greatest of each row of x, one a column"),
            OperandSpec("places", "write", ("lm",), (I32,), (1, 4), "the place of each in its row"),
            read("x", "lm", ANY, (1, 4), "tensor whose rows, its last dimension, are sorted"),
        ),
        (),
        "Find the greatest elements of each row, in falling order, and their places.",
        """\
order  = the places of a row of x, the greatest element first; of equals the first; NaN behind all numbers
places = order[j]                                     ; for column j, i32
out    = x[..., order[j]]                             ; its bits as they are""",
        ("bounds", "memory", "overlap"),
        """\
.input  x f32[4, 64]
.output out f32[4, 8]
.output places i32[4, 8]

topk out, places, x
end
""",
        keeps_values=True,
    ),
    Row(
        0x23,
        "resize",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, NHWC"),
            read("x", "lm", VALUES, (4, 4), "activations, NHWC"),
            POOL_SCALE,
        ),
        (
            AttributeSpec("mode", "u8", 0, 1, None, "how pixels come about", words=("nearest", "linear")),
            AttributeSpec(
                "coordinates",
                "u8",
                0,
                2,
                (0,),
                "where index i of the result's `size` lies among the `of_x` of x",
                words=("half_pixel", "align_corners", "asymmetric"),
            ),
            AttributeSpec(
                "rounding",
                "u8",
                0,
                3,
                (0,),
                "which pixel is nearest to a coordinate s",
                words=("prefer_floor", "prefer_ceil", "floor", "ceil"),
            ),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
            AttributeSpec(
                "factor",
                "f32",
                0,
                3.4e38,
                (0.0, 0.0),
                "pixels of the result to one of x; 0 takes the ratio of the sizes",
                ("height", "width"),
            ),
        ),
        "Resize images: the nearest pixel, or four weighted (bilinear).",
        """\
s   = the coordinate in x of an index of out, for rows and for columns: an exact fraction
s   = the same by `factor`, where given, in float32, each operation rounded
out = x[n, nearest(s of oh), nearest(s of ow), c]     ; nearest, kept within x; out has the type of x
s   = s, kept within 0 ... of_x - 1                   ; linear, as all that follows
r0  = floor(s);  r1 = r0 + 1, kept within x; their weights 1 - (s - r0), s - r0 in the sum format; so c0, c1"""
        + FOUR_PIXELS
        + TO_STORAGE,
        ("bounds", "memory", "overlap"),
        """\
.input  x i8[1, 4, 4, 16] scale=0.02
.output out i8[1, 8, 8, 16] scale=0.02

resize out, x, linear
end
""",
        keeping_words=("nearest",),
    ),
    Row(
        0x24,
        "roisample",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, [regions, samples down, across, channels]"),
            IMAGES,
            *REGIONS,
            POOL_SCALE,
        ),
        (
            AttributeSpec(
                "ratio", "u8", 1, 255, None, "samples to a bin: the window of the pooling behind", ("height", "width")
            ),
            SPATIAL_SCALE,
            flag("half_pixel", "pixels have their centres at a half; else regions are at least one pixel large"),
            zero_point("x_zero", "zero point of x"),
            zero_point("out_zero", "zero point of the result"),
        ),
        "Sample regions of images bilinearly: step 1 of ROI-align; `avgpool` or `maxpool` is step 2.",
        """\
start  = top * spatial_scale - offset                 ; float32, each operation rounded; offset 0.5 with half_pixel
length = (bottom * spatial_scale - offset) - start    ; at least 1 without half_pixel
size   = length / bins                                ; bins = samples down / ratio.height
s      = (start + i // ratio * size) + (i % ratio + 0.5) * size / ratio   ; for sample i; so for columns
out    = 0, which is out_zero                         ; unless -1 <= s <= height, and so for the width
r0  = floor(s), r1 = r0 + 1, kept within x            ; s below 0 counts as 0, from the last row on as the last row
      their weights 1 - (s - r0) and s - r0: float32, then the sum format; so columns c0, c1; n = index[region]"""
        + FOUR_PIXELS
        + TO_STORAGE,
        ("bounds", "memory", "overlap", "index"),
        """\
.input  x i8[2, 16, 16, 8] scale=0.02
.input  rois f32[3, 4]
.input  index i32[3]
.local  samples i8[3, 8, 8, 8] scale=0.02
.output out i8[3, 4, 4, 8] scale=0.02

roisample samples, x, rois, index, ratio=2, spatial_scale=0.25, half_pixel
avgpool out, samples, window=2, stride=2
end
""",
    ),
    Row(
        0x25,
        "roipool",
        "pe",
        (
            OperandSpec("out", "write", ("lm",), VALUES, (4, 4), "result, [regions, bins down, across, channels]"),
            replace(IMAGES, meaning="images, NHWC, of the type of out"),
            *REGIONS,
        ),
        (SPATIAL_SCALE, zero_point("x_zero", "zero point of x, which an empty bin gives")),
        "Take the greatest value of each bin of a region (ROI max pooling).",
        """\
first  = round(top * spatial_scale)                   ; the product in float32, half away from zero, NaN as 0
last   = round(bottom * spatial_scale)                ; both kept within -2**30 ... 2**30
length = max(last - first + 1, 1)
rows of bin i = first + floor(i * length / bins) ... first + ceil((i + 1) * length / bins) - 1, inside x
out    = max over the rows and columns of a bin of x[index[region], y, x, c]; a NaN is greater than any number
out    = x_zero where the bin is empty""",
        ("bounds", "memory", "overlap", "index"),
        """\
.input  x i8[2, 16, 16, 8]
.input  rois f32[3, 4]
.input  index i32[3]
.output out i8[3, 4, 4, 8]

roipool out, x, rois, index, spatial_scale=0.0625
end
""",
        keeps_values=True,
    ),
)
