"""An ONNX model as a Python function of TensorFlow tensors, to be traced by `tf.function`. Layouts stay ONNX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from convkit.interpreters.interpreter import Interpreter
from convkit.interpreters.tensorflow.backend import TensorFlowBackend
from convkit.interpreters.tensorflow.transposed import plain

__all__ = ["OnnxFunction"]


class OnnxFunction:
    """Computes an ONNX graph.

    Args:
        model: A prepared model (see `convkit.legalization.onnx.preparation`).
        backend: Makes the backend of one trace.
    """

    def __init__(self, model: ir.Model, backend: Callable[[], TensorFlowBackend] = TensorFlowBackend) -> None:
        self._graph = model.graph
        self._opsets = dict(model.opset_imports)
        self._backend = backend

    def __call__(self, *inputs: Any) -> list[Any]:
        """One tensor per graph input, in order; returns one per graph output."""
        interpreter = Interpreter(self._opsets, self._backend())
        results = [plain(interpreter.tensor(r)) for r in interpreter.run(self._graph, inputs)]
        return [
            r if o.dtype is None else interpreter.backend.cast(r, o.dtype)
            for o, r in zip(self._graph.outputs, results, strict=True)
        ]
