"""Products of matrices against LiteRT's interpreter."""

from __future__ import annotations

import pytest
from litert_models import floats

from .operator_checks import agrees


def test_fully_connected() -> None:
    import tensorflow as tf

    w, b = floats(6, 5, seed=1), floats(5, seed=2)
    agrees("FULLY_CONNECTED", lambda x: tf.nn.relu(tf.matmul(x, w) + b), floats(3, 6), dynamic=[[0]])
    agrees("FULLY_CONNECTED", lambda x: tf.reshape(tf.matmul(tf.reshape(x, [-1, 6]), w), [-1, 4, 5]), floats(3, 4, 6))


@pytest.mark.parametrize(("left", "right"), [(False, False), (True, False), (False, True)])
def test_batches(left: bool, right: bool) -> None:
    import tensorflow as tf

    x = floats(2, 3, 4, 5) if not left else floats(2, 3, 5, 4)
    y = floats(2, 3, 5, 6, seed=1) if not right else floats(2, 3, 6, 5, seed=1)
    agrees("BATCH_MATMUL", lambda x, y: tf.linalg.matmul(x, y, left, right), x, y, dynamic=[[0], [0]])
