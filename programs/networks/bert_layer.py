"""An encoder layer of BERT-base: self-attention and a feed-forward part, each with a residual and a layer norm."""

from programs.networks.graph import Network
from programs.networks.seeded import Layers

# What makes queries large enough for an attention that looks at some places more than at others.
SHARPNESS = 3


def bert_layer(steps: int = 128, model: int = 768, heads: int = 12, hidden: int = 3072) -> Network:
    """Return the layer for one sequence of `steps` rows."""
    layers = Layers(seed=110)
    x = layers.input("x", steps, model)
    query = layers.dense("query", x, model, gain=SHARPNESS * (model / heads) ** -0.5)
    key, value = (layers.dense(name, x, model) for name in ("key", "value"))
    context = layers.attention("context", query, key, value, heads)
    projected = layers.dense("projected", context, model)
    first = layers.norm("first", layers.add("first_sum", projected, x))
    inner = layers.dense("inner", first, hidden, activation="gelu")
    outer = layers.dense("outer", inner, model)
    layers.norm("out", layers.add("out_sum", outer, first))
    return layers.network("bert_layer")
