"""Casts, and what passes a value through."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.backend import tensorflow_dtype
from convkit.interpreters.tensorflow.refusals import attribute_of, unknown_dtype
from convkit.interpreters.tensorflow.table import operator

_FLOAT8 = (tf.as_dtype("float8_e4m3fn"), tf.as_dtype("float8_e5m2"))


def _holds_both(node):
    """Neither the dtype that is cast from nor the one that is cast to may be unknown to TensorFlow."""
    other = attribute_of(node, "to") if len(node.inputs) == 1 else node.inputs[1].dtype
    return unknown_dtype(node.inputs[0].dtype) or unknown_dtype(other)


@operator("Cast", since=6, accepts=_holds_both)
def cast(x, *, to, saturate=1, round_mode="up"):
    return _cast(x, tensorflow_dtype(to), saturate)


@operator("CastLike", accepts=_holds_both)
def cast_like(x, like, *, saturate=1, round_mode="up"):
    return _cast(x, like.dtype, saturate)


def _cast(x, dtype, saturate):
    """What floats beyond an integer dtype become is open in ONNX; a float8 takes its largest number, or unsaturated NaN."""
    if dtype in _FLOAT8 and x.dtype not in _FLOAT8:
        x = tf.cast(x, tf.float32)
        if saturate:
            largest = float(dtype.max)
            x = tf.where(tf.math.is_nan(x), x, tf.clip_by_value(x, -largest, largest))
    if dtype == tf.bool:
        return tf.not_equal(x, tf.zeros([], x.dtype))
    return tf.cast(x, dtype)


@operator("BitCast", accepts=_holds_both)
def bit_cast(x, *, to):
    dtype = tensorflow_dtype(to)
    if tf.bool in (x.dtype, dtype):
        return tf.not_equal(x, 0) if dtype == tf.bool else tf.cast(x, dtype)
    return tf.bitcast(x, dtype)


@operator("Identity")
def identity(x: Value):
    return x


def _is_of_numbers(node):
    strings = {"value_string", "value_strings"} & set(node.attributes)
    value = attribute_of(node, "value")
    return "string tensors" if strings or (value is not None and value.dtype is ir.DataType.STRING) else None


@operator("Constant", accepts=_is_of_numbers)
def constant(*, value=None, value_float=None, value_floats=None, value_int=None, value_ints=None):
    if value is not None:
        return tf.constant(value)
    reals = value_floats if value_float is None else value_float
    whole = value_ints if value_int is None else value_int
    return tf.constant(np.array(whole, np.int64) if reals is None else np.array(reals, np.float32))
