"""GridSample and DeformConv: interpolation at computed places, as one Gather of all the neighbours and a weighted sum.

Places outside are treated as in ONNX Runtime (onnxruntime/core/providers/cpu/tensor/grid_sample.cc): coordinates are clamped
or reflected first, and then each neighbour again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, rank, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_CUBIC = -0.75
"""The coefficient of GridSample's bicubic kernel; the specification names no other."""


@dataclass(frozen=True)
class _How:
    """How values between elements, and outside of the image, are made.

    Attributes:
        mode: nearest, linear or cubic.
        padding: zeros, border or reflection.
        align_corners: Whether -1 and 1 are the centres of the outermost elements, or their outer edges.
        dtype: Of the coordinates.
    """

    mode: str
    padding: str
    align_corners: bool
    dtype: ir.DataType

    def number(self, value: Any) -> np.ndarray:
        return np.asarray(value, self.dtype.numpy())


@rewrite("GridSample", summary="a gather of the neighbours and a weighted sum")
def grid_sample(build: Builder, node: ir.Node) -> Outputs:
    x, grid = node.inputs
    dimensions = (rank(x) or 0) - 2
    if x is None or grid is None or grid.dtype is None or x.dtype is None or dimensions not in (1, 2, 3) or rank(grid) is None:
        return None
    said = attributes(node)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(said.get("mode", "linear"), said.get("mode", "linear"))
    how = _How(mode, said.get("padding_mode", "zeros"), bool(said.get("align_corners", 0)), grid.dtype)
    axes = [_size(build, x, 2 + k, how) for k in range(dimensions)]
    places = []
    for k in range(dimensions):  # the grid names the last axis first
        unit = build("Gather", grid, build.constant(dimensions - 1 - k), axis=dimensions + 1)
        flat = build.reshape(unit, [0, -1])
        places.append(_pixels(build, flat, axes[k], how))
    sampled = _interpolated(build, x, places, axes, how)
    shape = build("Concat", _leading(build, grid, dimensions + 1), build.size(x, 1), axis=0)
    image = build.reshape(build.cast(sampled, x.dtype) if x.dtype is how.dtype else build("Cast", sampled, to=x.dtype), shape)
    return [build.transpose(image, [0, dimensions + 1, *range(1, dimensions + 1)])]


