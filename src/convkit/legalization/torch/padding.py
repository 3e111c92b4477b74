"""Padding that takes away at one edge, or that repeats an edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("pad.default", reason="picks rows by number")
def pad(x: torch.Tensor, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Rows of each axis by number; negative amounts take rows away."""
    if mode == "constant":
        return NotImplemented
    for axis, (before, behind) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        if isinstance(before, int) and isinstance(behind, int) and (before or behind):
            x = _padded_axis(x, x.dim() - 1 - axis, before, behind, mode)
    return x


@decomposes("constant_pad_nd.default", reason="takes rows away, then pads")
def constant_pad(x: torch.Tensor, pads: Sequence[int], value: float = 0) -> Any:
    """Negative amounts take rows away, which kernels for padding refuse."""
    import torch

    if not has_negative(pads):
        return NotImplemented
    for axis, (before, behind) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        place = x.dim() - 1 - axis
        first, last = (-min(n, 0) if isinstance(n, int) else 0 for n in (before, behind))
        if first or last:
            x = x.narrow(place, first, x.shape[place] - first - last)
    return torch.constant_pad_nd(x, [max(n, 0) if isinstance(n, int) else n for n in pads], value)


def has_negative(pads: Sequence[int]) -> bool:
    """Whether a padding takes rows away."""
    return any(isinstance(n, int) and n < 0 for n in pads)


def _padded_axis(x: torch.Tensor, axis: int, before: int, behind: int, mode: str) -> torch.Tensor:
    import torch

    size = x.shape[axis]
    rows = torch.arange(-before, size + behind)
    if mode == "replicate":
        rows = rows.clamp(0, size - 1)
    elif mode == "circular":
        rows = torch.remainder(rows, size)
    else:  # reflect
        rows = (size - 1 - (rows.abs() - (size - 1)).abs()).abs()
    return x.index_select(axis, rows)
