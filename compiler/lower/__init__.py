"""Nodes as steps of the chip: one function for each operator, with its exact formula.

| file | what it lowers |
|---|---|
| `lowering` | what the functions share: views of values, new tensors, constants, steps |
| `quantised` | scales and zero points of QLinear operators, and their multipliers |
| `products` | Conv, MatMul and Gemm of integers |
| `elementwise` | sums, products, quantising, and functions of one 8-bit tensor as tables |
| `floats` | arithmetic and functions of floats, and how near those are that are the chip's own |
| `normalise` | batches, layers and softmax |
| `language` | what language models have beside: means of squares, rotations, attention, weights in groups |
| `pooling` | windows: maxima and averages |
| `resizing` | nearest pixels |
| `reductions` | dimensions that become one element each |
| `picking` | elements at places along a dimension |
| `movement` | what moves elements, or only names them anew |
| `table` | which function lowers which operator |
"""
