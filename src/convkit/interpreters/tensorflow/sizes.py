"""From the interpreter's sizes (ints, `Size` where they are dynamic) to what TensorFlow's operators take, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.host import DataDependentError, Host
from convkit.interpreters.tensorflow.backend import Size, TensorFlowBackend, sizes_of

__all__ = ["as_sizes", "as_tensor", "is_static", "known", "product", "rank_of", "shape_tensor", "size_tensor", "sizes_of"]

_LARGEST_INT32 = 2**31 - 1


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
    flat = tf.reshape(value, [math.prod(value.shape)])
    if flat.dtype == tf.int64:  # "to the end" is spelt 2⁶³ - 1
        flat = tf.clip_by_value(flat, -_LARGEST_INT32, _LARGEST_INT32)
    flat = tf.cast(flat, tf.int32)
    return [Size(flat[k]) for k in range(flat.shape[0])]


def known(value: Any) -> np.ndarray | None:
    """The numbers of an input that is annotated `Value`, None where they are not known while tracing."""
    if isinstance(value, Host):
        return None if value.is_symbolic else value.array
    if isinstance(value, ir.Value):
        return None if value.const_value is None else np.asarray(value.const_value.numpy())
    return None


def as_tensor(value: Any) -> tf.Tensor:
    """The tensor of an input that is annotated `Value`."""
    if isinstance(value, (Host, ir.Value)):
        backend = TensorFlowBackend()
        return backend.tensor(value) if isinstance(value, Host) else backend.constant(value)
    return tf.convert_to_tensor(value)
