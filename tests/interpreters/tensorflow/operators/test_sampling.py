"""RoiAlign of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import litert_nodes
import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes
import pytest

from convkit.interpreters.tensorflow.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize

_rng = np.random.default_rng(0)


def build(opset=16, **attributes):
    corners = _rng.random((5, 2)) * 10 - 1
    feeds = {
        "x": _rng.normal(size=(2, 3, 9, 11)).astype(np.float32),
        "rois": np.concatenate([corners, corners + _rng.random((5, 2)) * 12], 1).astype(np.float32),
        "images": np.array([0, 1, 1, 0, 1]),
    }
    attributes = {"output_height": 3, "output_width": 4, "sampling_ratio": 2, "spatial_scale": 0.7} | attributes
    dynamic = {"x": {0: "n", 2: "h"}, "rois": {0: "k"}, "images": {0: "k"}}
    return nodes.node_model("RoiAlign", feeds, opset=opset, dynamic=dynamic, **attributes), feeds


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
def test_regions(mode, transformation) -> None:
    model, feeds = build(mode=mode, coordinate_transformation_mode=transformation)
    wanted = nodes.onnx_runtime(model, feeds)
    nodes.assert_agree(nodes.tensorflow(model, feeds), wanted)
    nodes.assert_agree(litert_nodes.litert(model, feeds)[0], wanted)


def test_the_older_form() -> None:
    model, feeds = build(opset=10)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


def test_a_grid_that_the_data_size_is_refused() -> None:
    model, _ = build(sampling_ratio=0)
    [finding] = legalize(preparation.prepared(ir.from_proto(model)), operators())
    assert finding.verdict == "gap"
    assert "sampling_ratio 0" in finding.reason
