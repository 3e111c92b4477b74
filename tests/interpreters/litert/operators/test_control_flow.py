"""Branches and loops against LiteRT's interpreter."""

from __future__ import annotations

import numpy as np
from litert_models import assert_close, compared, floats, litert_file

from .operator_checks import agrees

X = floats(3, 4)


def test_a_loop_of_known_rounds_is_unrolled() -> None:
    import tensorflow as tf

    def network(x):
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.tanh(y * 2)), [0, x])[1]

    agrees("WHILE", network, X)


def test_a_loop_that_the_data_end() -> None:
    import tensorflow as tf

    def network(x):
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 50.0, lambda y: (y * 1.5 + floats(4, seed=1),), [x])[0]

    path = litert_file(network, [X])
    assert_close(*compared(path, [[X + 2], [X + 9]]))


def test_a_branch_that_the_data_choose() -> None:
    import tensorflow as tf

    weights = floats(4, 4, seed=1)

    def network(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.matmul(x, weights), lambda: tf.tanh(x) - 3)

    path = litert_file(network, [X])
    assert_close(*compared(path, [[np.abs(X)], [-np.abs(X)]]))
