"""Resize and Upsample: TensorFlow's own image kernels where they compute exactly ONNX's, else one axis after the other.

Every mode is separable: along an axis each output element is a weighted sum of one, two or four input elements, whose
positions follow from https://onnx.ai/onnx/operators/onnx__Resize.html. Antialiasing is left to a rewrite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import Host, maximum, minimum
from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.resampling import rounded
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.layout import channels_first, channels_last, in_single_precision
from convkit.interpreters.tensorflow.sizes import rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.tensorflow.transposed import Transposed


@dataclass(frozen=True)
class _Axis:
    """How one axis changes: its sizes, the factor between them (None where that follows from dynamic sizes), and the part of it
    that is looked at."""

    position: int
    size: Any
    result: Any
    scale: Any
    start: Any = 0.0
    end: Any = 1.0

    @property
    def is_static(self) -> bool:
        return not any(isinstance(v, Size) for v in (self.size, self.result, self.scale, self.start, self.end))

    @property
    def is_exact(self) -> bool:
        """Whether the factor is the result's size by the input's, and not only near it."""
        if self.scale is None or isinstance(self.scale, _Ratio):
            return True
        if isinstance(self.scale, Size):
            return False
        return (self.is_static and self.scale * self.size == self.result) or float(self.scale).is_integer()


class _Ratio(float):
    """A factor that was computed from the sizes."""


def _without_antialias(node):
    if node.attributes.get_int("antialias", 0):
        return "TensorFlow's antialiasing is not ONNX's"
    return None


@operator("Upsample", since=7)
def upsample_by_attribute(x, *, mode="nearest", scales, node):
    return _resized(x, _by_scales(x, list(scales), None, node), mode, "asymmetric", "floor", {})


@operator("Upsample", since=9)
@operator("Resize", since=10)
def resize_asymmetrically(x, scales: Value, *, mode="nearest", node):
    return _resized(x, _by_scales(x, _numbers(scales), None, node), mode, "asymmetric", "floor", {})


@operator("Resize", since=11, accepts=_without_antialias)
def resize(
    x,
    roi: Value = None,
    scales: Value = None,
    sizes: Value = None,
    *,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
    node,
):
    positions = [axis % rank_of(x) for axis in axes] if axes is not None else list(range(rank_of(x)))
    factors = _numbers(scales)
    if factors:
        changed = _by_scales(x, factors, positions, node)
    else:
        changed = _by_sizes(x, _numbers(sizes), positions, keep_aspect_ratio_policy, node)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        changed = _cropped(changed, _numbers(roi), positions, x)
    details = {"a": cubic_coeff_a, "exclude": bool(exclude_outside), "outside": extrapolation_value}
    return _resized(x, changed, mode, coordinate_transformation_mode, nearest_mode, details)


def _numbers(value) -> list[Any]:
    """The elements of an input: numbers, or `Size` where they are computed while the model runs."""
    if value is None:
        return []
    if isinstance(value, Host):
        return value.sizes()
    if isinstance(value, ir.Value):
        assert value.const_value is not None
        return [v.item() for v in value.const_value.numpy().flat]
    if not value.shape.is_fully_defined():
        raise UnsupportedError("how many sizes there are is not known")
    whole = value.dtype.is_integer
    return [Size(tf.cast(v, tf.int32 if whole else tf.float32)) for v in tf.unstack(value)] if value.shape[0] else []


def _by_scales(x, scales, positions, node) -> list[_Axis]:
    sizes = sizes_of(x)
    axes = []
    for position, scale in zip(positions or range(len(sizes)), scales, strict=True):
        if not isinstance(scale, Size):
            scale = np.float32(scale).item()
            if scale == 1:
                continue
        size = sizes[position]
        product = np.float32(size) * np.float32(scale) if isinstance(size, int) and not isinstance(scale, Size) else size * scale
        axes.append(_Axis(position, size, math.floor(product), scale))
    return axes


def _by_sizes(x, results, positions, policy, node) -> list[_Axis]:
    sizes = sizes_of(x)
    pairs = list(zip(positions, results, strict=True))
    if policy != "stretch":
        choose = minimum if policy == "not_larger" else maximum
        scale = _float(pairs[0][1]) / sizes[pairs[0][0]]
        for position, result in pairs[1:]:
            scale = choose(scale, _float(result) / sizes[position])
        rounded = [(position, math.floor(scale * sizes[position] + 0.5)) for position, _ in pairs]
        return [_Axis(position, sizes[position], result, scale) for position, result in rounded]
    axes = []
    for position, result in pairs:
        size = sizes[position]
        if _is_kept(node, position) or (isinstance(size, int) and isinstance(result, int) and size == result):
            continue
        is_static = isinstance(size, int) and isinstance(result, int)
        axes.append(_Axis(position, size, result, _Ratio(np.float32(result) / np.float32(size)) if is_static else None))
    return axes


def _float(size):
    return Size(tf.cast(size.tensor, tf.float32)) if isinstance(size, Size) else float(size)


def _is_kept(node, position) -> bool:
    """Whether inference found that a dynamic size stays what it is."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or isinstance(before[position], int):
        return False
    return before[position].value is not None and before[position] == after[position]


