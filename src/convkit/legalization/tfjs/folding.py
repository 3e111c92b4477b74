"""Computes what does not depend on a model's inputs, in the dtypes of the source graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convkit.legalization.tfjs.nodes import Known, Value

__all__ = ["constant", "folded"]

_LARGEST = 1 << 26
"""Elements of a result that a graph may hold in place of the operator that makes it."""

# Results that are larger than the operands: a file shall not grow for them.
_GROWING = frozenset(("BroadcastTo", "Fill", "LinSpace", "OneHot", "Range", "Tile", "Pad", "PadV2", "MirrorPad", "ScatterNd"))
_MOST_GROWN = 1 << 12


def constant(operation: Any) -> np.ndarray:
    """The value of a `Const`."""
    import tensorflow as tf

    return np.asarray(tf.make_ndarray(operation.get_attr("value")))


def folded(operation: Any, inputs: list[Value]) -> list[Value] | None:
    """The outputs of an operation whose inputs are known; None where it has to stay."""
    if operation.type == "Shape" and not isinstance(inputs[0], Known):
        return None
    if not inputs or not all(isinstance(value, Known) for value in inputs) or not _is_pure(operation):
        return None
    arrays = [value.array for value in inputs]
    sizes = [_elements(tensor) for tensor in operation.outputs]
    if any(size is not None and size > _LARGEST for size in sizes):
        return None
    if operation.type in _GROWING and any(s is None or s > max(_MOST_GROWN, sum(a.size for a in arrays)) for s in sizes):
        return None
    results = _run(operation, arrays)
    return None if results is None else [Known(result, operation.name) for result in results]


def _elements(tensor: Any) -> int | None:
    return math.prod(tensor.shape.as_list()) if tensor.shape.is_fully_defined() else None


def _is_pure(operation: Any) -> bool:
    """Whether an operation always computes the same from tensors alone."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(operation.type)
    if definition is None or definition.is_stateful or any(a.type == "func" for a in definition.attr):
        return False
    return all(t.dtype.name not in ("resource", "variant") for t in (*operation.inputs, *operation.outputs))


def _run(operation: Any, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    import tensorflow as tf
    from tensorflow.python.eager import context, execute

    attributes: list[Any] = []
    for key in operation.node_def.attr:
        if not key.startswith("_"):
            attributes += [key, _attribute(operation.get_attr(key))]
    try:
        with tf.init_scope(), tf.device("/CPU:0"):
            tensors = [tf.constant(a, t.dtype.base_dtype) for a, t in zip(arrays, operation.inputs, strict=True)]
            results = execute.quick_execute(operation.type, len(operation.outputs), tensors, tuple(attributes), context.context())
            return [np.asarray(result.numpy()) for result in results]
    except (tf.errors.OpError, TypeError, ValueError):
        return None  # what is wrong is told when the model is built, or runs


def _attribute(value: Any) -> Any:
    """An attribute as eager execution takes it."""
    import tensorflow as tf

    if isinstance(value, tf.DType):
        return value.as_datatype_enum
    if isinstance(value, list):
        return [_attribute(v) for v in value]
    if type(value).__name__ == "TensorShapeProto":
        return tf.TensorShape(value)
    return value
