"""Scaled dot-product attention of tensors that are not (batch, heads, length, features)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("scaled_dot_product_attention.default", reason="of four axes")
def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Any:
    """Axes of size 1 make the four, or the axes before the last three become one."""
    import torch

    rank = query.dim()
    if rank == 4 or not 2 <= rank <= 5 or any(t.dim() != rank for t in (key, value)) or any(options.values()):
        return NotImplemented
    if attn_mask is not None and attn_mask.dim() > min(rank, 4):
        return NotImplemented

    def of_four(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, rank - 4) if rank > 4 else x.reshape(*[1] * (4 - rank), *x.shape)

    attend = torch.nn.functional.scaled_dot_product_attention
    found = attend(of_four(query), of_four(key), of_four(value), attn_mask, dropout_p, is_causal)
    return found.reshape(*query.shape[:-1], value.shape[-1])
