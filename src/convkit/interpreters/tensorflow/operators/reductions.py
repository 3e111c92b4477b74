"""Reductions over axes, which are an attribute in older opsets and an input in newer ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from convkit.interpreters.host import DataDependentError
from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.sizes import as_tensor, known, rank_of
from convkit.interpreters.tensorflow.table import operator

_Reduction = Callable[..., tf.Tensor]
"""Of a tensor, axes, and whether they are kept."""


def _register(name: str, reduce: _Reduction, *, input_since: int = 18) -> None:
    @operator(name)
    def axes_as_attribute(data, *, axes=None, keepdims=1):
        return _over(reduce, data, axes, keepdims)

    @operator(name, since=input_since)
    def axes_as_input(data, axes: Value = None, *, keepdims=1, noop_with_empty_axes=0):
        numbers = np.array([], np.int64) if axes is None else known(axes)
        if numbers is None:
            return _over_computed(reduce, data, as_tensor(axes), keepdims, noop_with_empty_axes)
        return _over(reduce, data, list(numbers.flat) if numbers.size or noop_with_empty_axes else None, keepdims)


def _over(reduce, data, axes, keepdims):
    """Over the axes, None for all. Over no axis at all every element is reduced by itself: ReduceL1 is Abs."""
    rank = rank_of(data)
    axes = list(range(rank)) if axes is None else sorted({int(axis) % rank for axis in axes})
    return reduce(data, axes, bool(keepdims))


def _over_computed(reduce, data, axes, keepdims, noop):
    """Over axes that are computed while the model runs; how many there are must be known."""
    rank, count = rank_of(data), axes.shape.num_elements()
    if count is None:
        raise DataDependentError("how many axes there are is not known")
    if not count:
        return _over(reduce, data, [] if noop else None, keepdims)
    result = reduce(data, tf.cast(axes, tf.int32), bool(keepdims))
    result.set_shape([None] * (rank if keepdims else rank - count))
    return result


def _maximum(data, axes, keepdims):
    return (tf.reduce_any if data.dtype == tf.bool else tf.reduce_max)(data, axes, keepdims)


def _minimum(data, axes, keepdims):
    return (tf.reduce_all if data.dtype == tf.bool else tf.reduce_min)(data, axes, keepdims)


def _absolute(data, axes, keepdims):
    return tf.reduce_sum(data if data.dtype.is_unsigned else tf.abs(data), axes, keepdims)


def _in_floats(function, data):
    """Roots and logarithms of integers are taken of floats, and truncated."""
    if data.dtype.is_floating:
        return function(data)
    return tf.cast(function(tf.cast(data, tf.float64)), data.dtype)


_register("ReduceSum", tf.reduce_sum, input_since=13)
_register("ReduceMean", tf.reduce_mean)
_register("ReduceProd", tf.reduce_prod)
_register("ReduceMax", _maximum)
_register("ReduceMin", _minimum)
_register("ReduceL1", _absolute)
_register("ReduceSumSquare", lambda data, axes, keep: tf.reduce_sum(tf.square(data), axes, keep))
_register("ReduceL2", lambda data, axes, keep: _in_floats(lambda x: tf.sqrt(tf.reduce_sum(tf.square(x), axes, keep)), data))
_register("ReduceLogSum", lambda data, axes, keep: _in_floats(lambda x: tf.math.log(tf.reduce_sum(x, axes, keep)), data))
_register("ReduceLogSumExp", lambda data, axes, keep: _in_floats(lambda x: tf.reduce_logsumexp(x, axes, keep), data))
