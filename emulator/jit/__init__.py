"""How functions are compiled, and kept: the wing that knows numba.

In goes a Python function under one of four decorators; out comes machine code, new or from the cache. In order:
`compile` (the decorators and numba's options), `numba_private` (numba's insides, where its version is known), `forms`
(the vector instructions that products use), `cache` (the folder, its key and checksums), `intrinsics` and `atomics`
(operations that numba has no function for), `jobs` (compiling ahead); `arrays` has the types of what compiled
functions take, and how their columns are numbered.
"""
