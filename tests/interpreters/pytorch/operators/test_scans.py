"""Running sums, norms and the largest elements of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_running_sum(exclusive: int, reverse: int, axis: int) -> None:
    feeds, dynamic = {"x": floats(3, 4)}, {"x": {0: "n", 1: "m"}}
    agrees("CumSum", feeds, {"axis": np.array(axis)}, dynamic=dynamic, exclusive=exclusive, reverse=reverse)


def test_exclusive_sum_of_infinities() -> None:
    agrees("CumSum", {"x": np.array([1, np.inf, 2], np.float32)}, {"axis": np.array(0)}, exclusive=1)


def test_running_sum_along_an_axis_from_data() -> None:
    for axis in (0, 1, -1):
        agrees("CumSum", {"x": floats(3, 4), "axis": np.array(axis)})


def test_integers_wrap_around() -> None:
    agrees("CumSum", {"x": np.array([2**31 - 1, 1, 1], np.int32)}, {"axis": np.array(0)})


@pytest.mark.parametrize("p", [1, 2])
def test_norm_of_zeros_leaves_zeros(p: int) -> None:
    x = np.array([[0, 0], [3, -4]], np.float32)
    agrees("LpNormalization", {"x": x}, axis=1, p=p)


@pytest.mark.parametrize("largest", [0, 1])
def test_first_of_equals_comes_first(largest: int) -> None:
    x = np.random.default_rng(0).integers(0, 4, (3, 50)).astype(np.float32)
    agrees("TopK", {"x": x}, {"k": ints(20)}, largest=largest, outputs=2, dynamic={"x": {0: "batch"}})


def test_as_many_as_the_dynamic_axis_has_at_least() -> None:
    agrees("TopK", {"x": floats(9, 2)}, {"k": ints(3)}, axis=0, outputs=2, dynamic={"x": {0: "n"}})


def test_count_as_an_attribute() -> None:
    agrees("TopK", {"x": floats(3, 7)}, k=2, opset=9, outputs=2)


def test_largest_of_large_unsigned_integers() -> None:
    x = {"x": np.array([1, 2**63 + 4, 2**64 - 1, 0], np.uint64)}
    values, indices = nodes.pytorch(nodes.node_model("TopK", x, {"k": ints(2)}, outputs=2), x)
    assert values.tolist() == [2**64 - 1, 2**63 + 4]
    assert indices.tolist() == [2, 1]
