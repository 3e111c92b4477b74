"""Elements by index: gathering and what picks by position or by truth."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.host import DataDependentError
from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.sizes import (
    as_sizes,
    as_tensor,
    is_static,
    known,
    product,
    rank_of,
    shape_tensor,
    size_tensor,
    sizes_of,
)
from convkit.interpreters.tensorflow.table import operator

__all__ = ["index_depth", "linear_positions", "non_negative", "strides"]


def non_negative(indices: Value, size):
    """Indices counted from the start; constant ones are counted while tracing."""
    numbers = known(indices)
    if numbers is not None:
        if not (numbers < 0).any():
            return tf.constant(numbers)
        if not isinstance(size, Size):
            return tf.constant(np.where(numbers < 0, numbers + size, numbers))
    indices = as_tensor(indices)
    return tf.where(indices < 0, indices + tf.cast(size_tensor(size), indices.dtype), indices)


@operator("Gather")
def gather(x, indices: Value, *, axis=0):
    axis %= rank_of(x)
    return tf.gather(x, non_negative(indices, sizes_of(x)[axis]), axis=axis)


@operator("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(x, indices: Value):
    """Columns of the last axis; a vector is a matrix of one row."""
    indices = tf.reshape(non_negative(indices, sizes_of(x)[-1]), [-1])
    picked = tf.gather(x, indices, axis=rank_of(x) - 1)
    return tf.expand_dims(picked, 0) if rank_of(x) == 1 else picked


@operator("GatherND")
def gather_nd(x, indices: Value, *, batch_dims=0):
    sizes = sizes_of(x)
    limits = sizes[batch_dims : batch_dims + index_depth(indices)]
    return tf.gather_nd(x, _non_negative_rows(indices, limits), batch_dims=batch_dims)


def index_depth(indices: Value):
    """How many dimensions a row of indices runs over."""
    depth = sizes_of(as_tensor(indices))[-1]
    if isinstance(depth, Size):
        raise DataDependentError("how many dimensions an index spans is not known")
    return depth


def _non_negative_rows(indices, sizes):
    """Indices whose last axis runs over dimensions."""
    numbers = known(indices)
    if numbers is not None and is_static(sizes):
        return tf.constant(np.where(numbers < 0, numbers + np.array(sizes, numbers.dtype), numbers))
    indices = as_tensor(indices)
    return tf.where(indices < 0, indices + tf.cast(shape_tensor(sizes), indices.dtype), indices)


@operator("GatherElements")
def gather_elements(x, indices: Value, *, axis=0):
    flat = tf.reshape(x, [-1])
    return tf.gather(flat, linear_positions(indices, axis, sizes_of(x)))


def strides(sizes):
    """How far apart neighbours along each dimension are in the flat tensor."""
    return [product(sizes[axis + 1 :]) for axis in range(len(sizes))]


def linear_positions(indices: Value, axis, sizes):
    """Where in the flat tensor the elements are that GatherElements and ScatterElements mean, in the indices' own shape."""
    axis %= len(sizes)
    indices = tf.cast(non_negative(indices, sizes[axis]), tf.int32)
    positions = indices
    for other, (count, stride) in enumerate(zip(sizes_of(indices), strides(sizes), strict=True)):
        stride = size_tensor(stride)
        if other == axis:
            positions = positions + indices * (stride - 1)
        else:
            row = tf.range(size_tensor(count)) * stride
            positions = positions + tf.reshape(row, [-1 if k == other else 1 for k in range(len(sizes))])
    return positions


@operator("OneHot")
def one_hot(indices, depth: Value, values, *, axis=-1):
    """What is out of range has no one; negative indices count from the end."""
    count = as_sizes(depth)[0] if known(depth) is not None else Size(tf.cast(tf.reshape(as_tensor(depth), []), tf.int32))
    count = size_tensor(count)
    indices = tf.cast(indices, tf.int64 if indices.dtype == tf.int64 else tf.int32)
    indices = tf.where(indices < 0, indices + tf.cast(count, indices.dtype), indices)
    axis = axis + rank_of(indices) + 1 if axis < 0 else axis
    return tf.where(tf.one_hot(indices, count, True, False, axis, tf.bool), values[1], values[0])


@operator("NonZero")
def non_zero(x):
    x = tf.reshape(x, [1]) if rank_of(x) == 0 else x
    return tf.transpose(tf.where(x if x.dtype == tf.bool else tf.not_equal(x, tf.zeros([], x.dtype))))


@operator("Compress")
def compress(x, condition, *, axis=None):
    """The condition may be shorter than the axis."""
    picked = tf.reshape(tf.where(condition), [-1])
    return tf.gather(tf.reshape(x, [-1]), picked) if axis is None else tf.gather(x, picked, axis=axis % rank_of(x))


@operator("Unique")
def unique(x, *, axis=None, sorted=1, node):
    """The unique elements, or slices along an axis; where each is first met; which one each is; how often each is met."""
    if axis is not None and rank_of(x) > 1:
        return _unique_slices(x, axis % rank_of(x), sorted)
    flat = tf.reshape(x, [-1])
    values, group = tf.unique(flat, tf.int32)
    count = tf.size(values)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(flat)), group, count)
    if sorted:
        order = tf.argsort(values)
        values, first = tf.gather(values, order), tf.gather(first, order)
        group = tf.gather(tf.argsort(order), group)
    occurrences = tf.math.unsorted_segment_sum(tf.ones_like(group), group, count)
    return (values, *(tf.cast(v, tf.int64) for v in (first, group, occurrences)))


def _unique_slices(x, axis, is_sorted):
    """All pairs of slices are compared: TensorFlow Lite has no operator for unique rows, and they are few."""
    if x.dtype == tf.string:
        raise UnsupportedError("unique slices of strings")
    rows = _moved_first(x, axis)
    matrix = tf.reshape(rows, shape_tensor([sizes_of(rows)[0], product(sizes_of(rows)[1:])]))
    differs = tf.not_equal(matrix[:, None], matrix[None])
    equal = tf.logical_not(tf.reduce_any(differs, -1))
    first_met = tf.argmax(tf.cast(equal, tf.int32), 1, tf.int32)
    first = tf.reshape(tf.where(tf.equal(first_met, tf.range(tf.shape(matrix)[0]))), [-1])
    if is_sorted:
        column = tf.argmax(tf.cast(differs, tf.int32), -1, tf.int32)[..., None]
        before = tf.squeeze(tf.gather(tf.cast(matrix[:, None] < matrix[None], tf.int32), column, batch_dims=2), -1)
        among = tf.gather(tf.gather(before, first, axis=0), first, axis=1)  # [i, j]: the i-th comes before the j-th
        first = tf.gather(first, tf.argsort(tf.reduce_sum(among, 0)))
    group = tf.gather(tf.gather(equal, first), tf.range(tf.shape(matrix)[0]), axis=1)
    inverse = tf.argmax(tf.cast(group, tf.int32), 0, tf.int64)
    counts = tf.reduce_sum(tf.cast(group, tf.int64), 1)
    return tf.gather(x, first, axis=axis), tf.cast(first, tf.int64), inverse, counts


def _moved_first(x, axis):
    return tf.transpose(x, [axis, *(k for k in range(rank_of(x)) if k != axis)]) if axis else x
