"""Casts, and what passes a value through."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.tensorflow.backend import tensorflow_dtype
from convkit.interpreters.tensorflow.table import operator

_FLOAT8 = (tf.as_dtype("float8_e4m3fn"), tf.as_dtype("float8_e5m2"))


@operator("Cast", since=6)
def cast(x, *, to, saturate=1, round_mode="up"):
    return _cast(x, tensorflow_dtype(to), saturate)


@operator("CastLike")
def cast_like(x, like, *, saturate=1, round_mode="up"):
    return _cast(x, like.dtype, saturate)


def _cast(x, dtype, saturate):
    """What floats beyond an integer dtype become is open in ONNX; a float8 takes its largest number, or unsaturated NaN."""
    if tf.string in (x.dtype, dtype) and x.dtype != dtype:
        raise UnsupportedError("casts between numbers and strings")
    if dtype in _FLOAT8 and x.dtype not in _FLOAT8:
        x = tf.cast(x, tf.float32)
        if saturate:
            largest = float(dtype.max)
            x = tf.where(tf.math.is_nan(x), x, tf.clip_by_value(x, -largest, largest))
    if dtype == tf.bool:
        return tf.not_equal(x, tf.zeros([], x.dtype))
    return tf.cast(x, dtype)


@operator("BitCast")
def bit_cast(x, *, to):
    dtype = tensorflow_dtype(to)
    if dtype.size != x.dtype.size:
        raise UnsupportedError(f"a cast of the bits of {x.dtype.name} to {dtype.name}")
    if tf.bool in (x.dtype, dtype):
        return tf.not_equal(x, 0) if dtype == tf.bool else tf.cast(x, dtype)
    return tf.bitcast(x, dtype)


@operator("Identity")
def identity(x: Value):
    return x


@operator("Constant")
def constant(*, value=None, value_float=None, value_floats=None, value_int=None, value_ints=None):
    if value is not None:
        if value.dtype == object or value.dtype.kind in "SU":
            raise UnsupportedError("string tensors")
        return tf.constant(value)
    for number, dtype in ((value_float, np.float32), (value_floats, np.float32), (value_int, np.int64), (value_ints, np.int64)):
        if number is not None:
            return tf.constant(np.array(number, dtype))
    raise UnsupportedError("a constant of strings, or a sparse one")
