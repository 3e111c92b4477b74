"""From the interpreter's sizes (ints, `Size` where they are dynamic) to what TensorFlow's operators take, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import DataDependentError, Host
from convkit.interpreters.tensorflow.backend import Size

__all__ = ["as_sizes", "is_static", "product", "rank_of", "shape_tensor", "size_tensor", "sizes_of"]


def size_tensor(size: Any) -> Any:
    """A size as TensorFlow takes it: an int, or a scalar int32 tensor."""
    return tf.cast(size.tensor, tf.int32) if isinstance(size, Size) else int(size)


def shape_tensor(sizes: Sequence[Any]) -> Any:
    """Sizes as TensorFlow takes a shape: a list of ints where all are known, else an int32 vector.

    The vector is a stack of scalars, through which TensorFlow's shape inference keeps the sizes that are known.
    """
    if is_static(sizes):
        return [int(size) for size in sizes]
    return tf.stack([size_tensor(size) for size in sizes])


def sizes_of(tensor: Any) -> list[Any]:
    """The sizes of a tensor of known rank: ints, and `Size` where they are dynamic."""
    rank_of(tensor)
    dynamic: Any = None if tensor.shape.is_fully_defined() else tf.shape(tensor)
    return [Size(dynamic[axis]) if size is None else int(size) for axis, size in enumerate(tensor.shape)]


def rank_of(tensor: Any) -> int:
    """The rank of a tensor.

    Raises:
        DataDependentError: It is not known while tracing.
    """
    if tensor.shape.rank is None:
        raise DataDependentError("the rank of a tensor is not known")
    return int(tensor.shape.rank)


def is_static(sizes: Iterable[Any]) -> bool:
    """Whether all sizes are ints."""
    return not any(isinstance(size, Size) for size in sizes)


def product(sizes: Iterable[Any]) -> Any:
    """How many elements a shape has: an int, or a `Size`."""
    dynamic = None
    known = 1
    for size in sizes:
        if not isinstance(size, Size):
            known *= int(size)
        else:
            dynamic = size if dynamic is None else dynamic * size
    return known if dynamic is None else dynamic if known == 1 else dynamic * known


def as_sizes(value: Any) -> list[Any]:
    """The sizes in an input that is annotated `Value`: known ones, or the elements of an integer tensor of known length.

    Unlike the annotation `Sizes` it also takes what is computed from the model's inputs.

    Raises:
        DataDependentError: How many there are is not known.
    """
    if isinstance(value, Host):
        return value.sizes()
    if isinstance(value, ir.Value):
        assert value.const_value is not None
        return [int(v) for v in value.const_value.numpy().flat]
    if isinstance(value, (np.ndarray, list, tuple)):
        return [int(v) for v in np.asarray(value).flat]
    if value.shape.rank is None or not value.shape.is_fully_defined():
        raise DataDependentError("how many sizes there are is not known")
    flat = tf.cast(tf.reshape(value, [math.prod(value.shape)]), tf.int32)
    return [Size(flat[k]) for k in range(flat.shape[0])]
