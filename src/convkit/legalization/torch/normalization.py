"""Batch norms with the statistics of the batch (aten/src/ATen/native/Normalization.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


def _along_channels(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return values.reshape([1, -1] + [1] * (x.dim() - 2))


def _normalized(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    result = (x - _along_channels(x, mean)) * _along_channels(x, inverse)
    result = result if weight is None else result * _along_channels(x, weight)
    return result if bias is None else result + _along_channels(x, bias)


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance by channel."""
    axes = [0, *range(2, x.dim())]
    mean = x.mean(axes)
    return mean, (x - _along_channels(x, mean)).square().mean(axes)


@decomposes("_native_batch_norm_legit.no_stats", reason="mean and variance of the batch")
def batch_norm_without_statistics(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, training: bool, momentum: float, eps: float
) -> Any:
    """The normalised batch, its mean and its inverse deviation."""
    mean, variance = _statistics(x)
    inverse = (variance + eps).rsqrt()
    return _normalized(x, weight, bias, mean, inverse), mean, inverse


@decomposes("_native_batch_norm_legit_functional.default", reason="mean and variance of the batch")
def batch_norm(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, running_mean: torch.Tensor,
    running_var: torch.Tensor, training: bool, momentum: float, eps: float,
) -> Any:  # fmt: skip
    """The normalised batch, its mean and inverse deviation (empty outside training), and the new running statistics."""
    if not training:
        nothing = x.new_zeros(0)
        return (
            _normalized(x, weight, bias, running_mean, (running_var + eps).rsqrt()),
            nothing,
            nothing,
            running_mean,
            running_var,
        )
    mean, variance = _statistics(x)
    inverse = (variance + eps).rsqrt()
    count = x.numel() / x.shape[1]
    unbiased = variance * (count / (count - 1))
    new_mean, new_var = running_mean.lerp(mean, momentum), running_var.lerp(unbiased, momentum)
    return _normalized(x, weight, bias, mean, inverse), mean, inverse, new_mean, new_var


@decomposes("_batch_norm_with_update_functional.default", reason="mean and variance of the batch")
def batch_norm_with_update(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, running_mean: torch.Tensor,
    running_var: torch.Tensor, momentum: float, eps: float,
) -> Any:  # fmt: skip
    """As in training, with an empty reserve after the inverse deviation."""
    import torch

    found = batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    return (*found[:3], torch.zeros(0, dtype=torch.uint8), *found[3:])
