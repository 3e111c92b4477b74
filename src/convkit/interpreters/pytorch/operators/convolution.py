"""Convolutions over one to three spatial axes."""

from __future__ import annotations

from torch.nn import functional

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.sizes import no_layout_guards
from convkit.interpreters.pytorch.table import operator
from convkit.interpreters.windows import WindowAxis, transposed_crops, window_axes

_MOST_AXES = 3


def _spatial_rank(node):
    """Refuses convolutions over four axes and more, and over none."""
    for value in node.inputs[:2]:
        if value is not None and value.shape is not None and not 1 <= len(value.shape) - 2 <= _MOST_AXES:
            return f"a convolution over {len(value.shape) - 2} axes; PyTorch has one to three"
    return None


@operator("Conv", accepts=_spatial_rank)
def convolution(x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    rank = w.dim() - 2
    axes = window_axes(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    x, padding = padded(x, axes, 0)
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    with no_layout_guards(x):
        return convolve(x, w, b, strides or 1, padding, dilations or 1, group)


def padded(x, axes: list[WindowAxis], value, most: list[int] | None = None):
    """The input with the padding that torch's own operators cannot take, and the padding left to them, one int per axis.

    Args:
        x: The input.
        axes: Its spatial axes.
        value: What to pad with.
        most: The largest padding per axis that the operator takes itself.
    """
    limits = most or [_UNLIMITED] * len(axes)
    if all(_is_native(a, limit) for a, limit in zip(axes, limits, strict=True)):
        return x, [a.begin for a in axes]
    return functional.pad(x, [p for a in reversed(axes) for p in (a.begin, a.end)], value=value), [0] * len(axes)


_UNLIMITED = 1 << 31


def _is_native(axis: WindowAxis, limit: int) -> bool:
    return isinstance(axis.begin, int) and isinstance(axis.end, int) and axis.begin == axis.end and 0 <= axis.begin <= limit


@operator("ConvTranspose", accepts=_spatial_rank)
def transposed_convolution(
    x,
    w,
    b=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
):
    rank = w.dim() - 2
    strides, dilations = list(strides or [1] * rank), list(dilations or [1] * rank)
    if output_shape is not None:
        output_shape = output_shape[-rank:]  # some exporters write batch and channels too
    crops = transposed_crops(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad, output_padding, output_shape)
    if any(begin < 0 for begin, _ in crops):
        raise UnsupportedError("negative padding before the first element")
    # torch cuts the same off both ends, and adds at the end less than a stride or a dilation; the rest is done on its result.
    most = [max(s, d) for s, d in zip(strides, dilations, strict=True)]
    padding = [begin if begin - end < m else 0 for (begin, end), m in zip(crops, most, strict=True)]
    lacking = [p - end for p, (_, end) in zip(padding, crops, strict=True)]
    added = [n if 0 <= n < m else 0 for n, m in zip(lacking, most, strict=True)]
    tails = [n - m for n, m in zip(lacking, added, strict=True)]
    grows = any(n > 0 for n in tails)
    transpose = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[rank - 1]
    y = transpose(x, w, None if grows else b, strides, padding, added, group, dilations)
    for axis, ((begin, _), p, n) in enumerate(zip(crops, padding, tails, strict=True), 2):
        head = begin - p
        if head or n < 0:
            y = y.narrow(axis, head, y.shape[axis] + min(n, 0) - head)
    if grows:
        y = functional.pad(y, [p for n in reversed(tails) for p in (0, max(n, 0))])
        y = y if b is None else y + b.reshape(-1, *[1] * rank)
    return y
