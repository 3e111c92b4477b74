"""Reductions of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints

_ALL = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
]  # fmt: skip


@pytest.mark.parametrize("operator", _ALL)
def test_axes_are_an_attribute_or_an_input(operator: str) -> None:
    x = {"x": np.abs(floats(2, 3, 4)) + 0.1}
    dynamic = {"x": {0: "batch", 1: "length"}}
    agrees(operator, x, opset=11, axes=[-2, 2], keepdims=0, dynamic=dynamic)
    agrees(operator, x, {"axes": ints(-1, 1)}, opset=18, dynamic=dynamic)
    agrees(operator, x, opset=18, keepdims=0)


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
    model = nodes.node_model("ReduceLogSumExp", {"x": np.zeros((2, 0), np.float32)}, {"axes": ints(1)}, keepdims=0)
    [got] = nodes.pytorch(model, {"x": np.zeros((2, 0), np.float32)})
    assert got.tolist() == [-np.inf, -np.inf]


def test_largest_and_smallest_of_large_unsigned_integers() -> None:
    x = np.array([[1, 2**63 + 4], [2**64 - 1, 0]], np.uint64)
    for operator, function in (("ReduceMax", np.max), ("ReduceMin", np.min)):
        [got] = nodes.pytorch(nodes.node_model(operator, {"x": x}, {"axes": ints(1)}, keepdims=0), {"x": x})
        np.testing.assert_array_equal(got, function(x, 1))


def test_no_axes_reduce_nothing_if_the_model_says_so() -> None:
    x = {"x": floats(2, 3)}
    agrees("ReduceSum", x, noop_with_empty_axes=1)
    agrees("ReduceSum", x, {"axes": ints()}, noop_with_empty_axes=1)
    agrees("ReduceSum", x, {"axes": ints()})


def test_parts_that_are_not_a_reduction_are_computed_without_axes() -> None:
    x = {"x": np.abs(floats(2, 3))}
    for operator, function in (("ReduceSumSquare", np.square), ("ReduceLogSum", np.log), ("ReduceL1", np.abs)):
        [got] = nodes.pytorch(nodes.node_model(operator, x, noop_with_empty_axes=1), x)
        np.testing.assert_allclose(got, function(x["x"]), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes_from_data(axis: int) -> None:
    """Both candidates give the promised shape; the data decide."""
    feeds = {"x": floats(3, 3, 3), "axes": ints(axis)}
    agrees("ReduceSum", feeds, keepdims=0)
    agrees("ReduceMax", {"x": floats(1, 1, 1), "axes": ints(axis)})


def test_axes_from_data_that_change_the_shape_are_refused() -> None:
    feeds = {"x": floats(3, 2), "axes": ints(1)}
    with pytest.raises(Exception, match="axes that are computed from data"):
        nodes.pytorch(nodes.node_model("ReduceSum", feeds), feeds)


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_first_or_last_of_equals(operator: str, last: int, axis: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.float32)
    agrees(operator, {"x": x}, axis=axis, select_last_index=last, keepdims=last, dynamic={"x": {0: "n", 1: "m"}})


def test_reduction_of_a_number() -> None:
    for operator in ("ReduceSum", "ReduceMax", "ReduceMean"):
        agrees(operator, {"x": np.array(3.0, np.float32)})
