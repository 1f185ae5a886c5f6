"""Weights in groups: small numbers q, and for each group of elements a scale, and with it a minimum.

    w = round(float(q) * scale + min)     in binary32, once; then to the type of the tensor, once; half to even

A group is so many elements that follow each other in the innermost dimension, which it divides. It is stored as one
block: the scale, the minimum where the form has one, then q, element after element; of 4 bits the first of two is the
lower half of its byte. Blocks follow each other as their groups do, row-major. FORMS has all:

- `q8_G`, `q4_G`: whole numbers from -128, and from -8 (stored 8 more), scale f16; G is 32, 64 or 128. GGUF's Q8_0 and
  Q4_0 hold the same in other orders of elements.
- `q8m_G`, `q4m_G`: whole numbers from 0, scale and minimum f16.
- `mxfp8`, `mxfp4`: e4m3 and e2m1 of OCP Microscaling Formats 1.0, groups of 32, scale e8m0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.compressed import expand
from isa.dtypes import BF16, E4M3, F16, DType
from isa.errors import InputError, shown
from isa.suggest import did_you_mean

# What a group's numbers are: (bits of q, whether there is a minimum, the scale's bytes).
KINDS = {
    "q8": (8, False, 2),
    "q8m": (8, True, 2),
    "q4": (4, False, 2),
    "q4m": (4, True, 2),
    "mxfp8": (8, False, 1),
    "mxfp4": (4, False, 1),
}
# Types that groups expand to.
GROUPED_TYPES = (F16, BF16)
_MX_GROUP = 32


@dataclass(frozen=True)
class Form:
    """A storage form: groups of `group` elements of a kind; `code` stands for it in encodings."""

    code: int
    name: str
    kind: str
    group: int

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return KINDS[self.kind][0]

    @property
    def has_min(self) -> bool:
        return KINDS[self.kind][1]

    @property
    def is_mx(self) -> bool:
        """Whether elements are floats, and the scale a power of two."""
        return self.kind.startswith("mx")

    @cached_property
    def head_bytes(self) -> int:
        """Bytes of scale and minimum."""
        return KINDS[self.kind][2] * (1 + self.has_min)

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return self.head_bytes + self.group * self.bits // 8

    def stored_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of a tensor; 0 where groups do not divide its innermost dimension."""
        groups, rest = divmod(int(np.prod(shape, dtype=object)), self.group)
        return 0 if rest or shape[-1] % self.group else groups * self.block_bytes


# The code is 8 times the number of the kind, from 1, plus the group's logarithm: kernels take both from it.
FORMS = {
    form.name: form
    for k, kind in enumerate(KINDS, 1)
    for group in ((_MX_GROUP,) if kind.startswith("mx") else (32, 64, 128))
    for name in [kind if kind.startswith("mx") else f"{kind}_{group}"]
    for form in [Form(8 * k + group.bit_length() - 1, name, kind, group)]
}
FORM_OF_CODE = {form.code: form.name for form in FORMS.values()}


def form_named(name: Any) -> Form:
    """Return the form of a name; raise InputError where there is none."""
    if not isinstance(name, str) or name not in FORMS:
        help = (did_you_mean(name, FORMS) if isinstance(name, str) else "") or f"there are {', '.join(FORMS)}"
        raise InputError(f"{shown(name)} is no form of groups", help)
    return FORMS[name]


def dense(raw: bytes | NDArray[Any], dtype: DType, shape: tuple[int, ...], form: str) -> NDArray[Any]:
    """Return the dense tensor that is stored in a form, or compressed where that is ""."""
    return ungroup(raw, form, dtype.name, shape) if form else expand(raw, dtype, shape)


