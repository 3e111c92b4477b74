"""Scatter and its kin of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest
from onnx.reference import ReferenceEvaluator

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints, refusal

_REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements(reduction: str, axis: int) -> None:
    feeds = {"x": floats(3, 4), "i": np.array([[0, -1], [2, 1]]), "u": floats(2, 2, seed=1)}
    agrees("ScatterElements", feeds, axis=axis, reduction=reduction, opset=18, dynamic={"x": {0: "n"}})


def test_the_same_place_twice_is_added_twice() -> None:
    feeds = {"x": floats(3), "i": ints(1, 1, 1), "u": floats(3, seed=1)}
    agrees("ScatterElements", feeds, reduction="add", opset=18)


def test_scatter_before_opset_11() -> None:
    agrees("Scatter", {"x": floats(3, 4), "i": np.array([[0, 1]]), "u": floats(1, 2)}, opset=9, axis=1)


@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd(reduction: str, depth: int) -> None:
    indices = np.array([[0, 1, -1], [2, -3, 1]])[:, :depth]
    feeds = {"x": floats(3, 3, 2), "i": indices, "u": floats(2, *(3, 3, 2)[depth:], seed=1)}
    agrees("ScatterND", feeds, reduction=reduction, opset=18)


def test_scatter_nd_into_a_dynamic_batch() -> None:
    feeds = {"x": floats(3, 4), "i": np.array([[0], [-1]]), "u": floats(2, 4)}
    for reduction in ("none", "max"):
        agrees("ScatterND", feeds, reduction=reduction, opset=18, dynamic={"x": {0: "n", 1: "m"}, "u": {1: "m"}})


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    feeds = {"cache": floats(2, 1, 5, 3), "update": floats(2, 1, 2, 3, seed=1), "starts": ints(1, 3 if mode == "linear" else 4)}
    model = nodes.node_model("TensorScatter", feeds, opset=24, mode=mode)
    nodes.assert_agree(nodes.pytorch(model, feeds), ReferenceEvaluator(model).run(None, feeds))


def test_unknown_reduction_is_refused() -> None:
    feeds = {"x": floats(3), "i": ints(1), "u": floats(1)}
    assert "mean" in refusal("ScatterElements", feeds, reduction="mean", opset=18)
