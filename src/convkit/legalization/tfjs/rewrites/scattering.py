"""Scatters and segments."""

from __future__ import annotations

from typing import Any

from convkit.legalization.tfjs.nodes import Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []


@rewrite("TensorScatterAdd", "TensorScatterSub", reason="computed as a sum with ScatterNd")
def scatter_add(node: Node, tensor: Any, indices: Any, updates: Any) -> Any:
    import tensorflow as tf

    scattered = tf.scatter_nd(indices, updates, tf.shape(tensor))
    return tensor + scattered if node.type == "TensorScatterAdd" else tensor - scattered


@rewrite("ScatterNd", reason="truth values as integers")
def scatter(_node: Node, indices: Any, updates: Any, shape: Any) -> Any:
    import tensorflow as tf

    if updates.dtype != tf.bool:
        return None
    return tf.not_equal(tf.scatter_nd(indices, tf.cast(updates, tf.int32), shape), 0)


@rewrite("UnsortedSegmentSum", reason="computed as ScatterNd")
def segment_sum(node: Node, data: Any, segments: Any, count: Any) -> Any:
    import tensorflow as tf

    rank = segments.shape.rank
    if rank is None:
        raise RefusedError("the rank of its segments is unknown")
    shape = tf.concat([tf.reshape(count, [1]), tf.shape(data)[rank:]], 0)
    # Rows with a negative segment are dropped: they go to a segment behind the last.
    rows = tf.where(segments < 0, count, segments)[..., tf.newaxis]
    return tf.scatter_nd(rows, data, shape + tf.one_hot(0, tf.size(shape), dtype=tf.int32))[: tf.reshape(count, [])]


_STARTS = {"Max": "min", "Min": "max"}


@rewrite(
    *(f"UnsortedSegment{kind}" for kind in ("Max", "Min", "Prod")),
    reason="computed as a reduction over a mask of segments",
)
def segment_extremum(node: Node, data: Any, segments: Any, count: Any) -> Any:
    import tensorflow as tf

    rank, whole = segments.shape.rank, data.shape.rank
    if rank is None or whole is None:
        raise RefusedError("the rank of its inputs is unknown")
    flat = tf.reshape(segments, [-1])
    rows = tf.reshape(data, tf.concat([tf.shape(flat), tf.shape(data)[rank:]], 0))
    mask = tf.equal(flat[tf.newaxis], tf.range(count)[:, tf.newaxis])
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (whole - rank)], 0))
    kind = node.type.removeprefix("UnsortedSegment")
    neutral = tf.ones([], data.dtype) if kind == "Prod" else tf.constant(getattr(data.dtype, _STARTS[kind]), data.dtype)
    reduce = {"Max": tf.reduce_max, "Min": tf.reduce_min, "Prod": tf.reduce_prod}[kind]
    return reduce(tf.where(mask, rows[tf.newaxis], neutral), 1)


@rewrite("TensorScatterMax", "TensorScatterMin", reason="computed as a reduction over a mask of places")
def scatter_extremum(node: Node, tensor: Any, indices: Any, updates: Any) -> Any:
    import tensorflow as tf

    depth, rank = indices.shape[-1], tensor.shape.rank
    if depth is None or rank is None:
        raise RefusedError("the rank of its inputs is unknown")
    shape = tf.shape(tensor)
    rest = shape[depth:]
    flat = tf.reshape(indices, [-1, depth])
    place = tf.zeros(tf.shape(flat)[:1], tf.int32)
    for axis in range(depth):
        place = place * shape[axis] + flat[:, axis]
    places = tf.reduce_prod(shape[:depth])
    rows = tf.reshape(updates, tf.concat([tf.shape(place), rest], 0))
    mask = tf.equal(place[tf.newaxis], tf.range(places)[:, tf.newaxis])
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (rank - depth)], 0))
    largest = node.type == "TensorScatterMax"
    neutral = tf.constant(tensor.dtype.min if largest else tensor.dtype.max, tensor.dtype)
    reduce, join = (tf.reduce_max, tf.maximum) if largest else (tf.reduce_min, tf.minimum)
    found = reduce(tf.where(mask, rows[tf.newaxis], neutral), 1)
    return join(tensor, tf.reshape(found, shape))
