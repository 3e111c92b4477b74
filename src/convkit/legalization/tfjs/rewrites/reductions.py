"""Reductions and scans."""

from __future__ import annotations

from typing import Any

from convkit.legalization.tfjs.nodes import Known, Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []


@rewrite("Cumsum", "Cumprod", reason="along an axis that is counted from the front: TF.js takes no negative one")
def scan(node: Node, x: Any, axis: Any) -> Any:
    import tensorflow as tf

    known = node.inputs[1]
    if isinstance(known, Known) and int(known.array) >= 0:
        return None
    if x.shape.rank is None:
        raise RefusedError("the rank of its input is unknown")
    axis = tf.math.floormod(axis, x.shape.rank)
    if isinstance(known, Known):
        axis = tf.constant(int(known.array) % x.shape.rank, tf.int32)
    operator = tf.raw_ops.Cumsum if node.type == "Cumsum" else tf.raw_ops.Cumprod
    return operator(x=x, axis=axis, exclusive=node.attribute("exclusive"), reverse=node.attribute("reverse"))


@rewrite("Max", "Min", reason="of no elements: the neutral element")
def extremum(node: Node, x: Any, _axes: Any) -> Any:
    """TF.js reduces nothing to nothing in particular; sums, products and means of nothing are right."""
    import tensorflow as tf

    if not x.shape.is_fully_defined() or x.shape.num_elements() != 0:
        return None
    lowest, highest = (-float("inf"), float("inf")) if x.dtype.is_floating else (x.dtype.min, x.dtype.max)
    neutral = tf.constant(lowest if node.type == "Max" else highest, x.dtype)
    shape = tf.reduce_max(tf.zeros(x.shape, x.dtype), node.known(1), keepdims=node.attribute("keep_dims")).shape
    return tf.fill(shape, neutral)


@rewrite("Mean", reason="of integers: the sum divided by the number of elements")
def mean(node: Node, x: Any, axes: Any) -> Any:
    import tensorflow as tf

    if not x.dtype.is_integer:
        return None
    total = tf.raw_ops.Sum(input=x, axis=axes, keep_dims=node.attribute("keep_dims"))
    count = tf.reduce_prod(tf.gather(tf.shape(x), tf.reshape(axes, [-1])))
    return tf.sign(total) * tf.raw_ops.FloorDiv(x=tf.abs(total), y=count)
