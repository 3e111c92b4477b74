"""Normalizations."""

from __future__ import annotations

from typing import Any

from convkit.legalization.tfjs.nodes import Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []


@rewrite("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", reason="a product and a sum, which fold into a convolution")
def batch_normalization(node: Node, x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
    """Inference only: TF.js returns one output, and reads no data format."""
    import tensorflow as tf

    if node.attribute("is_training"):
        raise RefusedError("it normalizes by the batch's own statistics (training mode)")
    factor = scale * tf.math.rsqrt(variance + node.attribute("epsilon"))
    bias = offset - mean * factor
    if str(node.attribute("data_format")).startswith("NC"):
        shape = [-1, *[1] * (x.shape.rank - 2)]
        factor, bias = tf.reshape(factor, shape), tf.reshape(bias, shape)
    return [x * factor + bias, mean, variance, *([mean, variance, mean][: len(node.operation.outputs) - 3])]


@rewrite("BiasAdd", reason="a sum with the bias in the place of the channels")
def bias_add(node: Node, x: Any, bias: Any) -> Any:
    import tensorflow as tf

    if node.attribute("data_format") != "NCHW":
        return None
    return x + tf.reshape(bias, [-1, *[1] * (x.shape.rank - 2)])
