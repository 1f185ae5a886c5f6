"""What each word of a choice means, as a formula: for the manual and for the help of the Builder's methods."""

# What each word of a choice does to v, the value in the chain; d is the de-quantised second tensor.
WORD_FORMULAS: dict[str, dict[str, str]] = {
    "ew2_op": {
        "none": "v = v",
        "add": "v = v + d",
        "sub": "v = v - d",
        "mul": "v = v * d",
        "max": "v = v if v > d else d",
        "min": "v = v if v < d else d",
        "div": "v = v / d",
    },
    "sf": {
        "none": "v = v",
        "relu": "v = v if v > 0 else 0",
        "clip": "v = clip_low if v < clip_low else v; v = clip_high if v > clip_high else v",
        "leaky_relu": "v = v * slope if v < 0 else v",
        "sigmoid": "v = 1 / (1 + exp(-v))",
        "tanh": "v = tanh(v)",
        "table": "v = table[clamp(rne(v) + table_offset, -128, 127) + 128]",
        "gelu": "v = v * (1 + erf(v / sqrt(2))) / 2",
        "silu": "v = v / (1 + exp(-v))",
        "exp": "v = exp(v)",
        "reciprocal": "v = 1 / v",
        "rsqrt": "v = 1 / sqrt(v)",
        "hard_sigmoid": "v = v * slope; v = v + offset; v = 0 if v < 0 else v; v = 1 if v > 1 else v",
        "hard_swish": "a = v / 6; a = a + 0.5; a = 0 if a < 0 else a; a = 1 if a > 1 else a; v = v * a",
        "sqrt": "v = sqrt(v)",
    },
    # The accumulator goes to EW3 as it is, with relu at most before; m and s are the channel's in ew3_scale.
    "ew3_op": {
        "none": "v = v * ew3_scale, where given; rounded by rne",
        "round_once": "floor(acc * m / 2**(31 - s) + 1/2)",
        "round_twice": "a = acc * 2**max(s, 0), kept within 32 bits; a = floor(a * m / 2**31 + 1/2), kept so too; "
        "a / 2**max(-s, 0), rounded to the nearest, half away from 0",
        "round_away": "acc * m / 2**(31 - s), rounded to the nearest, half away from 0",
        "zero_first": "v = v * ew3_scale, where given; v = v + out_zero, rounded by rne",
    },
    "op": {
        "sum": "v = float(sum) * scale",
        "mean": "v = float(sum) * (scale / count)",
        "max": "out = max over i of x[i]",
        "min": "out = min over i of x[i]",
        "argmax": "out = the first place in i where x[i] is the greatest",
        "absmax": "v = float(max over i of |x[i] - x_zero|) * scale",
        "sumsq": "v = float(sum of squares) * scale",
    },
    "pairs": {
        "halves": "a, b = x[j], x[j + columns / 2]",
        "interleaved": "a, b = x[2 * j], x[2 * j + 1]",
    },
    "mode": {"nearest": "out = the nearest pixel", "linear": "v = four pixels, weighted"},
    "coordinates": {
        "half_pixel": "s = (i + 1/2) * of_x / size - 1/2, or (i + 1/2) / factor - 1/2",
        "align_corners": "s = i * (of_x - 1) / (size - 1); 0 where size is 1",
        "asymmetric": "s = i * of_x / size, or i / factor",
    },
    "rounding": {
        "prefer_floor": "ceil(s - 1/2)",
        "prefer_ceil": "floor(s + 1/2)",
        "floor": "floor(s)",
        "ceil": "ceil(s)",
    },
}
