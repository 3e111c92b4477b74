"""Pooling over windows whose bounds are not those of a fixed kernel and stride: adaptive and fractional pooling.

The bounds of adaptive windows (aten/src/ATen/native/AdaptivePooling.h): cell i of n sees floor(i · size / n) up to, and without,
ceil((i + 1) · size / n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


def _bounds(size: int, cells: int) -> list[range]:
    return [range(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]


def _is_known(x: torch.Tensor, cells: Sequence[int]) -> bool:
    sizes = x.shape[-len(cells) :]
    return all(isinstance(n, int) and n > 0 for n in (*sizes, *cells))


@decomposes("adaptive_max_pool1d.default", reason="pools a plane of height 1")
def adaptive_max_pool1d(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    """The largest of each window, and where it is."""
    found = _adaptive_max_pool(x.unsqueeze(-2), [1, output_size[0]])
    return found if found is NotImplemented else tuple(part.squeeze(-2) for part in found)


@decomposes("adaptive_max_pool2d.default", "adaptive_max_pool3d.default", reason="takes the largest of each window's elements")
def _adaptive_max_pool(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    """The largest of each window, and its place in the flat plane or volume."""

    cells = list(output_size)
    axes = [x.dim() - len(cells) + k for k in range(len(cells))]
    if not _is_known(x, cells):
        if any(n != 1 for n in cells):
            return NotImplemented
        flat = x.flatten(axes[0])
        values, places = flat.max(-1, keepdim=True)
        shape = [*x.shape[: axes[0]], *cells]
        return values.reshape(shape), places.reshape(shape)
    places = _window_places(x.shape[axes[0] :], cells)
    flat = x.flatten(axes[0])
    windows = flat.index_select(-1, places.reshape(-1)).reshape(*flat.shape[:-1], *places.shape)
    values, found = _largest(windows, places)
    shape = [*x.shape[: axes[0]], *cells]
    return values.reshape(shape), found.reshape(shape)


def _largest(windows: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest along the last axis and the place of it; of two axes, because LiteRT looks for maxima in few."""
    if windows.shape[-1] == 1:
        return windows.squeeze(-1), places.expand(windows.shape).squeeze(-1).clone()
    rows = windows.flatten(0, -2)
    values, which = rows.max(-1)
    found = places.expand(windows.shape).reshape(rows.shape).gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return values.reshape(windows.shape[:-1]), found.reshape(windows.shape[:-1])


def _window_places(sizes: Sequence[int], cells: Sequence[int]) -> torch.Tensor:
    """The flat places that each window sees, row by row: (*cells, longest window); short windows name their last place again."""
    import torch

    rank = len(sizes)
    total = torch.zeros((), dtype=torch.int64)
    longest = []
    for axis, (size, count) in enumerate(zip(sizes, cells, strict=True)):
        longest.append(max(map(len, _bounds(size, count))))
        numbers = torch.arange(count).unsqueeze(-1)
        last = ((numbers + 1) * size + count - 1) // count - 1
        places = torch.minimum(numbers * size // count + torch.arange(longest[-1]), last)
        shape = [count if k == axis else 1 for k in range(rank)] + [longest[-1] if k == axis else 1 for k in range(rank)]
        total = total * size + places.reshape(shape)
    return total.reshape(*cells, math.prod(longest))


@decomposes("_adaptive_avg_pool3d.default", "adaptive_avg_pool3d.default", reason="averages axis by axis")
def adaptive_avg_pool3d(x: torch.Tensor, output_size: Sequence[int]) -> Any:
    """The mean of each window: every window is a product of ranges, so that the mean is one of means."""
    import torch

    cells = list(output_size)
    if all(n == 1 for n in cells):
        return x.mean([-3, -2, -1], keepdim=True)
    if not _is_known(x, cells):
        return NotImplemented
    for axis, count in zip(range(x.dim() - 3, x.dim()), cells, strict=True):
        if x.shape[axis] != count:
            parts = [x.narrow(axis, r.start, len(r)).mean(axis, keepdim=True) for r in _bounds(x.shape[axis], count)]
            x = torch.cat(parts, axis)
    return x


@decomposes("fractional_max_pool2d.default", "fractional_max_pool3d.default", reason="gathers the windows that the samples name")
def fractional_max_pool(
    x: torch.Tensor, kernel_size: Sequence[int], output_size: Sequence[int], random_samples: torch.Tensor
) -> Any:
    """The largest of each of the windows whose places depend on random numbers (batch, channels, axes), and where it is.

    Window i of n along an axis starts at ⌊(i + u) · a⌋ - ⌊u · a⌋ with a = (size - kernel) / (n - 1), the last one at
    size - kernel (aten/src/ATen/native/FractionalMaxPool2d.cpp).
    """
    import torch

    axes = len(kernel_size)
    sizes = list(x.shape[-axes:])
    if not _is_known(x, list(output_size)):
        return NotImplemented
    batched = x if x.dim() == axes + 2 else x.unsqueeze(0)
    flat_places: torch.Tensor | None = None
    for axis, (size, kernel, count) in enumerate(zip(sizes, kernel_size, output_size, strict=True)):
        # Random numbers are given for the last axis first in two dimensions, for the first axis first in three.
        sample = random_samples[:, :, axes - 1 - axis if axes == 2 else axis].unsqueeze(-1)
        starts = _fractional_starts(sample, size, kernel, count)
        places = starts.unsqueeze(-1) + torch.arange(kernel)
        shape = [count if k == axis else 1 for k in range(axes)] + [kernel if k == axis else 1 for k in range(axes)]
        term = places.reshape(*places.shape[:2], *shape) * math.prod(sizes[axis + 1 :])
        flat_places = term if flat_places is None else flat_places + term
    assert flat_places is not None
    full = [*batched.shape[:2], *output_size, *kernel_size]
    places = flat_places.expand(full).reshape(*batched.shape[:2], *output_size, math.prod(kernel_size))
    flat = batched.flatten(2)
    windows = flat.gather(2, places.flatten(2)).reshape(places.shape)
    values, found = _largest(windows, places)
    return (values, found) if x.dim() == axes + 2 else (values.squeeze(0), found.squeeze(0))


def _fractional_starts(sample: torch.Tensor, size: int, kernel: int, count: int) -> torch.Tensor:
    import torch

    last = torch.full_like(sample, size - kernel).to(torch.int64)
    if count == 1:
        return last
    alpha = (size - kernel) / (count - 1)
    numbers = torch.arange(count - 1, dtype=sample.dtype)
    starts = ((numbers + sample) * alpha).to(torch.int64) - (sample * alpha).to(torch.int64)
    return torch.cat([starts, last], -1)


@decomposes("max_pool2d_with_indices_backward.default", reason="adds every gradient to the place of its largest element")
def max_pool2d_with_indices_backward(gradient: torch.Tensor, x: torch.Tensor, *window: Any) -> Any:
    """The gradient of a pooling: the last of the window's arguments says where in the flat plane each largest element is."""
    places = window[-1]
    nothing = (x * 0).flatten(-2)
    return nothing.scatter_add(-1, places.flatten(-2), gradient.flatten(-2)).reshape(x.shape)
