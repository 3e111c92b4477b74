"""Interpolation at computed positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@decomposes("grid_sampler_3d.default", reason="gathers the eight neighbours of each position")
def grid_sampler_3d(
    x: torch.Tensor, grid: torch.Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> torch.Tensor:
    """Samples (N, C, D, H, W) at positions (N, d, h, w, 3) from -1 to 1, the last axis in the order x, y, z.

    Semantics: aten/src/ATen/native/GridSampler.h. Modes: 0 linear, 1 nearest; padding: 0 zeros, 1 border, 2 reflection.
    """
    import torch

    sizes = list(x.shape[2:])
    places = [_place(grid[..., 2 - axis], sizes[axis], padding_mode, align_corners) for axis in range(3)]
    flat = x.flatten(2)
    if interpolation_mode == 1:
        return _picked(flat, [torch.round(p) for p in places], sizes)
    low = [p.floor() for p in places]
    total = torch.zeros((), dtype=x.dtype)
    for corner in itertools.product((0, 1), repeat=3):
        at = [floor + step for floor, step in zip(low, corner, strict=True)]
        weight = torch.ones((), dtype=x.dtype)
        for place, floor, step in zip(places, low, corner, strict=True):
            weight = weight * ((place - floor) if step else (floor + 1 - place))
        total = total + _picked(flat, at, sizes) * weight.unsqueeze(1)
    return total


def _place(position: torch.Tensor, size: int, padding_mode: int, align_corners: bool) -> torch.Tensor:
    """A position from -1 to 1 as a place from 0 to size - 1."""
    import torch

    place = (position + 1) / 2 * (size - 1) if align_corners else ((position + 1) * size - 1) / 2
    if padding_mode == 2:
        lowest, span = (0.0, size - 1) if align_corners else (-0.5, size)
        distance = (place - lowest).abs()
        turns = (distance / span).floor() if size > 1 or not align_corners else torch.zeros_like(place)
        rest = distance - turns * span
        place = torch.where(torch.remainder(turns, 2) == 0, rest + lowest, span - rest + lowest)
        if size == 1 and align_corners:
            place = torch.zeros_like(place)
    return place if padding_mode == 0 else place.clamp(0, size - 1)


def _picked(flat: torch.Tensor, at: list[torch.Tensor], sizes: list[int]) -> torch.Tensor:
    """The elements (N, C, d, h, w) at whole places; 0 outside."""
    import torch

    inside = torch.ones((), dtype=torch.bool)
    index = torch.zeros((), dtype=torch.int64)
    for place, size in zip(at, sizes, strict=True):
        inside = inside & (place >= 0) & (place <= size - 1)
        index = index * size + place.clamp(0, size - 1).to(torch.int64)
    shape = index.shape
    spread = index.flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1)
    found = flat.gather(2, spread).reshape(*flat.shape[:2], *shape[1:])
    return torch.where(inside.unsqueeze(1), found, torch.zeros((), dtype=flat.dtype))


@decomposes("_upsample_bilinear2d_aa.default", reason="products with a matrix of weights, axis by axis")
def upsample_bilinear2d_aa(
    x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    """Bilinear resizing that averages over what a smaller image leaves out (aten/src/ATen/native/cpu/UpSampleKernel.cpp)."""
    return _smoothed(x, output_size, align_corners, (scales_h, scales_w), _triangle, 1)


@decomposes("_upsample_bicubic2d_aa.default", reason="products with a matrix of weights, axis by axis")
def upsample_bicubic2d_aa(
    x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    """The same with Keys' cubic of a = -1/2, as Pillow has it, for position embeddings of vision transformers above all."""
    return _smoothed(x, output_size, align_corners, (scales_h, scales_w), _cubic, 2)


@decomposes("_upsample_lanczos2d_aa.default", reason="products with a matrix of weights, axis by axis")
def upsample_lanczos2d_aa(
    x: torch.Tensor, output_size: Sequence[int], align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    """The same with a windowed sinc of three lobes."""
    return _smoothed(x, output_size, align_corners, (scales_h, scales_w), _lanczos, 3)


_Filter = Callable[["torch.Tensor"], "torch.Tensor"]


def _triangle(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp_min(0)


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys (1981) with a = -1/2, up to a distance of 2."""
    import torch

    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def _lanczos(distance: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.where(distance < 3, torch.sinc(distance) * torch.sinc(distance / 3), torch.zeros_like(distance))


def _smoothed(
    x: torch.Tensor,
    output_size: Sequence[int],
    align_corners: bool,
    scales: tuple[float | None, float | None],
    kernel: _Filter,
    support: int,
) -> Any:
    """Resizing with a filter that is as wide as what one element of the result stands for."""
    import torch

    sizes = [*x.shape[-2:], *output_size]
    if not all(isinstance(n, int) for n in sizes):
        return NotImplemented
    rows = _weights(sizes[0], sizes[2], align_corners, scales[0], kernel, support).to(x.dtype)
    columns = _weights(sizes[1], sizes[3], align_corners, scales[1], kernel, support).to(x.dtype)
    return torch.matmul(torch.matmul(rows, x), columns.mT)


def _weights(size: int, count: int, align_corners: bool, given: float | None, kernel: _Filter, support: int) -> torch.Tensor:
    """What each element of an axis adds to each of a resized one: (count, size), every row summing to 1."""
    import torch

    if align_corners:
        scale = (size - 1) / (count - 1) if count > 1 else 0.0
    else:
        scale = 1 / given if given is not None and given > 0 else size / count
    width = max(scale, 1.0)
    centre = (torch.arange(count, dtype=torch.float32).unsqueeze(-1) + 0.5) * scale
    lowest = (centre - support * width + 0.5).floor().clamp_min(0)
    highest = (centre + support * width + 0.5).floor().clamp_max(size)
    place = torch.arange(size, dtype=torch.float32)
    weight = kernel(((place - centre + 0.5) / width).abs())
    weight = torch.where((place >= lowest) & (place < highest), weight, torch.zeros_like(weight))
    return weight / weight.sum(-1, keepdim=True)
