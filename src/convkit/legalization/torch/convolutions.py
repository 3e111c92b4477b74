"""Convolutions of one image without a batch axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("conv1d.default", "conv1d.padding", reason="a batch of one")
def conv1d(x: torch.Tensor, weight: torch.Tensor, *options: Any, **named: Any) -> Any:
    """(channels, width)."""
    return _in_a_batch("conv1d", x, weight, options, named)


@decomposes("conv2d.default", "conv2d.padding", reason="a batch of one")
def conv2d(x: torch.Tensor, weight: torch.Tensor, *options: Any, **named: Any) -> Any:
    """(channels, height, width)."""
    return _in_a_batch("conv2d", x, weight, options, named)


@decomposes("conv_transpose1d.default", reason="a batch of one")
def conv_transpose1d(x: torch.Tensor, weight: torch.Tensor, *options: Any, **named: Any) -> Any:
    """(channels, width)."""
    return _in_a_batch("conv_transpose1d", x, weight, options, named)


@decomposes("conv_transpose2d.input", reason="a batch of one")
def conv_transpose2d(x: torch.Tensor, weight: torch.Tensor, *options: Any, **named: Any) -> Any:
    """(channels, height, width)."""
    return _in_a_batch("conv_transpose2d", x, weight, options, named)


def _in_a_batch(name: str, x: torch.Tensor, weight: torch.Tensor, options: Any, named: Any) -> Any:
    import torch

    if x.dim() == weight.dim():
        return NotImplemented
    return getattr(torch.nn.functional, name)(x.unsqueeze(0), weight, *options, **named).squeeze(0)
