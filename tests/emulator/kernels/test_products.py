"""conv and matmul in every form of products that this host has, on shapes that leave remainders, against the reference.

Which form is compiled is decided as the emulator is imported: each runs in a process of its own.
"""

import os
import subprocess
import sys
from itertools import count

import numpy as np
import pytest

from emulator.jit.cache import ROOT
from emulator.jit.forms import FORMS, possible_forms
from isa.dtypes import I8, I16, I32, U8, DType
from isa.instruction import build
from isa.operand import Operand
from tests.emulator.kernels import test_kernels
from tests.emulator.kernels.test_kernels import check, slot

# Elements of 8 bits are multiplied with their zero points or without, by form and type.
FACTORS: list[tuple[DType, DType, int, int]] = [
    (I8, I8, 0, 0),
    (I8, I8, -128, 127),
    (I8, U8, 127, 255),
    (U8, I8, 255, -128),
    (U8, U8, 7, 128),
    (U8, U8, 0, 0),
    (I16, I16, -32768, 32767),
]


def extremes(operand: Operand, seed: int) -> np.ndarray:
    """Return values of which most are the least or the greatest of their type."""
    rng = np.random.default_rng(seed)
    low, high = int(operand.dtype.low), int(operand.dtype.high)
    return rng.choice([low, low, low, high, high, 0, 1], operand.shape).astype(operand.dtype.numpy)


def matmul(m: int, k: int, n: int, kind: int, seed: int) -> None:
    """Check one product of matrices; `seed` decides what is transposed, and the batch."""
    taken: dict[str, int] = {}
    x_dtype, w_dtype, x_zero, w_zero = FACTORS[kind]
    batch = (2,) if seed & 4 else ()
    x_shape, w_shape = ((k, m) if seed & 1 else (m, k)), ((n, k) if seed & 2 else (k, n))
    x, w = slot("lm", x_dtype, (*batch, *x_shape), taken), slot("lm", w_dtype, (*batch, *w_shape), taken)
    instruction = build(
        "matmul",
        x=x,
        w=w,
        bias=slot("cb", I32, (n,), taken),
        out=slot("lm", I8 if x_dtype == I16 else I32, (*batch, m, n), taken),
        transpose_x=seed & 1,
        transpose_w=seed >> 1 & 1,
        x_zero=x_zero,
        w_zero=w_zero,
    )
    check(instruction, seed, "fp32", x=extremes(x, seed), w=extremes(w, seed + 1))


def conv(channels: int, filters: int, kernel: int, groups: int, dilation: int, kind: int, stride: int) -> None:
    """Check one convolution, of an image with more channels than it sees."""
    taken: dict[str, int] = {}
    x_dtype, w_dtype, x_zero, w_zero = FACTORS[kind]
    across = channels + kind % 2 * 3
    whole = slot("lm", x_dtype, (2, 9, 11, across), taken)
    x = Operand("lm", whole.address, x_dtype, (2, 9, 11, channels), whole.strides)
    w = slot("lm", w_dtype, (filters, kernel, kernel, channels // groups), taken)
    pad = kernel // 2 + kind % 3 * (kernel > 1)
    sizes = [(size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for size in (9, 11)]
    instruction = build(
        "conv",
        x=x,
        w=w,
        out=slot("lm", I8 if x_dtype == I16 else I32, (2, *sizes, filters), taken),
        groups=groups,
        dilation=dilation,
        stride=stride,
        pad=pad,
        x_zero=x_zero,
        w_zero=w_zero,
    )
    check(instruction, kind, "fp32", w=extremes(w, kind))


def compare() -> None:
    """Check all of them in the form that this process has."""
    shapes = [(1, 1, 1), (2, 3, 33), (3, 5, 16), (13, 7, 8), (27, 64, 31), (14, 130, 64), (43, 66, 40), (6, 4, 96)]
    seeds = count()
    for kind in range(len(FACTORS)):
        for m, k, n in shapes:
            matmul(m, k, n, kind, next(seeds) % 8)
        # So many products of the greatest magnitude that their sum passes 32 bits.
        matmul(1, 70_000, 2, kind, 2)
        conv(3, 5, 3, 1, 1, kind, 2)
        conv(64, 40, 1, 1, 1, kind, 1)
        conv(12, 9, 3, 3, 1, kind, 1)
        conv(23, 33, 3, 1, 2, kind, 1)
    for mnemonic in ("conv", "matmul"):
        for dtype in (I8, U8, I16):
            test_kernels.test_compressed_weights_give_the_same_results(mnemonic, dtype)


def in_form(form: str, script: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"RATEL_PRODUCTS": form}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )


# Each compiles all products anew: half a minute.
@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_reference(form: str) -> None:
    if form not in possible_forms():
        pytest.skip("this host has no such instructions")
    result = in_form(form, "from tests.emulator.kernels.test_products import compare; compare()")
    assert result.returncode == 0, result.stderr


def test_forms_do_not_share_a_cache() -> None:
    script = "from emulator.jit import cache, forms; print(forms.chosen_form(), cache.source_hash())"
    seen = [in_form(form, script).stdout.split() for form in possible_forms()]
    assert [form for form, _ in seen] == possible_forms()
    assert len({key for _, key in seen}) == len(seen)


def test_a_form_that_there_is_not() -> None:
    script = "from ratel.cli.main import main; main(['run', 'programs/digits/digits.npu'])"
    result = in_form("cray", script)
    assert result.stderr.startswith("error: RATEL_PRODUCTS=cray: there is no such form of products\nhelp: leave")
    script = "import os; os.environ['NUMBA_CPU_FEATURES'] = ''; " + script
    result = in_form("avx2", script)
    assert result.stderr.startswith("error: RATEL_PRODUCTS=avx2: this computer lacks the instructions\nhelp: leave")
    assert "one of: portable" in result.stderr
