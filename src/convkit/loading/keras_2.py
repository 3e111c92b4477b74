"""Keras 2's formulas in models that Keras 3 has loaded.

Keras 3 takes the configurations of Keras 2, and computes one activation otherwise: `hard_sigmoid`, the gates of most old LSTMs
and GRUs, was x/5 + 1/2 between 0 and 1, and is x/6 + 1/2 (keras/src/activations/activations.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["hard_sigmoid", "is_of_keras_2", "restore_formulas"]

_ACTIVATIONS = ("activation", "recurrent_activation")


def hard_sigmoid(x: Any) -> Any:
    """Keras 2's and TF.js's: x/5 + 1/2, clipped."""
    import tensorflow as tf

    return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


def is_of_keras_2(file: Path) -> bool:
    """Whether a `.keras` or `.h5` file was written by Keras 1 or 2; Keras 1 wrote no version."""
    from convkit.readers import inspect

    version = str(inspect(file).metadata.get("keras_version") or "1")
    return version.partition(".")[0] in ("1", "2")


def restore_formulas(model: Any) -> None:
    """Gives every layer of a loaded model, and every cell in one, the formula that its file was written with."""
    import keras

    for layer in model._flatten_layers():
        for attribute in _ACTIVATIONS:  # a recurrent layer's are properties, which its cell has
            if vars(layer).get(attribute) is keras.activations.hard_sigmoid:
                setattr(layer, attribute, hard_sigmoid)
