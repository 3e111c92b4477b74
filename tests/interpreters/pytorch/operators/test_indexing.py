"""Gather and its kin of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.array(1), np.array(-1), ints(0, -2, 1), np.array([[0, 1], [-1, 0]], np.int32)])
def test_gather_by_constants_and_data(axis: int, indices: np.ndarray) -> None:
    agrees("Gather", {"x": floats(3, 4, 5)}, {"i": indices}, axis=axis, dynamic={"x": {0: "n"}})
    agrees("Gather", {"x": floats(3, 4, 5), "i": indices}, axis=axis, dynamic={"x": {1: "n"}})


def test_gather_of_a_dynamic_number_of_tokens() -> None:
    dynamic = {"i": {0: "batch", 1: "sequence"}}
    agrees("Gather", {"i": np.array([[3, 1], [0, 2]])}, {"table": floats(5, 4)}, order=["table", "i"], dynamic=dynamic)


def test_gather_elements() -> None:
    feeds = {"x": floats(3, 4), "i": np.array([[0, -1], [2, 1]], np.int32)}
    agrees("GatherElements", feeds, axis=0, dynamic={"x": {0: "n"}})


@pytest.mark.parametrize(("shape", "batch"), [((2,), 0), ((2, 2), 0), ((2, 1), 0), ((2, 1), 1), ((2, 3, 2), 1)])
def test_gather_nd(shape: tuple[int, ...], batch: int) -> None:
    indices = np.random.default_rng(0).integers(-2, 2, shape)
    agrees("GatherND", {"x": floats(2, 3, 4), "i": indices}, batch_dims=batch, dynamic={"x": {1: "n"}})


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_one_hot(axis: int) -> None:
    constants = {"depth": np.array(4), "values": np.array([-1, 2], np.float32)}
    agrees("OneHot", {"i": np.array([[1, -1], [9, -5]])}, constants, axis=axis, dynamic={"i": {0: "n"}})


def test_one_hot_to_a_depth_from_data() -> None:
    feeds = {"i": ints(1, -1, 9), "depth": np.array(4)}
    agrees("OneHot", feeds, {"values": ints(0, 7)})


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
    x = np.array([[2, 1, 1], [2, 1, 1], [0, 3, 3]], np.float32)
    agrees("Unique", {"x": x}, outputs=4, sorted=order, **({} if axis is None else {"axis": axis}))


def test_unique_large_unsigned_integers() -> None:
    x = {"x": np.array([2**64 - 1, 1, 2**63, 1], np.uint64)}
    [got] = nodes.pytorch(nodes.node_model("Unique", x), x)
    assert got.tolist() == [1, 2**63, 2**64 - 1]
