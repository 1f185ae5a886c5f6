"""From an ONNX network to programs of the chip, through `assembler.builder`; above assembler and emulator, below ratel.

    model --read--> Graph --tables, regions--> parts --lower--> steps --fit--> items --emit--> Builder --> Program
                                                 `--> models for the host's runtime

| file | what it does |
|---|---|
| `compile` | the passes in turn: `compile(model, chip)` |
| `options` | how a network is compiled: options, their defaults, and what may be asked for |
| `compiled` | what comes of it: parts, programs, texts, what went where |
| `keep` | that as bytes, and back |
| `quantise` | a network of floats as one of 8 bits, before all this, and what that costs |
| `report` | how far results are from onnxruntime's |
| `exchange` | values of a network as a program has them, and back |
| `graph` | a network as it is read: values, nodes |
| `read` | an ONNX file as a graph |
| `runtime` | onnx and onnxruntime, asked in ways that keep bits |
| `tables` | functions of one 8-bit tensor as tables of 256 values |
| `regions` | which nodes the chip computes, and which the host |
| `steps` | tensors, views of them, and steps: what the chip does, before anything has a place |
| `lower` | nodes as steps: one function for each operator |
| `fit` | steps on a chip: fused, in its memories, in an order, in loops |
| `emit` | steps as calls of the Builder, with names and origins of the network |

A value has no layout of its own. Its view has the network's dimensions in the network's order, and strides that say how
they lie: transposes, slices and most reshapes are views, and an operator that needs elements side by side has them
copied only where they are not. Results lie as their engine writes them, channels innermost.

By default nothing changes a bit: each node rounds as onnxruntime does, and what is fused is fused where the result is
the same for every input.
"""