def ungroup(raw: bytes | NDArray[Any], form: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the tensor of type "f16" or "bf16" that blocks mean."""
    held = FORMS[form]
    target = next(one for one in GROUPED_TYPES if one.name == dtype).numpy
    blocks = np.frombuffer(np.ascontiguousarray(raw), np.uint8).reshape(-1, held.block_bytes)
    head, body = blocks[:, : held.head_bytes], blocks[:, held.head_bytes :]
    if held.bits == 4:
        body = np.stack([body & 15, body >> 4], axis=2).reshape(len(blocks), -1)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if held.is_mx:
            values = _of_mx(body, held) * head.view(_mx_type("float8_e8m0fnu")).astype(np.float32)
        else:
            factors = np.ascontiguousarray(head).view("<f2").astype(np.float64)
            signed = body.astype(np.int64)
            if not held.has_min:
                signed = signed - 8 if held.bits == 4 else body.view(np.int8).astype(np.int64)
            # Exact in float64: 8 bits by 11, and a sum whose terms lie within 2**40 of each other.
            exact = signed * factors[:, :1]
            values = (exact + factors[:, 1:] if held.has_min else exact).astype(np.float32)
        return values.astype(target).reshape(shape)


def group(values: Any, form: str) -> NDArray[np.uint8]:
    """Return the blocks, one after another, that hold floats best by the form's plain rule; bytes.

    The scale of symmetric forms takes the greatest magnitude of a group to the greatest q, that of forms with a minimum
    the span of the group to all of q; both are rounded to f16 first, then each element to the nearest q. An mx scale is
    the power of two that the OCP specification has (section 6.3): that of the greatest magnitude less the greatest
    exponent of the element, and elements saturate.

    Raises InputError for another form, for values that are not finite or whose group has a scale beyond f16, and where
    groups do not divide the innermost dimension.
    """
    held = form_named(form)
    floats = np.asarray(values)
    if floats.dtype.kind not in "fV" and floats.dtype.name != "bfloat16":
        raise InputError(f"values of type {floats.dtype} are no floats", "expected float32, float16 or bfloat16")
    floats = floats.astype(np.float32)
    if not floats.ndim or not held.stored_bytes(floats.shape):
        raise InputError(
            f"groups of {held.group} do not divide the innermost dimension of {list(floats.shape)}",
            "choose smaller groups, or fill it up with zeros",
        )
    if not np.isfinite(floats).all():
        raise InputError("the values are not all finite", "NaN and infinity have no place in a group")
    rows = floats.reshape(-1, held.group)
    body = _grouped_mx(rows, held) if held.is_mx else _grouped_whole(rows, held)
    return body.reshape(-1)


def _grouped_whole(rows: NDArray[Any], form: Form) -> NDArray[np.uint8]:
    low, high = (0, 2**form.bits - 1) if form.has_min else (-(2 ** (form.bits - 1)), 2 ** (form.bits - 1) - 1)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        if form.has_min:
            least = rows.min(axis=1, keepdims=True)
            factors = [(rows.max(axis=1, keepdims=True) - least) / np.float32(high), least]
        else:
            factors = [np.abs(rows).max(axis=1, keepdims=True) / np.float32(high)]
        head = np.concatenate(factors, axis=1).astype("<f2")
        if not np.isfinite(head).all():
            raise InputError("a group's scale or minimum is beyond f16", "scale the weights, and what they multiply")
        scale = head[:, :1].astype(np.float32)
        offset = head[:, 1:].astype(np.float32) if form.has_min else np.float32(0)
        q = np.where(scale == 0, 0, np.rint((rows - offset) / scale))
    whole = np.clip(np.nan_to_num(q), low, high).astype(np.int64)
    if form.bits == 4:
        whole = whole if form.has_min else whole + 8
        whole = whole[:, ::2] | whole[:, 1::2] << 4
    return np.concatenate([head.view(np.uint8), (whole & 255).astype(np.uint8)], axis=1)


def _grouped_mx(rows: NDArray[Any], form: Form) -> NDArray[np.uint8]:
    greatest_exponent, greatest = (8, E4M3.greatest) if form.bits == 8 else (2, 6.0)
    size = np.abs(rows).max(axis=1)
    exponent = np.clip(np.where(size > 0, np.frexp(size)[1] - 1, -127) - greatest_exponent, -127, 127)
    scaled = np.clip(np.ldexp(rows.astype(np.float64), -exponent[:, None]), -greatest, greatest)
    body = scaled.astype(_elements_of(form)).view(np.uint8)
    if form.bits == 4:
        body = body[:, ::2] | body[:, 1::2] << 4
    return np.concatenate([(exponent + 127).astype(np.uint8)[:, None], body], axis=1)


def _of_mx(body: NDArray[np.uint8], form: Form) -> NDArray[np.float32]:
    return np.ascontiguousarray(body).view(_elements_of(form)).astype(np.float32)


def _elements_of(form: Form) -> Any:
    return E4M3.numpy if form.bits == 8 else _mx_type("float4_e2m1fn")


def _mx_type(name: str) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, name)