@rewrite("DeformConv", summary="a gather of the neighbours and a matrix product")
def deform_conv(build: Builder, node: ir.Node) -> Outputs:
    x, weight, offset, bias, mask = [*node.inputs, None, None][:5]
    shape, kernel, moved = sizes(x), sizes(weight), sizes(offset)
    if x is None or weight is None or offset is None or x.dtype is None or shape is None or kernel is None or moved is None:
        return None
    if len(shape) != 4 or any(s is None for s in [*shape[1:], *kernel, *moved[2:]]):
        return None
    said = attributes(node)
    channels, height, width = (s or 0 for s in shape[1:])
    outputs, of_group, *window = (s or 0 for s in kernel)
    rows, columns = (s or 0 for s in moved[2:])
    groups, parts = said.get("group", 1), said.get("offset_group", 1)
    taps = window[0] * window[1]
    how = _How("linear", "zeros", False, x.dtype)
    base = _window_places(said, window, (rows, columns), x.dtype)
    # [N, parts, taps, 2, rows * columns] of offsets: first along the height, then along the width
    moves = build.reshape(offset, [-1, taps, 2, rows * columns])
    places = [
        build.reshape(build("Add", build("Gather", moves, build.constant(axis), axis=2), base[axis]), [-1, taps * rows * columns])
        for axis in (0, 1)
    ]
    image = build.reshape(x, [-1, channels // parts, height, width])
    sampled = _interpolated(build, image, places, [how.number(height), how.number(width)], how)  # [N * parts * P, C / parts]
    sampled = build.reshape(sampled, [-1, taps, rows * columns, channels // parts])
    if mask is not None:
        sampled = build("Mul", sampled, build.reshape(mask, [-1, taps, rows * columns, 1]))
    columns_ = build.reshape(build.transpose(sampled, [0, 3, 1, 2]), [-1, groups, of_group * taps, rows * columns])
    matrix = build.reshape(weight, [groups, outputs // groups, of_group * taps])
    result = build.reshape(build("MatMul", matrix, columns_), [-1, outputs, rows, columns])
    return [result if bias is None else build("Add", result, build.reshape(bias, [outputs, 1, 1]))]


def _window_places(said: dict[str, Any], window: Sequence[int], result: Sequence[int], dtype: ir.DataType) -> list[np.ndarray]:
    """Where each element of the kernel looks without an offset: [taps, rows * columns] for the height and the width."""
    strides, dilations = said.get("strides", (1, 1)), said.get("dilations", (1, 1))
    pads = said.get("pads", (0, 0, 0, 0))
    grids = []
    for axis in (0, 1):
        taps = np.arange(window[axis]) * dilations[axis]
        starts = np.arange(result[axis]) * strides[axis] - pads[axis]
        grids.append(taps[:, None] + starts)  # [k, out]
    high = np.broadcast_to(grids[0][:, None, :, None], (window[0], window[1], *result))
    wide = np.broadcast_to(grids[1][None, :, None, :], (window[0], window[1], *result))
    return [a.reshape(window[0] * window[1], -1).astype(dtype.numpy()) for a in (high, wide)]


def _size(build: Builder, x: ir.Value, axis: int, how: _How) -> Any:
    """A size as a number of the coordinates' dtype."""
    known = (sizes(x) or [])[axis]
    return how.number(known) if known is not None else build("Cast", build.squeeze(build.size(x, axis), [0]), to=how.dtype)


def _leading(build: Builder, value: ir.Value, count: int) -> ir.Value:
    return build.slice(build("Shape", value), 0, 0, count)


def _pixels(build: Builder, unit: ir.Value, size: Any, how: _How) -> ir.Value:
    """Coordinates in [-1, 1] as coordinates of elements."""
    if how.align_corners:
        return build("Mul", build("Add", unit, how.number(1)), build("Mul", build("Sub", size, how.number(1)), how.number(0.5)))
    return build("Mul", build("Sub", build("Mul", build("Add", unit, how.number(1)), size), how.number(1)), how.number(0.5))


def _interpolated(build: Builder, x: ir.Value, places: list[ir.Value], axes: list[Any], how: _How) -> ir.Value:
    """The values of [N, C, …] at places, each [N, P]: [N * P, C].

    Args:
        places: Coordinates of elements, for every spatial axis.
        axes: The size of every spatial axis, as a number.
    """
    dimensions = len(places)
    offsets = {"nearest": [0], "linear": [0, 1], "cubic": [-1, 0, 1, 2]}[how.mode]
    indices, weights = [], []
    for k, (place, size) in enumerate(zip(places, axes, strict=True)):
        if how.mode == "nearest":
            place = build("Round", place)
        place = _within(build, place, size, how)
        first = build("Floor", place)
        taps = build("Add", build.unsqueeze(first, [0]), how.number(0) + np.array(offsets, how.dtype.numpy()).reshape(-1, 1, 1))
        weight = _kernel(build, build("Abs", build("Sub", taps, build.unsqueeze(place, [0]))), how)
        inside, index = _index(build, taps, size, how)
        if inside is not None:
            inside = build("Cast", inside, to=how.dtype)
            weight = inside if weight is None else build("Mul", weight, inside)
        # One axis of neighbours per spatial axis: [1, …, taps, …, 1, N, P]
        others = [axis for axis in range(dimensions) if axis != k]
        indices.append(build.unsqueeze(build("Cast", index, to=ir.DataType.INT64), others) if others else index)
        if weight is not None:
            weights.append(build.unsqueeze(weight, others) if others else weight)
    count = len(offsets) ** dimensions
    rows = _rows(build, x, dimensions)
    flat = _flat_index(build, x, indices, axes, dimensions)
    gathered = build("Gather", rows, build.reshape(flat, [count, -1]), axis=0)  # [taps, N * P, C]
    if x.dtype is not how.dtype:
        gathered = build("Cast", gathered, to=how.dtype)
    if not weights:
        return build.squeeze(gathered, [0])
    product = build.reshape(reduce(lambda a, b: build("Mul", a, b), weights), [count, -1, 1])
    return build.reduce("ReduceSum", build("Mul", gathered, product), [0], keepdims=False)


def _rows(build: Builder, x: ir.Value, dimensions: int) -> ir.Value:
    """[N, C, …] as [N * …, C]."""
    last = build.transpose(x, [0, *range(2, dimensions + 2), 1])
    return build.reshape(last, build("Concat", np.array([-1]), build.size(x, 1), axis=0))


def _flat_index(build: Builder, x: ir.Value, indices: list[ir.Value], axes: list[Any], dimensions: int) -> ir.Value:
    """The row of every neighbour: its image's first row, and its place within the image."""
    numbers = [a if isinstance(a, np.ndarray) else build("Cast", a, to=ir.DataType.INT64) for a in axes]
    whole = [n.astype(np.int64) if isinstance(n, np.ndarray) else n for n in numbers]
    flat = indices[0] if dimensions > 1 else build("Cast", indices[0], to=ir.DataType.INT64)
    for index, size in zip(indices[1:], whole[1:], strict=True):
        flat = build("Add", build("Mul", flat, size), index)
    batch = (sizes(x) or [None])[0]
    if batch == 1:
        return flat
    if batch is not None:
        images: Any = np.arange(batch).reshape(-1, 1)
    else:
        images = build.unsqueeze(build("Range", np.int64(0), build.squeeze(build.size(x, 0), [0]), np.int64(1)), [1])
    if all(isinstance(n, np.ndarray) for n in whole):
        per_image: Any = np.int64(math.prod(int(n) for n in whole))
    else:
        per_image = reduce(lambda a, b: build("Mul", a, b), whole)
    start: Any = images * per_image if isinstance(images, np.ndarray) and isinstance(per_image, np.int64) else None
    return build("Add", flat, build("Mul", images, per_image) if start is None else start)


def _kernel(build: Builder, distance: ir.Value, how: _How) -> ir.Value | None:
    """The weight of a neighbour by its distance; None where there is only one."""
    if how.mode == "nearest":
        return None
    number = how.number
    if how.mode == "linear":
        return build("Sub", number(1), distance)

    def polynomial(*coefficients: float) -> ir.Value:
        value: Any = number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = build("Add", build("Mul", value, distance), number(coefficient))
        return value

    a = _CUBIC
    near = polynomial(a + 2, -(a + 3), 0, 1)
    far = polynomial(a, -5 * a, 8 * a, -4 * a)
    return build("Where", build("LessOrEqual", distance, number(1)), near, far)


def _within(build: Builder, place: ir.Value, size: Any, how: _How) -> ir.Value:
    """Coordinates clamped to the image, or reflected at its edges; as they are where only neighbours are."""
    if how.padding == "border" and how.mode != "cubic":
        return _clamped(build, place, size, how)
    return _reflected(build, place, size, how) if how.padding == "reflection" else place


def _clamped(build: Builder, place: ir.Value, size: Any, how: _How) -> ir.Value:
    return build("Max", build("Min", place, build("Sub", size, how.number(1))), how.number(0))


def _reflected(build: Builder, place: ir.Value, size: Any, how: _How) -> ir.Value:
    """A triangle wave between the first and the last element's centres, or outer edges."""
    low = how.number(0 if how.align_corners else -0.5)
    span = build("Sub", size, how.number(1)) if how.align_corners else size
    span = build("Max", span, how.number(1e-4))  # one element alone: its own centre
    period = build("Mul", span, how.number(2))
    shifted = build("Sub", place, low)
    within = build("Sub", shifted, build("Mul", build("Floor", build("Div", shifted, period)), period))
    return build("Add", build("Sub", span, build("Abs", build("Sub", within, span))), low)


def _index(build: Builder, taps: ir.Value, size: Any, how: _How) -> tuple[ir.Value | None, ir.Value]:
    """Which neighbours count (None for all), and the index of each."""
    if how.padding == "zeros":
        last = build("Sub", size, how.number(1))
        inside = build("And", build("GreaterOrEqual", taps, how.number(0)), build("LessOrEqual", taps, last))
        return inside, _clamped(build, taps, size, how)
    if how.padding == "reflection":
        # A reflected whole number is a whole number; what was computed of it may be a little less.
        taps = build("Round", _reflected(build, taps, size, how))
    return None, _clamped(build, taps, size, how)
