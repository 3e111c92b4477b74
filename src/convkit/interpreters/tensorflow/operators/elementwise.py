"""Element by element: arithmetic, comparison, logic, rounding. Transcendental functions are in `transcendental.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import Value
from convkit.interpreters.tensorflow.sizes import as_tensor, known
from convkit.interpreters.tensorflow.table import operator


@operator("Add", since=7)
def add(a, b):
    return tf.add(_as_bias(a, b), _as_bias(b, a))


def _as_bias(x, other):
    """One row as a vector beside a product of matrices: TensorFlow fuses the two, and takes a row for a vector in vain."""
    if x.shape.rank == 2 and x.shape[0] == 1 and getattr(getattr(other, "op", None), "type", "") == "MatMul":
        return tf.reshape(x, [-1])
    return x


@operator("Sub", since=7)
def sub(a, b):
    return tf.subtract(a, b)


@operator("Mul", since=7)
def mul(a, b):
    return tf.multiply(a, b)


@operator("Div", since=7)
def div(a, b):
    """Integers truncate towards zero."""
    return tf.truncatediv(a, b) if a.dtype.is_integer else tf.divide(a, b)


@operator("Mod")
def mod(a, b, *, fmod=0):
    """The sign is the divisor's, or with `fmod` the dividend's. TensorFlow Lite has only the former."""
    if not fmod:
        return tf.math.floormod(a, b)
    if a.dtype.is_unsigned:
        return tf.math.floormod(a, b)
    if a.dtype.is_integer:
        return a - tf.truncatediv(a, b) * b
    return tf.sign(a) * tf.math.floormod(tf.abs(a), tf.abs(b))


@operator("Pow", since=7)
def power(x, y: Value):
    """The result has the base's dtype, whatever the exponent's."""
    numbers = known(y)
    if numbers is not None and numbers.size == 1 and numbers.ndim <= x.shape.rank:
        simple = _SIMPLE_POWERS.get(float(numbers.reshape(())))
        if simple is not None and (x.dtype.is_floating or float(numbers.reshape(())) in (1, 2, 3)):
            return simple(x)
    exponent = as_tensor(y)
    if x.dtype.is_floating:
        return tf.pow(x, tf.cast(exponent, x.dtype))
    if exponent.dtype.is_floating:
        return tf.cast(tf.pow(tf.cast(x, tf.float64), tf.cast(exponent, tf.float64)), x.dtype)
    return tf.pow(x, tf.cast(exponent, x.dtype))


_SIMPLE_POWERS: dict[float, Callable[[tf.Tensor], tf.Tensor]] = {
    0.5: tf.sqrt,
    1.0: tf.identity,
    2.0: tf.square,
    3.0: lambda x: tf.square(x) * x,
    -0.5: tf.math.rsqrt,
    -1.0: lambda x: tf.divide(tf.ones([], x.dtype), x),
}


@operator("Neg", since=6)
def neg(x):
    return tf.negative(x)


@operator("Abs", since=6)
def absolute(x):
    return x if x.dtype.is_unsigned else tf.abs(x)


@operator("Sign")
def sign(x):
    return tf.cast(x > 0, x.dtype) if x.dtype.is_unsigned else tf.sign(x)


@operator("Reciprocal", since=6)
def reciprocal(x):
    return tf.divide(tf.ones([], x.dtype), x)


@operator("Sqrt", since=6)
def sqrt(x):
    return tf.sqrt(x)


@operator("Floor", since=6)
def floor(x):
    return tf.floor(x)


@operator("Ceil", since=6)
def ceil(x):
    return tf.math.ceil(x)


@operator("Round")
def round_half_to_even(x):
    return tf.round(x)


@operator("Clip", since=6)
def clip_to_attributes(x, *, min=None, max=None):
    return _clip(x, min, max)


@operator("Clip", since=11)
def clip(x, minimum=None, maximum=None):
    return _clip(x, minimum, maximum)


def _clip(x, minimum, maximum):
    """The upper bound wins where it is below the lower one."""
    if minimum is not None:
        x = tf.maximum(x, tf.cast(minimum, x.dtype))
    return x if maximum is None else tf.minimum(x, tf.cast(maximum, x.dtype))


@operator("Max", since=6)
def maximum(*tensors):
    return functools.reduce(tf.maximum, tensors)


@operator("Min", since=6)
def minimum(*tensors):
    return functools.reduce(tf.minimum, tensors)


@operator("Sum", since=6)
def total(*tensors):
    return functools.reduce(tf.add, tensors)


@operator("Mean", since=6)
def mean(*tensors):
    return functools.reduce(tf.add, tensors) / tf.cast(len(tensors), tensors[0].dtype)


@operator("Where")
def where(condition, x, y):
    return tf.where(condition, x, y)


@operator("Equal", since=7)
def equal(a, b):
    return tf.equal(a, b)


@operator("Less", since=7)
def less(a, b):
    return tf.less(a, b)


@operator("LessOrEqual")
def less_or_equal(a, b):
    return tf.less_equal(a, b)


@operator("Greater", since=7)
def greater(a, b):
    return tf.greater(a, b)


@operator("GreaterOrEqual")
def greater_or_equal(a, b):
    return tf.greater_equal(a, b)


@operator("And", since=7)
def logical_and(a, b):
    return tf.logical_and(a, b)


@operator("Or", since=7)
def logical_or(a, b):
    return tf.logical_or(a, b)


@operator("Xor", since=7)
def logical_xor(a, b):
    return tf.not_equal(a, b)


@operator("Not")
def logical_not(x):
    return tf.logical_not(x)


@operator("IsNaN")
def is_nan(x):
    return tf.not_equal(x, x)


@operator("IsInf")
def is_inf(x, *, detect_negative=1, detect_positive=1):
    """Beyond the largest number: TensorFlow Lite's converter clamps a constant infinity to that, which none then equals."""
    largest = tf.constant(x.dtype.max, x.dtype)
    if detect_negative and detect_positive:
        return tf.abs(x) > largest
    if not (detect_negative or detect_positive):
        return tf.zeros_like(x, tf.bool)
    return x > largest if detect_positive else x < -largest


