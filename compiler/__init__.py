"""From an ONNX network to programs of the chip, through `assembler.builder`; above assembler and emulator, below ratel.

    model --read, shapes--> Graph --tables, regions--> parts --lower--> steps --place, emit--> Builder --> Program
                                                         `--> models for the host's runtime

| file | what it does |
|---|---|
| `compile` | the passes in turn: `compile(model, chip)` |
| `compiled` | what comes of it: parts, programs, texts, what went where |
| `keep` | that as bytes, and back |
| `graph` | a network as it is read: values, nodes |
| `model` | the file of a model, its weights and what lies beside it |
| `read` | an ONNX file as a graph; what is wrong with it |
| `shapes` | shapes and types of all values; what is constant is computed |
| `runtime` | onnx and onnxruntime, asked in ways that keep bits |
| `tables` | functions of one 8-bit tensor as tables of 256 values |
| `fuse` | steps that become one instruction |
| `report` | how far results are from onnxruntime's |
| `regions` | which nodes the chip computes, and which the host |
| `lower` | nodes as steps: one function for each operator |
| `steps` | tensors, views of them, and steps: what the chip does, before anything has a place |
| `cut` | which part of each operand makes which part of a step's result |
| `homes` | which memory each tensor is at home in |
| `tile` | steps whose tensors lie behind local memory, in tiles: loads, steps, stores |
| `roll` | repeated steps as hardware loops |
| `arrange` | the order of steps in local memory: bands of rows that hide latency |
| `batch` | a plan for several images |
| `waits` | wait bits, where a program is in compiler order |
| `place` | where tensors lie |
| `emit` | steps as calls of the Builder, with names and origins of the network |
| `exchange` | values of a network as a program has them, and back |

A value has no layout of its own. Its view has the network's dimensions in the network's order, and strides that say how
they lie: transposes, slices and most reshapes are views, and an operator that needs elements side by side has them
copied only where they are not. Results lie as their engine writes them, channels innermost.

By default nothing changes a bit: each node rounds as onnxruntime does, and what is fused is fused where the result is
the same for every input.
"""
