"""Arithmetic, comparisons and choices against LiteRT's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from litert_models import floats

from .operator_checks import agrees

X, Y = floats(2, 3, 4), floats(2, 3, 4, seed=1)
POSITIVE = floats(2, 3, 4, low=0.1, high=3)
WHOLE = np.arange(-12, 12, dtype=np.int32).reshape(2, 3, 4)
DIVISORS = np.array([2, -3, 5, 7], np.int32)


@pytest.mark.parametrize(
    ("operator", "name", "x"),
    [
        ("ABS", "math.abs", X), ("CEIL", "math.ceil", X), ("COS", "math.cos", X), ("EXP", "math.exp", X),
        ("FLOOR", "math.floor", X), ("LOG", "math.log", POSITIVE), ("NEG", "math.negative", X), ("ROUND", "math.round", X),
        ("RSQRT", "math.rsqrt", POSITIVE), ("SIGN", "math.sign", X), ("SIN", "math.sin", X), ("SQRT", "math.sqrt", POSITIVE),
        ("SQUARE", "math.square", X), ("ABS", "math.abs", WHOLE),
    ],
)  # fmt: skip
def test_of_one(operator: str, name: str, x: np.ndarray) -> None:
    import tensorflow as tf

    module, function = name.split(".")
    agrees(operator, getattr(getattr(tf, module), function), x)


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("ADD", "add"), ("SUB", "subtract"), ("MUL", "multiply"), ("DIV", "divide"), ("MAXIMUM", "maximum"),
        ("MINIMUM", "minimum"), ("SQUARED_DIFFERENCE", "squared_difference"), ("FLOOR_DIV", "floordiv"),
        ("FLOOR_MOD", "floormod"), ("ATAN2", "atan2"),
    ],
)  # fmt: skip
def test_of_two(operator: str, name: str) -> None:
    import tensorflow as tf

    agrees(operator, getattr(tf.math, name), X, Y)


@pytest.mark.parametrize(("operator", "name"), [("FLOOR_DIV", "floordiv"), ("FLOOR_MOD", "floormod"), ("MUL", "multiply")])
def test_of_whole_numbers(operator: str, name: str) -> None:
    import tensorflow as tf

    agrees(operator, lambda x: getattr(tf.math, name)(x, DIVISORS), WHOLE)


def test_power() -> None:
    import tensorflow as tf

    agrees("POW", lambda x, y: tf.pow(x, y), POSITIVE, Y)


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("LESS", "less"), ("LESS_EQUAL", "less_equal"), ("GREATER", "greater"), ("GREATER_EQUAL", "greater_equal"),
        ("EQUAL", "equal"), ("NOT_EQUAL", "not_equal"),
    ],
)  # fmt: skip
def test_comparisons(operator: str, name: str) -> None:
    import tensorflow as tf

    agrees(operator, lambda x: getattr(tf.math, name)(x, tf.constant([0, 3, -4, 11])), WHOLE)


def test_choice() -> None:
    import tensorflow as tf

    agrees("SELECT", lambda x, y: tf.where(x > y, x * 2, y), X, Y)
    agrees("SELECT_V2", lambda x, y: tf.where(x[:, :1] > 0, x * 2, y), X, Y)


def test_logic() -> None:
    import tensorflow as tf

    for operator, function in (("LOGICAL_AND", tf.logical_and), ("LOGICAL_OR", tf.logical_or)):
        agrees(operator, lambda x, y, function=function: function(x > 0, y > 0), X, Y)
    agrees("LOGICAL_NOT", lambda x: tf.logical_not(tf.reduce_any(x > 1, 0)), X)


def test_casts() -> None:
    import tensorflow as tf

    agrees("CAST", lambda x: tf.cast(x, tf.int32), X * 3)
    agrees("CAST", lambda x: tf.cast(x, tf.float32) / 3, WHOLE)


def test_sum_of_many() -> None:
    import tensorflow as tf

    agrees("ADD_N", lambda x, y: tf.add_n([x, y, x * 2]), X, Y)


def test_constants_of_a_lower_rank_meet_a_convolution() -> None:
    import tensorflow as tf

    kernel, scale = floats(3, 3, 2, 4, seed=1), floats(4, seed=2)

    def network(x):
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        return tf.nn.conv2d(tf.math.squared_difference(y, scale) * floats(5, 4, seed=3), floats(1, 1, 4, 3), 1, "SAME")

    agrees("SQUARED_DIFFERENCE", network, floats(1, 5, 5, 2), dynamic=[[0]])
