"""Elements written by index. Positions are counted in the flat tensor, where TensorFlow Lite's operators on segments apply."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.operators.indexing import index_depth, linear_positions, strides
from convkit.interpreters.tensorflow.refusals import one_of
from convkit.interpreters.tensorflow.sizes import as_tensor, known, product, rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator

_REDUCTIONS = ("none", "add", "mul", "max", "min")


@operator("Scatter", "ScatterElements", accepts=one_of("reduction", _REDUCTIONS))
def scatter_elements(x, indices: Value, updates, *, axis=0, reduction="none"):
    sizes = sizes_of(x)
    positions = linear_positions(indices, axis, sizes)
    flat = _scattered(tf.reshape(x, [-1]), tf.reshape(positions, [-1]), tf.reshape(updates, [-1]), reduction)
    return tf.reshape(flat, shape_tensor(sizes))


@operator("ScatterND", accepts=one_of("reduction", _REDUCTIONS))
def scatter_nd(x, indices: Value, updates, *, reduction="none"):
    sizes = sizes_of(x)
    depth = index_depth(indices)
    rows = shape_tensor([product(sizes[:depth]), *sizes[depth:]])
    positions = _row_numbers(indices, sizes[:depth])
    changed = tf.reshape(updates, shape_tensor([product(sizes_of(positions)), *sizes[depth:]]))
    flat = _scattered(tf.reshape(x, rows), tf.reshape(positions, [-1]), changed, reduction)
    return tf.reshape(flat, shape_tensor(sizes))


def _row_numbers(indices, sizes):
    """Rows of indices as numbers in the flat tensor."""
    if not sizes:
        return tf.zeros(shape_tensor(sizes_of(as_tensor(indices))[:-1]), tf.int32)
    limits, steps = shape_tensor(sizes), shape_tensor(strides(sizes))
    numbers = known(indices)
    if numbers is not None and isinstance(limits, list) and isinstance(steps, list):
        counted = np.where(numbers < 0, numbers + limits, numbers)
        return tf.constant((counted * steps).sum(-1), tf.int32)
    rows = tf.cast(as_tensor(indices), tf.int32)
    return tf.reduce_sum(tf.where(rows < 0, rows + limits, rows) * steps, -1)


def _scattered(x, positions, updates, reduction):
    """Writes rows at positions; of several at the same one the last counts, as in ONNX Runtime, or their reduction."""
    if updates.shape[0] == 0:
        return x
    count = size_tensor(sizes_of(x)[0])
    if reduction == "none":
        return _replaced(x, positions, updates, count)
    if reduction == "add":
        shape = shape_tensor(sizes_of(x))
        return x + tf.scatter_nd(positions[:, None], updates, shape)
    if reduction == "mul":
        return x * tf.math.unsorted_segment_prod(updates, positions, count)
    if reduction == "max":
        return tf.maximum(x, tf.math.unsorted_segment_max(updates, positions, count))
    return tf.minimum(x, tf.math.unsorted_segment_min(updates, positions, count))


def _replaced(x, positions, updates, count):
    """Every row picked from the old ones or the new ones, of which there may be none.

    Not by TensorScatterUpdate, which TensorFlow Lite's converter turns into products: an infinity would become NaN.
    """
    numbers = tf.get_static_value(positions)
    if numbers is not None and isinstance(count, int):
        source = np.arange(count, dtype=np.int32)
        source[numbers] = count + np.arange(len(numbers))
    else:
        winner = tf.math.unsorted_segment_max(tf.range(tf.shape(positions)[0]), positions, count)
        source = tf.where(winner >= 0, winner + count, tf.range(count))
    return tf.gather(tf.concat([x, updates], 0), source)


@operator("TensorScatter")
def tensor_scatter(cache, update, write_indices=None, *, axis=-2, mode="linear"):
    """Writes a run of steps into a cache, from an index of each sample on."""
    axis %= rank_of(cache)
    order = [0, axis, *(k for k in range(1, rank_of(cache)) if k != axis)]
    sizes = sizes_of(cache)
    batch, length = (size_tensor(size) for size in (sizes[0], sizes[axis]))
    steps = tf.range(size_tensor(sizes_of(update)[axis]))[None, :]
    steps = steps + (tf.zeros([batch, 1], tf.int32) if write_indices is None else tf.cast(write_indices, tf.int32)[:, None])
    steps = steps % length if mode == "circular" else steps
    positions = steps + tf.range(batch)[:, None] * length
    ordered = [sizes[k] for k in order]
    rest = ordered[2:]
    rows = tf.reshape(tf.transpose(cache, order), shape_tensor([product(ordered[:2]), *rest]))
    changed = tf.transpose(update, order)
    changed = tf.reshape(changed, shape_tensor([product(sizes_of(changed)[:2]), *rest]))
    written = tf.reshape(_scattered(rows, tf.reshape(positions, [-1]), changed, "none"), shape_tensor(ordered))
    return tf.transpose(written, [order.index(k) for k in range(len(order))])
