"""A network of floats as one of 8-bit integers, by onnxruntime's static quantiser, and what that costs.

| file | what it does |
|---|---|
| `quantise` | the passes in turn: `quantise(model, data)`, and what comes of it |
| `samples` | calibration data: checked, and read sample by sample |
| `prepare` | a network as the quantiser wants it |
| `quantiser` | onnxruntime's quantiser: ranges of tensors, and the network made with them |
| `errors` | how far the tensors of one network are from those of the other |
"""
