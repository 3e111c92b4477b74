"""Operators that move, pick and arrange elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit.legalization.tfjs.choosing import choose
from convkit.legalization.tfjs.nodes import Known, Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []

_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_HALF = 1 << 16


@rewrite("EnsureShape", reason="left out: TF.js's needs an input that TensorFlow's does not have")
def ensure_shape(node: Node, x: Any) -> Any:
    import tensorflow as tf

    result = tf.identity(x)
    result.set_shape(tf.TensorShape(node.attribute("shape")))
    return result


@rewrite("Select", reason="a condition per row is given the other dimensions")
def select(_node: Node, condition: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf

    if condition.shape.rank is None or x.shape.rank is None:
        raise RefusedError("the rank of its inputs is unknown")
    if condition.shape.rank == 1 and x.shape.rank > 1:
        condition = tf.reshape(condition, tf.concat([tf.shape(condition), [1] * (x.shape.rank - 1)], 0))
    return choose(condition, x, y)


@rewrite("OneHot", reason="compared with a range: TF.js puts the new dimension last, whatever the axis")
def one_hot(node: Node, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    import tensorflow as tf

    rank = indices.shape.rank
    if rank is None:
        raise RefusedError("the rank of its indices is unknown")
    axis = node.attribute("axis") % (rank + 1)
    shape = [1] * (rank + 1)
    shape[axis] = -1
    hot = tf.equal(tf.expand_dims(indices, axis), tf.reshape(tf.range(depth), shape))
    return choose(hot, on, off)


@rewrite("Roll", reason="computed as a gather")
def roll(node: Node, x: Any, _shift: Any, _axis: Any) -> Any:
    import tensorflow as tf

    for shift, axis in zip(np.atleast_1d(node.known(1)), np.atleast_1d(node.known(2)), strict=True):
        size = tf.shape(x)[int(axis)]
        x = tf.gather(x, tf.math.floormod(tf.range(size) - int(shift), size), axis=int(axis))
    return x


@rewrite("ReverseSequence", reason="computed as a gather")
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    import tensorflow as tf

    batch, sequence, rank = node.attribute("batch_dim"), node.attribute("seq_dim"), x.shape.rank
    if rank is None:
        raise RefusedError("the rank of its input is unknown")
    order = [batch, sequence, *(axis for axis in range(rank) if axis not in (batch, sequence))]
    back = [order.index(axis) for axis in range(rank)]
    x = tf.transpose(x, order)
    steps = tf.range(tf.shape(x)[1])[tf.newaxis]
    lengths = lengths[:, tf.newaxis]
    picked = tf.where(steps < lengths, lengths - 1 - steps, tf.zeros_like(lengths) + steps)
    return tf.transpose(_gather_rows(x, picked), back)


def _gather_rows(x: Any, indices: Any) -> Any:
    """`tf.gather(x, indices, batch_dims=1)`, by one gather over the flattened rows."""
    import tensorflow as tf

    shape = tf.shape(x)
    flat = tf.reshape(x, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    return tf.gather(flat, indices + (tf.range(shape[0]) * shape[1])[:, tf.newaxis])


@rewrite("SpaceToDepth", reason="computed as a transpose of blocks")
def space_to_depth(node: Node, x: Any) -> Any:
    import tensorflow as tf

    if node.attribute("data_format") != "NHWC":
        raise RefusedError(f"its data format is {node.attribute('data_format')}")
    block, channels = node.attribute("block_size"), x.shape[3]
    if channels is None:
        raise RefusedError("the number of its channels is unknown")
    shape = tf.shape(x)
    height, width = shape[1] // block, shape[2] // block
    x = tf.reshape(x, tf.stack([shape[0] * height, block, width, block * channels]))
    x = tf.transpose(x, [0, 2, 1, 3])
    return tf.reshape(x, tf.stack([shape[0], height, width, block * block * channels]))


@rewrite("InvertPermutation", reason="computed as a scatter")
def invert_permutation(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return tf.scatter_nd(x[:, tf.newaxis], tf.range(tf.size(x)), tf.shape(x))


@rewrite("Bucketize", reason="computed as a count of boundaries")
def bucketize(node: Node, x: Any) -> Any:
    import tensorflow as tf

    boundaries = tf.constant(list(node.attribute("boundaries")), tf.float32)
    above = tf.cast(x, tf.float32)[..., tf.newaxis] >= boundaries
    return tf.reduce_sum(tf.cast(above, tf.int32), -1)


@rewrite("Empty", reason="zeros")
def empty(node: Node, shape: Any) -> Any:
    import tensorflow as tf

    from convkit.legalization.tfjs.narrowing import narrow_dtype

    return tf.zeros(shape, narrow_dtype(tf.as_dtype(node.output_dtype())))


@rewrite("DepthToSpace", reason="on float32: TF.js takes nothing else")
def depth_to_space(node: Node, x: Any) -> Any:
    import tensorflow as tf

    first, block = node.attribute("data_format") == "NCHW", node.attribute("block_size")
    if x.dtype == tf.float32 and not first:
        return None
    if x.dtype.is_complex:
        raise RefusedError(f"its data is {node.input_dtype()}")
    whole = tf.cast(tf.transpose(x, [0, 2, 3, 1]) if first else x, tf.float32)
    result = tf.cast(tf.raw_ops.DepthToSpace(input=whole, block_size=block), x.dtype)
    return tf.transpose(result, [0, 3, 1, 2]) if first else result


@rewrite("StridedSlice", reason="with steps: in numbers of float32, whose kernel every backend has")
def strided_slice(node: Node, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    """wasm calls what it takes in steps float32, whatever it is. An int32 goes in two halves, which float32 holds exactly.

    Source: tfjs-backend-wasm/src/kernels/StridedSlice.ts (`makeOutput`); slices in steps of 1 take another way.
    """
    import tensorflow as tf

    known = node.inputs[3]
    if x.dtype not in (tf.int32, tf.bool) or (isinstance(known, Known) and np.all(known.array == 1)):
        return None
    masks = {key: node.attribute(key) for key in _MASKS}

    def taken(numbers: Any) -> Any:
        whole = tf.cast(numbers, tf.float32)
        return tf.cast(tf.raw_ops.StridedSlice(input=whole, begin=begin, end=end, strides=strides, **masks), tf.int32)

    if x.dtype == tf.bool:
        return tf.not_equal(taken(x), 0)
    high = tf.raw_ops.FloorDiv(x=x, y=_HALF)
    return taken(high) * _HALF + taken(x - high * _HALF)


@rewrite("ReverseV2", reason="truth values as integers: wasm takes them for numbers of four bytes")
def reverse(_node: Node, x: Any, axis: Any) -> Any:
    import tensorflow as tf

    if x.dtype != tf.bool:
        return None
    return tf.not_equal(tf.reverse(tf.cast(x, tf.int32), axis), 0)


@rewrite("Where", reason="of numbers: of a comparison with 0, as wasm sees truth values only")
def where(_node: Node, condition: Any) -> Any:
    import tensorflow as tf

    if condition.dtype == tf.bool:
        return None
    return tf.cast(tf.where(tf.not_equal(condition, tf.zeros([], condition.dtype))), tf.int32)
