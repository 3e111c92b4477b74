"""Convolutions against LiteRT's interpreter."""

from __future__ import annotations

import pytest
from litert_models import floats

from .operator_checks import agrees

IMAGE = floats(2, 9, 8, 4)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("strides", "dilations"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 2))])
def test_convolution(padding: str, strides: tuple[int, int], dilations: tuple[int, int]) -> None:
    import tensorflow as tf

    kernel, bias = floats(3, 2, 4, 6, seed=1), floats(6, seed=2)

    def network(x):
        return tf.nn.relu(tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations) + bias)

    agrees("CONV_2D", network, IMAGE, dynamic=[[0, 1, 2]])


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_depthwise(multiplier: int, padding: str) -> None:
    import tensorflow as tf

    kernel = floats(3, 3, 4, multiplier, seed=1)

    def network(x):
        return tf.nn.relu6(tf.nn.depthwise_conv2d(x, kernel, [1, 2, 2, 1], padding))

    agrees("DEPTHWISE_CONV_2D", network, IMAGE)


@pytest.mark.parametrize(("size", "padding"), [(18, "SAME"), (17, "SAME"), (19, "VALID")])
def test_transposed(size: int, padding: str) -> None:
    import tensorflow as tf

    kernel = floats(3, 3, 5, 4, seed=1)

    def network(x):
        return tf.nn.conv2d_transpose(x, kernel, [2, size, size - 2, 5], 2, padding)

    agrees("TRANSPOSE_CONV", network, IMAGE)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_volumes(padding: str) -> None:
    import tensorflow as tf

    volume, kernel = floats(1, 5, 6, 7, 2), floats(2, 3, 3, 2, 4, seed=1)
    agrees("CONV_3D", lambda x: tf.nn.conv3d(x, kernel, [1, 1, 2, 2, 1], padding), volume)


def test_groups() -> None:
    import tensorflow as tf

    agrees("CONV_2D", lambda x: tf.nn.conv2d(x, floats(3, 3, 2, 6, seed=1), 1, "SAME"), IMAGE)
