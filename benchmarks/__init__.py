"""Measurements on the machine at hand: `python -m benchmarks`. One thread each, said before NumPy is loaded."""

import os

for _library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "BLIS"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"
