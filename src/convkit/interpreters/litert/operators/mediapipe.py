"""MediaPipe's custom operators, after their kernels in mediapipe/util/tflite/operations."""

from __future__ import annotations

import struct

from torch.nn import functional

from convkit.interpreters.litert.operators.convolution import transposed
from convkit.interpreters.litert.table import ChannelsFirst, LastAxisFirst, operator

_SAME, _VALID = 1, 2
"""`TfLitePadding`."""


def _transposed_options(node):
    """(padding, strides of rows and columns) of a serialised `TfLiteTransposeConvParams`, None where it is none."""
    if len(node.custom_options) < struct.calcsize("<3i"):
        return None
    padding, stride_w, stride_h = struct.unpack_from("<3i", node.custom_options)
    return (padding, stride_h, stride_w) if padding in (_SAME, _VALID) and stride_h > 0 and stride_w > 0 else None


def _has_transposed_options(node):
    """Refuses options of another layout."""
    return None if _transposed_options(node) else "its options are not those of a transposed convolution"


@operator("Convolution2DTransposeBias", accepts=_has_transposed_options)
def biased_transposed_convolution(x: ChannelsFirst, w: LastAxisFirst, b, *, node) -> ChannelsFirst:
    padding, *strides = _transposed_options(node.operator)
    # XNNPACK, which runs it in LiteRT, computes what the file declares; MediaPipe's kernel has a formula, which agrees where the
    # converter's does.
    wanted = node.output.shape[1:3] if node.output.is_static else _sizes(x.shape[2:], w.shape[2:], strides, padding)
    name = "SAME" if padding == _SAME else "VALID"
    return transposed(functional.conv_transpose2d, x, w, b, wanted, strides, [1, 1], name)


def _sizes(inputs, kernels, strides, padding):
    found = []
    for size, kernel, stride in zip(inputs, kernels, strides, strict=True):
        cut = max(0, kernel - (size - 1) % stride - 1) if padding == _SAME else 0
        found.append(stride * (size - 1) + kernel - cut)
    return found
