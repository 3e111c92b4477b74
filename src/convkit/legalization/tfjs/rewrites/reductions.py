"""Reductions and scans."""

from __future__ import annotations

from typing import Any

import numpy as np

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


@rewrite("Max", "Min", "Sum", "Prod", "All", "Any", reason="of no elements: the neutral element")
def of_nothing(node: Node, x: Any, _axes: Any) -> Any:
    """Extrema of nothing are nothing in particular on cpu, and wasm leaves what its memory held.

    Along axes that only the inputs tell, cpu is right about the others.
    """
    import tensorflow as tf

    if not x.shape.is_fully_defined() or x.shape.num_elements() != 0:
        return None
    if node.type not in ("Max", "Min") and not isinstance(node.inputs[1], Known):
        return None
    lowest, highest = (-float("inf"), float("inf")) if x.dtype.is_floating else (x.dtype.min, x.dtype.max)
    neutral = {"Max": lowest, "Min": highest, "Sum": 0, "Prod": 1, "All": True, "Any": False}[node.type]
    axes = [axis % x.shape.rank for axis in np.atleast_1d(node.known(1)).tolist()]
    keep = node.attribute("keep_dims")
    sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape.as_list()) if keep or axis not in axes]
    return tf.fill(sizes, tf.constant(neutral, x.dtype))


@rewrite("Mean", reason="of integers: the sum divided by the number of elements")
def mean(node: Node, x: Any, axes: Any) -> Any:
    import tensorflow as tf

    if not x.dtype.is_integer:
        return None
    total = tf.raw_ops.Sum(input=x, axis=axes, keep_dims=node.attribute("keep_dims"))
    count = tf.reduce_prod(tf.gather(tf.shape(x), tf.reshape(axes, [-1])))
    return tf.sign(total) * tf.raw_ops.FloorDiv(x=tf.abs(total), y=count)
