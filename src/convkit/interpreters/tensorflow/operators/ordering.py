"""Along one axis: where the extremes are, the largest elements, running totals."""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.sizes import as_sizes, as_tensor, known, rank_of, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("ArgMax")
def arg_max(x, *, axis=0, keepdims=1, select_last_index=0):
    return _extreme(tf.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(x, *, axis=0, keepdims=1, select_last_index=0):
    return _extreme(tf.argmin, x, axis, keepdims, select_last_index)


def _extreme(function, x, axis, keepdims, last):
    """The last one is the first one of the reversed axis."""
    axis %= rank_of(x)
    if last:
        size = tf.cast(size_tensor(sizes_of(x)[axis]), tf.int64)
        index = size - 1 - function(tf.reverse(x, [axis]), axis, tf.int64)
    else:
        index = function(x, axis, tf.int64)
    return tf.expand_dims(index, axis) if keepdims else index


@operator("TopK")
def top_k_of_attribute(x, *, k, axis=-1):
    return _top_k(x, k, axis, True)


@operator("TopK", since=10)
def top_k(x, k: Value, *, axis=-1, largest=1, sorted=1):
    return _top_k(x, size_tensor(as_sizes(k)[0]), axis, largest)


def _top_k(x, k, axis, largest):
    """Of equal elements the first comes first, in both directions and in TensorFlow too."""
    rank = rank_of(x)
    axis %= rank
    swap = [*range(axis), *range(axis + 1, rank), axis]
    back = [swap.index(position) for position in range(rank)]
    moved = x if axis == rank - 1 else tf.transpose(x, swap)
    values, indices = tf.math.top_k(moved if largest else descending(moved), k)
    values = values if largest else descending(values)
    results = (values, indices) if axis == rank - 1 else (tf.transpose(values, back), tf.transpose(indices, back))
    return results[0], tf.cast(results[1], tf.int64)


def descending(x):
    """Numbers in the opposite order, each of which has one; its own inverse. An integer's negative may not exist."""
    if x.dtype.is_floating:
        return tf.negative(x)
    return tf.constant(x.dtype.max if x.dtype.is_unsigned else -1, x.dtype) - x


@operator("CumSum")
def cumulative_sum(x, axis, *, exclusive=0, reverse=0):
    return tf.cumsum(x, tf.cast(tf.reshape(axis, []), tf.int32), bool(exclusive), bool(reverse))


@operator("CumProd")
def cumulative_product(x, axis: Value, *, exclusive=0, reverse=0):
    """TensorFlow Lite has no such operator. An axis that is not known picks among the products along each."""
    axes = known(axis)
    rank = rank_of(x)
    if axes is not None:
        return _products(x, int(axes.reshape(())) % rank, exclusive, reverse)
    chosen = tf.reshape(as_tensor(axis), [])
    result = _products(x, 0, exclusive, reverse)
    for candidate in range(1, rank):
        here = tf.logical_or(tf.equal(chosen, candidate), tf.equal(chosen, candidate - rank))
        result = tf.where(here, _products(x, candidate, exclusive, reverse), result)
    return result


def _products(x, axis, exclusive, reverse):
    """Doubles the length of the products in every round: products of 1, 2, 4, … elements (a Hillis-Steele scan)."""
    if reverse:
        x = tf.reverse(x, [axis])
    size = sizes_of(x)[axis]
    if isinstance(size, Size):
        x = tf.math.cumprod(x, axis, bool(exclusive))
        return tf.reverse(x, [axis]) if reverse else x
    if exclusive:
        x = _shifted(x, axis, 1, size)
    step = 1
    while step < size:
        x = x * _shifted(x, axis, step, size)
        step *= 2
    return tf.reverse(x, [axis]) if reverse else x


def _shifted(x, axis, by, size):
    """The elements moved up along an axis, ones before them."""
    paddings = [[by, 0] if position == axis else [0, 0] for position in range(rank_of(x))]
    kept = x[(*(slice(None) for _ in range(axis)), slice(0, max(size - by, 0)))]
    return tf.pad(kept, paddings, constant_values=tf.ones([], x.dtype)) if size else x
