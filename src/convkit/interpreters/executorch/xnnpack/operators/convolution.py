"""Convolutions. Filters of XNNPACK are [outputs, height, width, inputs]; those of depthwise ones [1, height, width, outputs]."""

from __future__ import annotations

import torch.nn.functional as functional

from convkit.interpreters.executorch.xnnpack.layout import NHWC, Laid
from convkit.interpreters.executorch.xnnpack.table import node
from convkit.interpreters.operators import UnsupportedError


def _pair(node, name):
    return node[f"{name}_height"], node[f"{name}_width"]


def _padding(node, x):
    """The input and the padding that is left for the convolution, which pads both sides alike."""
    top, right, bottom, left = (node[f"padding_{side}"] for side in ("top", "right", "bottom", "left"))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom)), (0, 0)


def _bias(bias, x):
    return None if bias is None else bias.value.to(x.dtype)


@node("Conv2d")
def convolution(node, input1, filter, bias):
    return _convolved(node, input1, filter.channels_first, bias)


@node("DepthwiseConv2d")
def depthwise_convolution(node, input1, filter, bias):
    return _convolved(node, input1, filter.permuted((3, 0, 1, 2)), bias)


def _convolved(node, input1, weight, bias):
    x, padding = _padding(node, input1.channels_first)
    y = functional.conv2d(
        x, weight.to(x.dtype), _bias(bias, x), _pair(node, "subsampling"), padding, _pair(node, "dilation"), node["groups"]
    )
    return Laid(y, NHWC)


@node("ConvTranspose2d")
def transposed_convolution(node, input1, filter, bias):
    x, groups = input1.channels_first, node["groups"]
    if (node["padding_top"], node["padding_left"]) != (node["padding_bottom"], node["padding_right"]):
        raise UnsupportedError("a transposed convolution that is padded unequally")
    weight = filter.permuted((3, 0, 1, 2))
    if groups > 1:  # [inputs / groups, outputs, …] → [inputs, outputs / groups, …]
        inputs, outputs, *kernel = weight.shape
        weight = weight.reshape(inputs, groups, outputs // groups, *kernel).transpose(0, 1)
        weight = weight.reshape(inputs * groups, outputs // groups, *kernel)
    y = functional.conv_transpose2d(
        x,
        weight.to(x.dtype),
        _bias(bias, x),
        _pair(node, "subsampling"),
        (node["padding_top"], node["padding_left"]),
        _pair(node, "adjustment"),
        groups,
        _pair(node, "dilation"),
    )
    return Laid(y, NHWC)
