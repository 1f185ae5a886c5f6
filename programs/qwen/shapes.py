"""Shapes of language models, as the config.json of each says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder: `heads` of queries, `groups` of keys and values, all of `head` elements; `inner` of the gated units.

    `normed`: queries and keys are normed. `gated`: the results of attention are gated. Of `every` layers one has
    attention; the others have the gated delta rule, of `states` matrices of `state` x `state`, behind a convolution
    over `taps` tokens.
    """

    name: str
    dtype: str
    layers: int
    width: int
    heads: int
    groups: int
    head: int
    inner: int
    tokens: int
    normed: bool = False
    gated: bool = False
    every: int = 1
    states: int = 0
    state: int = 0
    taps: int = 0


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("qwen2.5-7b", "f16", 28, 3584, 28, 4, 128, 18944, 152_064),
        Shape("qwen3-32b", "bf16", 64, 5120, 64, 8, 128, 25600, 151_936, normed=True),
        Shape(
            *("qwen3.5-2b", "bf16", 24, 2048, 8, 2, 256, 6144, 248_320),
            **{"normed": True, "gated": True, "every": 4, "states": 16, "state": 128, "taps": 4},
        ),
    )
}
