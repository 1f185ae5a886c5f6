"""Kernels of the pooling engine that place pixels between those of x: resize, roisample and roipool.

Loop order: result pixels > blocks of channels. The coordinates of a result pixel are worked out once, by whole numbers
or float32 as its formula says; then up to four pixels are loaded into float32 buffers, weighted and added, or copied as
they are. roipool takes max over the pixels of its bin, as maxpool does over a window. The image that a region lies in
comes from `index`, which is looked through before anything is written.
"""

from enum import IntEnum, auto
from typing import Any

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Floats, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.arithmetic import ADD, MUL, combine
from emulator.kernels.memory import first_wrong
from emulator.kernels.numbers import (
    FP32_FRACTION,
    address,
    element_bytes,
    f32,
    load_numbers,
    round_all,
    round_bits,
    store_numbers,
    u64,
)
from emulator.kernels.pool import keep_greater, pixel_start
from emulator.kernels.rows import OUT, X, float_attribute, load_multiplier, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Call, Field, attribute_slot, operand_slot
from isa.table import MNEMONICS

# Where the multiplier and the zero points stand in the rows of both that interpolate.
RESIZE = whole(operand_slot("resize", "scale")), whole(attribute_slot("resize", "x_zero"))
ROISAMPLE = whole(operand_slot("roisample", "scale")), whole(attribute_slot("roisample", "x_zero"))
for _name in ("resize", "roisample"):
    assert attribute_slot(_name, "out_zero") == attribute_slot(_name, "x_zero") + 1
FACTOR = whole(attribute_slot("resize", "factor"))
ROI_INDEX = whole(operand_slot("roisample", "index"))
SAMPLE_SCALE = whole(attribute_slot("roisample", "spatial_scale"))
POOL_SCALE = whole(attribute_slot("roipool", "spatial_scale"))
for _name in ("resize", "roisample", "roipool"):
    assert (operand_slot(_name, "out"), operand_slot(_name, "x")) == (OUT, X)
for _name in ("rois", "index"):
    assert operand_slot("roipool", _name) == operand_slot("roisample", _name)
FARTHEST = 2.0**30


class Resize(Columns):
    """The columns of a resize's own attributes."""

    MODE = attribute_slot("resize", "mode")
    COORDINATES = attribute_slot("resize", "coordinates")
    ROUNDING = attribute_slot("resize", "rounding")


class Mode(IntEnum):
    NEAREST = 0
    LINEAR = 1


class Coordinates(IntEnum):
    HALF_PIXEL = 0
    ALIGN_CORNERS = 1
    ASYMMETRIC = 2


class Rounding(IntEnum):
    PREFER_FLOOR = 0
    PREFER_CEIL = 1
    FLOOR = 2
    CEIL = 3


assert [spec.words for spec in MNEMONICS["resize"].choices] == [
    tuple(word.name.lower() for word in words) for words in (Mode, Coordinates, Rounding)
]


class Roisample(Columns):
    """The slot of the regions, in a roipool too, and the columns of a roisample's own attributes."""

    ROIS = operand_slot("roisample", "rois")
    RATIO = attribute_slot("roisample", "ratio")
    HALF_PIXEL = attribute_slot("roisample", "half_pixel")


class Roipool(Columns):
    """The column of a roipool's own attribute."""

    X_ZERO = attribute_slot("roipool", "x_zero")


class Work(Columns):
    """The float32 buffers of a block of channels: rows of `work`."""

    RESULT = auto()
    PIXEL = auto()
    WEIGHT = auto()
    MULTIPLIER = auto()


@inner
def coordinate(word: int, i: int, size: int, of_x: int) -> tuple[int, int]:
    """Return where result index i lies in x, as a fraction: (numerator, denominator)."""
    if word == Coordinates.HALF_PIXEL:
        return (2 * i + 1) * of_x - size, 2 * size
    if word == Coordinates.ALIGN_CORNERS:
        return i * (of_x - 1), max(size - 1, 1)
    return i * of_x, size


@inner
def scaled_coordinate(word: int, i: int, factor: Any, of_x: int) -> Any:
    """Return where result index i lies in x by a factor: float32, at most one pixel outside x."""
    place = f32(i) + f32(0.5) if word == Coordinates.HALF_PIXEL else f32(i)
    place = f32(place / factor)
    place = f32(place - f32(0.5)) if word == Coordinates.HALF_PIXEL else place
    return min(max(place, f32(-1)), f32(of_x))


