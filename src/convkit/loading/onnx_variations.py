"""The same ONNX model with weights moved by a last bit: other roundings, and nothing else. Worker side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convkit import readers
from convkit.errors import ConversionError

if TYPE_CHECKING:
    import onnx

__all__ = ["moved_weights"]

_LARGEST = 256 << 20
"""Bytes of a model, up to which it is held in memory three times for this."""
_MASKING = 1e30
"""From this magnitude on a constant is no weight but masks: moved, the largest number would be infinite, and infinity none."""
_SIGNS = 65537
"""A prime, so that no axis of a tensor has the period of the pattern."""
_EPSILON = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


def moved_weights(path: Path) -> bytes:
    """The serialized model with its weights (floating, of two and more dimensions) moved by half a last bit, up or down.

    Vectors stay as they are: sizes, scales of a Resize and thresholds are among them, which choose what is computed.

    Raises:
        ConversionError: It is too large.
    """
    import onnx
    from onnx import numpy_helper

    if readers.inspect(path).size > _LARGEST:
        raise ConversionError(f"{path} is too large to be run with other weights", stage="validate")
    model = onnx.load(path)
    # Drawn once and repeated: to draw a sign for every weight would take longer than to run the model.
    signs = np.where(np.random.default_rng(1).random(_SIGNS) < 0.5, -1, 1)
    for tensor in _weights(model.graph):
        array = numpy_helper.to_array(tensor)
        if array.ndim >= 2 and array.dtype.name in _EPSILON:
            steps = np.resize((signs * _EPSILON[array.dtype.name]).astype(array.dtype), array.shape)
            with np.errstate(all="ignore"):
                moved = np.where(np.abs(array) < _MASKING, array + steps * array, array)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return bytes(model.SerializeToString())


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and tensors of nodes (of Constant), in a graph and in those inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _weights(inner)
