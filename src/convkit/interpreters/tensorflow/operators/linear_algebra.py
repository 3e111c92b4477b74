"""Products of matrices."""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.tensorflow.layout import in_single_precision
from convkit.interpreters.tensorflow.sizes import rank_of
from convkit.interpreters.tensorflow.table import operator

_MOST_PRODUCTS = 1 << 20


@operator("MatMul")
def matmul(a, b):
    """As numpy's: a vector is a row on the left and a column on the right."""
    left, right = rank_of(a) == 1, rank_of(b) == 1
    a = tf.expand_dims(a, 0) if left else a
    b = tf.expand_dims(b, 1) if right else b
    result = _product(a, b)
    squeezed = [axis for axis, is_vector in ((-2, left), (-1, right)) if is_vector]
    return tf.squeeze(result, squeezed) if squeezed else result


def _product(a, b):
    """TensorFlow Lite multiplies no matrices of integers; those are rare and small, so that single products may be summed."""
    if a.dtype.is_floating:
        return in_single_precision(tf.matmul, a, b)
    inner, columns = b.shape[-2:]
    if (
        a.shape.is_fully_defined()
        and inner is not None
        and columns is not None
        and a.shape.num_elements() * columns < _MOST_PRODUCTS
    ):
        return tf.reduce_sum(tf.expand_dims(a, -1) * tf.expand_dims(b, -3), -2)
    if a.dtype in (tf.int32, tf.int64):
        return tf.matmul(a, b)
    return tf.cast(tf.matmul(tf.cast(a, tf.int64), tf.cast(b, tf.int64)), a.dtype)


@operator("Gemm", since=7)
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):  # noqa: N803
    a = tf.transpose(a) if transA else a
    result = _product(a, tf.transpose(b) if transB else b)
    result = result if alpha == 1 else _scaled(result, alpha)
    if c is None:
        return result
    if rank_of(c) == 2 and c.shape[0] == 1:
        c = tf.reshape(c, [-1])  # TensorFlow's fused kernel takes a bias of one row for a vector, and fails
    return result + (c if beta == 1 else _scaled(c, beta))


def _scaled(x, factor):
    return x * tf.cast(factor, x.dtype) if x.dtype.is_floating else tf.cast(tf.cast(x, tf.float64) * factor, x.dtype)
