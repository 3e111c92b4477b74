"""Convolutions and pooling: TF.js's executor computes channels-last only, and ignores some attributes.

Source: tfjs-converter/src/operations/executors/convolution_executor.ts (`dataFormat` is not read for pooling, nor dilations for
the transposed convolution) and the kernels of the backends, of which wasm and webgl have no channels-first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit.legalization.tfjs.nodes import Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []

_CHANNELS_LAST = "channels-last, between transposes"


def _moved(values: Sequence[int], rank: int) -> list[int]:
    """A list with one entry per dimension, or two (paddings), from channels-first order."""
    pairs = len(values) // rank
    groups = [list(values[k * pairs : (k + 1) * pairs]) for k in range(rank)]
    return [v for group in (groups[0], *groups[2:], groups[1]) for v in group]


def _last(x: Any) -> Any:
    import tensorflow as tf

    rank = x.shape.rank
    return tf.transpose(x, [0, *range(2, rank), 1])


def _first(x: Any) -> Any:
    import tensorflow as tf

    rank = x.shape.rank
    return tf.transpose(x, [0, rank - 1, *range(1, rank - 1)])


def _again(node: Node, inputs: Sequence[Any], **changed: Any) -> Any:
    """The node's operator with other inputs and attributes."""
    import tensorflow as tf

    attributes = {k: v for k, v in node.operation.node_def.attr.items() if not k.startswith("_")}
    from convkit.legalization.tfjs.narrowing import narrow_attributes

    narrow_attributes(attributes)
    for key, value in changed.items():
        if isinstance(value, str):
            attributes[key].s = value.encode()
        else:
            attributes[key].list.i[:] = value
    made = tf.compat.v1.get_default_graph().create_op(node.type, list(inputs), name=node.type, attrs=attributes)
    return made.outputs[0]


def _is_channels_first(node: Node) -> bool:
    return str(node.attribute("data_format")).startswith("NC")


@rewrite("Conv2D", "Conv3D", "DepthwiseConv2dNative", reason=_CHANNELS_LAST)
def convolution(node: Node, x: Any, weights: Any) -> Any:
    first = _is_channels_first(node)
    if node.type == "Conv2D":
        channels = x.shape[1 if first else 3]
        if channels is None or weights.shape[2] is None:
            raise RefusedError("the number of its channels is unknown")
        if channels != weights.shape[2]:
            return _grouped(node, _last(x) if first else x, weights, first)
    if not first:
        return None
    return _first(_again(node, [_last(x), weights], **_last_attributes(node)))


def _last_attributes(node: Node, rank: int = 4) -> dict[str, Any]:
    rank = 5 if node.type == "Conv3D" else rank
    changed: dict[str, Any] = {"data_format": "NHWC" if rank == 4 else "NDHWC"}
    for key in ("strides", "dilations", "ksize", "explicit_paddings"):
        if key in node.operation.node_def.attr and (values := list(node.attribute(key))):
            changed[key] = _moved(values, rank)
    return changed


