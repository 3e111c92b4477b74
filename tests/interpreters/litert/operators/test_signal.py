"""Fourier transforms and complex numbers against LiteRT's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
from litert_models import floats

from .operator_checks import agrees

SIGNAL = floats(2, 8, 16)


def cases() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "COMPLEX_ABS": lambda x: tf.abs(tf.signal.rfft2d(x)),
        "REAL": lambda x: tf.math.real(tf.signal.rfft2d(x)),
        "IMAG": lambda x: tf.math.imag(tf.signal.rfft2d(x)),
        "RFFT2D": lambda x: tf.abs(tf.signal.rfft2d(x[:, :4], [4, 16])),
    }


@pytest.mark.parametrize("operator", ["COMPLEX_ABS", "REAL", "IMAG", "RFFT2D"])
def test_against_litert(operator: str) -> None:
    agrees(operator, cases()[operator], SIGNAL)


def test_the_transform_of_one_row() -> None:
    """TensorFlow's one-dimensional transform becomes one of two dimensions."""
    import tensorflow as tf

    agrees("RFFT2D", lambda x: tf.abs(tf.signal.rfft(x)), floats(16)[None])
