"""Pooling: the largest element or the mean of a sliding window, or of a whole image."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.operators.convolution import padded
from convkit.interpreters.pytorch.table import operator
from convkit.interpreters.windows import WindowAxis, window_axes

_MAX = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MEAN = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
_CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)


def _spatial_rank(node):
    """Refuses windows over four axes and more."""
    kernel = node.attributes.get_ints("kernel_shape", [])
    if not 1 <= len(kernel) <= len(_MAX):
        return f"a window over {len(kernel)} axes; PyTorch has one to three"
    return None


@operator("MaxPool", accepts=_spatial_rank)
def max_pool(x, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape, pads=None, storage_order=0, strides=None, node):
    axes = window_axes(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    wants_indices = len(node.outputs) > 1 and bool(node.outputs[1].name)
    narrow = x.dtype
    if not narrow.is_floating_point and wants_indices:
        x = x.to(torch.int32)
    x, padding, rounds_up = _ready(x, axes, ceil_mode, _lowest(x.dtype), [a.kernel // 2 for a in axes])
    pool = _MAX[len(axes) - 1]
    parameters = {
        "kernel_size": list(kernel_shape),
        "stride": [a.stride for a in axes],
        "padding": padding,
        "dilation": [a.dilation for a in axes],
        "ceil_mode": rounds_up,
    }
    if not wants_indices:
        return _kept(pool(x, **parameters), axes, ceil_mode and not rounds_up)
    y, indices = (_kept(r, axes, ceil_mode and not rounds_up) for r in pool(x, return_indices=True, **parameters))
    shifts = [0] * len(axes) if any(padding) or all(a.begin == 0 for a in axes) else [a.begin for a in axes]
    return y.to(narrow), _flat_indices(indices, x.shape[2:], shifts, axes, storage_order, y)


def _lowest(dtype):
    return float("-inf") if dtype.is_floating_point else torch.iinfo(dtype).min


def _ready(x, axes: list[WindowAxis], ceil_mode, value, most):
    """The input with what padding torch's pooling cannot take, the padding left to it, and whether to round up there.

    torch takes the same padding at both ends, at most half of the window; rounding up, it would fix a dynamic size's remainder.
    """
    is_static = all(isinstance(a.size, int) for a in axes)
    ready, padding = padded(x, axes, value, most)
    if not ceil_mode or (ready is x and is_static):
        return ready, padding, bool(ceil_mode)
    # With this much more padding, rounding down gives the windows of rounding up.
    widths = [p for a in reversed(axes) for p in (a.begin, a.end + a.stride - 1)]
    return functional.pad(x, widths, value=value), [0] * len(axes), False


def _kept(y, axes: list[WindowAxis], ceil_mode):
    """Without the windows that start behind the input, of which rounding up may make one."""
    for position, axis in enumerate(axes):
        if ceil_mode and axis.drops:
            y = y.index_select(position + 2, torch.arange(axis.steps(True)))
    return y


def _flat_indices(indices, sizes, shifts, axes: list[WindowAxis], storage_order, y):
    """ONNX's indices: over the whole tensor, batch and channels included; torch's are within one image (as it was padded)."""
    coordinates = []
    for size in reversed(sizes):
        coordinates.append(indices % size)
        indices = torch.div(indices, size, rounding_mode="floor")
    coordinates = [c - shift for c, shift in zip(reversed(coordinates), shifts, strict=True)]
    order = list(range(len(axes)))
    flat, total = torch.zeros_like(coordinates[0]), 1
    for axis in reversed(order) if not storage_order else order:  # storage_order 1: column by column
        flat = flat + coordinates[axis] * total
        total = total * axes[axis].size
    images = torch.arange(y.shape[0] * y.shape[1], device=y.device).reshape(y.shape[0], y.shape[1], *[1] * len(axes))
    return flat + images * total


@operator("AveragePool", accepts=_spatial_rank)
def average_pool(
    x, *, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape, pads=None, strides=None
):
    axes = window_axes(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    strides = [a.stride for a in axes]
    most = [a.kernel // 2 for a in axes] if all(a.dilation == 1 for a in axes) else [-1] * len(axes)
    ready, padding, rounds_up = _ready(x, axes, ceil_mode, 0, most)
    if ready is x and most[0] >= 0:
        return _MEAN[len(axes) - 1](x, list(kernel_shape), strides, padding, rounds_up, bool(count_include_pad))
    count = _counts(axes, bool(ceil_mode), bool(count_include_pad)).to(x.dtype)
    return _kept(_window_sums(ready, axes), axes, ceil_mode) / count


def _window_sums(x, axes: list[WindowAxis]):
    """Sums of all windows; a convolution of every channel with ones where the window is dilated."""
    strides, kernel = [a.stride for a in axes], [a.kernel for a in axes]
    if all(a.dilation == 1 for a in axes):
        return _MEAN[len(axes) - 1](x, kernel, strides) * float(np.prod(kernel))
    channels = x.shape[1]
    if not isinstance(channels, int):
        raise UnsupportedError("the mean of dilated windows over a dynamic number of channels")
    ones = torch.ones((channels, 1, *kernel), dtype=x.dtype)
    return _CONVOLVE[len(axes) - 1](x, ones, None, strides, 0, [a.dilation for a in axes], channels)


def _counts(axes: list[WindowAxis], ceil_mode: bool, include_pad: bool):
    """How many elements every window takes the mean of."""
    counts = torch.ones((), dtype=torch.int64)
    for axis in axes:
        is_static = isinstance(axis.size, int)
        along = axis.counts(np if is_static else torch, ceil_mode=ceil_mode, include_pad=include_pad)
        counts = counts.unsqueeze(-1) * (as_tensor(along) if is_static else along)
    return counts


def _whole_image(pool):
    def apply(x):
        if x.dim() < 3:
            raise UnsupportedError("an input without spatial axes")
        return pool(x, list(range(2, x.dim())))

    return apply


operator("GlobalAveragePool")(_whole_image(lambda x, axes: x.mean(axes, keepdim=True)))
operator("GlobalMaxPool")(_whole_image(lambda x, axes: x.amax(axes, keepdim=True)))
