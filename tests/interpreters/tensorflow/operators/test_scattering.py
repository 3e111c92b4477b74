"""Scatter and its kin of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest
from onnx.reference import ReferenceEvaluator

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert, refusal

_REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements(reduction: str, axis: int) -> None:
    feeds = {"x": floats(3, 4), "i": np.array([[0, -1], [2, 1]]), "u": floats(2, 2, seed=1)}
    agrees("ScatterElements", feeds, axis=axis, reduction=reduction, opset=18)
    agrees_in_litert("ScatterElements", feeds, axis=axis, reduction=reduction, opset=18)


def test_the_same_place_twice() -> None:
    feeds = {"x": floats(3), "i": ints(1, 1, -2), "u": floats(3, seed=1)}
    for reduction in ("none", "add", "mul"):
        agrees("ScatterElements", feeds, reduction=reduction, opset=18)
        agrees_in_litert("ScatterElements", feeds, reduction=reduction, opset=18)
    constant = {"x": feeds["x"], "u": feeds["u"]}
    agrees("ScatterElements", constant, {"i": feeds["i"]}, order=["x", "i", "u"], opset=18)


def test_infinities_stay_beside_what_is_written() -> None:
    feeds = {"x": np.array([np.inf, -np.inf, 1], np.float32), "i": np.array([[2]]), "u": np.array([np.inf], np.float32)}
    agrees("ScatterND", feeds, opset=18, dynamic={"x": {0: "n"}})
    [wanted] = nodes.onnx_runtime(model := nodes.node_model("ScatterND", feeds, opset=18), feeds)
    import litert_nodes

    np.testing.assert_array_equal(litert_nodes.litert(model, feeds)[0][0], wanted)


def test_scatter_before_opset_11() -> None:
    agrees("Scatter", {"x": floats(3, 4), "i": np.array([[0, 1]]), "u": floats(1, 2)}, opset=9, axis=1)


@pytest.mark.parametrize("reduction", _REDUCTIONS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd(reduction: str, depth: int) -> None:
    indices = np.array([[0, 1, -1], [2, -3, 1]])[:, :depth]
    feeds = {"x": floats(3, 3, 2), "i": indices, "u": floats(2, *(3, 3, 2)[depth:], seed=1)}
    agrees("ScatterND", feeds, reduction=reduction, opset=18, dynamic={"x": {0: "n", 2: "m"}, "i": {0: "k"}})


def test_scatter_of_nothing() -> None:
    feeds = {"x": floats(3, 2), "i": np.zeros((0, 1), np.int64), "u": np.zeros((0, 2), np.float32)}
    agrees("ScatterND", feeds, opset=18, dynamic={"x": {0: "n"}}, wanted=[feeds["x"]])


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [-2, 1])
def test_tensor_scatter(mode: str, axis: int) -> None:
    feeds = {"cache": floats(2, 5, 5, 3), "update": floats(2, 5, 5, 3, seed=1), "starts": ints(1, 3 if mode == "linear" else 4)}
    feeds["update"] = feeds["update"][:, :, :2] if axis == -2 else feeds["update"][:, :2]
    options = {"opset": 24, "mode": mode, "axis": axis}
    model = nodes.node_model("TensorScatter", feeds, **options)
    agrees("TensorScatter", feeds, wanted=ReferenceEvaluator(model).run(None, feeds), **options)


def test_unknown_reduction_is_refused() -> None:
    feeds = {"x": floats(3), "i": ints(1), "u": floats(1)}
    assert refusal(nodes.node_model("ScatterElements", feeds, reduction="mean", opset=18)) == "reduction=mean"
