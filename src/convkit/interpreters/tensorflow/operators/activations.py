"""Activations, in the forms that TensorFlow Lite's converter recognises as one operator where it has one."""

from __future__ import annotations

import math

import tensorflow as tf

from convkit.interpreters.tensorflow.layout import at_trace_time, in_single_precision
from convkit.interpreters.tensorflow.sizes import product, rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("Relu", since=6)
def relu(x):
    return tf.nn.relu(x)


@operator("Sigmoid", since=6)
def sigmoid(x):
    return tf.sigmoid(x)


@operator("LeakyRelu", since=6)
def leaky_relu(x, *, alpha=0.01):
    return tf.nn.leaky_relu(x, alpha)


@operator("PRelu", since=7)
def prelu(x, slope):
    """A slope per channel has all axes but the batch's, as TensorFlow Lite's PRELU wants it."""
    if x.dtype.is_floating:
        static = tf.get_static_value(slope)
        if static is not None and static.size == 1:
            return tf.nn.leaky_relu(x, static.item())
        if slope.shape.rank == 1 and x.shape.rank > 2:
            slope = at_trace_time(slope, lambda vector: tf.reshape(vector, [1] * (x.shape.rank - 2) + [-1]))
        return tf.nn.relu(x) + tf.negative(slope) * tf.nn.relu(-x)
    return tf.where(x < 0, slope * x, x)


@operator("ThresholdedRelu")
def thresholded_relu(x, *, alpha=1.0):
    return tf.where(x > alpha, x, tf.zeros([], x.dtype))


@operator("Elu", since=6)
def elu(x, *, alpha=1.0):
    return tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * tf.nn.elu(x))


@operator("Celu")
def celu(x, *, alpha=1.0):
    return tf.where(x > 0, x, alpha * tf.nn.elu(x / alpha))


@operator("Selu", since=6)
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return gamma * tf.where(x > 0, x, alpha * tf.nn.elu(x))


@operator("HardSigmoid", since=6)
def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    """Six times as large, and by six: TensorFlow Lite fuses the bounds with the addition, and all with x · hard_sigmoid(x)."""
    steep = x if math.isclose(alpha, 1 / 6, rel_tol=1e-7) else 6 * alpha * x
    return tf.nn.relu6(steep + 6 * beta) * (1 / 6)


@operator("HardSwish")
def hard_swish(x):
    return x * tf.nn.relu6(x + 3) * (1 / 6)


@operator("Swish")
def swish(x, *, alpha=1.0):
    return x * tf.sigmoid(x if alpha == 1 else alpha * x)


@operator("Gelu")
def gelu(x, *, approximate="none"):
    """The exact one in the form that TensorFlow Lite's converter fuses; `tf.nn.gelu` has an Erfc, which TF.js lacks."""
    if approximate == "tanh":
        return tf.nn.gelu(x, approximate=True)
    return x * 0.5 * (1 + tf.math.erf(x * math.sqrt(0.5)))


@operator("Softplus")
def softplus(x):
    """log(1 + eˣ) without overflow."""
    return tf.nn.relu(x) + tf.math.log1p(tf.exp(-tf.abs(x)))


@operator("Softsign")
def softsign(x):
    return x / (1 + tf.abs(x))


@operator("Mish")
def mish(x):
    return x * tf.tanh(softplus(x))


@operator("Shrink")
def shrink(x, *, bias=0.0, lambd=0.5):
    """Integers are shrunk as floats, and truncated."""
    wide = x if x.dtype.is_floating else tf.cast(x, tf.float32)
    zero = tf.zeros([], wide.dtype)
    return tf.cast(tf.where(wide > lambd, wide - bias, tf.where(wide < -lambd, wide + bias, zero)), x.dtype)


def _of_matrix(function, x, axis):
    """Before opset 13 an axis splits the dimensions: all from it on are one."""
    sizes = sizes_of(x)
    axis %= len(sizes)
    if axis == len(sizes) - 1:
        return function(x)
    flat = tf.reshape(x, shape_tensor([product(sizes[:axis]), product(sizes[axis:])]))
    return tf.reshape(function(flat), shape_tensor(sizes))


@operator("Softmax")
def softmax_of_matrix(x, *, axis=1):
    return _of_matrix(lambda v: in_single_precision(tf.nn.softmax, v), x, axis)


@operator("Softmax", since=13)
def softmax(x, *, axis=-1):
    return in_single_precision(lambda v: tf.nn.softmax(v, axis), x)


@operator("LogSoftmax")
def log_softmax_of_matrix(x, *, axis=1):
    return _of_matrix(lambda v: in_single_precision(tf.nn.log_softmax, v), x, axis)


@operator("LogSoftmax", since=13)
def log_softmax(x, *, axis=-1):
    return in_single_precision(lambda v: tf.nn.log_softmax(v, axis), x)


@operator("Hardmax")
def hardmax_of_matrix(x, *, axis=1):
    return _of_matrix(hardmax, x, axis)


@operator("Hardmax", since=13)
def hardmax(x, *, axis=-1):
    """One at the first largest element."""
    axis %= rank_of(x)
    return tf.one_hot(tf.argmax(x, axis, tf.int32), size_tensor(sizes_of(x)[axis]), axis=axis, dtype=x.dtype)
