"""Tensors whose axes are not where XNNPACK's graph has them.

XNNPACK computes images as NHWC, with transpositions around every stretch of the graph. torch wants NCHW: a value remembers in
which order its axes are to be taken, transpositions only change that order, and none is left where they cancel out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["NHWC", "Laid", "aligned"]

NHWC = (0, 2, 3, 1)
"""The axes of an NCHW tensor in XNNPACK's order."""


@dataclass(frozen=True)
class Laid:
    """A value: `tensor.permute(order)`.

    Attributes:
        tensor: Its numbers.
        order: Axis `i` of the value is the tensor's axis `order[i]`.
    """

    tensor: torch.Tensor
    order: tuple[int, ...]

    @classmethod
    def plain(cls, tensor: torch.Tensor) -> Laid:
        return cls(tensor, tuple(range(tensor.ndim)))

    def permuted(self, axes: Sequence[int]) -> torch.Tensor:
        """The value's axes in that order, as a tensor."""
        order = [self.order[a] for a in axes]
        return self.tensor if order == list(range(len(order))) else self.tensor.permute(order)

    def transposed(self, axes: Sequence[int]) -> Laid:
        return Laid(self.tensor, tuple(self.order[a] for a in axes))

    @property
    def value(self) -> torch.Tensor:
        return self.permuted(range(len(self.order)))

    @property
    def channels_first(self) -> torch.Tensor:
        """An NHWC value as NCHW."""
        return self.permuted((0, 3, 1, 2))

    def with_tensor(self, tensor: torch.Tensor) -> Laid:
        """Another tensor of the same axes."""
        return Laid(tensor, self.order)


def aligned(values: Sequence[Laid]) -> tuple[list[torch.Tensor], tuple[int, ...]]:
    """Tensors that broadcast against each other as the values do, and the order of axes that they share."""
    rank = max(len(v.order) for v in values)
    order = next(v.order for v in values if len(v.order) == rank)
    inverse = [order.index(axis) for axis in range(rank)]
    return [v.tensor if v.order == order else _widened(v, rank).permuted(inverse) for v in values], order


def _widened(laid: Laid, rank: int) -> Laid:
    missing = rank - len(laid.order)
    if missing == 0:
        return laid
    return Laid(laid.tensor[(None,) * missing], (*range(missing), *(a + missing for a in laid.order)))