def _grouped(node: Node, x: Any, weights: Any, first: bool) -> Any:
    """A convolution whose kernels see a part of the channels: a depthwise one, or one convolution per part."""
    import tensorflow as tf

    channels = int(x.shape[3])
    groups = channels // int(weights.shape[2])
    changed = _last_attributes(node) if first else {}
    strides, dilations = (changed.get(key) or list(node.attribute(key)) for key in ("strides", "dilations"))
    if groups == channels and strides[1] == strides[2] and dilations == [1, 1, 1, 1] and weights.shape[3] is not None:
        kernel = tf.reshape(weights, [*tf.unstack(tf.shape(weights)[:2]), channels, weights.shape[3] // channels])
        paddings = changed.get("explicit_paddings") or list(node.attribute("explicit_paddings"))
        result = tf.raw_ops.DepthwiseConv2dNative(
            input=x, filter=kernel, strides=strides, padding=node.attribute("padding"), explicit_paddings=paddings
        )
        return _first(result) if first else result
    parts = zip(tf.split(x, groups, 3), tf.split(weights, groups, 3), strict=True)
    result = tf.concat([_again(node, pair, **changed) for pair in parts], 3)
    return _first(result) if first else result


@rewrite("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", reason=_CHANNELS_LAST)
def pooling(node: Node, x: Any) -> Any:
    rank = 5 if node.type.endswith("3D") else 4
    explicit = node.attribute("padding") == "EXPLICIT"
    if not (_is_channels_first(node) or explicit):
        return None
    first = _is_channels_first(node)
    x = _last(x) if first else x
    changed = _last_attributes(node, rank) if first else {"data_format": "NHWC" if rank == 4 else "NDHWC"}
    if explicit:
        paddings = np.reshape(changed.pop("explicit_paddings", list(node.attribute("explicit_paddings"))), (-1, 2))
        x = _padded(x, paddings)
        changed |= {"padding": "VALID", "explicit_paddings": []}
    result = _again(node, [x], **changed)
    return _first(result) if first else result


def _padded(x: Any, paddings: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.pad(x, paddings.astype(np.int32), constant_values=x.dtype.min)


@rewrite("MaxPoolV2", reason="its window as attributes")
def max_pool_v2(node: Node, x: Any, _ksize: Any, _strides: Any) -> Any:
    import tensorflow as tf

    ksize, strides = ([int(v) for v in node.known(position)] for position in (1, 2))
    first = _is_channels_first(node)
    if first:
        x, ksize, strides = _last(x), _moved(ksize, 4), _moved(strides, 4)
    result = tf.raw_ops.MaxPool(input=x, ksize=ksize, strides=strides, padding=node.attribute("padding"))
    return _first(result) if first else result


@rewrite("Conv2DBackpropInput", reason="channels-last, with the holes of a dilation written as zeros of the kernel")
def transposed_convolution(node: Node, shape: Any, weights: Any, x: Any) -> Any:
    import tensorflow as tf

    first = _is_channels_first(node)
    dilations = list(node.attribute("dilations"))
    spatial = dilations[2:4] if first else dilations[1:3]
    if not first and spatial == [1, 1]:
        return None
    changed: dict[str, Any] = _last_attributes(node) if first else {}
    changed["dilations"] = [1, 1, 1, 1]
    if spatial != [1, 1]:
        weights = _with_holes(weights, spatial)
    if not first:
        return _again(node, [shape, weights, x], **changed)
    size = tf.gather(shape, [0, 2, 3, 1])
    return _first(_again(node, [size, weights, _last(x)], **changed))


def _with_holes(weights: Any, dilations: Sequence[int]) -> Any:
    """[height, width, in, out] → the same kernel with zeros between its rows and columns."""
    import tensorflow as tf

    for axis, dilation in enumerate(dilations):
        if dilation > 1:
            size = weights.shape[axis]
            apart = tf.expand_dims(weights, axis + 1)
            paddings = [[0, dilation - 1] if k == axis + 1 else [0, 0] for k in range(5)]
            shape = list(weights.shape)
            shape[axis] = size * dilation
            weights = tf.reshape(tf.pad(apart, paddings), shape)
            weights = tf.slice(weights, [0] * 4, [size * dilation - dilation + 1 if k == axis else -1 for k in range(4)])
    return weights


@rewrite("Conv3DBackpropInputV2", reason="computed as a convolution of the input spread out with zeros")
def transposed_convolution_3d(node: Node, shape: Any, weights: Any, x: Any) -> Any:
    """Source: a transposed convolution is a convolution by the mirrored kernel over an input with zeros between elements."""
    import tensorflow as tf

    if _is_channels_first(node) or any(d != 1 for d in node.attribute("dilations")):
        raise RefusedError("it is channels-first or dilated")
    size = tf.get_static_value(shape)
    if size is None or None in x.shape.as_list()[1:] or not weights.shape.is_fully_defined():
        raise RefusedError("its sizes are dynamic")
    strides = list(node.attribute("strides"))[1:4]
    for axis, stride in enumerate(strides, 1):
        x = _spread(x, axis, stride)
    kernel = weights.shape.as_list()
    paddings = [[0, 0]]
    for axis in range(3):
        before = _padding_before(node.attribute("padding"), int(size[axis + 1]), kernel[axis], strides[axis])
        start = kernel[axis] - 1 - before
        paddings.append([start, int(size[axis + 1]) + kernel[axis] - 1 - int(x.shape[axis + 1]) - start])
    x = tf.pad(x, [*paddings, [0, 0]])
    mirrored = tf.transpose(tf.reverse(weights, [0, 1, 2]), [0, 1, 2, 4, 3])
    return tf.nn.conv3d(x, mirrored, [1] * 5, "VALID")


def _padding_before(padding: str, size: int, kernel: int, stride: int) -> int:
    """What the forward convolution pads at the start of a dimension."""
    if padding == "VALID":
        return 0
    return max(0, (-(-size // stride) - 1) * stride + kernel - size) // 2


def _spread(x: Any, axis: int, stride: int) -> Any:
    """Zeros between the elements of a dimension."""
    import tensorflow as tf

    if stride == 1:
        return x
    shape = [-1 if size is None else size for size in x.shape.as_list()]
    apart = tf.pad(tf.expand_dims(x, axis + 1), [[0, stride - 1] if k == axis + 1 else [0, 0] for k in range(len(shape) + 1)])
    size = shape[axis]
    shape[axis] = size * stride
    whole = tf.reshape(apart, shape)
    return tf.slice(whole, [0] * len(shape), [size * stride - stride + 1 if k == axis else -1 for k in range(len(shape))])
