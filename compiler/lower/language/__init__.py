"""What language models have beside other networks, composed of the instructions that there are.

| file | what it lowers |
|---|---|
| `norms` | SimplifiedLayerNormalization and its kin: rows by the root of the mean of their squares |
| `weights` | MatMulNBits, GatherBlockQuantized: weights in groups of few bits, with a scale for each |
| `rotary` | RotaryEmbedding: pairs of elements turned by an angle that follows their place |
| `attention` | GroupQueryAttention: scores, softmax, and what it mixes; keys and values before |
"""
