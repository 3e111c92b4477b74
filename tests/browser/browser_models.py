"""A small TF.js model whose operators every backend has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tfjs_models import node, specs, write_graph

from convkit.signature import Signature


def write_network(directory: Path, factor: float = 1.0) -> Path:
    """A convolution over images of any size and number, and the indices of the largest of its means."""
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 5)).astype(np.float32) * factor
    weights = {"kernel": kernel, "space": np.array([1, 2], np.int32), "last": np.array(-1, np.int32)}
    signature = Signature(specs("image[batch,8,8,2]"), specs("scores[batch,5]", "best:int32[batch]"))
    attributes = {
        "strides": {"list": {"i": ["1", "1", "1", "1"]}},
        "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
        "padding": {"s": "U0FNRQ=="},  # SAME
        "data_format": {"s": "TkhXQw=="},  # NHWC
    }
    nodes = [
        node("convolution", "Conv2D", ["image", "kernel"], **attributes),
        node("positive", "Relu", ["convolution"]),
        node("scores", "Mean", ["positive", "space"], keep_dims={"b": False}),
        node("best", "ArgMax", ["scores", "last"], output_type={"type": "DT_INT32"}),
    ]
    return write_graph(directory, signature, nodes, weights)