def _cropped(changed: list[_Axis], roi, positions, x) -> list[_Axis]:
    """The axes with the part that is looked at: all starts, then all ends, as shares of the axis."""
    sizes, by_position = sizes_of(x), {axis.position: axis for axis in changed}
    axes = []
    for k, position in enumerate(positions):
        start, end = roi[k], roi[k + len(positions)]
        axis = by_position.get(position) or _Axis(position, sizes[position], sizes[position], 1.0)
        if position in by_position or (start, end) != (0, 1):
            axes.append(_Axis(position, axis.size, axis.result, axis.scale, start, end))
    return axes


def _resized(x, axes: list[_Axis], mode, transformation, nearest_mode, details):
    if not axes:
        return x
    if mode == "nearest":
        if _is_nearest_image(x, axes, transformation, nearest_mode):
            return _as_image(x, axes, _nearest_image)
        return _each(x, axes, lambda y, axis: _nearest(y, axis, transformation, nearest_mode, details))
    if x.dtype.is_integer:
        return tf.cast(_resized(tf.cast(x, tf.float32), axes, mode, transformation, nearest_mode, details), x.dtype)
    flags = _image_flags(x, axes, transformation) if mode == "linear" else None
    if flags is not None:
        return in_single_precision(lambda z: _as_image(z, axes, _bilinear(*flags)), x)
    weights = _linear if mode == "linear" else _cubic
    return in_single_precision(
        lambda z: _each(z, axes, lambda y, axis: _interpolated(y, axis, transformation, weights, details)), x
    )


def _each(x, axes: list[_Axis], compute):
    if isinstance(x, Transposed):
        held = [replace(axis, position=x.position(axis.position)) for axis in axes]
        return x.with_held(_each(x.held, held, compute))
    for axis in axes:
        x = compute(x, axis)
    return x


def _nearest_image(images, size):
    return tf.raw_ops.ResizeNearestNeighbor(images=images, size=size, align_corners=False, half_pixel_centers=True)


def _bilinear(align_corners, half_pixel_centers):
    return lambda y, size: tf.raw_ops.ResizeBilinear(
        images=y, size=size, align_corners=align_corners, half_pixel_centers=half_pixel_centers
    )


def _is_image(x, axes: list[_Axis]) -> bool:
    """Whether only the one or two spatial axes change, and TensorFlow's kernels do the work."""
    rank = rank_of(x)
    return rank in (3, 4) and all(axis.position > 1 for axis in axes)


def _as_image(x, axes: list[_Axis], compute):
    rank, sizes = rank_of(x), sizes_of(x)[2:]
    for axis in axes:
        sizes[axis.position - 2] = axis.result
    return channels_first(compute(channels_last(x), shape_tensor(sizes if rank == 4 else [1, *sizes])), rank - 2)


def _image_flags(x, axes: list[_Axis], transformation):
    """The flags align_corners and half_pixel_centers with which ResizeBilinear is ONNX's; None where it is not."""
    if not _is_image(x, axes) or x.dtype == tf.float64:
        return None  # in double precision it computes in single
    if transformation == "align_corners":
        return True, False
    if not all(axis.is_exact for axis in axes):
        return None
    if transformation == "asymmetric":
        return False, False
    is_half = transformation in ("half_pixel", "half_pixel_symmetric")
    if transformation == "pytorch_half_pixel":
        is_half = all(isinstance(axis.result, int) and axis.result > 1 for axis in axes)
    return (False, True) if is_half else None


def _is_nearest_image(x, axes: list[_Axis], transformation, nearest_mode):
    """Whether the elements are those that ResizeNearestNeighbor takes: the one that the result's centre lies in."""
    if not _is_image(x, axes) or x.dtype not in (tf.float32, tf.uint8, tf.int8):
        return False
    return all(_takes_centres(axis, transformation, nearest_mode) for axis in axes)


def _takes_centres(axis: _Axis, transformation, nearest_mode):
    if axis.is_static:
        centres = np.floor((np.arange(axis.result, dtype=np.float32) + 0.5) * np.float32(axis.size / axis.result))
        taken, _ = _positions(axis, transformation, nearest_mode)
        return transformation != "tf_crop_and_resize" and bool(np.array_equal(taken, np.minimum(centres, axis.size - 1)))
    if isinstance(axis.scale, Size) or axis.scale is None or not float(axis.scale).is_integer():
        return False
    is_rounded = transformation.endswith("half_pixel") and nearest_mode.startswith("round")
    return is_rounded or (transformation == "asymmetric" and nearest_mode == "floor")


