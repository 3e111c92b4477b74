"""Pooling and resizing of images."""

from __future__ import annotations

import torch.nn.functional as functional

from convkit.interpreters.executorch.xnnpack.layout import NHWC, Laid
from convkit.interpreters.executorch.xnnpack.table import node
from convkit.interpreters.operators import UnsupportedError

_ALIGN_CORNERS = 8
"""XNN_FLAG_ALIGN_CORNERS."""


@node("MaxPooling2d")
def max_pooling(node, input):
    top, right, bottom, left = (node[f"padding_{side}"] for side in ("top", "right", "bottom", "left"))
    if bottom < top or right < left:
        raise UnsupportedError("a pooling that is padded less at the end than at the beginning")
    y = functional.max_pool2d(
        input.channels_first,
        (node["pooling_height"], node["pooling_width"]),
        (node["stride_height"], node["stride_width"]),
        (top, left),
        (node["dilation_height"], node["dilation_width"]),
        ceil_mode=(bottom, right) != (top, left),  # the compiler writes out what rounding up adds
    )
    return Laid(y, NHWC)


@node("AvgPooling2d")
def average_pooling(node, input):
    padding = node["padding_top"], node["padding_left"]
    if padding != (node["padding_bottom"], node["padding_right"]):
        raise UnsupportedError("an average pooling that is padded unequally")
    y = functional.avg_pool2d(
        input.channels_first,
        (node["pooling_height"], node["pooling_width"]),
        (node["stride_height"], node["stride_width"]),
        padding,
        count_include_pad=False,
    )
    return Laid(y, NHWC)


@node("GlobalAvgPooling2d")
def global_average_pooling(node, input):
    return Laid(input.channels_first.mean((2, 3), keepdim=True), NHWC)


@node("ArgMaxPooling2d")
def arg_max_pooling(node, input):
    """The maximum over windows that do not overlap, of which one axis is 1, and where in the window it is."""
    height, width = node["pooling_height"], node["pooling_width"]
    x = input.channels_first
    if (height, width) not in ((x.shape[2], 1), (1, x.shape[3])):
        raise UnsupportedError("an arg max over a part of an axis")
    axis = 2 if width == 1 else 3
    values, indices = x.max(axis, keepdim=True)
    return Laid(values, NHWC), Laid(indices, NHWC)


@node("StaticResizeBilinear2D")
def resize_bilinear(node, input):
    sizes = node["new_height"], node["new_width"]
    corners = bool(node["flags"] & _ALIGN_CORNERS)
    return Laid(functional.interpolate(input.channels_first, sizes, mode="bilinear", align_corners=corners), NHWC)
