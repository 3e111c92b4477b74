"""Forms of convolutions that TF.js computes and TensorFlow's CPU kernels do not: channels first, dilated depthwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convkit.errors import ConversionError
from convkit.loading.tfjs_bodies import Body, new_node

__all__ = ["channels_last", "undilated"]

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)


def channels_last(body: Body, node: Any) -> list[Any] | None:
    """A `Conv2D` with channels first between transpositions; None where it has channels last already.

    Its strides and dilations stay in their places: TF.js takes the second and third of the four for rows and columns in either
    layout (convolution_executor.ts), and what TF.js computes is what the model is.
    """
    if node.attr["data_format"].s != b"NCHW":
        return None
    made = new_node(body.free_name(f"{node.name}/Conv2D"), node.op, list(node.input), node, tuple(node.attr))
    made.attr["data_format"].s = b"NHWC"
    if pads := list(made.attr["explicit_paddings"].list.i):
        made.attr["explicit_paddings"].list.i[:] = [pads[2 * axis + side] for axis in _TO_LAST for side in (0, 1)]
    before = _transposed(body, node, made.input[0], _TO_LAST, "channels_last")
    made.input[0] = f"{before[-1].name}:0"
    after = _transposed(body, node, f"{made.name}:0", _TO_FIRST, "channels_first")
    after[-1].name = node.name
    return [*before, made, *after]


def _transposed(body: Body, node: Any, source: str, order: Sequence[int], suffix: str) -> list[Any]:
    import numpy as np

    permutation = _constant(body.free_name(f"{node.name}/{suffix}/perm"), np.array(order, np.int32))
    transposition = new_node(
        body.free_name(f"{node.name}/{suffix}"), "Transpose", [source, f"{permutation.name}:0"], node, ("T",)
    )
    transposition.attr["Tperm"].type = permutation.attr["dtype"].type
    return [permutation, transposition]


def undilated(body: Body, node: Any) -> list[Any] | None:
    """A dilated `DepthwiseConv2dNative` with zeros between its filter's taps; None where it has no dilation.

    Raises:
        ConversionError: The filter is no constant.
    """
    import numpy as np
    import tensorflow as tf

    rates = list(node.attr["dilations"].list.i) or [1, 1, 1, 1]
    axes = (2, 3) if node.attr["data_format"].s == b"NCHW" else (1, 2)
    rows, columns = (rates[axis] for axis in axes)
    if (rows, columns) == (1, 1):
        return None
    source = body.nodes[node.input[1].partition(":")[0]]
    if source.op != "Const":
        raise ConversionError(f"the dilated depthwise convolution {node.name!r} has a filter that is computed")
    taps = tf.make_ndarray(source.attr["value"].tensor)
    height, width, *rest = taps.shape
    spread = np.zeros(((height - 1) * rows + 1, (width - 1) * columns + 1, *rest), taps.dtype)
    spread[::rows, ::columns] = taps
    constant = _constant(body.free_name(f"{node.name}/filter"), spread)
    made = new_node(node.name, node.op, [node.input[0], f"{constant.name}:0", *node.input[2:]], node, tuple(node.attr))
    made.attr["dilations"].list.i[:] = [1, 1, 1, 1]
    return [constant, made]


def _constant(name: str, value: Any) -> Any:
    import tensorflow as tf

    node = new_node(name, "Const", [])
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node
