"""Exponentials, logarithms and trigonometry. Those that TensorFlow Lite lacks are computed with those that it has.

The compositions keep the relative precision of float32: near zero nothing is computed as a small difference of large numbers.
"""

from __future__ import annotations

import math

import tensorflow as tf

from convkit.interpreters.tensorflow.table import operator


@operator("Exp", since=6)
def exp(x):
    return tf.exp(x)


@operator("Log", since=6)
def log(x):
    return tf.math.log(x)


@operator("Sin")
def sin(x):
    return tf.sin(x)


@operator("Cos")
def cos(x):
    return tf.cos(x)


@operator("Tanh", since=6)
def tanh(x):
    return tf.tanh(x)


@operator("Tan")
def tan(x):
    return tf.sin(x) / tf.cos(x)


@operator("Asin")
def asin(x):
    return tf.atan2(x, tf.sqrt((1 - x) * (1 + x)))


@operator("Acos")
def acos(x):
    return tf.atan2(tf.sqrt((1 - x) * (1 + x)), x)


@operator("Atan")
def atan(x):
    return tf.atan2(x, tf.ones_like(x))


@operator("Cosh")
def cosh(x):
    root = tf.exp(0.5 * tf.abs(x))  # e^|x| itself overflows a little before its half does
    return (0.5 * root) * root + 0.5 / root / root


@operator("Sinh")
def sinh(x):
    return tf.tanh(x) * cosh(x)


@operator("Asinh")
def asinh(x):
    size = tf.abs(x)
    square = tf.square(tf.minimum(size, 1e4))
    near = log1p(tf.minimum(size, 1e4) + square / (1 + tf.sqrt(square + 1)))
    return tf.sign(x) * tf.where(size < 1e4, near, tf.math.log(size) + math.log(2))


@operator("Acosh")
def acosh(x):
    above = x - 1
    return log1p(above + tf.sqrt(above) * tf.sqrt(above + 2))


@operator("Atanh")
def atanh(x):
    return 0.5 * (log1p(x) - log1p(-x))


def log1p(x):
    """log(1 + x): where the sum is rounded, its logarithm is corrected by what was lost (Kahan)."""
    plus = 1 + x
    lost = plus - 1
    return tf.where(tf.equal(lost, 0), x, tf.math.log(plus) * (x / tf.where(tf.equal(lost, 0), tf.ones_like(x), lost)))


@operator("Erf")
def erf(x):
    """The rational approximation that TensorFlow's and ONNX Runtime's own float32 kernels take: odd over even powers."""
    if x.dtype == tf.float64:
        return tf.math.erf(x)
    z = tf.clip_by_value(tf.cast(x, tf.float32), -_ERF_IS_ONE, _ERF_IS_ONE)
    square = z * z
    return tf.cast(z * _polynomial(square, _ERF_NUMERATOR) / _polynomial(square, _ERF_DENOMINATOR), x.dtype)


def _polynomial(x, coefficients):
    total = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


_ERF_IS_ONE = 4.0
_ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
