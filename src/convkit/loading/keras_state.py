"""What Keras keeps for a whole process, and a model that it fails on may leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["undisturbed"]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves Keras as it was where a model cannot be made.

    Its TensorFlow backend enters a layer's name scope before TensorFlow refuses the name, and never leaves it
    (keras/src/backend/tensorflow/core.py): every later model of the process would have the scope in its variables' names.
    """
    import keras

    try:
        yield
    except BaseException:
        keras.utils.clear_session(free_memory=False)
        raise