@inner
def nearest_scaled(word: int, place: Any, of_x: int) -> int:
    """Return the whole number that a float32 coordinate is rounded to, within x."""
    s = np.float64(place)
    if word == Rounding.PREFER_FLOOR:
        s = np.ceil(s - 0.5)
    elif word == Rounding.PREFER_CEIL:
        s = np.floor(s + 0.5)
    elif word == Rounding.FLOOR:
        s = np.floor(s)
    else:
        s = np.ceil(s)
    pixel: Any = min(max(np.int64(s), 0), of_x - 1)
    return pixel


@inner
def nearest_pixel(word: int, numerator: int, denominator: int, of_x: int) -> int:
    """Return the whole number that a coordinate is rounded to, within x."""
    if word == Rounding.PREFER_FLOOR:
        place = -((denominator - 2 * numerator) // (2 * denominator))
    elif word == Rounding.PREFER_CEIL:
        place = (2 * numerator + denominator) // (2 * denominator)
    elif word == Rounding.FLOOR:
        place = numerator // denominator
    else:
        place = -(-numerator // denominator)
    return min(max(place, 0), of_x - 1)


@inner
def between(numerator: int, denominator: int, of_x: int, fraction: int) -> tuple[int, int, Any, Any]:
    """Return (pixel before, pixel after, weight of each) of a coordinate, drawn into x."""
    numerator = min(max(numerator, 0), (of_x - 1) * denominator)
    low = numerator // denominator
    after = numerator - low * denominator
    return (
        low,
        min(low + 1, of_x - 1),
        f32(round_bits((denominator - after) / denominator, fraction)),
        f32(round_bits(after / denominator, fraction)),
    )


@inner
def between_samples(place: Any, of_x: int, fraction: int) -> tuple[int, int, Any, Any]:
    """Return (pixel before, pixel after, weight of each) of a sample at most one pixel outside x."""
    place = place if place > f32(0) else f32(0)
    low: Any = min(np.int64(place), of_x - 1)
    after = f32(place - f32(low)) if low < of_x - 1 else f32(0)
    before = f32(f32(1) - after)
    return (
        low,
        min(low + 1, of_x - 1),
        f32(round_bits(np.float64(before), fraction)),
        f32(round_bits(np.float64(after), fraction)),
    )


@inner
def product(a: Any, b: Any, fraction: int) -> Any:
    return f32(round_bits(np.float64(a) * np.float64(b), fraction))


@inner
def interpolate(
    arena: Bytes, row: Row, slots: tuple[int, int], image: int, index: int, y: tuple, x: tuple, work: Floats
) -> None:
    """Store result pixel `index`: the weighted sum of four pixels of the image that begins at that element of x.

    y and x are (place before, place after, weight before, weight after); work[Work.MULTIPLIER] holds the multiplier.
    """
    zero, out_zero = row[slots[1]], row[slots[1] + 1]
    channels, fraction = row[OUT + Field.SHAPE + 3], row[Call.SUM_FRACTION]
    to = row_start(row, OUT, index)
    for first in range(0, channels, work.shape[1]):
        if is_ended(arena, row):
            return
        some = min(work.shape[1], channels - first)
        v, p, w = work[Work.RESULT, :some], work[Work.PIXEL, :some], work[Work.WEIGHT, :some]
        for k in range(4):
            row_of_x, weight_y = (y[0], y[2]) if k < 2 else (y[1], y[3])
            column, weight_x = (x[0], x[2]) if k % 2 == 0 else (x[1], x[3])
            at = address(row, X, row[X + Field.ADDRESS], pixel_start(row, image, row_of_x, column) + first)
            load_numbers(arena, row[X + Field.DTYPE], at, zero, fraction, p)
            w[:] = product(weight_y, weight_x, fraction)
            combine(p, w, MUL, fraction)
            if k == 0:
                v[:] = p
            else:
                combine(v, p, ADD, fraction)
        round_all(v, row[Call.FRACTION])
        combine(v, work[Work.MULTIPLIER, :some], MUL, row[Call.FRACTION])
        at = address(row, OUT, row[OUT + Field.ADDRESS], to + first)
        store_numbers(arena, row[OUT + Field.DTYPE], at, out_zero, v)


@inner
def copy_pixel(arena: Bytes, row: Row, start: int, index: int) -> None:
    """Copy the pixel of x that begins at an element to result pixel `index`, both of one type."""
    bytes_ = u64(row[OUT + Field.SHAPE + 3] * element_bytes(row[X + Field.DTYPE]))
    source = u64(address(row, X, row[X + Field.ADDRESS], start))
    to = u64(address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, index)))
    for k in range(bytes_):
        arena[to + k] = arena[source + k]


