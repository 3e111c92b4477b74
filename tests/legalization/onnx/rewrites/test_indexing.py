"""EyeLike, TensorScatter, MaxUnpool, Col2Im, Det and ArrayFeatureExtractor."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(6)


@pytest.mark.parametrize("k", [-2, 0, 1])
@pytest.mark.parametrize("dynamic", [{}, {0: "r"}, {0: "r", 1: "c"}])
def test_eye_like(k: int, dynamic: dict[int, str]) -> None:
    x = np.zeros((3, 5), np.int32)
    plain.assert_same(nodes.node_model("EyeLike", {"x": x}, k=k, dtype=1, dynamic={"x": dynamic}), {"x": x})
    plain.assert_same(nodes.node_model("EyeLike", {"x": x}, k=k, opset=9), {"x": x})


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [1, -2])
@pytest.mark.parametrize("given", [True, False])
def test_tensor_scatter(mode: str, axis: int, given: bool) -> None:
    feeds = {
        "cache": RNG.normal(size=(2, 6, 4, 3)).astype(np.float32),
        "update": RNG.normal(size=(2, 2, 4, 3)).astype(np.float32),
    }
    if axis == -2:
        feeds["update"] = RNG.normal(size=(2, 6, 2, 3)).astype(np.float32)
    if given:
        feeds["at"] = np.array([1, 3 if mode == "circular" else 2])
    model = nodes.node_model("TensorScatter", feeds, opset=24, axis=axis, mode=mode, dynamic={name: {0: "n"} for name in feeds})
    plain.assert_same(model, feeds)


def test_max_unpool() -> None:
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    x = RNG.normal(size=(2, 3, 6, 8)).astype(np.float32)
    pooled = nodes.node_model("MaxPool", {"x": x}, outputs=2, opset=12, **pool)
    pooled.graph.output[1].type.tensor_type.elem_type = 7
    values, places = plain.run(pooled, {"x": x})
    feeds = {"v": values, "i": places}
    plain.assert_same(nodes.node_model("MaxUnpool", feeds, opset=11, dynamic={"v": {0: "n"}, "i": {0: "n"}}, **pool), feeds)
    sized = {**feeds, "s": np.array([2, 3, 7, 8])}
    model = nodes.node_model("MaxUnpool", sized, opset=11, **pool)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, sized)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"strides": [2, 3]},
        {"pads": [1, 0, 1, 2], "strides": [2, 2]},
        {"dilations": [2, 1], "pads": [0, 1, 1, 0]},
    ],
)
def test_col2im(form: dict[str, Any]) -> None:
    image, block = np.array([7, 8]), np.array([2, 3])
    strides, dilations, pads = form.get("strides", [1, 1]), form.get("dilations", [1, 1]), form.get("pads", [0] * 4)
    counts = [(image[k] + pads[k] + pads[k + 2] - dilations[k] * (block[k] - 1) - 1) // strides[k] + 1 for k in (0, 1)]
    feeds = {"x": RNG.normal(size=(2, 3 * 6, int(np.prod(counts)))).astype(np.float32)}
    model = nodes.node_model("Col2Im", feeds, {"image": image, "block": block}, opset=18, dynamic={"x": {0: "n"}}, **form)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    plain.assert_same(model, feeds)


def test_col2im_of_one_and_three_dimensions() -> None:
    for image, block, columns in (([9], [3], 7), ([4, 5, 3], [2, 2, 2], 3 * 4 * 2)):
        feeds = {"x": RNG.normal(size=(1, 2 * int(np.prod(block)), columns)).astype(np.float32)}
        model = nodes.node_model("Col2Im", feeds, {"image": np.array(image), "block": np.array(block)}, opset=18)
        plain.assert_same(model, feeds, wanted=ReferenceEvaluator(model).run(None, feeds))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinant(size: int) -> None:
    for shape in ((size, size), (3, 2, size, size)):
        x = RNG.normal(size=shape).astype(np.float32)
        plain.assert_same(nodes.node_model("Det", {"x": x}), {"x": x})
    large = nodes.node_model("Det", {"x": np.eye(5, dtype=np.float32)})
    assert plain.gaps(plain.legalized(large)[1])


def test_array_feature_extractor() -> None:
    feeds = {"x": RNG.normal(size=(3, 5)).astype(np.float32), "i": np.array([4, 0, 0])}
    text = '<ir_version: 8, opset_import: ["": 18, "ai.onnx.ml": 3]> g (float[3,5] x, int64[3] i) => (float[3,3] y)'
    plain.assert_same(onnx.parser.parse_model(text + "{ y = ai.onnx.ml.ArrayFeatureExtractor (x, i) }"), feeds)
