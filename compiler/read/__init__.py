"""An ONNX file as a graph whose shapes are all known.

| file | what it does |
|---|---|
| `network` | a model as a graph: what it is made with is checked, what it leaves open is fixed |
| `model` | the file of a model, its weights and what lies beside it |
| `shapes` | shapes and types of all values; what is constant is computed |
| `rules` | what onnxruntime's own operators make of theirs |
"""
