"""Convolutions over one to three spatial axes."""

from __future__ import annotations

import math

import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.tensorflow.layout import (
    at_trace_time,
    channels_first,
    channels_last,
    in_single_precision,
    is_for_litert,
    is_same_padding,
    padded,
    two_axes,
)
from convkit.interpreters.tensorflow.sizes import product, rank_of, shape_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.windows import WindowAxis, transposed_crops, window_axes

_MOST_AXES = 3


def _spatial_rank(node):
    """Refuses convolutions over four axes and more, and over none."""
    for value in node.inputs[:2]:
        if value is not None and value.shape is not None and not 1 <= len(value.shape) - 2 <= _MOST_AXES:
            return f"a convolution over {len(value.shape) - 2} axes; TensorFlow has one to three"
    return None


@operator("Conv", accepts=_spatial_rank)
def convolution(x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    rank = rank_of(w) - 2
    axes = window_axes(sizes_of(x)[2:], sizes_of(w)[2:], strides, dilations, pads, auto_pad)
    return in_single_precision(lambda x, w, b: _convolution(x, w, b, two_axes(axes), group, rank), x, w, b)


def _convolution(x, w, b, axes: list[WindowAxis], group, rank):
    inputs = channels_last(x)
    if inputs.shape[-1] is None and w.shape[1] is not None:
        # The weight tells how many channels there are, without which LiteRT's converter takes no convolution.
        inputs = tf.reshape(inputs, shape_tensor([*sizes_of(inputs)[:-1], w.shape[1] * group]))
    same = is_same_padding(axes)
    if not same:
        inputs = padded(inputs, [(a.begin, a.end) for a in axes])
    y = convolved(inputs, w, axes, group, "SAME" if same else "VALID")
    if b is not None:
        # TensorFlow fuses a bias with the convolution before it, and its fused kernel knows no groups.
        y = y + b if group > 1 and not is_for_litert() else tf.nn.bias_add(y, b)
    return channels_first(y, rank)


def convolved(x, w, axes: list[WindowAxis], group, padding):
    """A convolution of channels-last `x` with ONNX's weight (outputs, inputs of a group, *kernel)."""
    channels, outputs, per_group = x.shape[-1], w.shape[0], w.shape[1]
    if group > 1 and per_group == 1 and len(axes) == 2 and outputs is not None:
        return _depthwise(x, w, axes, group, padding)
    strides, dilations = _per_axis(axes)
    filters = at_trace_time(w, _filters)
    _known_channels(channels, group)
    if len(axes) == 2:
        # TensorFlow's and LiteRT's kernels read the number of groups off the channels.
        return tf.raw_ops.Conv2D(input=x, filter=filters, strides=strides, padding=padding, dilations=dilations)
    if not is_for_litert():  # TensorFlow's own kernel knows no dilation
        filters, dilations = at_trace_time(filters, lambda f: _spread(f, axes)), [1] * 5
    parts = zip(tf.split(x, group, -1), tf.split(filters, group, -1), strict=True) if group > 1 else [(x, filters)]
    results = [
        tf.raw_ops.Conv3D(input=part, filter=weight, strides=strides, padding=padding, dilations=dilations)
        for part, weight in parts
    ]
    return tf.concat(results, -1) if group > 1 else results[0]


def _known_channels(channels, group):
    if channels is None and group > 1:
        raise UnsupportedError("groups of a dynamic number of channels")


def _filters(w):
    """(outputs, inputs, *kernel) as (*kernel, inputs, outputs); a kernel over one axis gets a second one."""
    rank = rank_of(w)
    moved = tf.transpose(w, [*range(2, rank), 1, 0])
    return tf.expand_dims(moved, 0) if rank == 3 else moved


def _per_axis(axes: list[WindowAxis]):
    return [1, *(a.stride for a in axes), 1], [1, *(a.dilation for a in axes), 1]


def _depthwise(x, w, axes: list[WindowAxis], group, padding):
    """One filter, or several, for every channel alone."""

    # (outputs, 1, *kernel) → (*kernel, channels, multiplier): the outputs of a channel stand side by side.
    def filters(weight):
        planes = tf.transpose(_filters(weight), [0, 1, 3, 2])
        return tf.reshape(planes, [*planes.shape[:2], group, planes.shape[2] // group])

    strides, dilations = _per_axis(axes)
    if axes[0].kernel == 1 and axes[0].size == 1:
        strides[1] = strides[2]  # the next is about both axes, and here the first one moves nowhere
    # TensorFlow's own kernel wants the strides equal, and 1 for a dilated kernel; what it computes too much is left out.
    more, is_dilated = [1, 1], any(a.dilation > 1 for a in axes)
    if is_dilated or not is_for_litert():
        step = 1 if is_dilated else math.gcd(*strides[1:3])
        more = [stride // step for stride in strides[1:3]]
        strides = [1, step, step, 1]
    if more != [1, 1] and padding == "SAME":
        x, padding = padded(x, [(a.begin, a.end) for a in axes]), "VALID"
    y = tf.nn.depthwise_conv2d(x, at_trace_time(w, filters), strides, padding, dilations=dilations[1:3])
    return y if more == [1, 1] else y[:, :: more[0], :: more[1]]


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
    rank = rank_of(w) - 2
    sizes, kernel = sizes_of(x)[2:], sizes_of(w)[2:]
    if output_shape is not None:
        output_shape = output_shape[-rank:]  # some exporters write batch and channels too
    crops = transposed_crops(sizes, kernel, strides, dilations, pads, auto_pad, output_padding, output_shape)
    if any(begin < 0 for begin, _ in crops):
        raise UnsupportedError("negative padding before the first element")
    axes = two_axes(window_axes(sizes, kernel, strides, dilations, None, "VALID"))
    crops = [(0, 0), *crops] if rank == 1 else crops
    return in_single_precision(lambda x, w, b: _transposed(x, w, b, axes, crops, group, rank), x, w, b)


def _transposed(x, w, b, axes: list[WindowAxis], crops, group, rank):
    inputs = channels_last(x)
    filters = at_trace_time(w, lambda weight: _spread(_filters(weight), axes))
    if group > 1 and w.shape[0] == group and len(axes) == 2 and (pads := _pads_of_crops(axes, crops)) is not None:
        y = _transposed_depthwise(inputs, filters, axes, pads)
        return channels_first(y if b is None else tf.nn.bias_add(y, b), rank)
    parts = [(inputs, filters)]
    if group > 1:
        _known_channels(inputs.shape[-1], group)
        parts = list(zip(tf.split(inputs, group, -1), tf.split(filters, group, -1), strict=True))
    results = [_transposed_group(part, weight, axes, crops) for part, weight in parts]
    y = tf.concat(results, -1) if group > 1 else results[0]
    return channels_first(y if b is None else tf.nn.bias_add(y, b), rank)


def _pads_of_crops(axes: list[WindowAxis], crops):
    """The padding of a transposed convolution as a convolution of the input with zeros in between; None where it would cut."""
    if not all(isinstance(n, int) for crop in crops for n in crop):
        return None
    pads = [(a.extent - 1 - begin, a.extent - a.stride - end) for a, (begin, end) in zip(axes, crops, strict=True)]
    return pads if all(n >= 0 for pad in pads for n in pad) else None


def _transposed_depthwise(x, filters, axes: list[WindowAxis], pads):
    """A filter, or several, for every channel alone: one operator in place of one for every channel.

    Upsampling by a learned or bilinear kernel is of this kind. `filters` is (*kernel, multiplier, channels).
    """
    for position, axis in enumerate(axes):
        x = _with_zeros_between(x, position + 1, axis.stride)
    flipped = at_trace_time(filters, lambda f: tf.transpose(tf.reverse(f, [0, 1]), [0, 1, 3, 2]))
    return tf.nn.depthwise_conv2d(padded(x, pads), flipped, [1, 1, 1, 1], "VALID")


def _with_zeros_between(x, axis, stride):
    """The elements along an axis, each with `stride` - 1 zeros behind it."""
    if stride == 1:
        return x
    sizes = sizes_of(x)
    rows = tf.reshape(x, shape_tensor([product(sizes[: axis + 1]), 1, product(sizes[axis + 1 :])]))
    spaced = tf.pad(rows, [(0, 0), (0, stride - 1), (0, 0)])
    sizes[axis] = sizes[axis] * stride
    return tf.reshape(spaced, shape_tensor(sizes))


def _spread(filters, axes: list[WindowAxis]):
    """The kernel (*kernel, outputs, inputs) with zeros between its elements, instead of a dilation.

    TensorFlow's CPU kernels and LiteRT's of the transposed convolution know no dilation.
    """
    for position, axis in enumerate(axes):
        if axis.dilation > 1:
            shape = filters.shape.as_list()
            columns = tf.expand_dims(filters, position + 1)
            zeros = [(0, 0)] * len(columns.shape)
            zeros[position + 1] = (0, axis.dilation - 1)
            shape[position] *= axis.dilation
            filters = tf.reshape(tf.pad(columns, zeros), shape)
            filters = filters[(slice(None),) * position + (slice(axis.extent),)]
    return filters


def _transposed_group(x, filters, axes: list[WindowAxis], crops):
    """The result of one group: the full one, cut and filled up as `crops` say."""
    batch, *sizes, _ = sizes_of(x)
    lengths = [_full(axis, size) - begin - end for axis, size, (begin, end) in zip(axes, sizes, crops, strict=True)]
    strides = [1, *(a.stride for a in axes), 1]
    transpose = tf.nn.conv2d_transpose if len(axes) == 2 else tf.nn.conv3d_transpose
    outputs = filters.shape[-2]
    if all(_is_same_crop(axis, crop) for axis, crop in zip(axes, crops, strict=True)):
        return transpose(x, filters, shape_tensor([batch, *lengths, outputs]), strides, "SAME")
    # TensorFlow computes up to a stride more at the end, as far as no other input would have reached there.
    more = [max(0, min(-end, axis.stride - 1)) for axis, (_, end) in zip(axes, crops, strict=True)]
    whole = [_full(axis, size) + n for axis, size, n in zip(axes, sizes, more, strict=True)]
    y = transpose(x, filters, shape_tensor([batch, *whole, outputs]), strides, "VALID")
    filled = [(0, max(0, -end - n)) for (_, end), n in zip(crops, more, strict=True)]
    if all(begin == 0 and -end == n + fill for (begin, end), n, (_, fill) in zip(crops, more, filled, strict=True)):
        return padded(y, filled)
    starts = [0, *(begin for begin, _ in crops), 0]
    return tf.slice(padded(y, filled), starts, shape_tensor([batch, *lengths, outputs]))


def _full(axis: WindowAxis, size):
    return (size - 1) * axis.stride + axis.extent


def _is_same_crop(axis: WindowAxis, crop):
    """Whether TensorFlow's padding "SAME" cuts that off: what remains is stride times the size."""
    begin, end = crop
    needed = axis.extent - axis.stride
    return needed >= 0 and begin == needed // 2 and end == needed - needed // 2
