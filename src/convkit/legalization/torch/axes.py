"""Operators that name axes, where they name none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


def _all_axes(x: torch.Tensor) -> list[int]:
    return list(range(x.dim()))


@decomposes("amax.default", reason="names all axes")
def amax(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """The largest element along axes; none stands for all of them."""
    return NotImplemented if dim or not x.dim() else x.amax(_all_axes(x), keepdim)


@decomposes("amin.default", reason="names all axes")
def amin(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Any:
    """The smallest element along axes; none stands for all of them."""
    return NotImplemented if dim or not x.dim() else x.amin(_all_axes(x), keepdim)


@decomposes("zero.default", "zero_.default", reason="zeros of the same shape")
def zero(x: torch.Tensor) -> torch.Tensor:
    """ExecuTorch's compiler finds no functional form of it."""
    import torch

    return torch.zeros_like(x)


@decomposes("squeeze.dims", reason="one axis at a time")
def squeeze(x: torch.Tensor, dim: Sequence[int]) -> torch.Tensor:
    """Leaves out axes of size 1; none of those that are not named."""
    for axis in sorted((d % max(1, x.dim()) for d in dim), reverse=True):
        x = x.squeeze(axis)
    return x.clone() if not dim else x
