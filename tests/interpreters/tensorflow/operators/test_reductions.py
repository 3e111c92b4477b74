"""Reductions of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert

_ALL = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
]  # fmt: skip


@pytest.mark.parametrize("operator", _ALL)
def test_axes_are_an_attribute_or_an_input(operator: str) -> None:
    x = {"x": np.abs(floats(2, 3, 4)) + 0.1}
    agrees(operator, x, opset=11, axes=[-2, 2], keepdims=0)
    agrees(operator, x, {"axes": ints(-1, 1)}, opset=18)
    agrees(operator, x, opset=18, keepdims=0)
    agrees_in_litert(operator, x, {"axes": ints(-1, 1)}, opset=18)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers(operator: str, dtype: type) -> None:
    agrees(operator, {"x": np.array([[7, -3, 2], [5, 5, -8]], dtype)}, {"axes": ints(1)})


@pytest.mark.parametrize(
    "operator", ["ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin"]
)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_of_nothing(operator: str, keepdims: int) -> None:
    agrees(operator, {"x": np.zeros((2, 0, 4), np.float32)}, {"axes": ints(1)}, opset=20, keepdims=keepdims)


def test_logarithm_of_a_sum_of_nothing() -> None:
    feeds, wanted = {"x": np.zeros((2, 0), np.float32)}, [np.full(2, -np.inf, np.float32)]
    agrees("ReduceLogSumExp", feeds, {"axes": ints(1)}, keepdims=0, wanted=wanted)


def test_truth_values() -> None:
    agrees("ReduceMax", {"x": np.array([[True, False], [False, False]])}, {"axes": ints(1)}, opset=20)
    agrees("ReduceMin", {"x": np.array([[True, False], [True, True]])}, {"axes": ints(1)}, opset=20)


def test_largest_and_smallest_of_large_unsigned_integers() -> None:
    x = np.array([[1, 2**63 + 4], [2**64 - 1, 0]], np.uint64)
    for operator, function in (("ReduceMax", np.max), ("ReduceMin", np.min)):
        agrees(operator, {"x": x}, {"axes": ints(1)}, keepdims=0, wanted=[function(x, 1)])


def test_no_axes_reduce_nothing_if_the_model_says_so() -> None:
    x = {"x": floats(2, 3)}
    agrees("ReduceSum", x, noop_with_empty_axes=1)
    agrees("ReduceSum", x, {"axes": ints()}, noop_with_empty_axes=1)
    agrees("ReduceSum", x, {"axes": ints()})
    agrees("ReduceSumSquare", x, noop_with_empty_axes=1, wanted=[np.square(x["x"])])


@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_from_data(keepdims: int) -> None:
    agrees("ReduceSum", {"x": floats(3, 2, 4), "axes": ints(2, 0)}, keepdims=keepdims, dynamic={"x": {0: "n"}})


def test_an_unknown_number_of_axes_is_refused() -> None:
    feeds = {"x": floats(3, 2), "axes": ints(1)}
    with pytest.raises(Exception, match="how many axes there are"):
        nodes.tensorflow(nodes.node_model("ReduceSum", feeds, dynamic={"axes": {0: "n"}}), feeds)


def test_of_a_number() -> None:
    for operator in ("ReduceSum", "ReduceMax", "ReduceMean"):
        agrees(operator, {"x": np.array(3.0, np.float32)})
