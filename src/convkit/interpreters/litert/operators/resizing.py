"""Resizing of images."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert.table import Arithmetic, ChannelsFirst, operator
from convkit.interpreters.operators import Sizes


@operator("RESIZE_BILINEAR")
def resize_bilinear(x: ChannelsFirst, size: Sizes, *, align_corners=False, half_pixel_centers=False) -> ChannelsFirst:
    if align_corners or half_pixel_centers:
        return functional.interpolate(x, size=list(size), mode="bilinear", align_corners=align_corners)
    for axis, after in zip((2, 3), size, strict=True):
        x = _asymmetric(x, axis, after)
    return x


def _asymmetric(x, axis, after):
    """Linear interpolation at `position * before / after`, the coordinates of TensorFlow 1."""
    before = x.shape[axis]
    if isinstance(before, int) and isinstance(after, int) and before == after:
        return x
    places = torch.arange(after, dtype=torch.float32) * (before / after)
    low = torch.floor(places)
    weight = (places - low).reshape([-1 if a == axis else 1 for a in range(x.dim())])
    first = torch.clamp(low.to(torch.int64), max=before - 1)
    second = torch.clamp(first + 1, max=before - 1)
    lower, upper = x.index_select(axis, first), x.index_select(axis, second)
    return lower + (upper - lower) * weight


@operator("RESIZE_NEAREST_NEIGHBOR", arithmetic=Arithmetic.LEVELS)
def resize_nearest(x: ChannelsFirst, size: Sizes, *, align_corners=False, half_pixel_centers=False) -> ChannelsFirst:
    for axis, after in zip((2, 3), size, strict=True):
        x = _nearest(x, axis, after, align_corners, half_pixel_centers)
    return x


def _nearest(x, axis, after, align_corners, half_pixel_centers):
    before = x.shape[axis]
    if isinstance(before, int) and isinstance(after, int):
        if before == after:
            return x
        if after % before == 0 and not align_corners:
            return x.repeat_interleave(after // before, axis)
    scale = (before - 1) / (after - 1) if align_corners and not (isinstance(after, int) and after == 1) else before / after
    places = torch.arange(after, dtype=torch.float32)
    places = (places + 0.5) * scale if half_pixel_centers else places * scale
    # The kernel rounds halves away from zero (`GetNearestNeighbor`); places are not negative.
    places = torch.floor(places + 0.5) if align_corners else torch.floor(places)
    return x.index_select(axis, torch.clamp(places.to(torch.int64), 0, before - 1))