@inner
def place_between(word: int, i: int, size: int, of_x: int, factor: Any, fraction: int) -> tuple[int, int, Any, Any]:
    """Return (pixel before, pixel after, weight of each) of result index i, of one side; a factor of 0 is none."""
    if factor != f32(0):
        return between_samples(min(scaled_coordinate(word, i, factor, of_x), f32(of_x - 1)), of_x, fraction)
    numerator, denominator = coordinate(word, i, size, of_x)
    return between(numerator, denominator, of_x, fraction)


@inner
def place_nearest(word: int, rounding: int, i: int, size: int, of_x: int, factor: Any) -> int:
    """Return the pixel of x that is nearest to result index i, of one side; a factor of 0 is none."""
    if factor != f32(0):
        return nearest_scaled(rounding, scaled_coordinate(word, i, factor, of_x), of_x)
    numerator, denominator = coordinate(word, i, size, of_x)
    return nearest_pixel(rounding, numerator, denominator, of_x)


@hot
def resize(arena: Bytes, row: Row) -> None:
    """out[n,oh,ow,c] = x at the coordinates of (oh, ow): the nearest pixel, or four weighted."""
    high, wide = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    high_x, wide_x = row[X + Field.SHAPE + 1], row[X + Field.SHAPE + 2]
    word, fraction = row[Resize.COORDINATES], row[Call.SUM_FRACTION]
    linear, rounding = row[Resize.MODE] == Mode.LINEAR, row[Resize.ROUNDING]
    factor_y, factor_x = f32(float_attribute(row, FACTOR)), f32(float_attribute(row, FACTOR + 1))
    work = np.empty((4, min(row[OUT + Field.SHAPE + 3], LANES)), np.float32)
    work[Work.MULTIPLIER] = f32(load_multiplier(arena, row, RESIZE[0]))
    begin, end = share(row, row_count(row))
    for index in range(begin, end):
        if is_ended(arena, row):
            return
        i, j = index // wide % high, index % wide
        image = index // (wide * high) * row[X + Field.STRIDE]
        if linear:
            rows = place_between(word, i, high, high_x, factor_y, fraction)
            columns = place_between(word, j, wide, wide_x, factor_x, fraction)
            interpolate(arena, row, RESIZE, image, index, rows, columns, work)
        else:
            at_y = place_nearest(word, rounding, i, high, high_x, factor_y)
            at_x = place_nearest(word, rounding, j, wide, wide_x, factor_x)
            copy_pixel(arena, row, pixel_start(row, image, at_y, at_x), index)


@inner
def region(arena: Bytes, row: Row, roi: int) -> tuple[int, int]:
    """Return (the element of x where the image of a region begins, the float32 where its corners begin)."""
    image = viewed(arena, np.int32)[(row[ROI_INDEX + Field.ADDRESS] >> 2) + roi * row[ROI_INDEX + Field.STRIDE + 3]]
    corners = (row[Roisample.ROIS + Field.ADDRESS] >> 2) + roi * row[Roisample.ROIS + Field.STRIDE + 2]
    return image * row[X + Field.STRIDE], corners


