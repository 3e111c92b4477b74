"""Pooling: the largest element or the mean of a sliding window, or of a whole image.

Two axes at most are TensorFlow's and LiteRT's own kernels; a window over a third one, a dilated window and indices are
made of strided slices, one for each of the window's elements.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.tensorflow.layout import (
    channels_first,
    channels_last,
    in_single_precision,
    is_same_padding,
    over_channels,
    padded,
    shortened,
    two_axes,
)
from convkit.interpreters.tensorflow.sizes import is_static, rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.tensorflow.transposed import plain
from convkit.interpreters.windows import WindowAxis, window_axes

_MOST_AXES = 3


def _spatial_rank(node):
    """Refuses windows over four axes and more."""
    kernel = node.attributes.get_ints("kernel_shape", [])
    if not 1 <= len(kernel) <= _MOST_AXES:
        return f"a window over {len(kernel)} axes; the importer has one to three"
    return None


@operator("MaxPool", accepts=_spatial_rank)
def max_pool(x, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape, pads=None, storage_order=0, strides=None, node):
    axes = window_axes(sizes_of(x)[2:], kernel_shape, strides, dilations, pads, auto_pad)
    if len(node.outputs) > 1 and node.outputs[1].name:
        return _max_pool_with_indices(plain(x), axes, bool(ceil_mode), storage_order)
    if x.dtype.is_integer:  # of 8 bits, which single precision holds exactly
        return tf.cast(_max_pool(tf.cast(x, tf.float32), axes, bool(ceil_mode), x.dtype.min), x.dtype)
    return in_single_precision(lambda y: _max_pool(y, axes, bool(ceil_mode), y.dtype.min), x)


def _max_pool(x, axes: list[WindowAxis], ceil_mode, lowest):
    planes = two_axes(axes)
    inputs = channels_last(x)
    if not ceil_mode and len(planes) == 2 and is_same_padding(planes) and _is_dense(planes):
        y = tf.nn.max_pool2d(inputs, _kernel(planes), _strides(planes), "SAME")
    else:
        y = _reduced(_ready(inputs, planes, ceil_mode, lowest), planes, tf.nn.max_pool2d, tf.maximum)
    return channels_first(y, len(axes))


def _ready(x, axes: list[WindowAxis], ceil_mode, value):
    """The channels-last input with its padding, so long that the windows end with it."""
    x = padded(x, [(a.begin, a.end + a.overhang(True) if ceil_mode else a.end) for a in axes], value)
    return shortened(x, [(a.steps(True) - 1) * a.stride + a.extent for a in axes]) if ceil_mode else x


def _kernel(axes: list[WindowAxis]):
    return [a.kernel for a in axes]


def _strides(axes: list[WindowAxis]):
    return [a.stride for a in axes]


def _is_dense(axes: list[WindowAxis]):
    return all(a.dilation == 1 for a in axes)


def _reduced(x, axes: list[WindowAxis], pool, combine):
    """All windows of a padded channels-last tensor: a pooling over the last two axes, slices over the others."""
    if not _is_dense(axes):
        for position, axis in enumerate(axes):
            x = _along(x, position + 1, axis, combine)
        return x
    if len(axes) == 2:
        return pool(x, _kernel(axes), _strides(axes), "VALID")
    x = _along(x, 1, axes[0], combine)
    batch, depth, *planes = sizes_of(x)
    y = pool(tf.reshape(x, shape_tensor([-1, *planes])), _kernel(axes[1:]), _strides(axes[1:]), "VALID")
    return tf.reshape(y, shape_tensor([batch, depth, *sizes_of(y)[1:]]))


def _along(x, position, axis: WindowAxis, combine):
    """The windows along one axis of a padded tensor."""
    parts = _elements(x, position, axis)
    result = parts[0]
    for part in parts[1:]:
        result = combine(result, part)
    return result


def _elements(x, position, axis: WindowAxis):
    """The first elements of all windows along one axis, the second ones, and so on."""
    sizes = sizes_of(x)
    steps = (sizes[position] - axis.extent) // axis.stride + 1
    parts = []
    for k in range(axis.kernel):
        first = k * axis.dilation
        end = size_tensor(steps * axis.stride - (axis.stride - 1) + first)
        parts.append(x[(slice(None),) * position + (slice(first, end, axis.stride),)])
    return parts


def _max_pool_with_indices(x, axes: list[WindowAxis], ceil_mode, storage_order):
    """The largest elements and where in the flattened input they are; of equal ones the first."""
    spatial = len(axes)
    lowest = x.dtype.min
    inputs = [(0, 0), (0, 0)] + [(a.begin, a.end + a.overhang(True) if ceil_mode else a.end) for a in axes]
    windows = [_padded_rows(x, inputs, lowest)]
    if ceil_mode:
        sizes = sizes_of(x)[:2] + [(a.steps(True) - 1) * a.stride + a.extent for a in axes]
        windows = [tf.slice(windows[0], [0] * len(sizes), shape_tensor(sizes))]
    for position, axis in enumerate(axes):
        windows = [part for window in windows for part in _elements(window, position + 2, axis)]
    stacked = tf.stack(windows, -1)
    best = tf.argmax(stacked, -1, output_type=tf.int32)
    y = tf.reduce_max(stacked, -1)
    shape = [*sizes_of(x)[:2], *([1] * spatial)]
    flat, total = tf.zeros_like(best), 1
    coordinates = _coordinates(best, axes, sizes_of(y)[2:])
    order = list(range(spatial))
    for position in order if storage_order else order[::-1]:
        flat = flat + coordinates[position] * size_tensor(total)
        total = total * axes[position].size
    images = tf.reshape(tf.range(size_tensor(shape[0] * shape[1])), shape_tensor(shape))
    return y, tf.cast(flat + images * size_tensor(total), tf.int64)


def _padded_rows(x, amounts, value):
    return tf.squeeze(padded(tf.expand_dims(tf.expand_dims(x, 0), -1), amounts, value), [0, x.shape.rank + 1])


def _coordinates(best, axes: list[WindowAxis], steps):
    """Where along every axis the chosen element of a window is, from its number in the window."""
    coordinates = []
    for position in reversed(range(len(axes))):
        axis = axes[position]
        starts = tf.range(size_tensor(steps[position])) * axis.stride - size_tensor(axis.begin)
        starts = tf.reshape(starts, [-1] + [1] * (len(axes) - 1 - position))
        coordinates.append(starts + best % axis.kernel * axis.dilation)
        best = best // axis.kernel
    return coordinates[::-1]


@operator("AveragePool", accepts=_spatial_rank)
def average_pool(
    x, *, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape, pads=None, strides=None
):
    axes = two_axes(window_axes(sizes_of(x)[2:], kernel_shape, strides, dilations, pads, auto_pad))
    rank = len(kernel_shape)
    return in_single_precision(lambda y: _average_pool(y, axes, bool(ceil_mode), bool(count_include_pad), rank), x)


def _average_pool(x, axes: list[WindowAxis], ceil_mode, include_pad, rank):
    inputs = channels_last(x)
    if not ceil_mode and not include_pad and len(axes) == 2 and is_same_padding(axes) and _is_dense(axes):
        return channels_first(tf.nn.avg_pool2d(inputs, _kernel(axes), _strides(axes), "SAME"), rank)
    means = _means(_ready(inputs, axes, ceil_mode, 0), axes)
    shares = _shares(axes, ceil_mode, include_pad)
    return channels_first(means if shares is None else means * tf.cast(shares, x.dtype), rank)


def _means(x, axes: list[WindowAxis]):
    """The windows' sums by the number of a window's elements, padding included."""
    sums = _reduced(x, axes, tf.nn.avg_pool2d, tf.add)
    count = math.prod(_kernel(axes)) if not _is_dense(axes) else 1 if len(axes) == 2 else axes[0].kernel
    return sums if count == 1 else sums / tf.cast(count, x.dtype)


def _shares(axes: list[WindowAxis], ceil_mode, include_pad):
    """What the means over whole windows are multiplied with, None where every element counts."""
    if is_static([n for a in axes for n in (a.size, a.begin, a.end)]):
        shares = np.ones([1])
        for axis in axes:
            counts = axis.counts(np, ceil_mode=ceil_mode, include_pad=include_pad)
            shares = shares[..., None] * (axis.kernel / np.maximum(counts, 1))
        return None if np.all(shares == 1) else shares[..., None]
    if not ceil_mode and (include_pad or all(isinstance(n, int) and n == 0 for a in axes for n in (a.begin, a.end))):
        return None
    ones = tf.ones(shape_tensor([1, *(a.size for a in axes), 1]))
    if include_pad:
        ones = padded(ones, [(a.begin, a.end) for a in axes], 1)
        rest = [WindowAxis(a.size + a.begin + a.end, a.kernel, a.stride, a.dilation, 0, a.overhang(True)) for a in axes]
        lengths = [(a.steps(True) - 1) * a.stride + a.extent for a in axes]
        ones = shortened(padded(ones, [(0, a.end) for a in rest]), lengths)
        return 1 / _means(ones, axes)
    return 1 / _means(_ready(ones, axes, ceil_mode, 0), axes)


def _whole_image(reduce):
    def apply(x):
        if rank_of(x) < 3:
            raise UnsupportedError("an input without spatial axes")
        return over_channels(lambda y, axis: reduce(y, [k for k in range(1, rank_of(y)) if k != axis], keepdims=True), x)

    return apply


operator("GlobalAveragePool")(_whole_image(tf.reduce_mean))
operator("GlobalMaxPool")(_whole_image(tf.reduce_max))
