"""Between floats and small integers: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.

Levels are computed in single precision, which holds every integer of 16 bits, and rounded half to even.
"""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.tensorflow.backend import tensorflow_dtype
from convkit.interpreters.tensorflow.sizes import rank_of, shape_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator

_FLOAT8 = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1")
_TINY = ("INT2", "UINT2")
_SMALL = ("INT4", "UINT4")


def _without(*names):
    """Refuses dtypes. TensorFlow's casts to floats of 8 bits do not saturate as ONNX's do, and of 4 bits it only has weights."""

    def accepts(node):
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.dtype is not None and value.dtype.name in names:
                return f"TensorFlow has no kernels for {value.dtype.name}"
        return None

    return accepts


@operator("DequantizeLinear", accepts=_without(*_FLOAT8, *_TINY))
def dequantize_linear(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    def compute(levels, factors, zeros=None):
        wide = tf.cast(levels, tf.int32)
        if zeros is not None:
            wide -= _spread(tf.cast(zeros, tf.int32), levels, axis, block_size)
        factors = _spread(tf.cast(factors, tf.float32), levels, axis, block_size)
        return tf.cast(tf.cast(wide, tf.float32) * factors, tensorflow_dtype(output_dtype) if output_dtype else scale.dtype)

    return _at_once(compute, *([x, scale] if zero_point is None else [x, scale, zero_point]))


def _at_once(compute, *tensors):
    """Weights become floats while tracing, so that their layout can change too."""
    static = [tf.get_static_value(t) for t in tensors]
    if any(s is None for s in static):
        return compute(*tensors)
    with tf.init_scope():
        result = compute(*(tf.constant(s) for s in static)).numpy()
    return tf.constant(result)


def _spread(parameter, x, axis, block_size):
    """A scale or zero point in a shape that broadcasts with x: for the tensor, along an axis, or for blocks along it."""
    rank = rank_of(x)
    if parameter.shape.rank == 0 or (parameter.shape.rank == 1 and parameter.shape[0] == 1):
        return tf.reshape(parameter, [])
    if block_size:
        size = sizes_of(x)[axis % rank]
        repeated = tf.repeat(parameter, block_size, axis % rank)
        sizes = sizes_of(repeated)
        sizes[axis % rank] = size
        return tf.slice(repeated, [0] * rank, shape_tensor(sizes))
    if parameter.shape.rank == 1 and rank:
        return tf.reshape(parameter, [-1] + [1] * (rank - 1 - axis % rank))
    return parameter


@operator("QuantizeLinear", accepts=_without(*_FLOAT8, *_TINY, *_SMALL))
def quantize_linear(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1):
    dtype = zero_point.dtype if zero_point is not None else tensorflow_dtype(output_dtype) if output_dtype else tf.uint8
    factors = _spread(tf.cast(scale, tf.float32), x, axis, block_size)
    levels = tf.round(tf.cast(x, tf.float32) / factors)
    if zero_point is not None:
        levels += tf.cast(_spread(tf.cast(zero_point, tf.int32), x, axis, block_size), tf.float32)
    return _saturated(levels, dtype)


def _saturated(levels, dtype):
    return tf.cast(tf.clip_by_value(levels, dtype.min, dtype.max), dtype)


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(x):
    """To uint8, with a range that holds zero."""
    low, high = tf.minimum(tf.reduce_min(x), 0), tf.maximum(tf.reduce_max(x), 0)
    scale = tf.where(tf.equal(low, high), tf.ones_like(low), (high - low) / 255)
    zero_point = tf.clip_by_value(tf.round(-low / scale), 0, 255)
    return _saturated(tf.round(x / scale) + zero_point, tf.uint8), scale, tf.cast(zero_point, tf.uint8)