# The same arithmetic in numpy where an axis is static: there every rounding is as in ONNX Runtime. In a graph TensorFlow makes
# multiplications of divisions by constants, after which what lies exactly between two elements may fall to the other one.
_NUMPY = SimpleNamespace(
    ceil=np.ceil,
    clip=np.clip,
    floor=np.floor,
    maximum=np.maximum,
    number=np.float32,
    numbers=lambda count: np.arange(count, dtype=np.float32),
    where=np.where,
    whole=lambda x: x.astype(np.int32),
)
_TENSORFLOW = SimpleNamespace(
    ceil=tf.math.ceil,
    clip=tf.clip_by_value,
    floor=tf.floor,
    maximum=tf.maximum,
    number=lambda x: tf.cast(x.tensor if isinstance(x, Size) else tf.constant(x, tf.float32), tf.float32),
    numbers=lambda count: tf.cast(tf.range(size_tensor(count)), tf.float32),
    where=tf.where,
    whole=lambda x: tf.cast(x, tf.int32),
)


def _arithmetic(axis: _Axis):
    return _NUMPY if axis.is_static else _TENSORFLOW


def _coordinates(axis: _Axis, transformation):
    """Where in the input every element of the result is."""
    m = _arithmetic(axis)
    x, size, result = m.numbers(axis.result), m.number(axis.size), m.number(axis.result)
    scale = result / size if axis.scale is None else m.number(axis.scale)
    if transformation == "align_corners":
        return x * (size - 1) / m.maximum(result - 1, 1)
    if transformation == "asymmetric":
        return x / scale
    if transformation == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if transformation == "half_pixel_symmetric":
        return size / 2 * (1 - result / (scale * size)) + (x + 0.5) / scale - 0.5
    if transformation == "tf_crop_and_resize":
        start, end = m.number(axis.start), m.number(axis.end)
        several = start * (size - 1) + x * ((end - start) * (size - 1) / m.maximum(result - 1, 1))
        return m.where(result > 1, several, (start + end) / 2 * (size - 1))
    half = (x + 0.5) / scale - 0.5
    return m.where(result > 1, half, half * 0) if transformation == "pytorch_half_pixel" else half


def _positions(axis: _Axis, transformation, nearest_mode):
    """Which element of the input every element of the result is, and whether it lies inside."""
    m = _arithmetic(axis)
    coordinates = _coordinates(axis, transformation)
    last = m.number(axis.size) - 1
    return m.whole(m.clip(rounded(coordinates, m, nearest_mode), 0, last)), (coordinates >= 0) & (coordinates <= last)


def _nearest(x, axis: _Axis, transformation, nearest_mode, details):
    taken, inside = _positions(axis, transformation, nearest_mode)
    y = tf.gather(x, taken, axis=axis.position)
    return _extrapolated(y, axis, inside, details) if transformation == "tf_crop_and_resize" else y


def _extrapolated(y, axis: _Axis, inside, details):
    """The result with the given value where its element would lie outside of the input."""
    kept = tf.reshape(inside, [-1] + [1] * (rank_of(y) - 1 - axis.position))
    return tf.where(kept, y, tf.cast(details["outside"], y.dtype))


def _linear(ratio, _):
    return [(0, 1 - ratio), (1, ratio)]


def _cubic(ratio, a):
    """Weights of the four neighbours, https://ieeexplore.ieee.org/document/1163711 with the coefficient `a`."""

    def near(t):
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t):
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    return [(-1, far(ratio + 1)), (0, near(ratio)), (1, near(1 - ratio)), (2, far(2 - ratio))]


def _interpolated(x, axis: _Axis, transformation, weights, details):
    m = _arithmetic(axis)
    coordinates = _coordinates(axis, transformation)
    last = m.number(axis.size) - 1
    first = m.floor(coordinates)
    pairs = [(first + offset, weight) for offset, weight in weights(coordinates - first, details.get("a"))]
    if details.get("exclude"):
        kept = [m.where((p >= 0) & (p <= last), w, w * 0) for p, w in pairs]
        pairs = [(p, w / sum(kept)) for (p, _), w in zip(pairs, kept, strict=True)]
    shape = [-1] + [1] * (rank_of(x) - 1 - axis.position)
    y = tf.add_n(
        [tf.gather(x, m.whole(m.clip(p, 0, last)), axis=axis.position) * tf.cast(tf.reshape(w, shape), x.dtype) for p, w in pairs]
    )
    inside = (coordinates >= 0) & (coordinates <= last)
    return _extrapolated(y, axis, inside, details) if transformation == "tf_crop_and_resize" else y
