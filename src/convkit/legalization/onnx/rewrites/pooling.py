"""Pooling by slices, and by a convolution with ones: LpPool, and the forms of the others that a target has no operator for.

Sizes as in ONNX Runtime (onnxruntime/core/providers/cpu/nn/pool_attributes.h): with ceil_mode no window starts in the padding
at the end.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from convkit.legalization.onnx.rewrites.constants import attributes, is_used, rank, sizes
from convkit.legalization.onnx.rewriting import Builder, Outputs, rewrite

_MOST_TAPS = 64
"""Kernel elements up to which a maximum is taken slice by slice."""


@dataclass(frozen=True)
class _Axis:
    """The windows along one spatial axis.

    Attributes:
        size: Of the input.
        count: Of the windows.
        kernel: Elements of a window.
        begin: Padding before the first element.
        end: Padding behind the last one, as far as windows reach; may be negative.
        declared_end: That padding as the node says it.
    """

    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    declared_end: int

    def places(self) -> np.ndarray:
        """[count, kernel]: which element each window's elements are; outside of the input in the padding."""
        return np.arange(self.count)[:, None] * self.stride + np.arange(self.kernel) * self.dilation - self.begin


@rewrite("LpPool", summary="a convolution of powers with ones")
def lp_pool(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    windows = _windows(node)
    if x is None or windows is None or x.dtype is None:
        return None
    p = float(attributes(node).get("p", 2))
    return [_root(build, _sums(build, _power(build, x, p), windows, x), p, x.dtype)]


@rewrite("GlobalLpPool", summary="a sum of powers")
def global_lp_pool(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    dimensions = rank(x)
    if x is None or dimensions is None or x.dtype is None:
        return None
    p = float(attributes(node).get("p", 2))
    total = build.reduce("ReduceSum", _power(build, x, p), list(range(2, dimensions)))
    return [_root(build, total, p, x.dtype)]


@rewrite("AveragePool", summary="a convolution with ones, divided by the number of elements")
def average_pool(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    windows = _windows(node)
    if x is None or windows is None or x.dtype is None:
        return None
    padding = attributes(node).get("count_include_pad", 0) == 1
    counts: Any = 1
    for k, axis in enumerate(windows):
        places = axis.places()
        low, high = (-axis.begin, axis.size + axis.declared_end) if padding else (0, axis.size)
        inside = ((places >= low) & (places < high)).sum(1)
        counts = counts * inside.reshape([-1 if j == k else 1 for j in range(len(windows))])
    divisor = np.broadcast_to(counts, [axis.count for axis in windows]).astype(x.dtype.numpy())
    return [build("Div", _sums(build, x, windows, x), np.ascontiguousarray(divisor))]


@rewrite("MaxPool", summary="the maximum of strided slices")
def max_pool(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    windows = _windows(node)
    if x is None or windows is None or x.dtype is None or build.opset < 11:
        return None
    padded = _padded_by_lowest(build, x, windows)
    by_column = bool(node.attributes.get_int("storage_order", 0))
    if padded is None:
        return None
    if is_used(node, 1):
        if math.prod(a.kernel for a in windows) > _MOST_TAPS or (by_column and len(windows) != 2):
            return None
        return _largest_with_index(build, x, padded, windows, by_column)
    for k, axis in enumerate(windows):  # a maximum is taken along one axis after the other
        taps = [_slice(build, padded, {2 + k: (axis, tap)}) for tap in range(axis.kernel)]
        padded = reduce(lambda a, b: build("Max", a, b), taps)
    return [padded, None]


@rewrite("GlobalMaxPool", "GlobalAveragePool", summary="a reduction over the spatial axes")
def global_pool(build: Builder, node: ir.Node) -> Outputs:
    (x,) = node.inputs
    dimensions = rank(x)
    if x is None or dimensions is None:
        return None
    operator = "ReduceMax" if node.op_type == "GlobalMaxPool" else "ReduceMean"
    return [build.reduce(operator, x, list(range(2, dimensions)))]


def _padded_by_lowest(build: Builder, x: ir.Value, windows: list[_Axis]) -> ir.Value | None:
    """The input with the dtype's lowest value around; cut where windows do not reach the end."""
    assert x.dtype is not None
    kind = np.dtype(x.dtype.numpy())
    if kind.kind not in "fiu":
        return None
    lowest = np.asarray(-np.inf if kind.kind == "f" else np.iinfo(kind).min, kind)
    pads = [0, 0, *(a.begin for a in windows), 0, 0, *(max(a.end, 0) for a in windows)]
    padded: ir.Value = build("Pad", x, np.array(pads), lowest) if any(pads) else x
    return padded


def _largest_with_index(build: Builder, x: ir.Value, padded: ir.Value, windows: list[_Axis], by_column: bool) -> Outputs:
    """The largest element of each window, and the place of the first of them in the whole tensor."""
    best, index = None, None
    for taps in itertools.product(*(range(a.kernel) for a in windows)):
        value = _slice(build, padded, {2 + k: (axis, tap) for k, (axis, tap) in enumerate(zip(windows, taps, strict=True))})
        places = build.constant(_flat_places(windows, taps, by_column))
        if best is None or index is None:
            best, index = value, build("Expand", places, build("Shape", value))
        else:
            larger = build("Greater", value, best)
            best, index = build("Where", larger, value, best), build("Where", larger, places, index)
    assert index is not None
    return [best, _absolute(build, index, x, windows)]


def _windows(node: ir.Node) -> list[_Axis] | None:
    """The windows of every spatial axis; None where a size is dynamic or the form is not one of ONNX's."""
    shape, said = sizes(node.inputs[0]), attributes(node)
    kernel = said.get("kernel_shape")
    if shape is None or kernel is None or len(shape) != len(kernel) + 2:
        return None
    count = len(kernel)
    strides, dilations = said.get("strides") or [1] * count, said.get("dilations") or [1] * count
    pads = said.get("pads") or [0] * 2 * count
    automatic, ceil = said.get("auto_pad", "NOTSET"), said.get("ceil_mode", 0)
    found = []
    for k, size in enumerate(shape[2:]):
        if size is None:
            return None
        reach = dilations[k] * (kernel[k] - 1) + 1
        begin, end = (0, 0) if automatic == "VALID" else (pads[k], pads[k + count])
        if automatic.startswith("SAME"):
            if dilations[k] != 1:
                return None
            windows = -(-size // strides[k])
            total = max((windows - 1) * strides[k] + reach - size, 0)
            begin = total // 2 if automatic == "SAME_UPPER" else total - total // 2
            end = total - begin
        else:
            span = size + begin + end - reach
            windows = (-(-span // strides[k]) if ceil else span // strides[k]) + 1
            if ceil and (windows - 1) * strides[k] >= size + begin:
                windows -= 1
        reached = (windows - 1) * strides[k] + reach - size - begin
        found.append(_Axis(size, windows, kernel[k], strides[k], dilations[k], begin, reached, end))
    return found if all(axis.count > 0 for axis in found) else None


def _sums(build: Builder, value: ir.Value, windows: list[_Axis], x: ir.Value) -> ir.Value:
    """The sum of every window, each channel by itself: a convolution with ones of [N * C, 1, …]."""
    assert x.dtype is not None
    images = build.reshape(value, [-1, 1, *(axis.size for axis in windows)])
    ends = [max(axis.end, 0) for axis in windows]
    sums = build(
        "Conv",
        images,
        np.ones([1, 1, *(axis.kernel for axis in windows)], x.dtype.numpy()),
        kernel_shape=[axis.kernel for axis in windows],
        strides=[axis.stride for axis in windows],
        dilations=[axis.dilation for axis in windows],
        pads=[*(axis.begin for axis in windows), *ends],
    )
    counts = [axis.count for axis in windows]
    channels = (sizes(x) or [])[1]
    if channels is not None:
        return build.reshape(sums, [-1, channels, *counts])
    return build.reshape(sums, build("Concat", build.size(x, 0), build.size(x, 1), np.array(counts), axis=0))


def _power(build: Builder, x: ir.Value, p: float) -> ir.Value:
    assert x.dtype is not None
    if p == 2:
        squared: ir.Value = build("Mul", x, x)
        return squared
    positive: ir.Value = build("Abs", x)
    return positive if p == 1 else build("Pow", positive, np.asarray(p, x.dtype.numpy()))


def _root(build: Builder, total: ir.Value, p: float, dtype: ir.DataType) -> ir.Value:
    if p == 1:
        return total
    root: ir.Value = build("Sqrt", total) if p == 2 else build("Pow", total, np.asarray(1 / p, dtype.numpy()))
    return root


def _slice(build: Builder, padded: ir.Value, taps: dict[int, tuple[_Axis, int]]) -> ir.Value:
    """One element of every window, along some of the axes."""
    starts = [tap * axis.dilation for axis, tap in taps.values()]
    ends = [start + (axis.count - 1) * axis.stride + 1 for start, (axis, _) in zip(starts, taps.values(), strict=True)]
    steps = [axis.stride for axis, _ in taps.values()]
    sliced: ir.Value = build("Slice", padded, *(np.array(v) for v in (starts, ends, list(taps), steps)))
    return sliced


def _flat_places(windows: list[_Axis], taps: tuple[int, ...], by_column: bool) -> np.ndarray:
    """Where in its channel the tap of every window lies, row by row or column by column."""
    places = [axis.places()[:, tap] for axis, tap in zip(windows, taps, strict=True)]
    pairs = list(zip(np.meshgrid(*places, indexing="ij"), windows, strict=True))
    flat = np.zeros((), np.int64)
    for place, axis in reversed(pairs) if by_column else pairs:
        flat = flat * axis.size + place
    return flat


def _absolute(build: Builder, index: ir.Value, x: ir.Value, windows: list[_Axis]) -> ir.Value:
    """Indices into the whole tensor: MaxPool counts through batch and channels."""
    channels = build("Concat", build.size(x, 0), build.size(x, 1), axis=0)
    count = build.reduce("ReduceProd", channels, None, keepdims=False)
    numbers = build.reshape(
        build("Range", np.int64(0), count, np.int64(1)), build("Concat", channels, np.ones(len(windows), np.int64), axis=0)
    )
    area = math.prod(axis.size for axis in windows)
    result: ir.Value = build("Add", index, build("Mul", numbers, np.int64(area)))
    return result
