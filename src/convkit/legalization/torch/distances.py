"""Distances between rows, and norms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import UNROLLED, decomposes

if TYPE_CHECKING:
    import torch


@decomposes("cdist.default", "_cdist_forward.default", reason="the norms of all differences")
def cdist(x1: torch.Tensor, x2: torch.Tensor, p: float = 2.0, compute_mode: int | None = None) -> torch.Tensor:
    """The p-norm distance between each row of `x1` (…, P, M) and each of `x2` (…, R, M): (…, P, R)."""
    return _norm((x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs(), p)


def _norm(size: torch.Tensor, p: float) -> torch.Tensor:
    """The p-norm of magnitudes along the last axis."""
    import torch

    if p == 0:
        return (size != 0).to(size.dtype).sum(-1)
    if p == 1:
        return size.sum(-1)
    if p == 2:
        return size.square().sum(-1).sqrt()
    if math.isinf(p):
        return size.amax(-1)
    return torch.pow(torch.pow(size, p).sum(-1), 1 / p)


@decomposes("pdist.default", "_pdist_forward.default", reason="the norms of the differences of all pairs")
def pdist(x: torch.Tensor, p: float = 2.0) -> Any:
    """The p-norm distance between the rows of each pair."""
    import torch

    rows = x.shape[0]
    if not isinstance(rows, int) or rows > UNROLLED:
        return NotImplemented
    if rows < 2:
        return x.new_zeros(0)
    differences = [x[i + 1 :] - x[i : i + 1] for i in range(rows - 1)]
    return _norm(torch.cat(differences).abs(), p)
