"""Multi-head attention in the text: heads are a batch, or slices of the channels; nothing is copied."""

import numpy as np

import ratel

TENSORS = """
.chip edge
.input  x i8[6, 16] scale=0.05 zero=3
.input  wq i8[4, 8, 16] scale=0.00131      ; head, channel, input channel
.input  wk i8[4, 8, 16] scale=0.00131
"""
# Projections of all heads at once: x has no batch, so each head takes all of it.
BATCHED = """
.local  q i8[4, 6, 8] scale=0.02
.local  k i8[4, 6, 8] scale=0.02
.output s f32[4, 6, 6]
matmul q, x, wq, transpose_w
matmul k, x, wk, transpose_w
matmul s, q, k, transpose_w
end
"""
# Heads side by side in the channels, as one projection gives them.
SLICED = """
.local  q i8[6, 4, 8] scale=0.02
.local  k i8[6, 4, 8] scale=0.02
.output s f32[4, 6, 6]
loop h, 4
    matmul q[:, h], x, wq[h], transpose_w
    matmul k[:, h], x, wk[h], transpose_w
    matmul s[h], q[:, h], k[:, h], transpose_w
brnz h
end
"""


def test_heads_are_a_batch_or_slices() -> None:
    rng = np.random.default_rng(1)
    shapes = {"x": (6, 16), "wq": (4, 8, 16), "wk": (4, 8, 16)}
    inputs = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    batched, sliced = (ratel.run(ratel.assemble(TENSORS + text), inputs).outputs["s"] for text in (BATCHED, SLICED))
    assert np.array_equal(batched, sliced)
    x = (inputs["x"].astype(np.float64) - 3) * 0.05
    q, k = (np.clip(np.rint(x @ inputs[w].swapaxes(1, 2) * 0.00131 / 0.02), -128, 127) for w in ("wq", "wk"))
    assert np.allclose(batched, q @ k.swapaxes(1, 2) * 0.02**2, atol=0.06)
