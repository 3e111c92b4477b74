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


def test_frames_of_a_batch_of_signals() -> None:
    """Their number follows from a shape that is split in parts; a cast of what is complex takes the real part."""
    import tensorflow as tf

    agrees("SPLIT_V", lambda x: tf.cast(tf.signal.stft(x, 16, 8), tf.float32), floats(2, 64), dynamic=[[0]])
