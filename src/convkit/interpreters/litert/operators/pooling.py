"""Pooling over two axes. Padding is neither averaged nor a maximum."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert.operators.convolution import windows
from convkit.interpreters.litert.quantization import rounded_away
from convkit.interpreters.litert.table import Arithmetic, ChannelsFirst, operator
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.operators.convolution import padded

_LOWEST = torch.finfo(torch.float32).min


@operator("MAX_POOL_2D", arithmetic=Arithmetic.LEVELS)
def max_pool(x: ChannelsFirst, *, padding="SAME", stride_w=0, stride_h=0, filter_width=0, filter_height=0) -> ChannelsFirst:
    kernel, strides = [filter_height, filter_width], [stride_h, stride_w]
    x, pads = padded(x, windows(x.shape[2:], kernel, strides, None, padding), _LOWEST, [k // 2 for k in kernel])
    return functional.max_pool2d(x, kernel, strides, pads)


@operator("AVERAGE_POOL_2D", arithmetic=Arithmetic.LEVELS)
def average_pool(
    x: ChannelsFirst, *, padding="SAME", stride_w=0, stride_h=0, filter_width=0, filter_height=0, node
) -> ChannelsFirst:
    averages = _averages(x, padding, [stride_h, stride_w], [filter_height, filter_width])
    # Averages of levels are often halves; the kernel rounds them away from zero (`reference_integer_ops::AveragePool`).
    return rounded_away(averages) if node.on_levels else averages


@operator("L2_POOL_2D")
def l2_pool(x: ChannelsFirst, *, padding="SAME", stride_w=0, stride_h=0, filter_width=0, filter_height=0) -> ChannelsFirst:
    return torch.sqrt(_averages(x * x, padding, [stride_h, stride_w], [filter_height, filter_width]))


def _averages(x, padding, strides, kernel):
    axes = windows(x.shape[2:], kernel, strides, None, padding)
    if all(isinstance(a.begin, int) and a.begin == a.end and a.begin <= a.kernel // 2 for a in axes):
        return functional.avg_pool2d(x, kernel, strides, [a.begin for a in axes], count_include_pad=False)
    x, pads = padded(x, axes, 0, [0, 0])
    means = functional.avg_pool2d(x, kernel, strides, pads)
    if all(isinstance(a.size, int) for a in axes):
        import numpy as np

        rows, columns = (a.counts(np) for a in axes)
        return means * as_tensor((kernel[0] * kernel[1] / (rows[:, None] * columns[None, :])).astype(np.float32))
    rows, columns = (a.counts(torch) for a in axes)
    return means * (kernel[0] * kernel[1] / (rows[:, None] * columns[None, :]).to(torch.float32))
