"""A choice between elements that every backend makes rightly."""

from __future__ import annotations

from typing import Any

__all__ = ["choose"]


def choose(condition: Any, x: Any, y: Any) -> Any:
    """`tf.where`, for truth values by And and Or: wasm takes them for numbers of four bytes, and writes over what is behind.

    Source: tfjs-backend-wasm/src/cc/kernels/Select.cc.
    """
    import tensorflow as tf

    if x.dtype != tf.bool:
        return tf.where(condition, x, y)
    return tf.logical_or(tf.logical_and(condition, x), tf.logical_and(tf.logical_not(condition), y))