@inner
def sample_place(begin: Any, end: Any, i: int, bins: int, ratio: int, half_pixel: int, scale: Any) -> Any:
    """Return the float32 coordinate of sample i of a region's side, `ratio` samples to each of its bins."""
    offset = f32(0.5) if half_pixel else f32(0)
    start = f32(f32(begin * scale) - offset)
    length = f32(f32(f32(end * scale) - offset) - start)
    if not half_pixel and length < f32(1):
        length = f32(1)
    size = f32(length / f32(bins))
    within = f32(f32(f32(f32(i % ratio) + f32(0.5)) * size) / f32(ratio))
    return f32(f32(start + f32(f32(i // ratio) * size)) + within)


@hot
def roisample(arena: Bytes, row: Row) -> None:
    """out[r,i,j,c] = x[index[r]] at sample (i, j) of region r: four pixels weighted, 0 outside x."""
    row[Call.STATUS] = first_wrong(arena, row, ROI_INDEX, 0, row[X + Field.SHAPE])
    if row[Call.STATUS] != 0:
        return
    high, wide = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    high_x, wide_x, fraction = row[X + Field.SHAPE + 1], row[X + Field.SHAPE + 2], row[Call.SUM_FRACTION]
    half_pixel, scale = row[Roisample.HALF_PIXEL], f32(float_attribute(row, SAMPLE_SCALE))
    down, across = row[Roisample.RATIO], row[Roisample.RATIO + 1]
    corners = viewed(arena, np.float32)
    work = np.empty((4, min(row[OUT + Field.SHAPE + 3], LANES)), np.float32)
    work[Work.MULTIPLIER] = f32(load_multiplier(arena, row, ROISAMPLE[0]))
    for index in range(row_count(row)):
        if is_ended(arena, row):
            return
        image, at = region(arena, row, index // (wide * high))
        i, j = index // wide % high, index % wide
        x = sample_place(corners[at], corners[at + 2], j, wide // across, across, half_pixel, scale)
        y = sample_place(corners[at + 1], corners[at + 3], i, high // down, down, half_pixel, scale)
        inside = f32(-1) <= y and y <= f32(high_x) and f32(-1) <= x and x <= f32(wide_x)
        rows = between_samples(y if inside else f32(0), high_x, fraction)
        columns = between_samples(x if inside else f32(0), wide_x, fraction)
        if inside:
            interpolate(arena, row, ROISAMPLE, image, index, rows, columns, work)
        else:
            store_zeros(arena, row, row[ROISAMPLE[1] + 1], index, work[Work.RESULT])


@inner
def store_zeros(arena: Bytes, row: Row, zero: int, index: int, v: Floats) -> None:
    """Store 0, which is the zero point, in every channel of result pixel `index`."""
    channels = row[OUT + Field.SHAPE + 3]
    v[:] = 0
    for first in range(0, channels, v.size):
        at = address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, index) + first)
        store_numbers(arena, row[OUT + Field.DTYPE], at, zero, v[: min(v.size, channels - first)])


@inner
def corner(value: Any, scale: Any) -> Any:
    """Return a corner of a region as a whole pixel: half away from zero, NaN counting as 0."""
    place = np.float64(f32(value * scale))
    v: Any = min(max(place if place == place else 0.0, -FARTHEST), FARTHEST)
    return np.int64(np.copysign(np.floor(np.abs(v) + 0.5), v))


@inner
def bin_inside(begin: Any, end: Any, i: int, bins: int, scale: Any, of_x: int) -> tuple[int, int]:
    """Return (first pixel, pixel behind the last) of bin i of a region's side, as far as it lies in x."""
    start = corner(begin, scale)
    length = max(corner(end, scale) - start + 1, 1)
    first, behind = start + i * length // bins, start - (-(i + 1) * length // bins)
    return min(max(first, 0), of_x), min(max(behind, 0), of_x)


@hot
def roipool(arena: Bytes, row: Row) -> None:
    """out[r,i,j,c] = max of x[index[r]] over bin (i, j) of region r; x_zero where the bin is empty."""
    row[Call.STATUS] = first_wrong(arena, row, ROI_INDEX, 0, row[X + Field.SHAPE])
    if row[Call.STATUS] != 0:
        return
    high, wide, dtype = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2], row[X + Field.DTYPE]
    scale, zero = f32(float_attribute(row, POOL_SCALE)), row[Roipool.X_ZERO]
    corners = viewed(arena, np.float32)
    peak, pixel = np.empty((2, row[OUT + Field.SHAPE + 3]), np.float32)
    for index in range(row_count(row)):
        if is_ended(arena, row):
            return
        image, at = region(arena, row, index // (wide * high))
        left, right = bin_inside(corners[at], corners[at + 2], index % wide, wide, scale, row[X + Field.SHAPE + 2])
        top, bottom = bin_inside(
            corners[at + 1], corners[at + 3], index // wide % high, high, scale, row[X + Field.SHAPE + 1]
        )
        if bottom <= top or right <= left:
            store_zeros(arena, row, zero, index, peak)
            continue
        peak[:] = -np.inf
        for y in range(top, bottom):
            if is_ended(arena, row):
                return
            for x in range(left, right):
                start = address(row, X, row[X + Field.ADDRESS], pixel_start(row, image, y, x))
                # float32 holds every value of these types.
                load_numbers(arena, dtype, start, 0, FP32_FRACTION, pixel)
                keep_greater(peak, pixel)
        store_numbers(arena, dtype, address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, index)), 0, peak)
