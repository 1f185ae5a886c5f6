"""How functions are compiled, and kept: the wing that knows numba.

In goes a Python function under one of four decorators; out comes machine code, new or from the cache. In order:
`compile` (the decorators and numba's options), `objects` (machine code of one function, loaded and called without
numba), `later` (what is known of numba before it is loaded), `numba_private` (its insides, where its version is known),
`forms` (the vector instructions that products use), `cache` (the folder, its key and checksums), `targets` (objects
that a wheel has brought along), `operations` (what is written for LLVM, made known to numba when it is used), of
which `intrinsics` and `atomics` are those that numba has no function for, `jobs` (compiling ahead); `arrays` has the
types of what compiled functions take, and how their columns are numbered.
"""
