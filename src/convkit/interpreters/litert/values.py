"""What a tensor of the file stands for while a subgraph is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from convkit.interpreters.host import Host
from convkit.interpreters.litert.model import Operator, Tensor
from convkit.interpreters.pytorch.backend import TorchBackend

__all__ = ["Data", "Order", "Variable", "as_data", "inverse", "permuted_sizes", "state_name", "torch_dtype", "variable_name"]

Order = tuple[int, ...] | None
"""The axis of the file that stands at each position; None for the file's own order."""


class Data:
    """A tensor that is held in one or more orders of its axes, so that a convolution after a convolution permutes nothing."""

    def __init__(self, tensor: torch.Tensor, order: Order = None) -> None:
        self._held: dict[Order, torch.Tensor] = {order: tensor}

    @property
    def orders(self) -> list[Order]:
        """The orders that it is held in, the one that it was computed in first."""
        return list(self._held)

    @property
    def shape(self) -> list[Any]:
        """Its sizes in the file's order; ints, or torch's symbolic ints."""
        order, tensor = next(iter(self._held.items()))
        return permuted_sizes(list(tensor.shape), None if order is None else inverse(order))

    def tensor(self, order: Order = None) -> torch.Tensor:
        """It in an order of its axes."""
        if order not in self._held:
            made, tensor = next(iter(self._held.items()))
            in_file_order = tensor if made is None else tensor.permute(inverse(made))
            self._held.setdefault(None, in_file_order)
            if order is not None:
                # A tensor of a lower rank broadcasts: axes of size 1 come in front of its own.
                lacking = len(order) - in_file_order.dim()
                aligned = in_file_order.reshape([1] * lacking + list(in_file_order.shape)) if lacking else in_file_order
                self._held[order] = aligned.permute(order)
        return self._held[order]


class Variable:
    """The handle of a resource variable, as VAR_HANDLE gives it."""

    def __init__(self, name: str) -> None:
        self.name = name


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes one."""
    return tuple(sorted(range(len(order)), key=lambda position: order[position]))


def permuted_sizes(sizes: list[Any], order: Order) -> list[Any]:
    """Sizes in an order of axes."""
    return sizes if order is None else [sizes[axis] for axis in order]


def as_data(host: Host) -> Data:
    """A tensor of what is known while tracing."""
    return Data(TorchBackend({}).tensor(host))


def torch_dtype(name: str) -> torch.dtype:
    """torch's dtype for one of the file's; elements below a byte are held as bytes.

    Raises:
        KeyError: torch has none.
    """
    small = {"int4": "int8", "int2": "int8", "uint4": "uint8"}
    dtype = getattr(torch, small.get(name, name), None)
    if not isinstance(dtype, torch.dtype):
        raise KeyError(name)
    return dtype


def variable_name(operator: Operator) -> str:
    """What a VAR_HANDLE refers to: variables are shared by name among subgraphs."""
    return f"{operator.options.get('container', '')}/{operator.options.get('shared_name', '')}"


def state_name(tensor: Tensor) -> str:
    """A recurrent state, which belongs to one tensor."""
    return f"state {tensor.index} {tensor.name}"
