"""The Builder's method for each instruction of the table. Written by `python -m assembler.builder.stub`."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from assembler.builder.sections import Synchroniser
from assembler.builder.values import Slice, Tensor

_Out = TypeVar("_Out", bound=Tensor | Slice)
_Operand = Tensor | Slice
_Flag = bool | np.bool_
_Whole = int | np.integer[Any]
_Number = _Whole | float | np.floating[Any]
_Wholes = _Whole | Sequence[_Whole] | NDArray[np.integer[Any]]
_Numbers = _Number | Sequence[_Number] | NDArray[np.number[Any]]

class Instructions:
    def conv(
        self,
        out: _Out,
        x: _Operand,
        w: _Operand,
        *,
        bias: _Operand | None = None,
        ew1_scale: _Operand | None = None,
        ew1_bias: _Operand | None = None,
        ew2_scale: _Operand | None = None,
        ew3_scale: _Operand | None = None,
        stride: _Wholes | None = 1,
        pad: _Wholes | None = 0,
        dilation: _Wholes | None = 1,
        groups: _Whole | None = 1,
        x_zero: _Whole | None = None,
        w_zero: _Whole | None = None,
        add: _Operand | None = None,
        sub: _Operand | None = None,
        mul: _Operand | None = None,
        max: _Operand | None = None,
        min: _Operand | None = None,
        div: _Operand | None = None,
        relu: _Flag | None = False,
        clip: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        leaky_relu: _Number | None = None,
        sigmoid: _Flag | None = False,
        tanh: _Flag | None = False,
        table: _Operand | None = None,
        gelu: _Flag | None = False,
        silu: _Flag | None = False,
        exp: _Flag | None = False,
        reciprocal: _Flag | None = False,
        rsqrt: _Flag | None = False,
        hard_sigmoid: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        hard_swish: _Flag | None = False,
        sqrt: _Flag | None = False,
        table_offset: _Whole | None = 0,
        ew2_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        round_once: _Flag | None = False,
        round_twice: _Flag | None = False,
        round_away: _Flag | None = False,
        zero_first: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Convolve an image with weights, then run the chain.

            acc = bias[o] + sum over kh, kw, c of (x[n, ih, iw, c0 + c] - x_zero) * (w[o, kh, kw, c] - w_zero)
            c0  = o // (filters / groups) * (channels / groups)
            ih  = oh * stride.height - pad.top + kh * dilation.height
            iw  = ow * stride.width - pad.left + kw * dilation.width
            acc = fma(x, w, acc), for kh, kw, c or k in order, from bias or 0   ; of floats: in binary32, each rounded once
            v   = float(acc)                                      ; of 64 bits by way of float64
            v   = v * ew1_scale + ew1_bias                        ; EW1, each where given, both as one operation
            d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given, one operation with add and sub
            v   = v ew2_op d                                      ; EW2, where a second tensor is given
            v   = sf(v)                                           ; SF
            v   = v * ew3_scale                                   ; EW3, where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
            out = clamp(rne(v + out_zero), least, greatest)       ; EW3 by `zero_first`: the sum is rounded to the format too
            out = clamp(fixed(acc, m, s) + out_zero, least, greatest)   ; EW3 by `round_once` and its like: whole numbers alone
            out = v                                               ; for an f32 result; rounded once to the type for other floats
            out = acc + ew2, wrapped to 32 bits                   ; for an i32 result: the sum where add= an i32, no other stage

        out: result, NHWC; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, f16 or bf16, rank 4, in lm
        w: weights, OHWI: output channel, height, width, input channel of the group; i8, u8, i16, f16, bf16, e4m3 or e5m2, rank 4, in lm
        bias: ACC: added to the products, for each output channel or one for all; f32 for those of floats; i32 or f32, rank 1, in cb
        ew1_scale: EW1: multiplier, for each output channel or one for all; f32, rank 1, in cb
        ew1_bias: EW1: added to the product, for each output channel or one for all; f32, rank 1, in cb
        ew2_scale: EW2: de-quantises the second tensor, for each channel or one for all; f32, rank 1, in cb
        ew3_scale: EW3: multiplier before rounding, for each output channel or one for all; or, for `round_once` and its like, whole numbers, [2, channels or 1]: m, then s; f32 or i32, rank 1 to 2, in cb
        stride: step of the window, in input pixels: one value, or (height, width)
        pad: pixels of padding: one value, or (top, left, bottom, right)
        dilation: distance of the taps, in input pixels: one value, or (height, width)
        groups: groups of channels
        x_zero: zero point of x, which padding contributes
        w_zero: zero point of w
        add: EW2: operation with the second tensor, v = v + d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        sub: EW2: operation with the second tensor, v = v - d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        mul: EW2: operation with the second tensor, v = v * d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        max: EW2: operation with the second tensor, v = v if v > d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        min: EW2: operation with the second tensor, v = v if v < d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        div: EW2: operation with the second tensor, v = v / d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        relu: SF: special function, v = v if v > 0 else 0
        clip: SF: special function, v = clip_low if v < clip_low else v; v = clip_high if v > clip_high else v; takes (SF: lower bound of clip, SF: upper bound of clip)
        leaky_relu: SF: special function, v = v * slope if v < 0 else v; takes SF: factor of leaky_relu below 0, of hard_sigmoid
        sigmoid: SF: special function, v = 1 / (1 + exp(-v))
        tanh: SF: special function, v = tanh(v)
        table: SF: special function, v = table[clamp(rne(v) + table_offset, -128, 127) + 128]; takes SF: 256 values, for indices of -128 ... 127; f32, rank 1, in cb
        gelu: SF: special function, v = v * (1 + erf(v / sqrt(2))) / 2
        silu: SF: special function, v = v / (1 + exp(-v))
        exp: SF: special function, v = exp(v)
        reciprocal: SF: special function, v = 1 / v
        rsqrt: SF: special function, v = 1 / sqrt(v)
        hard_sigmoid: SF: special function, v = v * slope; v = v + offset; v = 0 if v < 0 else v; v = 1 if v > 1 else v; takes (SF: factor of leaky_relu below 0, of hard_sigmoid, SF: added by hard_sigmoid)
        hard_swish: SF: special function, a = v / 6; a = a + 0.5; a = 0 if a < 0 else a; a = 1 if a > 1 else a; v = v * a
        sqrt: SF: special function, v = sqrt(v)
        table_offset: SF: added to what the table takes for its index
        ew2_zero: EW2: zero point of the second tensor
        out_zero: EW3: zero point of the result
        round_once: EW3: how the result is scaled and rounded, floor(acc * m / 2**(31 - s) + 1/2)
        round_twice: EW3: how the result is scaled and rounded, a = acc * 2**max(s, 0), kept within 32 bits; a = floor(a * m / 2**31 + 1/2), kept so too; a / 2**max(-s, 0), rounded to the nearest, half away from 0
        round_away: EW3: how the result is scaled and rounded, acc * m / 2**(31 - s), rounded to the nearest, half away from 0
        zero_first: EW3: how the result is scaled and rounded, v = v * ew3_scale, where given; v = v + out_zero, rounded by rne
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: conv out, x, w, bias=b, stride=2, pad=(0, 0, 1, 1), add=residual, relu
        """

    def dwconv(
        self,
        out: _Out,
        x: _Operand,
        w: _Operand,
        *,
        bias: _Operand | None = None,
        ew1_scale: _Operand | None = None,
        ew1_bias: _Operand | None = None,
        ew2_scale: _Operand | None = None,
        ew3_scale: _Operand | None = None,
        stride: _Wholes | None = 1,
        pad: _Wholes | None = 0,
        dilation: _Wholes | None = 1,
        x_zero: _Whole | None = None,
        w_zero: _Whole | None = None,
        add: _Operand | None = None,
        sub: _Operand | None = None,
        mul: _Operand | None = None,
        max: _Operand | None = None,
        min: _Operand | None = None,
        div: _Operand | None = None,
        relu: _Flag | None = False,
        clip: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        leaky_relu: _Number | None = None,
        sigmoid: _Flag | None = False,
        tanh: _Flag | None = False,
        table: _Operand | None = None,
        gelu: _Flag | None = False,
        silu: _Flag | None = False,
        exp: _Flag | None = False,
        reciprocal: _Flag | None = False,
        rsqrt: _Flag | None = False,
        hard_sigmoid: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        hard_swish: _Flag | None = False,
        sqrt: _Flag | None = False,
        table_offset: _Whole | None = 0,
        ew2_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        round_once: _Flag | None = False,
        round_twice: _Flag | None = False,
        round_away: _Flag | None = False,
        zero_first: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Convolve each channel with a filter of its own (depthwise), then run the chain.

            acc = bias[c] + sum over kh, kw of (x[n, ih, iw, c] - x_zero) * (w[0, kh, kw, c] - w_zero)
            ih  = oh * stride.height - pad.top + kh * dilation.height
            iw  = ow * stride.width - pad.left + kw * dilation.width
            acc = fma(x, w, acc), for kh, kw, c or k in order, from bias or 0   ; of floats: in binary32, each rounded once
            v   = float(acc)                                      ; of 64 bits by way of float64
            v   = v * ew1_scale + ew1_bias                        ; EW1, each where given, both as one operation
            d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given, one operation with add and sub
            v   = v ew2_op d                                      ; EW2, where a second tensor is given
            v   = sf(v)                                           ; SF
            v   = v * ew3_scale                                   ; EW3, where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
            out = clamp(rne(v + out_zero), least, greatest)       ; EW3 by `zero_first`: the sum is rounded to the format too
            out = clamp(fixed(acc, m, s) + out_zero, least, greatest)   ; EW3 by `round_once` and its like: whole numbers alone
            out = v                                               ; for an f32 result; rounded once to the type for other floats
            out = acc + ew2, wrapped to 32 bits                   ; for an i32 result: the sum where add= an i32, no other stage

        out: result, NHWC; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, f16 or bf16, rank 4, in lm
        w: weights, 1HWC: one filter for each channel; i8, u8, i16, f16, bf16, e4m3 or e5m2, rank 4, in lm
        bias: ACC: added to the products, for each output channel or one for all; f32 for those of floats; i32 or f32, rank 1, in cb
        ew1_scale: EW1: multiplier, for each output channel or one for all; f32, rank 1, in cb
        ew1_bias: EW1: added to the product, for each output channel or one for all; f32, rank 1, in cb
        ew2_scale: EW2: de-quantises the second tensor, for each channel or one for all; f32, rank 1, in cb
        ew3_scale: EW3: multiplier before rounding, for each output channel or one for all; or, for `round_once` and its like, whole numbers, [2, channels or 1]: m, then s; f32 or i32, rank 1 to 2, in cb
        stride: step of the window, in input pixels: one value, or (height, width)
        pad: pixels of padding: one value, or (top, left, bottom, right)
        dilation: distance of the taps, in input pixels: one value, or (height, width)
        x_zero: zero point of x, which padding contributes
        w_zero: zero point of w
        add: EW2: operation with the second tensor, v = v + d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        sub: EW2: operation with the second tensor, v = v - d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        mul: EW2: operation with the second tensor, v = v * d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        max: EW2: operation with the second tensor, v = v if v > d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        min: EW2: operation with the second tensor, v = v if v < d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        div: EW2: operation with the second tensor, v = v / d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        relu: SF: special function, v = v if v > 0 else 0
        clip: SF: special function, v = clip_low if v < clip_low else v; v = clip_high if v > clip_high else v; takes (SF: lower bound of clip, SF: upper bound of clip)
        leaky_relu: SF: special function, v = v * slope if v < 0 else v; takes SF: factor of leaky_relu below 0, of hard_sigmoid
        sigmoid: SF: special function, v = 1 / (1 + exp(-v))
        tanh: SF: special function, v = tanh(v)
        table: SF: special function, v = table[clamp(rne(v) + table_offset, -128, 127) + 128]; takes SF: 256 values, for indices of -128 ... 127; f32, rank 1, in cb
        gelu: SF: special function, v = v * (1 + erf(v / sqrt(2))) / 2
        silu: SF: special function, v = v / (1 + exp(-v))
        exp: SF: special function, v = exp(v)
        reciprocal: SF: special function, v = 1 / v
        rsqrt: SF: special function, v = 1 / sqrt(v)
        hard_sigmoid: SF: special function, v = v * slope; v = v + offset; v = 0 if v < 0 else v; v = 1 if v > 1 else v; takes (SF: factor of leaky_relu below 0, of hard_sigmoid, SF: added by hard_sigmoid)
        hard_swish: SF: special function, a = v / 6; a = a + 0.5; a = 0 if a < 0 else a; a = 1 if a > 1 else a; v = v * a
        sqrt: SF: special function, v = sqrt(v)
        table_offset: SF: added to what the table takes for its index
        ew2_zero: EW2: zero point of the second tensor
        out_zero: EW3: zero point of the result
        round_once: EW3: how the result is scaled and rounded, floor(acc * m / 2**(31 - s) + 1/2)
        round_twice: EW3: how the result is scaled and rounded, a = acc * 2**max(s, 0), kept within 32 bits; a = floor(a * m / 2**31 + 1/2), kept so too; a / 2**max(-s, 0), rounded to the nearest, half away from 0
        round_away: EW3: how the result is scaled and rounded, acc * m / 2**(31 - s), rounded to the nearest, half away from 0
        zero_first: EW3: how the result is scaled and rounded, v = v * ew3_scale, where given; v = v + out_zero, rounded by rne
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: dwconv out, x, w, bias=b, pad=1, clip=(0, 6)
        """

    def matmul(
        self,
        out: _Out,
        x: _Operand,
        w: _Operand,
        *,
        bias: _Operand | None = None,
        ew1_scale: _Operand | None = None,
        ew1_bias: _Operand | None = None,
        ew2_scale: _Operand | None = None,
        ew3_scale: _Operand | None = None,
        transpose_x: _Flag | None = False,
        transpose_w: _Flag | None = False,
        x_zero: _Whole | None = None,
        w_zero: _Whole | None = None,
        add: _Operand | None = None,
        sub: _Operand | None = None,
        mul: _Operand | None = None,
        max: _Operand | None = None,
        min: _Operand | None = None,
        div: _Operand | None = None,
        relu: _Flag | None = False,
        clip: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        leaky_relu: _Number | None = None,
        sigmoid: _Flag | None = False,
        tanh: _Flag | None = False,
        table: _Operand | None = None,
        gelu: _Flag | None = False,
        silu: _Flag | None = False,
        exp: _Flag | None = False,
        reciprocal: _Flag | None = False,
        rsqrt: _Flag | None = False,
        hard_sigmoid: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        hard_swish: _Flag | None = False,
        sqrt: _Flag | None = False,
        table_offset: _Whole | None = 0,
        ew2_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        round_once: _Flag | None = False,
        round_twice: _Flag | None = False,
        round_away: _Flag | None = False,
        zero_first: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Multiply matrices, then run the chain.

            acc = bias[n] + sum over k of (x[..., m, k] - x_zero) * (w[..., k, n] - w_zero)
            ...   the batch: dimensions of 1, or left out in front, are repeated
            acc = fma(x, w, acc), for kh, kw, c or k in order, from bias or 0   ; of floats: in binary32, each rounded once
            v   = float(acc)                                      ; of 64 bits by way of float64
            v   = v * ew1_scale + ew1_bias                        ; EW1, each where given, both as one operation
            d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given, one operation with add and sub
            v   = v ew2_op d                                      ; EW2, where a second tensor is given
            v   = sf(v)                                           ; SF
            v   = v * ew3_scale                                   ; EW3, where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
            out = clamp(rne(v + out_zero), least, greatest)       ; EW3 by `zero_first`: the sum is rounded to the format too
            out = clamp(fixed(acc, m, s) + out_zero, least, greatest)   ; EW3 by `round_once` and its like: whole numbers alone
            out = v                                               ; for an f32 result; rounded once to the type for other floats
            out = acc + ew2, wrapped to 32 bits                   ; for an i32 result: the sum where add= an i32, no other stage

        out: result, [batch..., m, n]; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 2 to 4, in lm
        x: left matrix, [batch..., m, k], or [batch..., k, m] with transpose_x; i8, u8, i16, f16 or bf16, rank 2 to 4, in lm
        w: right matrix, [batch..., k, n], or [batch..., n, k] with transpose_w; i8, u8, i16, f16, bf16, e4m3 or e5m2, rank 2 to 4, in lm
        bias: ACC: added to the products, for each output channel or one for all; f32 for those of floats; i32 or f32, rank 1, in cb
        ew1_scale: EW1: multiplier, for each output channel or one for all; f32, rank 1, in cb
        ew1_bias: EW1: added to the product, for each output channel or one for all; f32, rank 1, in cb
        ew2_scale: EW2: de-quantises the second tensor, for each channel or one for all; f32, rank 1, in cb
        ew3_scale: EW3: multiplier before rounding, for each output channel or one for all; or, for `round_once` and its like, whole numbers, [2, channels or 1]: m, then s; f32 or i32, rank 1 to 2, in cb
        transpose_x: x is stored as [k, m]
        transpose_w: w is stored as [n, k]
        x_zero: zero point of x
        w_zero: zero point of w
        add: EW2: operation with the second tensor, v = v + d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        sub: EW2: operation with the second tensor, v = v - d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        mul: EW2: operation with the second tensor, v = v * d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        max: EW2: operation with the second tensor, v = v if v > d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        min: EW2: operation with the second tensor, v = v if v < d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        div: EW2: operation with the second tensor, v = v / d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        relu: SF: special function, v = v if v > 0 else 0
        clip: SF: special function, v = clip_low if v < clip_low else v; v = clip_high if v > clip_high else v; takes (SF: lower bound of clip, SF: upper bound of clip)
        leaky_relu: SF: special function, v = v * slope if v < 0 else v; takes SF: factor of leaky_relu below 0, of hard_sigmoid
        sigmoid: SF: special function, v = 1 / (1 + exp(-v))
        tanh: SF: special function, v = tanh(v)
        table: SF: special function, v = table[clamp(rne(v) + table_offset, -128, 127) + 128]; takes SF: 256 values, for indices of -128 ... 127; f32, rank 1, in cb
        gelu: SF: special function, v = v * (1 + erf(v / sqrt(2))) / 2
        silu: SF: special function, v = v / (1 + exp(-v))
        exp: SF: special function, v = exp(v)
        reciprocal: SF: special function, v = 1 / v
        rsqrt: SF: special function, v = 1 / sqrt(v)
        hard_sigmoid: SF: special function, v = v * slope; v = v + offset; v = 0 if v < 0 else v; v = 1 if v > 1 else v; takes (SF: factor of leaky_relu below 0, of hard_sigmoid, SF: added by hard_sigmoid)
        hard_swish: SF: special function, a = v / 6; a = a + 0.5; a = 0 if a < 0 else a; a = 1 if a > 1 else a; v = v * a
        sqrt: SF: special function, v = sqrt(v)
        table_offset: SF: added to what the table takes for its index
        ew2_zero: EW2: zero point of the second tensor
        out_zero: EW3: zero point of the result
        round_once: EW3: how the result is scaled and rounded, floor(acc * m / 2**(31 - s) + 1/2)
        round_twice: EW3: how the result is scaled and rounded, a = acc * 2**max(s, 0), kept within 32 bits; a = floor(a * m / 2**31 + 1/2), kept so too; a / 2**max(-s, 0), rounded to the nearest, half away from 0
        round_away: EW3: how the result is scaled and rounded, acc * m / 2**(31 - s), rounded to the nearest, half away from 0
        zero_first: EW3: how the result is scaled and rounded, v = v * ew3_scale, where given; v = v + out_zero, rounded by rne
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: matmul out, x, w, bias=b, transpose_w, relu
        """

    def eltwise(
        self,
        out: _Out,
        x: _Operand,
        *,
        ew1_scale: _Operand | None = None,
        ew1_bias: _Operand | None = None,
        ew2_scale: _Operand | None = None,
        ew3_scale: _Operand | None = None,
        x_zero: _Whole | None = None,
        add: _Operand | None = None,
        sub: _Operand | None = None,
        mul: _Operand | None = None,
        max: _Operand | None = None,
        min: _Operand | None = None,
        div: _Operand | None = None,
        relu: _Flag | None = False,
        clip: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        leaky_relu: _Number | None = None,
        sigmoid: _Flag | None = False,
        tanh: _Flag | None = False,
        table: _Operand | None = None,
        gelu: _Flag | None = False,
        silu: _Flag | None = False,
        exp: _Flag | None = False,
        reciprocal: _Flag | None = False,
        rsqrt: _Flag | None = False,
        hard_sigmoid: Sequence[_Number] | NDArray[np.number[Any]] | None = None,
        hard_swish: _Flag | None = False,
        sqrt: _Flag | None = False,
        table_offset: _Whole | None = 0,
        ew2_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        round_once: _Flag | None = False,
        round_twice: _Flag | None = False,
        round_away: _Flag | None = False,
        zero_first: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Enter the chain at EW1: element by element, with broadcasting.

            acc = x - x_zero
            v   = float(acc)                                      ; of 64 bits by way of float64
            v   = v * ew1_scale + ew1_bias                        ; EW1, each where given, both as one operation
            d   = float(ew2 - ew2_zero) * ew2_scale               ; EW2, the scale where given, one operation with add and sub
            v   = v ew2_op d                                      ; EW2, where a second tensor is given
            v   = sf(v)                                           ; SF
            v   = v * ew3_scale                                   ; EW3, where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; EW3, for an i8, u8 or i16 result, of the bounds of its type
            out = clamp(rne(v + out_zero), least, greatest)       ; EW3 by `zero_first`: the sum is rounded to the format too
            out = clamp(fixed(acc, m, s) + out_zero, least, greatest)   ; EW3 by `round_once` and its like: whole numbers alone
            out = v                                               ; for an f32 result; rounded once to the type for other floats

        out: result; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        x: first tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        ew1_scale: EW1: multiplier, for each output channel or one for all; f32, rank 1, in cb
        ew1_bias: EW1: added to the product, for each output channel or one for all; f32, rank 1, in cb
        ew2_scale: EW2: de-quantises the second tensor, for each channel or one for all; f32, rank 1, in cb
        ew3_scale: EW3: multiplier before rounding, for each output channel or one for all; or, for `round_once` and its like, whole numbers, [2, channels or 1]: m, then s; f32 or i32, rank 1 to 2, in cb
        x_zero: zero point of x
        add: EW2: operation with the second tensor, v = v + d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        sub: EW2: operation with the second tensor, v = v - d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        mul: EW2: operation with the second tensor, v = v * d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        max: EW2: operation with the second tensor, v = v if v > d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        min: EW2: operation with the second tensor, v = v if v < d else d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        div: EW2: operation with the second tensor, v = v / d; takes EW2: second tensor, broadcast to out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        relu: SF: special function, v = v if v > 0 else 0
        clip: SF: special function, v = clip_low if v < clip_low else v; v = clip_high if v > clip_high else v; takes (SF: lower bound of clip, SF: upper bound of clip)
        leaky_relu: SF: special function, v = v * slope if v < 0 else v; takes SF: factor of leaky_relu below 0, of hard_sigmoid
        sigmoid: SF: special function, v = 1 / (1 + exp(-v))
        tanh: SF: special function, v = tanh(v)
        table: SF: special function, v = table[clamp(rne(v) + table_offset, -128, 127) + 128]; takes SF: 256 values, for indices of -128 ... 127; f32, rank 1, in cb
        gelu: SF: special function, v = v * (1 + erf(v / sqrt(2))) / 2
        silu: SF: special function, v = v / (1 + exp(-v))
        exp: SF: special function, v = exp(v)
        reciprocal: SF: special function, v = 1 / v
        rsqrt: SF: special function, v = 1 / sqrt(v)
        hard_sigmoid: SF: special function, v = v * slope; v = v + offset; v = 0 if v < 0 else v; v = 1 if v > 1 else v; takes (SF: factor of leaky_relu below 0, of hard_sigmoid, SF: added by hard_sigmoid)
        hard_swish: SF: special function, a = v / 6; a = a + 0.5; a = 0 if a < 0 else a; a = 1 if a > 1 else a; v = v * a
        sqrt: SF: special function, v = sqrt(v)
        table_offset: SF: added to what the table takes for its index
        ew2_zero: EW2: zero point of the second tensor
        out_zero: EW3: zero point of the result
        round_once: EW3: how the result is scaled and rounded, floor(acc * m / 2**(31 - s) + 1/2)
        round_twice: EW3: how the result is scaled and rounded, a = acc * 2**max(s, 0), kept within 32 bits; a = floor(a * m / 2**31 + 1/2), kept so too; a / 2**max(-s, 0), rounded to the nearest, half away from 0
        round_away: EW3: how the result is scaled and rounded, acc * m / 2**(31 - s), rounded to the nearest, half away from 0
        zero_first: EW3: how the result is scaled and rounded, v = v * ew3_scale, where given; v = v + out_zero, rounded by rne
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: eltwise out, x, mul=gate, tanh
        """

    def rotate(
        self,
        out: _Out,
        x: _Operand,
        cos: _Operand,
        sin: _Operand,
        *,
        halves: _Flag | None = False,
        interleaved: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Turn pairs of numbers by angles: rotary position embedding.

            a, b    = x[j], x[j + columns / 2]                    ; halves, for pair j of a row
            a, b    = x[2 * j], x[2 * j + 1]                      ; interleaved
            c, s    = cos[j], sin[j]                              ; as a and b rounded to the vector format, as all that follows is
            v_a     = a * c - b * s                               ; each product rounded, then the difference
            v_b     = b * c + a * s                               ; each product rounded, then the sum
            out     = v_a, v_b where a, b lay, rounded once for f16 and bf16

        out: result, of the shape of x; f16, bf16 or f32, rank 1 to 4, in lm
        x: rows of pairs, its last dimension; f16, bf16 or f32, rank 1 to 4, in lm
        cos: cosine of the angle of each pair, broadcast to out but for its last; f16, bf16 or f32, rank 1 to 4, in lm
        sin: sine of it, alike; f16, bf16 or f32, rank 1 to 4, in lm
        halves: which elements of a row are a pair, a, b = x[j], x[j + columns / 2]
        interleaved: which elements of a row are a pair, a, b = x[2 * j], x[2 * j + 1]
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: rotate out, x, cos, sin, halves
        """

    def maxpool(
        self,
        out: _Out,
        x: _Operand,
        *,
        window: _Wholes | Literal["global"],
        stride: _Wholes | None = 1,
        pad: _Wholes | None = 0,
        ceil: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Take the greatest value of each window; padding never wins.

            out = max over kh, kw inside x of x[n, ih, iw, c]    ; the first of equals; a NaN is greater than any number
            ih  = oh * stride.height - pad.top + kh
            iw  = ow * stride.width - pad.left + kw

        out: result, NHWC, of the type of x; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        window: size of the window; `global` is the whole of x: one value, or (height, width)
        stride: step of the window, in input pixels: one value, or (height, width)
        pad: pixels of padding: one value, or (top, left, bottom, right)
        ceil: round the result's sizes up: the last windows may reach beyond the padding; each begins inside x
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: maxpool out, x, window=2, stride=2
        """

    def avgpool(
        self,
        out: _Out,
        x: _Operand,
        *,
        scale: _Operand | None = None,
        window: _Wholes | Literal["global"],
        stride: _Wholes | None = 1,
        pad: _Wholes | None = 0,
        count_pad: _Flag | None = False,
        x_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        ceil: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Average each window.

            sum = total over kh, kw inside x of (x[n, ih, iw, c] - x_zero), exact where x is an integer
            sum = sum + x, from 0, in that order                  ; floats: x and each step rounded to the sum format
            ih  = oh * stride.height - pad.top + kh
            iw  = ow * stride.width - pad.left + kw
            count = pixels of the window that lie inside x, or, with count_pad, inside x with its padding
            m   = scale / count                                   ; rounded once, count exact; scale 1 where absent
            v   = float(sum) * m
            out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
            out = v, rounded to the type                          ; floats

        out: result, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        scale: multiplier, one for all; f32, rank 1, in cb
        window: size of the window; `global` is the whole of x: one value, or (height, width)
        stride: step of the window, in input pixels: one value, or (height, width)
        pad: pixels of padding: one value, or (top, left, bottom, right)
        count_pad: divide by the pixels inside x with its padding, not by those inside x
        x_zero: zero point of x
        out_zero: zero point of the result
        ceil: round the result's sizes up: the last windows may reach beyond the padding; each begins inside x
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: avgpool out, x, window=global
        """

    def reduce(
        self,
        out: _Out,
        x: _Operand,
        *,
        scale: _Operand | None = None,
        sum: _Flag | None = False,
        mean: _Flag | None = False,
        max: _Flag | None = False,
        argmax: _Flag | None = False,
        min: _Flag | None = False,
        absmax: _Flag | None = False,
        sumsq: _Flag | None = False,
        x_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        wait: str | None = "",
    ) -> _Out:
        """Reduce dimensions to one element: sum, mean, sum of squares, greatest, least, greatest magnitude, or place of the greatest.

            i   = the elements of x that become one of out, in row-major order; count of them
            sum = total over i of (x[i] - x_zero), exact where x is an integer
            sum = sum + x, from 0, in that order                  ; floats: x and each step rounded to the sum format
            sum = total over i of (x[i] - x_zero)**2, exact where x is an integer   ; sumsq
            sum = fma(x, x, sum), from 0, in that order           ; sumsq of floats: x and each step rounded to the sum format
            top = max over i of |x[i] - x_zero|                   ; absmax; a NaN is greater than any number
            m   = scale for sum, sumsq and absmax, scale / count for mean   ; rounded once, count exact; scale 1 where absent
            v   = float(sum) * m                                  ; sum, mean, sumsq: beyond 2**53 by way of float64
            v   = float(top) * m                                  ; absmax
            out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
            out = v, rounded to the type                          ; floats
            out = sum, wrapped to 32 bits                         ; sum of integers to i32, without a scale
            out = max over i of x[i]                              ; max: the first of equals; a NaN is greater than any number
            out = min over i of x[i]                              ; min: the first of equals; a NaN is less than any number
            out = the first place in i where x[i] is the greatest ; argmax, i32

        out: result, of the rank of x: each dimension has the size of x's, or 1, which reduces it; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        x: tensor to reduce; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        scale: multiplier, one for all; f32, rank 1, in cb
        sum: what many elements become, v = float(sum) * scale
        mean: what many elements become, v = float(sum) * (scale / count)
        max: what many elements become, out = max over i of x[i]
        argmax: what many elements become, out = the first place in i where x[i] is the greatest
        min: what many elements become, out = min over i of x[i]
        absmax: what many elements become, v = float(max over i of |x[i] - x_zero|) * scale
        sumsq: what many elements become, v = float(sum of squares) * scale
        x_zero: zero point of x
        out_zero: zero point of the result
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: reduce out, x, mean
        """

    def topk(
        self,
        out: _Out,
        places: _Operand,
        x: _Operand,
        *,
        wait: str | None = "",
    ) -> _Out:
        """Find the greatest elements of each row, in falling order, and their places.

            order  = the places of a row of x, the greatest element first; of equals the first; NaN behind all numbers
            places = order[j]                                     ; for column j, i32
            out    = x[..., order[j]]                             ; its bits as they are

        out: the greatest of each row of x, one a column; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        places: the place of each in its row; i32, rank 1 to 4, in lm
        x: tensor whose rows, its last dimension, are sorted; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: topk out, places, x
        """

    def resize(
        self,
        out: _Out,
        x: _Operand,
        *,
        scale: _Operand | None = None,
        nearest: _Flag | None = False,
        linear: _Flag | None = False,
        half_pixel: _Flag | None = False,
        align_corners: _Flag | None = False,
        asymmetric: _Flag | None = False,
        prefer_floor: _Flag | None = False,
        prefer_ceil: _Flag | None = False,
        floor: _Flag | None = False,
        ceil: _Flag | None = False,
        x_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        factor: _Numbers | None = 0.0,
        wait: str | None = "",
    ) -> _Out:
        """Resize images: the nearest pixel, or four weighted (bilinear).

            s   = the coordinate in x of an index of out, for rows and for columns: an exact fraction
            s   = the same by `factor`, where given, in float32, each operation rounded
            out = x[n, nearest(s of oh), nearest(s of ow), c]     ; nearest, kept within x; out has the type of x
            s   = s, kept within 0 ... of_x - 1                   ; linear, as all that follows
            r0  = floor(s);  r1 = r0 + 1, kept within x; their weights 1 - (s - r0), s - r0 in the sum format; so c0, c1
            p   = (x[n, row, column, c] - x_zero) * (weight of row * weight of column)   ; in the sum format: x and each product
            sum = p(r0, c0) + p(r0, c1) + p(r1, c0) + p(r1, c1)   ; in this order, each step rounded to the sum format
            v   = float(sum) * scale                              ; the scale where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
            out = v, rounded to the type                          ; floats

        out: result, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        scale: multiplier, one for all; f32, rank 1, in cb
        nearest: how pixels come about, out = the nearest pixel
        linear: how pixels come about, v = four pixels, weighted
        half_pixel: where index i of the result's `size` lies among the `of_x` of x, s = (i + 1/2) * of_x / size - 1/2, or (i + 1/2) / factor - 1/2
        align_corners: where index i of the result's `size` lies among the `of_x` of x, s = i * (of_x - 1) / (size - 1); 0 where size is 1
        asymmetric: where index i of the result's `size` lies among the `of_x` of x, s = i * of_x / size, or i / factor
        prefer_floor: which pixel is nearest to a coordinate s, ceil(s - 1/2)
        prefer_ceil: which pixel is nearest to a coordinate s, floor(s + 1/2)
        floor: which pixel is nearest to a coordinate s, floor(s)
        ceil: which pixel is nearest to a coordinate s, ceil(s)
        x_zero: zero point of x
        out_zero: zero point of the result
        factor: pixels of the result to one of x; 0 takes the ratio of the sizes: one value, or (height, width)
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: resize out, x, linear
        """

    def roisample(
        self,
        out: _Out,
        x: _Operand,
        rois: _Operand,
        index: _Operand,
        *,
        scale: _Operand | None = None,
        ratio: _Wholes,
        spatial_scale: _Number | None = 1.0,
        half_pixel: _Flag | None = False,
        x_zero: _Whole | None = None,
        out_zero: _Whole | None = None,
        wait: str | None = "",
    ) -> _Out:
        """Sample regions of images bilinearly: step 1 of ROI-align; `avgpool` or `maxpool` is step 2.

            start  = top * spatial_scale - offset                 ; float32, each operation rounded; offset 0.5 with half_pixel
            length = (bottom * spatial_scale - offset) - start    ; at least 1 without half_pixel
            size   = length / bins                                ; bins = samples down / ratio.height
            s      = (start + i // ratio * size) + (i % ratio + 0.5) * size / ratio   ; for sample i; so for columns
            out    = 0, which is out_zero                         ; unless -1 <= s <= height, and so for the width
            r0  = floor(s), r1 = r0 + 1, kept within x            ; s below 0 counts as 0, from the last row on as the last row
                  their weights 1 - (s - r0) and s - r0: float32, then the sum format; so columns c0, c1; n = index[region]
            p   = (x[n, row, column, c] - x_zero) * (weight of row * weight of column)   ; in the sum format: x and each product
            sum = p(r0, c0) + p(r0, c1) + p(r1, c0) + p(r1, c1)   ; in this order, each step rounded to the sum format
            v   = float(sum) * scale                              ; the scale where given
            out = clamp(rne(v) + out_zero, least, greatest)       ; i8, u8, i16
            out = v, rounded to the type                          ; floats

        out: result, [regions, samples down, across, channels]; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: images, NHWC; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        rois: regions, [n, 4]: left, top, right and bottom, in pixels of an image; f32, rank 2, in lm
        index: the image of x that each region lies in; i32, rank 1, in lm
        scale: multiplier, one for all; f32, rank 1, in cb
        ratio: samples to a bin: the window of the pooling behind: one value, or (height, width)
        spatial_scale: pixels of x to one pixel of the regions' image
        half_pixel: pixels have their centres at a half; else regions are at least one pixel large
        x_zero: zero point of x
        out_zero: zero point of the result
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: roisample samples, x, rois, index, ratio=2, spatial_scale=0.25, half_pixel
        """

    def roipool(
        self,
        out: _Out,
        x: _Operand,
        rois: _Operand,
        index: _Operand,
        *,
        spatial_scale: _Number | None = 1.0,
        x_zero: _Whole | None = None,
        wait: str | None = "",
    ) -> _Out:
        """Take the greatest value of each bin of a region (ROI max pooling).

            first  = round(top * spatial_scale)                   ; the product in float32, half away from zero, NaN as 0
            last   = round(bottom * spatial_scale)                ; both kept within -2**30 ... 2**30
            length = max(last - first + 1, 1)
            rows of bin i = first + floor(i * length / bins) ... first + ceil((i + 1) * length / bins) - 1, inside x
            out    = max over the rows and columns of a bin of x[index[region], y, x, c]; a NaN is greater than any number
            out    = x_zero where the bin is empty

        out: result, [regions, bins down, across, channels]; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: images, NHWC, of the type of out; i8, u8, i16, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        rois: regions, [n, 4]: left, top, right and bottom, in pixels of an image; f32, rank 2, in lm
        index: the image of x that each region lies in; i32, rank 1, in lm
        spatial_scale: pixels of x to one pixel of the regions' image
        x_zero: zero point of x, which an empty bin gives
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: roipool out, x, rois, index, spatial_scale=0.0625
        """

    def load(
        self,
        out: _Out,
        x: _Operand,
        *,
        wait: str | None = "",
    ) -> _Out:
        """Copy a tensor from host or device memory into local memory or the constant buffer.

            out = x

        out: where the tensor goes; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm or cb
        x: tensor in host or device memory; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in host or dev
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: load out, x
        """

    def store(
        self,
        out: _Out,
        x: _Operand,
        *,
        wait: str | None = "",
    ) -> _Out:
        """Copy a tensor from local memory to host or device memory.

            out = x

        out: where the tensor goes, in host or device memory; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in host or dev
        x: tensor in local memory; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: store out, x
        """

    def copy(
        self,
        out: _Out,
        x: _Operand,
        *,
        wait: str | None = "",
    ) -> _Out:
        """Copy a tensor within local memory, to another core's or into the constant buffer; slices make it a concatenation or a cut.

            out = x

        out: where the tensor goes; may lie in another core's local memory; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm or cb
        x: tensor in local memory; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: copy out[:, 0:2], x
        """

    def fill(
        self,
        out: _Out,
        *,
        value: _Number | None = 0.0,
        wait: str | None = "",
    ) -> _Out:
        """Set every element to one value.

            out = value                                           ; i8, u8, i16, i32: a whole number of the type
            out = value, rounded to float32, then to the type     ; floats: no NaN, and nothing beyond the greatest of the type

        out: what is filled; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm or dev
        value: value of each element
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: fill out, value=-1
        """

    def transpose(
        self,
        out: _Out,
        x: _Operand,
        *,
        perm: _Wholes,
        wait: str | None = "",
    ) -> _Out:
        """Permute dimensions.

            out[i] = x[j], where j[perm[k]] = i[k] for each dimension k of out

        out: result; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        x: tensor to transpose; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        perm: dimension of x that each dimension of out takes; those beyond the rank stay: one value, or (0, 1, 2, 3)
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: transpose out, x, perm=(1, 0)
        """

    def gather(
        self,
        out: _Out,
        x: _Operand,
        index: _Operand,
        *,
        axis: _Whole | None = 0,
        from_end: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Gather rows of a tensor in local or device memory, or what lies along another dimension, by an index tensor.

            out[a, i, b] = x[a, index[i], b]                      ; a: the dimensions before `axis`, b: those behind it

        out: result, of the shape of x, with the elements of index counted by `axis`; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        x: tensor whose rows, or what else `axis` counts, are picked; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm or dev
        index: the place in x for each of out; i32, rank 1, in lm
        axis: the dimension along which is picked
        from_end: an index below 0 counts from the end: -1 is the last
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: gather out, x, index
        """

    def scatter(
        self,
        out: _Out,
        x: _Operand,
        index: _Operand,
        *,
        axis: _Whole | None = 0,
        from_end: _Flag | None = False,
        wait: str | None = "",
    ) -> _Out:
        """Scatter rows to a tensor in local or device memory, or what lies along another dimension, by an index tensor.

            out[a, index[i], b] = x[a, i, b]                      ; a: the dimensions before `axis`, b: those behind it
                                                                  ; i in order: of equal places the last stays

        out: where they are put; what index does not name stays; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm or dev
        x: rows, or what else `axis` counts, of the shape of those of out; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 1 to 4, in lm
        index: the place in out for each of x; i32, rank 1, in lm
        axis: the dimension along which is put
        from_end: an index below 0 counts from the end: -1 is the last
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: scatter cache, x, index
        """

    def flatten(
        self,
        out: _Out,
        x: _Operand,
        *,
        window: _Wholes | Literal["global"],
        stride: _Wholes | None = 1,
        pad: _Wholes | None = 0,
        dilation: _Wholes | None = 1,
        x_zero: _Whole | None = None,
        wait: str | None = "",
    ) -> _Out:
        """Lay out the window of each output pixel as a row, so that `matmul` with OHWI weights convolves.

            out[n, oh, ow, (kh * window.width + kw) * channels + c] = x[n, ih, iw, c], or x_zero outside x
            ih  = oh * stride.height - pad.top + kh * dilation.height
            iw  = ow * stride.width - pad.left + kw * dilation.width

        out: result: the window of every output pixel as a row; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: activations, NHWC; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        window: size of the window; `global` is the whole of x: one value, or (height, width)
        stride: step of the window, in input pixels: one value, or (height, width)
        pad: pixels of padding: one value, or (top, left, bottom, right)
        dilation: distance of the taps, in input pixels: one value, or (height, width)
        x_zero: zero point of x, which padding contributes
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: flatten rows, x, window=3, stride=2, pad=(0, 0, 1, 1)
        """

    def toweight(
        self,
        out: _Out,
        x: _Operand,
        *,
        wait: str | None = "",
    ) -> _Out:
        """Turn a matrix into the weights of a convolution.

            out[o, kh, kw, c] = x[(kh * width + kw) * channels + c, o], for out of [filters, height, width, channels]

        out: weights, OHWI; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 4, in lm
        x: matrix, a column for each output channel; i8, u8, i16, i32, e4m3, e5m2, f16, bf16 or f32, rank 2, in lm
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: toweight out, x
        """

    def signal(
        self,
        semaphore: Synchroniser,
        *,
        te: _Flag | None = False,
        pe: _Flag | None = False,
        me: _Flag | None = False,
        wait: str | None = "",
    ) -> None:
        """Count one more signal of a semaphore, once all earlier instructions of the queue's engine have finished.

            signals = signals + 1

        semaphore: the semaphore, by its name
        te: the engine in whose queue it sits, `te`
        pe: the engine in whose queue it sits, `pe`
        me: the engine in whose queue it sits, `me`
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: signal ready, me
        """

    def wait(
        self,
        semaphore: Synchroniser,
        *,
        te: _Flag | None = False,
        pe: _Flag | None = False,
        me: _Flag | None = False,
        wait: str | None = "",
    ) -> None:
        """Hold a queue until a semaphore is signalled: the k-th `wait` for the k-th `signal`.

            waits = waits + 1
            hold the queue until signals >= waits

        semaphore: the semaphore, by its name
        te: the engine in whose queue it sits, `te`
        pe: the engine in whose queue it sits, `pe`
        me: the engine in whose queue it sits, `me`
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: wait ready, me
        """

    def barrier(
        self,
        barrier: Synchroniser,
        *,
        te: _Flag | None = False,
        pe: _Flag | None = False,
        me: _Flag | None = False,
        wait: str | None = "",
    ) -> None:
        """Hold a queue until every core that uses a barrier has arrived there as often, its earlier work finished.

            arrivals[core] = arrivals[core] + 1
            hold the queue until arrivals[other] >= arrivals[core] for each core that uses the barrier

        barrier: the barrier, by its name
        te: the engine in whose queue it sits, `te`
        pe: the engine in whose queue it sits, `pe`
        me: the engine in whose queue it sits, `me`
        wait: engines to wait for: letters of t (TE), p (PE) and m (ME)

        In the text: barrier stage, me
        """
