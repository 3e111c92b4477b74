"""Weights as variables, for models whose weights do not fit into a graph.

A GraphDef is one protocol buffer, and those end at 2 GiB (https://protobuf.dev/programming-guides/proto-limits/); a SavedModel
keeps its variables in files of their own. Smaller models have constants, because TensorFlow folds what is computed from them.
"""

from __future__ import annotations

import onnx_ir as ir
import tensorflow as tf

from convkit.interpreters.tensorflow.backend import TensorFlowBackend

__all__ = ["VariableBackend", "exceeds_a_graph"]

_GRAPH_LIMIT = 384 << 20
"""Bytes of weights up to which they are constants: TensorFlow copies graphs, and adds to them."""
_SMALLEST = 1 << 16
"""Bytes from which on an array is a weight, not a parameter that must be known while tracing."""


def exceeds_a_graph(model: ir.Model) -> bool:
    """Whether the initializers are too large to be a graph's constants."""
    total: int = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    return total > _GRAPH_LIMIT


class VariableBackend(TensorFlowBackend):
    """The backend whose large constants are variables.

    Args:
        variables: Those made so far; shared by all traces of one model.
    """

    def __init__(self, variables: dict[ir.Value, tf.Variable]) -> None:
        super().__init__()
        self._variables = variables

    def constant(self, value: ir.Value) -> tf.Tensor:
        if value.const_value is None or value.const_value.nbytes < _SMALLEST:
            return super().constant(value)
        if value not in self._variables:
            with tf.init_scope():
                self._variables[value] = tf.Variable(value.const_value.numpy(), trainable=False)
        return self._variables[value].read_value()
