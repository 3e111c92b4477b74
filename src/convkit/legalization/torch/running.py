"""Running reductions, written out step by step along axes that are short enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.arithmetic import logaddexp
from convkit.legalization.torch.decompositions import UNROLLED, decomposes

if TYPE_CHECKING:
    import torch


@decomposes("cumprod.default", reason="products step by step: by logarithms it would lose signs and zeros")
def cumprod(x: torch.Tensor, dim: int, *, dtype: Any = None) -> Any:
    """The running product along an axis of at most 64 elements."""
    import torch

    if dtype is not None:
        x = x.to(dtype)
    elif not x.is_floating_point():
        x = x.to(torch.int64)
    return _running(x, dim, lambda product, row: product * row)


@decomposes("logcumsumexp.default", reason="logarithms of sums step by step")
def logcumsumexp(x: torch.Tensor, dim: int) -> Any:
    """The running ln Σ eˣ along an axis of at most 64 elements."""
    return _running(x, dim, logaddexp)


def _running(x: torch.Tensor, dim: int, combine: Callable[[Any, Any], Any]) -> Any:
    """All partial results of combining the rows along an axis; NotImplemented where it is too long, or of unknown length."""
    import torch

    if x.dim() == 0:
        return x.clone()
    if not isinstance(x.shape[dim], int) or x.shape[dim] > UNROLLED:
        return NotImplemented
    steps: list[torch.Tensor] = []
    for row in x.split(1, dim):
        steps.append(combine(steps[-1], row) if steps else row)
    return torch.cat(steps, dim) if steps else x.clone()
