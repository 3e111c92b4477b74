"""Resize and Upsample of known sizes: every mode is separable, so each axis is a Gather or a MatMul with constant weights.

Semantics: https://onnx.ai/onnx/operators/onnx__Resize.html; where that leaves something open, what ONNX Runtime does, which
computes coordinates in float32 (onnxruntime/core/providers/cpu/tensor/upsamplebase.h).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, known, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_HALF = np.float32(0.5)

_TIE = 1e-6
"""How near to the middle of two elements a coordinate counts as in the middle (as measured in ONNX Runtime 1.31)."""


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized.

    Attributes:
        axis: Which one.
        before: Its size.
        after: Its size afterwards.
        scale: As given, or of the sizes; float32.
        start: Of the region of interest, in parts of the size.
        end: Of the region of interest.
    """

    axis: int
    before: int
    after: int
    scale: np.float32
    start: np.float32
    end: np.float32


@dataclass(frozen=True)
class _How:
    """The attributes.

    Attributes:
        mode: nearest, linear or cubic.
        coordinates: The coordinate_transformation_mode.
        nearest: The nearest_mode; "simple" is that of opset 10 and before.
        a: cubic_coeff_a.
        outside: The value of what lies outside of the region's tensor; None where it is not asked for.
    """

    mode: str
    coordinates: str
    nearest: str
    a: float
    exclude_outside: bool
    antialias: bool
    outside: float | None


@rewrite("Resize", "Upsample", summary="computed axis by axis with constant weights")
def resize(build: Builder, node: ir.Node) -> Outputs:
    how, axes = _how(build, node), _axes(build, node)
    x = node.inputs[0]
    if axes is None or x is None or x.shape is None:
        return None
    if any(not axis.before for axis in axes):
        return None
    same = all(axis.before == axis.after for axis in axes)
    every = [] if same else [axis for axis in axes if axis.scale != 1]
    axes = [axis for axis in every if not _is_identity(axis, how)]
    rank, result = len(x.shape), x
    if any(not axis.after for axis in axes):
        for axis in axes:
            result = build("Gather", result, np.zeros(axis.after, np.int64), axis=axis.axis)
    elif how.mode == "nearest":
        for axis in axes:
            result = build("Gather", result, _nearest(axis, how), axis=axis.axis)
    else:
        if x.dtype not in _FLOATS:
            return None  # integers are truncated, which needs ONNX Runtime's very order of operations
        for axis in axes:
            weights = (_antialiased if how.antialias and axis.scale < 1 else _weights)(axis, how)
            result = _multiply(build, result, weights.astype(x.dtype.numpy()), axis.axis, rank)
    if how.outside is not None and result is not x:
        result = _filled(build, result, every, how, rank, x.dtype)
    return [build("Identity", result) if result is x else result]


_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _how(build: Builder, node: ir.Node) -> _How:
    said = attributes(node)
    old = node.op_type == "Upsample" or build.opset < 11
    coordinates = "asymmetric" if old else said.get("coordinate_transformation_mode", "half_pixel")
    return _How(
        said.get("mode", "nearest"),
        coordinates,
        "simple" if old else said.get("nearest_mode", "round_prefer_floor"),
        said.get("cubic_coeff_a", -0.75),
        bool(said.get("exclude_outside", 0)),
        bool(said.get("antialias", 0)),
        said.get("extrapolation_value", 0.0) if coordinates == "tf_crop_and_resize" else None,
    )


def _axes(build: Builder, node: ir.Node) -> list[_Axis] | None:
    """Every axis that is named; None where a size, the scales or the region are only known when the model runs."""
    before = sizes(node.inputs[0])
    if before is None:
        return None
    said = attributes(node)
    rank = len(before)
    given = [known(value) for value in node.inputs]
    region: np.ndarray | None
    scales: np.ndarray | None
    wanted: np.ndarray | None
    named = [axis % rank for axis in said.get("axes") or range(rank)]
    if node.op_type == "Upsample" and "scales" in said:
        region, scales, wanted = None, np.array(said["scales"]), None
    elif node.op_type == "Upsample" or build.opset < 11:
        region, scales, wanted = None, given[1], None
    else:
        given += [None] * (4 - len(given))
        region, scales, wanted = given[1], given[2], given[3]
        if said.get("coordinate_transformation_mode") != "tf_crop_and_resize":
            region = None
        elif region is None:
            return None
    wanted = None if wanted is None or not wanted.size else wanted
    if wanted is None and (scales is None or not scales.size):
        return None
    found: list[_Axis] = []
    for position, axis in enumerate(named):
        start, end = (0.0, 1.0) if region is None else (region[position], region[position + len(named)])
        size = before[axis]
        if size is None:
            if wanted is not None or scales is None or scales[position] != 1:
                return None
            continue
        if wanted is not None:
            after = int(wanted[position])
            scale = np.float32(after) / np.float32(max(size, 1))
        elif scales is not None:
            scale = np.float32(scales[position])
            after = int(scale * np.float32(size))
        found.append(_Axis(axis, size, after, scale, np.float32(start), np.float32(end)))
    return _keeping_aspect(found, said.get("keep_aspect_ratio_policy", "stretch")) if wanted is not None else found


def _keeping_aspect(axes: list[_Axis], policy: str) -> list[_Axis]:
    """The sizes under a keep_aspect_ratio_policy: one scale for all axes, and sizes rounded, halves up."""
    if policy == "stretch" or not axes:
        return axes
    scale = min(a.scale for a in axes) if policy == "not_larger" else max(a.scale for a in axes)
    return [_Axis(a.axis, a.before, math.floor(scale * a.before + _HALF), scale, a.start, a.end) for a in axes]


