"""The bodies of If, Loop and Scan as functions of their operands alone, as torch's higher-order operators want them.

A body refers to values around it. Those that torch tracks (tensors, parameters, symbolic sizes) become operands of the operator
and are given back to the body under the names that it knows them by; numbers that are known while tracing stay known. Tensors
that the body makes of such numbers become operands too, as torch cannot decompose a body that holds constants: the body is run
once to learn which they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch._guards import detect_fake_mode
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.multiprocessing.reductions import StorageWeakRef

from convkit.interpreters.host import Host
from convkit.interpreters.interpreter import Interpreter, Subgraph
from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.backend import TorchBackend, as_tensor, constants_made_by, new_tensor

__all__ = ["Closed", "closed", "nodes_of", "owned"]

Closed = Callable[[Sequence[Any], Sequence[Any]], list[torch.Tensor]]
"""A body: takes its inputs and the operands."""


def closed(
    bodies: Sequence[Subgraph], inputs: Sequence[Any] = (), bound: Mapping[ir.Value, Any] | None = None
) -> tuple[list[Any], list[Closed]]:
    """The operands that bodies refer to between them, and each as a function of its inputs and those operands.

    Args:
        bodies: The bodies.
        inputs: What they take, as at their first call.
        bound: Inputs that have the same value at every call, whatever is given for them; they become operands too.
    """
    captured = {value: body.outer[value] for body in bodies for value in body.captures()}
    captured.update({value: _tracked(bodies[0], given) for value, given in (bound or {}).items()})
    backend = bodies[0].interpreter.backend
    assert isinstance(backend, TorchBackend)
    constants = backend.constants(dict.fromkeys(v for body in bodies for v in _used(body.graph)))
    operands = [leaf for value in captured.values() for leaf in _leaves(value)]

    operands = [*operands, *constants.values()]

    def function(body: Subgraph) -> Closed:
        def call(inputs: Sequence[Any], given: Sequence[Any]) -> list[torch.Tensor]:
            leaves = iter(given[: len(operands)])
            outer = {value: _rebuilt(around, leaves) for value, around in captured.items()}
            own = TorchBackend(dict(zip(constants, leaves, strict=True)))
            interpreter = Interpreter(body.interpreter.opsets, own)
            inner = replace(body.with_outer(outer), interpreter=interpreter)
            arguments = [outer[v] if bound and v in bound else given for v, given in zip(body.graph.inputs, inputs, strict=True)]
            return [_result(interpreter.tensor(r)) for r in inner(*arguments)]

        return call

    functions: list[Closed] = []
    made: list[torch.Tensor] = []
    for body in bodies:
        call = function(body)
        arrays = _constants_of(call, inputs, operands)
        functions.append(_with_constants(call, len(operands) + len(made), len(arrays)))
        made += [as_tensor(array) for array in arrays]
    return [*operands, *made], functions


def _constants_of(call: Closed, inputs: Sequence[Any], operands: Sequence[Any]) -> list[np.ndarray]:
    """The constants that a body makes, in order; what it computes on the way is not traced."""
    arrays: list[np.ndarray] = []

    def make(array: np.ndarray) -> torch.Tensor:
        arrays.append(array)
        return new_tensor(array)

    fake = detect_fake_mode([v for v in (*inputs, *operands) if isinstance(v, torch.Tensor)])
    symbols = fake.shape_env.ignore_fresh_unbacked_symbols() if fake is not None and fake.shape_env else nullcontext()
    with constants_made_by(make), symbols, disable_proxy_modes_tracing():
        call(inputs, operands)
    return arrays


def _with_constants(call: Closed, start: int, count: int) -> Closed:
    """A body that takes the constants that it makes from its operands."""

    def replay(inputs: Sequence[Any], given: Sequence[Any]) -> list[torch.Tensor]:
        constants = iter(given[start : start + count])
        with constants_made_by(lambda _: next(constants)):
            return call(inputs, given)

    return replay


def _used(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield from (v for v in node.inputs if v is not None)
    for inner in [graph, *graph.subgraphs()]:
        yield from inner.outputs


def _tracked(body: Subgraph, value: Any) -> Any:
    """A value with a constant of the graph as a number where it is one, else as its tensor."""
    if not isinstance(value, ir.Value):
        return value
    assert value.const_value is not None
    if value.const_value.size > 1:
        return body.interpreter.tensor(value)
    array = value.const_value.numpy()
    return Host(array, array.dtype)


def _leaves(value: Any) -> list[Any]:
    """What torch tracks in a value."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Host):
        return [v for v in value.array.flat if isinstance(v, torch.SymInt)] if value.is_symbolic else []
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else []


def _rebuilt(value: Any, leaves: Iterator[Any]) -> Any:
    """A value with its leaves replaced, in the order of `_leaves`."""
    if isinstance(value, torch.Tensor):
        return next(leaves)
    if isinstance(value, Host) and value.is_symbolic:
        array = value.array.copy()
        for index, element in enumerate(value.array.flat):
            array.flat[index] = next(leaves) if isinstance(element, torch.SymInt) else element
        return Host(array, value.dtype)
    return [_rebuilt(item, leaves) for item in value] if isinstance(value, list) else value


def _result(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise UnsupportedError("a body that is not known while tracing returns a sequence or an optional")
    return value


def owned(results: Sequence[torch.Tensor], given: Sequence[Any]) -> list[torch.Tensor]:
    """Results that share no memory with each other or with what was given; torch's higher-order operators insist on it."""
    taken = {StorageWeakRef(v.untyped_storage()) for v in given if isinstance(v, torch.Tensor)}
    found = []
    for result in results:
        storage = StorageWeakRef(result.untyped_storage())
        # A copy in memory order: the operators compare strides too.
        found.append(result.clone(memory_format=torch.contiguous_format) if storage in taken else result.contiguous())
        taken.add(storage)
    return found


def nodes_of(graph: ir.Graph) -> int:
    """How many nodes a body has, nested ones included."""
    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(graph))
