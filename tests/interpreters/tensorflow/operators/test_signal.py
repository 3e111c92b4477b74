"""MelWeightMatrix of the TensorFlow importer where its sizes are inputs, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest


@pytest.mark.parametrize(("bands", "length", "rate"), [(8, 16, 8192), (40, 512, 16000), (80, 400, 16000)])
def test_sizes_that_are_inputs(bands, length, rate) -> None:
    feeds = {"bands": np.int64(bands), "length": np.int64(length), "rate": np.int64(rate)}
    feeds |= {"low": np.float32(20), "high": np.float32(rate / 2)}
    feeds = {name: np.asarray(value) for name, value in feeds.items()}
    model = nodes.node_model("MelWeightMatrix", feeds, opset=17)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
