"""Boxes as detectors have them: the last axis holds two opposite corners."""

from __future__ import annotations

import torch

__all__ = ["corners", "intersection_over_union"]


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (…, 4) with the smaller coordinates first; which axis is which does not matter to an overlap."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def intersection_over_union(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of boxes (…, 4) with their smaller corners first, broadcast; 0 where one has no area."""
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (one, other)]
    has_area = (areas[0] > 0) & (areas[1] > 0)
    return torch.where(has_area, intersection / torch.where(has_area, areas[0] + areas[1] - intersection, 1.0), 0.0)
