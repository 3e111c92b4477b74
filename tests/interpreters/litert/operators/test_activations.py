"""Activations and normalisations against LiteRT's interpreter."""

from __future__ import annotations

import pytest
from litert_flatbuffers import Graph, Op, T, constant, write
from litert_models import assert_close, compared, floats

from .operator_checks import agrees

X = floats(2, 3, 8, low=-8, high=8)


def functions():
    import tensorflow as tf

    return {
        "RELU": tf.nn.relu,
        "RELU6": tf.nn.relu6,
        "RELU_N1_TO_1": lambda x: tf.minimum(tf.maximum(x, -1.0), 1.0),
        "LEAKY_RELU": lambda x: tf.nn.leaky_relu(x, 0.3),
        "ELU": tf.nn.elu,
        "LOGISTIC": tf.sigmoid,
        "TANH": tf.tanh,
        "HARD_SWISH": lambda x: x * tf.nn.relu6(x + 3) * (1 / 6),
        "GELU": lambda x: tf.nn.gelu(x, approximate=False),
        "SOFTMAX": tf.nn.softmax,
        "LOG_SOFTMAX": tf.nn.log_softmax,
        "L2_NORMALIZATION": lambda x: tf.math.l2_normalize(x, -1),
    }


@pytest.mark.parametrize(
    "operator",
    [
        "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "LOGISTIC", "TANH", "HARD_SWISH", "GELU", "SOFTMAX",
        "LOG_SOFTMAX", "L2_NORMALIZATION",
    ],
)  # fmt: skip
def test_against_litert(operator: str) -> None:
    # Approximations of exp and tanh differ in the last bits.
    agrees(operator, functions()[operator], X, dynamic=[[0]], tolerance=1e-5)


def test_prelu() -> None:
    """By hand: whether the converter fuses one depends on its version."""
    tensors = [T(X.shape), constant(floats(*X.shape[1:], seed=1)), T(X.shape)]
    assert_close(*compared(write(Graph(tensors, [Op("PRELU", [0, 1], [2])], [0], [2])), [[X]]))


def test_local_response_normalization() -> None:
    import tensorflow as tf

    agrees("LOCAL_RESPONSE_NORMALIZATION", lambda x: tf.nn.lrn(x, 2, 1.0, 0.1, 0.5), floats(1, 3, 4, 8))
