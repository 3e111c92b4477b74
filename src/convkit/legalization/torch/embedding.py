"""Sums, means and maxima over bags of embeddings (aten/src/ATen/native/EmbeddingBag.cpp)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

_SUM, _MEAN, _MAX = 0, 1, 2


@decomposes("_embedding_bag_forward_only.default", "_embedding_bag.default", reason="reduces every bag under a mask")
def embedding_bag(
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:
    """The bags (bags, features); the bag of each index; how many are in each; the index of each maximum."""
    import torch

    count = indices.shape[0]
    positions = torch.arange(count, device=indices.device)
    bag_of = (offsets.unsqueeze(-1) <= positions).to(torch.int64).sum(0) - 1
    bags = offsets.shape[0] - 1 if include_last_offset else offsets.shape[0]
    is_member = bag_of == torch.arange(bags, device=indices.device).unsqueeze(-1)
    if padding_idx >= 0:
        is_member = is_member & (indices != padding_idx)
    rows = weight.index_select(0, indices.to(torch.int64))
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    mask = is_member.unsqueeze(-1)
    size = is_member.to(torch.int64).sum(-1)
    nothing = offsets.new_zeros(offsets.shape)
    if mode == _MAX:
        chosen = torch.where(mask, rows, torch.full_like(rows, -math.inf))
        value, which = chosen.max(1)
        is_empty = (size == 0).unsqueeze(-1)
        largest = torch.where(is_empty, 0, indices.index_select(0, which.reshape(-1)).reshape(which.shape))
        return torch.where(is_empty, torch.zeros_like(value), value), bag_of, size, largest
    total = torch.where(mask, rows, torch.zeros_like(rows)).sum(1)
    if mode == _MEAN:
        return total / size.clamp_min(1).unsqueeze(-1).to(total.dtype), bag_of, size, size
    # Torch finds the bags of plain sums in one go, and says nothing of their elements.
    return total, bag_of if padding_idx >= 0 else offsets.new_zeros(0), nothing, nothing
