"""Convolutions over two and three axes, depthwise and transposed.

LiteRT's padding SAME is TensorFlow's: as many results as the stride divides the size into, the odd element of padding at the end.
"""

from __future__ import annotations

from torch.nn import functional

from convkit.interpreters.litert.table import (
    Arithmetic,
    ChannelsFirst,
    LastAxisFirst,
    VolumeChannelsFirst,
    VolumeKernel,
    operator,
)
from convkit.interpreters.operators import Sizes, UnsupportedError
from convkit.interpreters.pytorch.operators.convolution import padded
from convkit.interpreters.pytorch.sizes import no_layout_guards
from convkit.interpreters.windows import WindowAxis, window_axes

__all__ = ["windows"]


def windows(sizes, kernel, strides, dilations, padding) -> list[WindowAxis]:
    """The sliding windows of some axes under padding SAME or VALID."""
    auto_pad = "SAME_UPPER" if padding == "SAME" else "VALID"
    return window_axes(sizes, kernel, strides, dilations, None, auto_pad)


def _convolution(convolve, x, w, b, strides, dilations, padding, groups):
    x, pads = padded(x, windows(x.shape[2:], w.shape[2:], strides, dilations, padding), 0)
    with no_layout_guards(x):
        return convolve(x, w, b, strides, pads, dilations, groups)


@operator("CONV_2D", arithmetic=Arithmetic.ACCUMULATED)
def convolution(
    x: ChannelsFirst,
    w: ChannelsFirst,
    b=None,
    *,
    padding="SAME",
    stride_w=0,
    stride_h=0,
    dilation_w_factor=1,
    dilation_h_factor=1,
) -> ChannelsFirst:
    strides, dilations = [stride_h, stride_w], [dilation_h_factor, dilation_w_factor]
    groups = x.shape[1] // w.shape[1]
    return _convolution(functional.conv2d, x, w, b, strides, dilations, padding, groups)


@operator("DEPTHWISE_CONV_2D", arithmetic=Arithmetic.ACCUMULATED)
def depthwise_convolution(
    x: ChannelsFirst,
    w: LastAxisFirst,
    b=None,
    *,
    padding="SAME",
    stride_w=0,
    stride_h=0,
    depth_multiplier=0,
    dilation_w_factor=1,
    dilation_h_factor=1,
) -> ChannelsFirst:
    strides, dilations = [stride_h, stride_w], [dilation_h_factor, dilation_w_factor]
    return _convolution(functional.conv2d, x, w, b, strides, dilations, padding, x.shape[1])


@operator("CONV_3D", arithmetic=Arithmetic.ACCUMULATED)
def volume_convolution(
    x: VolumeChannelsFirst,
    w: VolumeKernel,
    b=None,
    *,
    padding="SAME",
    stride_d=0,
    stride_w=0,
    stride_h=0,
    dilation_d_factor=1,
    dilation_w_factor=1,
    dilation_h_factor=1,
) -> VolumeChannelsFirst:
    strides, dilations = [stride_d, stride_h, stride_w], [dilation_d_factor, dilation_h_factor, dilation_w_factor]
    return _convolution(functional.conv3d, x, w, b, strides, dilations, padding, x.shape[1] // w.shape[1])


@operator("TRANSPOSE_CONV", arithmetic=Arithmetic.ACCUMULATED, operands=(2, 1))
def transposed_convolution(
    output_shape: Sizes, w: LastAxisFirst, x: ChannelsFirst, b=None, *, padding="SAME", stride_w=0, stride_h=0
) -> ChannelsFirst:
    return transposed(functional.conv_transpose2d, x, w, b, output_shape[1:3], [stride_h, stride_w], [1, 1], padding)


@operator("CONV_3D_TRANSPOSE", arithmetic=Arithmetic.ACCUMULATED, operands=(2, 1))
def transposed_volume_convolution(
    output_shape: Sizes,
    w: VolumeKernel,
    x: VolumeChannelsFirst,
    b=None,
    *,
    padding="SAME",
    stride_d=0,
    stride_w=0,
    stride_h=0,
    dilation_d_factor=1,
    dilation_w_factor=1,
    dilation_h_factor=1,
) -> VolumeChannelsFirst:
    strides, dilations = [stride_d, stride_h, stride_w], [dilation_d_factor, dilation_h_factor, dilation_w_factor]
    return transposed(functional.conv_transpose3d, x, w, b, output_shape[1:4], strides, dilations, padding)


def transposed(transpose, x, w, b, wanted, strides, dilations, padding):
    """A transposed convolution to given sizes: the gradient of a convolution with that padding.

    Args:
        transpose: torch's function.
        x: [N, I, …].
        w: [I, O, …].
        b: None or [O].
        wanted: The sizes of the result's spatial axes.
        strides: Per spatial axis.
        dilations: Per spatial axis.
        padding: SAME or VALID.
    """
    crops, added = [], []
    for size, kernel, stride, dilation, want in zip(x.shape[2:], w.shape[2:], strides, dilations, wanted, strict=True):
        full = (size - 1) * stride + dilation * (kernel - 1) + 1
        surplus = full - want
        begin = max(surplus, 0) // 2 if padding == "SAME" else 0
        crops.append(begin)
        added.append(begin - (surplus - begin))  # what the end lacks when both ends lose `begin`
    native = all(0 <= n < max(s, d) for n, s, d in zip(added, strides, dilations, strict=True))
    if native:
        return transpose(x, w, b, strides, crops, added, 1, dilations)
    y = transpose(x, w, b, strides, 0, 0, 1, dilations)
    for axis, (begin, want) in enumerate(zip(crops, wanted, strict=True), 2):
        if y.shape[axis] < begin + want:
            raise UnsupportedError("a result that is larger than what the kernel reaches")
        y = y.narrow(axis, begin, want)
    return y
