"""Element-by-element operators of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes


def test_dynamic_batch_stays_dynamic() -> None:
    feeds = {"a": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "b": np.ones((3, 1), np.float32)}
    model = nodes.node_model("Add", feeds, dynamic={"a": {0: "batch"}, "b": {0: "batch"}})
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))
