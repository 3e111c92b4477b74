"""Tensors made of a shape or of scalars."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.backend import tensorflow_dtype
from convkit.interpreters.tensorflow.sizes import as_sizes, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("ConstantOfShape")
def constant_of_shape(shape: Value, *, value=None):
    value = np.zeros(1, np.float32) if value is None else value
    return tf.fill(shape_tensor(as_sizes(shape)), tf.constant(value.reshape(())))


@operator("Range")
def number_range(start, limit, delta, *, stash_type=1):
    """Of half precision numbers it is counted in the wider dtype, as a count by repeated addition drifts."""
    dtype = start.dtype
    wide = {tf.int16: tf.int32, tf.float16: tf.float32, tf.bfloat16: tf.float32}.get(dtype, dtype)
    start, limit, delta = (tf.cast(tf.reshape(v, []), wide) for v in (start, limit, delta))
    # A limit on the wrong side makes no numbers in ONNX, and an error in TensorFlow.
    limit = tf.where(delta > 0, tf.maximum(limit, start), tf.minimum(limit, start))
    return tf.cast(tf.range(start, limit, delta), dtype)


@operator("EyeLike")
def eye_like(x, *, dtype=None, k=0):
    rows, columns = (tf.range(size_tensor(size)) for size in sizes_of(x))
    return tf.cast(tf.equal(rows[:, None] + k, columns[None, :]), tensorflow_dtype(dtype) if dtype else x.dtype)


@operator("RandomNormal")
def random_normal(*, shape, dtype=1, mean=0.0, scale=1.0, seed=None):
    return tf.cast(mean + scale * tf.random.normal(shape), tensorflow_dtype(dtype))


@operator("RandomNormalLike")
def random_normal_like(x, *, dtype=None, mean=0.0, scale=1.0, seed=None):
    return tf.cast(mean + scale * tf.random.normal(shape_tensor(sizes_of(x))), tensorflow_dtype(dtype) if dtype else x.dtype)


@operator("RandomUniform")
def random_uniform(*, shape, dtype=1, high=1.0, low=0.0, seed=None):
    return tf.cast(low + (high - low) * tf.random.uniform(shape), tensorflow_dtype(dtype))


@operator("RandomUniformLike")
def random_uniform_like(x, *, dtype=None, high=1.0, low=0.0, seed=None):
    numbers = low + (high - low) * tf.random.uniform(shape_tensor(sizes_of(x)))
    return tf.cast(numbers, tensorflow_dtype(dtype) if dtype else x.dtype)
