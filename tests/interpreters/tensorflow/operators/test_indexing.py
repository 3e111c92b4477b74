"""Gather and its kin of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array(1), np.array(-1), ints(0, -2, 1), np.array([[0, 1], [-1, 0]], np.int32)])
def test_gather_by_constants_and_data(axis: int, indices: np.ndarray) -> None:
    agrees("Gather", {"x": floats(3, 4, 5)}, {"i": indices}, axis=axis)
    agrees("Gather", {"x": floats(3, 4, 5), "i": indices}, axis=axis)


def test_tokens_in_litert() -> None:
    used = agrees_in_litert("Gather", {"i": np.array([[3, 1], [0, 2]])}, {"table": floats(5, 4)}, order=["table", "i"])
    assert "GATHER" in used


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int) -> None:
    feeds = {"x": floats(3, 4, 2), "i": np.array([[[0], [-1]], [[1], [0]]], np.int64)}
    agrees("GatherElements", feeds, axis=axis)
    agrees_in_litert("GatherElements", feeds, axis=axis)


@pytest.mark.parametrize(("shape", "batch"), [((2,), 0), ((2, 2), 0), ((2, 1), 0), ((2, 1), 1), ((2, 3, 2), 1)])
def test_gather_nd(shape: tuple[int, ...], batch: int) -> None:
    indices = np.random.default_rng(0).integers(-2, 2, shape)
    symbols = {"x": {1: "n"}, "i": {} if len(shape) == 1 else {0: "m"}}
    agrees("GatherND", {"x": floats(2, 3, 4), "i": indices}, batch_dims=batch, dynamic=symbols)
    agrees("GatherND", {"x": floats(2, 3, 4)}, {"i": indices}, batch_dims=batch)


def test_an_unknown_number_of_indexed_axes_is_refused() -> None:
    feeds = {"x": floats(2, 3), "i": np.array([[1]])}
    with pytest.raises(Exception, match="how many dimensions an index spans"):
        nodes.tensorflow(nodes.node_model("GatherND", feeds, dynamic={"i": {1: "k"}}), feeds)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_one_hot(axis: int) -> None:
    constants = {"depth": np.array(4), "values": np.array([-1, 2], np.float32)}
    agrees("OneHot", {"i": np.array([[1, -1], [9, -5]])}, constants, axis=axis)
    agrees_in_litert("OneHot", {"i": np.array([[1, -1], [9, -5]])}, constants, axis=axis)


def test_one_hot_to_a_depth_from_data() -> None:
    feeds = {"i": ints(1, -1, 9), "depth": np.array(4.0, np.float32)}
    wanted = [np.array([[0, 7, 0, 0], [0, 0, 0, 7], [0, 0, 0, 0]])]
    agrees("OneHot", feeds, {"values": ints(0, 7)}, wanted=wanted)


@pytest.mark.parametrize("x", [np.array([[1, 0], [0, 3]], np.float32), np.array([0, 0]), np.array(True), np.array([True, False])])
def test_non_zero(x: np.ndarray) -> None:
    agrees("NonZero", {"x": x})


def test_compress() -> None:
    condition = np.array([False, True, True])
    agrees("Compress", {"x": floats(3, 4)}, {"c": condition}, axis=0)
    agrees("Compress", {"x": floats(3, 4), "c": condition}, axis=1)
    agrees("Compress", {"x": floats(3, 4), "c": condition})


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(order: int, axis: int | None) -> None:
    x = {"x": np.array([[2, 1, 1], [2, 1, 1], [0, 3, 3]], np.float32)}
    attributes = {"outputs": 4, "sorted": order, **({} if axis is None else {"axis": axis})}
    agrees("Unique", x, **attributes)
    agrees_in_litert("Unique", x, **attributes)


def test_unique_large_unsigned_integers_and_truth_values() -> None:
    x = np.array([2**64 - 1, 1, 2**63, 1], np.uint64)
    agrees("Unique", {"x": x}, wanted=[np.unique(x)])
    agrees("Unique", {"x": np.array([True, False, True])}, wanted=[np.array([False, True])])
