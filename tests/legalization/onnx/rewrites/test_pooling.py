"""Pooling by slices and by convolutions, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_nodes as nodes
import pytest
from legalization.onnx import plain_target as plain

FORMS: list[dict[str, Any]] = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 1, 0, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 2], "auto_pad": "VALID"},
]


def pooled(operator: str, x: np.ndarray, *, opset: int = 22, outputs: int = 1, **attributes: Any) -> None:
    model = nodes.node_model(operator, {"x": x}, opset=opset, outputs=outputs, dynamic={"x": {0: "n", 1: "c"}}, **attributes)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    if outputs > 1:
        model.graph.output[1].type.tensor_type.elem_type = 7
    plain.assert_same(model, {"x": x})


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average(form: dict[str, Any], count_include_pad: int) -> None:
    pooled("AveragePool", floats(2, 3, 8, 7), count_include_pad=count_include_pad, **form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_maximum(form: dict[str, Any], outputs: int) -> None:
    pooled("MaxPool", floats(2, 3, 8, 7), outputs=outputs, **form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_norm(form: dict[str, Any], p: int) -> None:
    pooled("LpPool", floats(2, 3, 8, 7), p=p, **form)


def test_other_dimensions() -> None:
    for operator in ("AveragePool", "MaxPool", "LpPool"):
        pooled(operator, floats(1, 2, 9), kernel_shape=[3], strides=[2])
        pooled(operator, floats(1, 2, 5, 6, 4), kernel_shape=[3, 2, 2], strides=[2, 1, 1], pads=[1, 0, 0, 1, 1, 0])


def test_integers_and_columns() -> None:
    x = np.random.default_rng(2).integers(-9, 9, size=(1, 2, 6, 5)).astype(np.int8)
    pooled("MaxPool", x, opset=12, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    pooled("MaxPool", floats(2, 2, 6, 5), outputs=2, storage_order=1, kernel_shape=[2, 3], strides=[2, 1])


def test_older_norms() -> None:
    pooled("LpPool", floats(2, 3, 8, 7), opset=11, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])


@pytest.mark.parametrize("operator", ["GlobalLpPool", "GlobalMaxPool", "GlobalAveragePool"])
def test_global(operator: str) -> None:
    pooled(operator, floats(2, 3, 4, 5), opset=18)


def test_a_dynamic_size_is_a_gap() -> None:
    model = nodes.node_model("LpPool", {"x": floats(1, 1, 4, 4)}, dynamic={"x": {2: "h"}}, kernel_shape=[2, 2])
    assert plain.gaps(plain.legalized(model)[1])
