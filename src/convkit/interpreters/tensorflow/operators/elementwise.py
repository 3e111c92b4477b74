"""Element by element: arithmetic, comparison, rounding."""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.tensorflow.table import operator


@operator("Add", since=7)
def add(a, b):
    return tf.add(a, b)


@operator("Relu")
def relu(x):
    return tf.nn.relu(x)