# TensorFlow Lite has an exclusive or and a shift to the right; and, or, not follow from them without overflow.


def _by_halves(function):
    """Takes 64 bits for two times 32: TensorFlow Lite has no operators on the bits of the former."""

    @functools.wraps(function)
    def apply(a, b):
        if a.dtype.size < 8:
            return function(a, b)
        return tf.bitcast(function(tf.bitcast(a, tf.int32), tf.bitcast(b, tf.int32)), a.dtype)

    return apply


@operator("BitwiseXor")
@_by_halves
def bitwise_xor(a, b):
    return tf.bitwise.bitwise_xor(a, b)


@operator("BitwiseAnd")
@_by_halves
def bitwise_and(a, b):
    """a + b = (a xor b) + 2 (a and b), on all bits but the last, which multiplies."""
    one = tf.ones([], a.dtype)
    upper_a, upper_b = tf.bitwise.right_shift(a, one), tf.bitwise.right_shift(b, one)
    last = (a - upper_a - upper_a) * (b - upper_b - upper_b)
    return upper_a + upper_b - tf.bitwise.bitwise_xor(upper_a, upper_b) + last


@operator("BitwiseOr")
@_by_halves
def bitwise_or(a, b):
    return tf.bitwise.bitwise_xor(a, b) + bitwise_and(a, b)


@operator("BitwiseNot")
def bitwise_not(x, *, node):
    """The dtype that the graph declares counts: an unsigned one may be computed in a wider signed one."""
    declared = node.inputs[0].dtype
    unsigned = x.dtype.is_unsigned if declared is None else not declared.is_signed()
    largest = (x.dtype.max if declared is None else np.iinfo(declared.numpy()).max) if unsigned else -1
    return tf.constant(largest, x.dtype) - x


@operator("BitShift")
def bit_shift(x, y, *, direction):
    """A shift by the width or more leaves copies of the sign (to the right) or nothing; TensorFlow leaves it open."""
    last = tf.constant(8 * x.dtype.size - 1, x.dtype)
    inside = tf.less_equal(y, last) if y.dtype.is_unsigned else tf.logical_and(y >= 0, y <= last)
    if direction == "RIGHT" and not x.dtype.is_unsigned:
        return tf.bitwise.right_shift(x, tf.where(inside, y, last))
    shift = tf.bitwise.left_shift if direction == "LEFT" else tf.bitwise.right_shift
    return tf.where(inside, shift(x, tf.where(inside, y, last)), tf.zeros([], x.dtype))
