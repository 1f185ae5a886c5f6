"""Build one transformer encoder layer: attention of four heads and a feed-forward part, each with residual and norm.

    python -m programs.transformer.transformer      # writes transformer.npu, which `ratel run` takes

Activations of matrices are i8, sums with the residual i16. Exponentials stay unnormalised: u8, of at most 255; the
product with the values is divided by their sum on its way through the chain. All sums that the pooling engine makes
are of integers, so exact. Made and checked with the data of programs/training/transformer.py.
"""

from pathlib import Path
from typing import Any

import numpy as np

import ratel

f32 = np.float32
FOLDER = Path(__file__).parent
HEADS = 4
ACTIVATIONS = ("x", "q", "k", "v", "context", "middle", "hidden", "out")
# Scales of 16-bit tensors: scores reach 32; sums with the residual, and these less their mean, 16; normalised, 8.
SCORE_SCALE, SUM_SCALE, NORMAL_SCALE = f32(2.0**-10), f32(2.0**-11), f32(2.0**-12)
EXP_SCALE = f32(1 / 255)
EPSILON = f32(1e-5)


def load(name: str) -> np.ndarray:
    return np.load(FOLDER / f"transformer_{name}.npy")


def project(b: ratel.Builder, out: Any, x: Any, name: str, **chain: Any) -> None:
    """Multiply rows with a stored matrix [outputs, inputs], add its bias, and run the chain."""
    w = b.weight(f"w{name}", load(f"w{name}"), scale=load(f"w{name}_scale"))
    b.matmul(out, x, w, bias=b.const(f"b{name}", load(f"b{name}")), transpose_w=True, **chain)


def attend(b: ratel.Builder, context: Any, x: Any, scales: dict[str, np.float32]) -> None:
    """Attend from each step to all steps of x [steps, model], in each head.

    The division of the scores by the root of the head's size is in the weights of the queries.
    """
    steps, model = x.shape
    split = (HEADS, steps, model // HEADS)
    heads = {}
    for name in ("q", "k", "v"):
        whole = b.local(f"{name}_whole", "i8", (steps, model), scale=scales[name])
        parts = b.local(f"{name}_parts", "i8", (steps, HEADS, model // HEADS), scale=scales[name], at=whole)
        heads[name] = b.local(name, "i8", split, scale=scales[name])
        project(b, whole, x, name)
        b.transpose(heads[name], parts, perm=(1, 0, 2))
    scores = b.local("scores", "i16", (HEADS, steps, steps), scale=SCORE_SCALE)
    peak = b.local("peak", "i16", (HEADS, steps, 1), scale=SCORE_SCALE)
    weight = b.local("weight", "u8", scores.shape, scale=EXP_SCALE)
    total = b.local("total", "i32", (HEADS, steps, 1), scale=EXP_SCALE)
    share = b.local("share", "f32", (HEADS, steps, 1))
    found = b.local("found", "i8", split, scale=context.scale)
    b.matmul(scores, heads["q"], heads["k"], transpose_w=True)
    b.reduce(peak, scores, max=True)
    b.eltwise(weight, scores, sub=peak, exp=True)
    b.reduce(total, weight, sum=True)
    b.eltwise(share, total, reciprocal=True)
    b.matmul(found, weight, heads["v"], mul=share)
    merged = b.local("merged", "i8", (steps, HEADS, model // HEADS), scale=context.scale, at=context)
    b.transpose(merged, found, perm=(1, 0, 2))


def normalise(b: ratel.Builder, out: Any, x: Any, name: str) -> None:
    """Norm the rows of x [steps, model]: subtract the mean, divide by the deviation, then gain and offset."""
    steps, model = x.shape
    total = b.local(f"total{name}", "i32", (steps, 1), scale=SUM_SCALE / f32(model))
    # A matrix of one row for each step, so that one product of it with itself sums the squares, in 64 bits.
    centred = b.local(f"centred{name}", "i16", (steps, 1, model), scale=SUM_SCALE)
    inverse = b.local(f"inverse{name}", "f32", (steps, 1, 1))
    normal = b.local(f"normal{name}", "i16", x.shape, scale=NORMAL_SCALE)
    gain, offset = load(f"gain{name}"), load(f"offset{name}")
    b.reduce(total, x, sum=True)
    b.eltwise(centred[:, 0], x, sub=total)
    mean = b.const(f"mean{name}", [SUM_SCALE * SUM_SCALE / f32(model)], "f32")
    epsilon = b.const(f"epsilon{name}", [EPSILON], "f32")
    b.matmul(inverse, centred, centred, transpose_w=True, ew1_scale=mean, ew1_bias=epsilon, rsqrt=True)
    b.eltwise(normal, centred[:, 0], mul=inverse[:, 0])
    b.eltwise(
        out,
        normal,
        ew1_scale=b.const(f"multiplier{name}", NORMAL_SCALE * gain),
        ew1_bias=b.const(f"offset{name}", offset),
        ew3_scale=b.const(f"step{name}", [1 / out.scale], "f32"),
    )


def builder(chip: str = "hanguang800") -> ratel.Builder:
    """Return the layer, with a default input and the results that it is to give."""
    b = ratel.Builder("transformer", chip)
    b.comment("One transformer encoder layer, written by `python -m programs.transformer.transformer`.")
    scales = dict(zip(ACTIVATIONS, load("scales"), strict=True))
    x = b.input("x", "i8", load("x").shape, scale=scales["x"], default=load("x"))
    out = b.output("out", "i8", x.shape, scale=scales["out"])
    b.check(out, exact=load("out_exact"))
    # The float32 form, rounded to the same steps.
    b.check(out, within=load("out_within"), atol=3)

    b.comment("Multi-head attention: heads split and merged by transposes, scores less their greatest, exponentials.")
    context = b.local("context", "i8", x.shape, scale=scales["context"])
    first = b.local("first", "i16", x.shape, scale=SUM_SCALE)
    middle = b.local("middle", "i8", x.shape, scale=scales["middle"])
    attend(b, context, x, scales)
    b.comment("Residual and layer norm: a product of each row with itself sums the squares.")
    project(b, first, context, "o", add=x)
    normalise(b, middle, first, "1")

    b.comment("Feed-forward, residual and layer norm.")
    hidden = b.local("hidden", "i8", (x.shape[0], len(load("b1"))), scale=scales["hidden"])
    second = b.local("second", "i16", x.shape, scale=SUM_SCALE)
    project(b, hidden, middle, "1", gelu=True)
    project(b, second, hidden, "2", add=middle)
    normalise(b, out, second, "2")
    return b


if __name__ == "__main__":
    builder().save(FOLDER / "transformer.npu")
    print(f"wrote {FOLDER / 'transformer.npu'}; run it with: ratel run {FOLDER / 'transformer.npu'}")
