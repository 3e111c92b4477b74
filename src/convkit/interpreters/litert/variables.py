"""Variables: what outlives a run. CALL_ONCE gives resource variables their first values; recurrent states start at zero."""

from __future__ import annotations

import math

import numpy as np
import torch

from convkit.interpreters.litert.interpreter import Interpreter, OperatorError
from convkit.interpreters.litert.model import Entry, Model, Operator, Tensor
from convkit.interpreters.litert.parameters import Constants
from convkit.interpreters.litert.values import state_name, torch_dtype

__all__ = ["initial_values"]

_LARGEST_STATE = 1 << 29
"""Elements; what claims more is a damaged file."""


def initial_values(model: Model, entry: Entry, arrays: dict[Tensor, np.ndarray]) -> dict[str, torch.Tensor]:
    """The values with which the variables of an entry start, by name.

    Raises:
        OperatorError: The initialisation cannot be computed.
    """
    variables: dict[str, torch.Tensor] = {}
    interpreter = Interpreter(model, Constants(arrays), variables)
    called = model.called(entry)
    for operator in (o for graph in called for o in graph.operators if o.name == "CALL_ONCE"):
        interpreter.run(model.subgraphs[operator.options.get("init_subgraph_index", 0)], [])
    for operator in (o for graph in called for o in graph.operators):
        for tensor in (t for t in operator.inputs if t is not None and t.is_variable):
            variables.setdefault(state_name(tensor), _zeros(operator, tensor))
    return variables


def _zeros(operator: Operator, tensor: Tensor) -> torch.Tensor:
    if not tensor.is_static:
        raise OperatorError(operator, f"the size of its state {tensor.name or tensor.index} is dynamic")
    if math.prod(tensor.shape) > _LARGEST_STATE:
        raise OperatorError(operator, f"its state of the shape {list(tensor.shape)} exceeds all memory")
    return torch.zeros(tensor.shape, dtype=torch_dtype(tensor.dtype))
