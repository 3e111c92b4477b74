"""Subgraphs as functions of tensors, as torch's control flow wants them: what they take and nothing else.

The constants of a subgraph, and those that its operators make, become operands too, as torch cannot decompose a body that holds
constants. The subgraphs are run once, untraced, to learn which they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._guards import detect_fake_mode
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from convkit.interpreters.litert.interpreter import Interpreter, Value
from convkit.interpreters.litert.model import Subgraph, Tensor
from convkit.interpreters.litert.parameters import Constants, Form, Request
from convkit.interpreters.litert.values import Order
from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.backend import as_tensor, constants_made_by, new_tensor

__all__ = ["Body", "bodies"]


@dataclass(frozen=True)
class Body:
    """A subgraph as a function of its inputs and of the operands that come with it.

    Attributes:
        graph: The subgraph.
        interpreter: Of the subgraph around it.
        declared: What its outputs are outside of it.
        held: Which constants the operands are, in order.
        made: Where the constants that its operators make start among the operands, and how many they are.
    """

    graph: Subgraph
    interpreter: Interpreter
    declared: Sequence[Tensor]
    held: Sequence[Request]
    made: tuple[int, int]

    def __call__(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs, operands = given[: len(self.graph.inputs)], given[len(self.graph.inputs) :]
        start, count = self.made
        made = iter(operands[start : start + count])
        constants = Constants(self.interpreter.constants.arrays, dict(zip(self.held, operands, strict=False)))
        with constants_made_by(lambda _: next(made)):
            return _run(self, constants, inputs)


def bodies(
    interpreter: Interpreter, graphs: Sequence[tuple[Subgraph, Sequence[Tensor]]], inputs: Sequence[Value]
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[Body]]:
    """Subgraphs that take the same inputs as functions.

    Args:
        interpreter: Of the subgraph around them.
        graphs: Each with what its outputs are outside of it.
        inputs: What they take, at first.

    Returns:
        The inputs as tensors in the file's dtypes, the operands that all of the functions take behind them, and the functions.
    """
    carried = [_owned(interpreter.to_edge(v, t)) for v, t in zip(inputs, graphs[0][0].inputs, strict=True)]
    recorder = _Asked(interpreter.constants)
    made: list[list[np.ndarray]] = []
    for graph, declared in graphs:
        arrays: list[np.ndarray] = []
        made.append(arrays)
        _dry_run(Body(graph, interpreter, declared, (), (0, 0)), recorder, carried, arrays)
    held = list(recorder.asked)
    operands = [recorder.asked[r] for r in held]
    functions = []
    for (graph, declared), arrays in zip(graphs, made, strict=True):
        functions.append(Body(graph, interpreter, declared, held, (len(operands), len(arrays))))
        operands += [as_tensor(array) for array in arrays]
    return carried, operands, functions


class _Asked(Constants):
    """Remembers which of the outer constants have been asked for."""

    def __init__(self, outer: Constants) -> None:
        super().__init__(outer.arrays)
        self._outer = outer
        self.asked: dict[Request, torch.Tensor] = {}

    def get(self, tensor: Tensor, form: Form, order: Order) -> torch.Tensor:
        found = self._outer.get(tensor, form, order)
        self.asked[Request(tensor, form if tensor.quantization is not None else Form.LEVELS, order)] = found
        return found


def _dry_run(body: Body, constants: Constants, inputs: Sequence[torch.Tensor], arrays: list[np.ndarray]) -> None:
    def make(array: np.ndarray) -> torch.Tensor:
        arrays.append(array)
        return new_tensor(array)

    fake = detect_fake_mode(list(inputs))
    symbols = fake.shape_env.ignore_fresh_unbacked_symbols() if fake is not None and fake.shape_env else nullcontext()
    with constants_made_by(make), symbols, disable_proxy_modes_tracing():
        _run(body, constants, inputs)


def _run(body: Body, constants: Constants, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    outer = body.interpreter
    inner = Interpreter(outer.model, constants, dict(outer.variables), dequantize=outer.dequantize)
    values = [inner.from_edge(x, t) for x, t in zip(inputs, body.graph.inputs, strict=True)]
    results = inner.run(body.graph, values)
    if any(inner.variables[name] is not value for name, value in outer.variables.items()):
        raise UnsupportedError("a variable is replaced inside of control flow that the data decide")
    return tuple(_owned(inner.to_edge(v, t)) for v, t in zip(results, body.declared, strict=True))


def _owned(tensor: torch.Tensor) -> Any:
    """A tensor that shares no memory with another one; torch's control flow insists on it."""
    return tensor.clone(memory_format=torch.contiguous_format)
