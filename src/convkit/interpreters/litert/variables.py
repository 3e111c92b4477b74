"""Variables: what outlives a run. CALL_ONCE gives resource variables their first values; recurrent states start at zero."""

from __future__ import annotations

import numpy as np
import torch

from convkit.interpreters.litert.interpreter import Interpreter
from convkit.interpreters.litert.model import Entry, Model, Tensor
from convkit.interpreters.litert.parameters import Constants
from convkit.interpreters.litert.values import state_name, torch_dtype

__all__ = ["initial_values"]


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
    for tensor in (t for graph in called for o in graph.operators for t in o.inputs if t is not None and t.is_variable):
        variables.setdefault(state_name(tensor), torch.zeros(tensor.shape, dtype=torch_dtype(tensor.dtype)))
    return variables
