"""What the moves of the memory engine are for: convolution as a matrix product, and matrices as weights."""

import numpy as np
import pytest

import ratel


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ("1, 6, 5", "stride=1"),
        ("1, 4, 3", "stride=2, pad=(0, 0, 1, 1)"),
        ("1, 8, 7", "pad=2, dilation=2"),
        ("1, 3, 6", "stride=(3, 1), pad=(1, 0, 2, 3), dilation=(1, 2)"),
    ],
)
def test_flattened_windows_times_weights_are_the_convolution(size: str, window: str) -> None:
    """flatten and matmul equal conv, padding of a zero point other than 0 included; toweight gives the weights back."""
    rng = np.random.default_rng(1)
    run = ratel.run(
        ratel.assemble(f"""
        .input x i8[1, 8, 7, 5] scale=0.05 zero=-9
        .input w i8[4, 3, 3, 5] scale=0.02
        .const b i32[4] = [100, -200, 300, 0]
        .output expected i8[{size}, 4] scale=0.3 zero=3
        .output product i8[{size}, 4] scale=0.3 zero=3
        .output back i8[4, 3, 3, 5]
        .local rows i8[{size}, 45] scale=0.05 zero=-9
        .local matrix i8[4, 45] scale=0.02 at w
        .local columns i8[45, 4]
        conv expected, x, w, bias=b, {window}, relu
        flatten rows, x, window=3, {window}
        matmul product, rows, matrix, bias=b, transpose_w, relu
        transpose columns, matrix, perm=(1, 0)
        toweight back, columns
        end
        """),
        {
            "x": rng.integers(-128, 128, (1, 8, 7, 5), np.int8),
            "w": (w := rng.integers(-128, 128, (4, 3, 3, 5), np.int8)),
        },
    )
    assert run.outputs["expected"].std() > 10
    assert run.outputs["product"].tobytes() == run.outputs["expected"].tobytes()
    assert run.outputs["back"].tobytes() == w.tobytes()
