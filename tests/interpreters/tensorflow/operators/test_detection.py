"""Non-maximum suppression of the TensorFlow importer, against ONNX Runtime and in LiteRT."""

from __future__ import annotations

import litert_nodes
import numpy as np
import onnx_nodes as nodes
import pytest

_rng = np.random.default_rng(0)


def build(boxes, scores, most=None, overlap=None, least=None, dynamic=False, **attributes):
    feeds = {"boxes": boxes, "scores": scores}
    given = {"most": most, "overlap": overlap, "least": least}
    constants = {
        name: np.array([value], np.int64 if name == "most" else np.float32) for name, value in given.items() if value is not None
    }
    order = ["boxes", "scores", *(name if name in constants else "" for name in given)]
    symbols = {"boxes": {1: "n"}, "scores": {2: "n"}} if dynamic else {}
    model = nodes.node_model("NonMaxSuppression", feeds, constants, order=order, dynamic=symbols, opset=11, **attributes)
    return model, feeds


def draw(batch=1, classes=1, count=30):
    corners = _rng.random((batch, count, 2)) * 10
    boxes = np.concatenate([corners, corners + _rng.random((batch, count, 2)) * 5], -1)
    return boxes.astype(np.float32), _rng.random((batch, classes, count)).astype(np.float32)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("limits", [{"most": 5}, {"most": 2**40, "overlap": 0.3}, {"most": 9, "overlap": 0.5, "least": 0.4}])
def test_suppression(limits, dynamic) -> None:
    model, feeds = build(*draw(), **limits, dynamic=dynamic)
    wanted = nodes.onnx_runtime(model, feeds)
    nodes.assert_agree(nodes.tensorflow(model, feeds), wanted)
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, wanted)
    assert "NON_MAX_SUPPRESSION_V4" in used


def test_images_and_classes() -> None:
    model, feeds = build(*draw(2, 3), most=4, overlap=0.4)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


def test_centres_and_flipped_corners() -> None:
    boxes, scores = draw()
    for given, attributes in ((boxes, {"center_point_box": 1}), (boxes[..., [2, 3, 0, 1]], {})):
        model, feeds = build(given, scores, most=10, overlap=0.3, **attributes)
        nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


def test_nothing_is_kept() -> None:
    boxes, scores = draw()
    for limits in ({"most": 5, "least": 2.0}, {"most": 0}):
        model, feeds = build(boxes, scores, **limits)
        nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
