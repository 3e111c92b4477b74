"""Computes beforehand what depends on constants alone: weights that are dequantized, transposed or unpacked before use."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from convkit.interpreters.litert.interpreter import Interpreter, OperatorError
from convkit.interpreters.litert.model import Model, Operator, Subgraph, Tensor
from convkit.interpreters.litert.parameters import Constants
from convkit.interpreters.litert.table import operators

__all__ = ["folded"]

_LARGEST = 1 << 20
"""Elements up to which a result may be larger than what it is made of."""


def folded(model: Model, subgraphs: Sequence[Subgraph]) -> dict[Tensor, np.ndarray]:
    """The values of the tensors of some subgraphs that depend on constants alone, in the file's dtypes.

    An operator that fails on its constants is left to the trace, which says so.
    """
    constants = Constants({})
    interpreter = Interpreter(model, constants, {})
    for graph in subgraphs:
        for operator in graph.operators:
            if not _foldable(operator, constants):
                continue
            try:
                results = interpreter.compute(operator, list(operator.inputs))
            except OperatorError:
                continue
            for tensor, value in zip(operator.outputs, results, strict=False):
                array = interpreter.to_edge(value, tensor).numpy()
                constants.arrays[tensor] = array
            constants.made.clear()
    return constants.arrays


def _foldable(operator: Operator, constants: Constants) -> bool:
    entry = operators().find(operator.name)
    if entry is None or not entry.foldable or not operator.inputs:
        return False
    arrays = [constants.array(t) for t in operator.inputs if t is not None]
    given = sum(a.size for a in arrays if a is not None)
    if any(a is None for a in arrays) or any(t.dtype in ("string", "resource", "variant", "bfloat16") for t in operator.outputs):
        return False
    return all(t.is_static and math.prod(t.shape) <= max(_LARGEST, 4 * given) for t in operator.outputs)
