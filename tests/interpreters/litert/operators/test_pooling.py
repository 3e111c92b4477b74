"""Pooling against LiteRT's interpreter."""

from __future__ import annotations

import pytest
from litert_models import floats

from .operator_checks import agrees

IMAGE = floats(2, 9, 8, 3)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "strides"), [((2, 2), (2, 2)), ((3, 2), (2, 1)), ((4, 4), (3, 3))])
def test_both(padding: str, kernel: tuple[int, int], strides: tuple[int, int]) -> None:
    import tensorflow as tf

    agrees("MAX_POOL_2D", lambda x: tf.nn.max_pool2d(x, kernel, strides, padding), IMAGE - 5, dynamic=[[0, 1]])
    agrees("AVERAGE_POOL_2D", lambda x: tf.nn.avg_pool2d(x, kernel, strides, padding), IMAGE, dynamic=[[0, 1]])
