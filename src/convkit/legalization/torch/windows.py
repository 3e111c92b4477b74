"""Pooling by shifted slices, axis by axis, for dimensions and forms that a target has no pooling for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Axis:
    """How a window moves along one axis of a static size."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    ceil_mode: bool

    @property
    def count(self) -> int:
        """How many windows there are; torch drops a last one that would start in the padding behind."""
        reach = self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        count = (-(-reach // self.stride) if self.ceil_mode else reach // self.stride) + 1
        return count - 1 if self.ceil_mode and (count - 1) * self.stride >= self.size + self.padding else count

    def slices(self, x: torch.Tensor, axis: int, fill: float) -> list[torch.Tensor]:
        """The elements that each position of the window sees."""
        import torch

        reach = (self.count - 1) * self.stride + self.dilation * (self.kernel - 1) + 1
        behind = max(0, reach - self.size - self.padding)
        if self.padding or behind:
            pads = [0] * (2 * (x.dim() - axis - 1)) + [self.padding, behind]
            x = torch.nn.functional.pad(x, pads, value=fill)
        last = (self.count - 1) * self.stride + 1
        starts = [k * self.dilation for k in range(self.kernel)]
        return [torch.ops.aten.slice.Tensor(x, axis, start, start + last, self.stride) for start in starts]

    def width(self, dtype: torch.dtype, *, include_padding: bool) -> float | torch.Tensor:
        """How many cells each window averages over: one number, or a vector where they differ."""
        import torch

        def of(starts: Any, smaller: Any, larger: Any) -> Any:
            ends = smaller(starts + self.kernel, self.size + self.padding)
            return ends - starts if include_padding else smaller(ends, self.size) - larger(starts, 0)

        widths = {of(k * self.stride - self.padding, min, max) for k in range(self.count)}
        if len(widths) == 1:
            return float(widths.pop())
        starts = torch.arange(self.count) * self.stride - self.padding
        return of(starts, torch.clamp_max, torch.clamp_min).to(dtype)


def _axes(
    x: torch.Tensor, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> list[_Axis] | None:
    sizes = x.shape[x.dim() - rank :]
    if not all(isinstance(size, int) for size in sizes) or not x.is_floating_point():
        return None
    windows = zip(*(_spread(v, rank) for v in (kernel, stride or kernel, padding, dilation)), strict=True)
    return [_Axis(size, k, s, p, d, ceil_mode) for size, (k, s, p, d) in zip(sizes, windows, strict=True)]


def _spread(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


@decomposes("max_pool1d.default", reason="the largest of shifted slices")
def max_pool1d(
    x: torch.Tensor, kernel: Sequence[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest element of each window."""
    return _largest(x, _axes(x, 1, kernel, stride, padding, dilation, ceil_mode))


@decomposes("max_pool2d.default", reason="the largest of shifted slices, axis by axis")
def max_pool2d(
    x: torch.Tensor, kernel: Sequence[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest element of each window."""
    return _largest(x, _axes(x, 2, kernel, stride, padding, dilation, ceil_mode))


@decomposes("max_pool3d.default", reason="the largest of shifted slices, axis by axis")
def max_pool3d(
    x: torch.Tensor, kernel: Sequence[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest element of each window."""
    return _largest(x, _axes(x, 3, kernel, stride, padding, dilation, ceil_mode))


def _largest(x: torch.Tensor, axes: list[_Axis] | None) -> Any:
    import torch

    if axes is None:
        return NotImplemented
    for number, axis in enumerate(axes, start=x.dim() - len(axes)):
        first, *others = axis.slices(x, number, -math.inf)
        for part in others:
            first = torch.maximum(first, part)
        x = first
    return x


@decomposes("avg_pool1d.default", reason="the sum of shifted slices")
def avg_pool1d(
    x: torch.Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Any:
    """The mean of each window."""
    return _averages(x, _axes(x, 1, kernel, stride, padding, 1, ceil_mode), count_include_pad, None)


@decomposes("avg_pool2d.default", reason="the sum of shifted slices, axis by axis")
def avg_pool2d(
    x: torch.Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window, or its sum divided by a number that is given."""
    return _averages(x, _axes(x, 2, kernel, stride, padding, 1, ceil_mode), count_include_pad, divisor_override)


@decomposes("avg_pool3d.default", reason="the sum of shifted slices, axis by axis")
def avg_pool3d(
    x: torch.Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window, or its sum divided by a number that is given."""
    return _averages(x, _axes(x, 3, kernel, stride, padding, 1, ceil_mode), count_include_pad, divisor_override)


def _averages(x: torch.Tensor, axes: list[_Axis] | None, include_padding: bool, divisor: int | None) -> Any:
    """A window is a product of ranges, and so is what it is divided by."""
    if axes is None:
        return NotImplemented
    for number, axis in enumerate(axes, start=x.dim() - len(axes)):
        first, *others = axis.slices(x, number, 0.0)
        for part in others:
            first = first + part
        x = first
        if divisor is None:
            width = axis.width(x.dtype, include_padding=include_padding)
            x = x / (width if isinstance(width, float) else width.reshape([-1] + [1] * (x.dim() - number - 1)))
    return x if divisor is None else x / divisor


@decomposes("max_pool3d_with_indices.default", reason="compares shifted slices")
def max_pool3d_with_indices(x: torch.Tensor, kernel: Any, *window: Any, **named: Any) -> Any:
    """The largest element of each window, and its place."""
    return max_pool_with_places(x, kernel, *window, **named, rank=3)


def max_pool_with_places(
    x: torch.Tensor, kernel: Sequence[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    *, rank: int,
) -> Any:  # fmt: skip
    """The largest element of each window, and its place in the flat plane or volume: the first one, or a nan."""
    import torch

    axes = _axes(x, rank, kernel, stride, padding, dilation, ceil_mode)
    if axes is None:
        return NotImplemented
    places = torch.arange(math.prod(axis.size for axis in axes)).reshape([axis.size for axis in axes])
    windows = [(x, places)]
    for number, axis in enumerate(axes):
        windows = [
            pair
            for values, at in windows
            for pair in zip(axis.slices(values, x.dim() - rank + number, -math.inf), axis.slices(at, number, 0), strict=True)
        ]
    value, place = windows[0][0], windows[0][1].expand(windows[0][0].shape)
    for values, at in windows[1:]:
        is_larger = (values > value) | torch.isnan(values)
        value, place = torch.where(is_larger, values, value), torch.where(is_larger, at, place)
    return value, place