def _is_identity(axis: _Axis, how: _How) -> bool:
    """ONNX Runtime leaves an axis as it is whose scale is 1 whatever the region says; antialiased, one whose size stays."""
    return axis.before == axis.after if how.antialias else bool(axis.scale == 1)


def _coordinates(axis: _Axis, how: _How) -> np.ndarray:
    """Where in the original each element of the result lies, in float32."""
    x = np.arange(axis.after, dtype=np.float32)
    scale, before, after = axis.scale, np.float32(axis.before), np.float32(axis.after)
    match how.coordinates:
        case "asymmetric":
            return x / scale
        case "pytorch_half_pixel":
            return (x + _HALF) / scale - _HALF if axis.after > 1 else np.zeros_like(x)
        case "tf_half_pixel_for_nn":
            return (x + _HALF) / scale
        case "align_corners":
            return x * (before - 1) / (after - 1) if axis.after > 1 else np.zeros_like(x)
        case "tf_crop_and_resize":
            if axis.after == 1:
                return _HALF * (axis.start + axis.end) * (before - 1) + x
            return axis.start * (before - 1) + (x * (axis.end - axis.start) * (before - 1)) / (after - 1)
        case "half_pixel_symmetric":
            adjustment = after / (scale * before)
            centre = before / np.float32(2)
            offset = float(centre * (1 - adjustment))  # float32; the rest is in float64 there
            return (offset + (x + 0.5).astype(np.float64) / float(scale) - 0.5).astype(np.float32)
        case _:
            return (x + _HALF) / scale - _HALF


def _nearest(axis: _Axis, how: _How) -> np.ndarray:
    x = _coordinates(axis, how)
    match how.nearest:
        case "simple":
            rounded = np.ceil(x) if axis.scale < 1 else np.trunc(x)
        case "floor":
            rounded = np.floor(x)
        case "ceil":
            rounded = np.ceil(x)
        case _:
            tie = np.abs(x - np.floor(x) - _HALF) < _TIE
            rounded = np.where(tie, np.ceil(x) if how.nearest == "round_prefer_ceil" else np.floor(x), np.rint(x))
    indices: np.ndarray = np.clip(rounded.astype(np.int64), 0, axis.before - 1)
    return indices


def _weights(axis: _Axis, how: _How) -> np.ndarray:
    """[after, before]: what each element of the original contributes to each of the result."""
    x = _coordinates(axis, how)
    rows = np.arange(axis.after)
    weights = np.zeros((axis.after, axis.before), np.float64)
    if how.mode == "linear":
        x = np.clip(x, 0, axis.before - 1)
        first = np.minimum(np.floor(x).astype(np.int64), axis.before - 1)
        fraction = (x - first).astype(np.float64)
        np.add.at(weights, (rows, first), 1 - fraction)
        np.add.at(weights, (rows, np.minimum(first + 1, axis.before - 1)), fraction)
        return weights
    first = np.floor(x).astype(np.int64)
    fraction = (x - first).astype(np.float64)
    for offset in (-1, 0, 1, 2):
        weight = _cubic(offset - fraction, how.a)
        place = first + offset
        if how.exclude_outside:
            weight = np.where((place < 0) | (place >= axis.before), 0, weight)
        np.add.at(weights, (rows, np.clip(place, 0, axis.before - 1)), weight)
    return weights / weights.sum(1, keepdims=True) if how.exclude_outside else weights


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel, the one of bicubic interpolation."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _antialiased(axis: _Axis, how: _How) -> np.ndarray:
    """The same for a kernel that is widened by the scale, where an axis gets smaller."""
    kernel: Callable[[np.ndarray], np.ndarray]
    if how.mode == "linear":
        radius, kernel = 1.0, lambda x: np.maximum(1 - np.abs(x), 0)
    else:
        radius, kernel = 2.0, lambda x: _cubic(x, how.a)
    narrow = float(min(axis.scale, np.float32(1)))
    support = radius / narrow
    weights = np.zeros((axis.after, axis.before), np.float64)
    for row, centre in enumerate(_coordinates(axis, how).astype(np.float64) + 0.5):
        places = np.arange(math.floor(centre - support + 0.5), math.floor(centre + support + 0.5))
        if how.exclude_outside:
            places = places[(places >= 0) & (places < axis.before)]
        weight = kernel((places - centre + 0.5) * narrow)
        np.add.at(weights[row], np.clip(places, 0, axis.before - 1), weight)
    normal: np.ndarray = weights / weights.sum(1, keepdims=True)
    return normal


def _multiply(build: Builder, value: ir.Value, weights: np.ndarray, axis: int, rank: int) -> ir.Value:
    """Multiplies an axis by [after, before]."""
    if axis == rank - 2:
        left: ir.Value = build("MatMul", weights, value)
        return left
    order = [*range(axis), *range(axis + 1, rank), axis]
    product = build("MatMul", build.transpose(value, order), np.ascontiguousarray(weights.T))
    return build.transpose(product, [*range(axis), rank - 1, *range(axis, rank - 1)])


def _filled(build: Builder, value: ir.Value, axes: list[_Axis], how: _How, rank: int, dtype: ir.DataType | None) -> ir.Value:
    """Replaces what lies outside of the original by the extrapolation value."""
    assert dtype is not None
    for axis in axes:
        x = _coordinates(axis, how)
        outside = (x < 0) | (x > axis.before - 1)
        if outside.any():
            mask = outside.reshape([-1 if k == axis.axis else 1 for k in range(rank)])
            value = build("Where", mask, np.asarray(how.outside, dtype.numpy()), value)
    return value
