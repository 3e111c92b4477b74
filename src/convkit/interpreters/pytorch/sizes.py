"""Sizes that an operator takes as an input: known while tracing, declared by the graph, or computed from data."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import onnx_ir as ir
import torch
from torch._guards import detect_fake_mode

from convkit.interpreters.host import DataDependentError, Host

__all__ = ["declared_shape", "known_sizes", "no_layout_guards", "positions", "product", "sizes", "unbacked"]


_KEEPS_SHAPE = frozenset(("Abs", "Cast", "CastLike", "Exp", "Identity", "Log", "Neg", "Sqrt"))


def known_sizes(value: Any) -> list[Any] | None:
    """The numbers and symbolic ints of a value as the interpreter has it; None for a computed tensor."""
    if isinstance(value, Host):
        return value.sizes()
    if isinstance(value, ir.Value) and value.const_value is not None:
        return list(value.const_value.numpy().reshape(-1).tolist())
    return None


def declared_shape(node: ir.Node) -> list[int] | None:
    """The shape that the graph promises for the node's output, if it is static.

    Where shape inference knows nothing of it, but element by element it becomes a value with a shape, that is its shape.
    """
    value = node.outputs[0]
    while not _is_static(value) and len(value.uses()) == 1 and _keeps_shape(*value.uses()[0]):
        value = value.uses()[0].node.outputs[0]
    return [int(size) for size in value.shape.numpy()] if _is_static(value) else None


def _keeps_shape(node: ir.Node, position: int) -> bool:
    return position == 0 and node.op_type in _KEEPS_SHAPE


def _is_static(value: Any) -> bool:
    return value.shape is not None and bool(value.shape.is_static())


def sizes(value: Any, node: ir.Node) -> list[Any]:
    """The output's sizes from an input that states them; where that is computed from data, from the graph's promise.

    Raises:
        DataDependentError: The input is computed, and how many sizes it holds is dynamic.
    """
    found = known_sizes(value)
    return found if found is not None else declared_shape(node) or unbacked(value)


def unbacked(tensor: Any, smallest: int | None = 0) -> list[Any]:
    """The elements of a tensor as symbolic ints that only the data tell.

    Args:
        tensor: Of integers.
        smallest: What none is below; None for sizes that count from behind.

    Raises:
        DataDependentError: How many there are is dynamic.
    """
    if any(not isinstance(size, int) for size in tensor.shape):
        raise DataDependentError("the number of its dimensions is computed")
    numbers = [element.item() for element in tensor.reshape(-1).unbind()]
    if smallest is not None:
        for number in numbers:
            torch._check(number >= smallest)
    return numbers


def positions(tensor: Any) -> Any:
    """The index of every element that is not zero, as (found, axes).

    That no more can be found than there are elements is said to the trace: a compiler that plans memory needs an upper bound.
    """
    found = torch.nonzero(tensor)
    count = product(list(tensor.shape))
    if isinstance(count, int):
        torch._check(found.shape[0] <= count)
    return found


def no_layout_guards(tensor: Any) -> AbstractContextManager[Any]:
    """Within it, torch records nothing of the sizes that it looks at.

    For an operator whose result's sizes do not turn on any decision: torch chooses a memory format and a kernel by whether sizes
    are 1, as if the traced program had to choose the same.
    """
    mode = detect_fake_mode([tensor])
    if mode is None or mode.shape_env is None or all(isinstance(size, int) for size in tensor.shape):
        return nullcontext()
    quiet: AbstractContextManager[Any] = mode.shape_env.suppress_guards()
    return quiet


def product(factors: list[Any]) -> Any:
    """Of sizes, which may be symbolic."""
    total: Any = 1
    for factor in factors:
        total = total * factor
    return total
