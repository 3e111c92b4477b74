"""Dtypes that TensorFlow has no operators for, in the TensorFlow importer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from convkit.interpreters.operators import Handler
from convkit.interpreters.tensorflow.backend import TensorFlowBackend


def test_a_dtype_without_an_operator_is_widened() -> None:
    seen = []

    def product(x):
        seen.append(x.dtype)
        return tf.reduce_prod(x)

    with tf.Graph().as_default():
        result = TensorFlowBackend().wrap(Handler.of(product), [tf.constant(np.array([True, True]))], {})
    assert seen == [tf.bool, tf.int32]
    assert result.dtype == tf.int32


def test_other_errors_are_not_hidden() -> None:
    def broken(x):
        raise TypeError("something else")

    with pytest.raises(TypeError, match="something else"):
        TensorFlowBackend().wrap(Handler.of(broken), [tf.constant(True)], {})
