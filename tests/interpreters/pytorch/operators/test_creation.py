"""Tensors from shapes and numbers in the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper

from interpreters.pytorch.operators.operator_checks import agrees, floats, ints


@pytest.mark.parametrize(
    ("start", "limit", "delta"), [(0, 5, 1), (1, 10, 3), (10, 4, -2), (3, 3, 1), (5, 1, 1), (0.5, 2.0, 0.25)]
)
def test_range_from_data(start: float, limit: float, delta: float) -> None:
    dtype = np.float32 if isinstance(start, float) else np.int64
    numbers = {"start": start, "limit": limit, "delta": delta}
    agrees("Range", {name: np.array(value, dtype) for name, value in numbers.items()})


def _of_the_shape(build: list[onnx.NodeProto], elem_type: int, *constants: onnx.TensorProto) -> onnx.ModelProto:
    """A model of x with a dynamic first dimension, whose shape is worked with."""
    graph = helper.make_graph(
        build,
        "shape",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", elem_type, None)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def test_range_to_a_dynamic_size() -> None:
    constants = [helper.make_tensor(name, TensorProto.INT64, [], [value]) for name, value in (("zero", 0), ("two", 2))]
    build = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Range", ["zero", "n", "two"], ["y"]),
    ]
    model, feeds = _of_the_shape(build, TensorProto.INT64, *constants), {"x": floats(5, 3)}
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))


def test_constant_of_a_dynamic_shape() -> None:
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])
    build = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("ConstantOfShape", ["shape"], ["y"], value=value)]
    model, feeds = _of_the_shape(build, TensorProto.FLOAT), {"x": floats(5, 3)}
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))


def test_constant_of_a_shape_from_data() -> None:
    agrees("ConstantOfShape", {"shape": ints(2, 0, 3)})


@pytest.mark.parametrize("k", [0, 1, -2])
def test_identity_matrix(k: int) -> None:
    agrees("EyeLike", {"x": floats(3, 4)}, k=k, dynamic={"x": {0: "n"}})
    agrees("EyeLike", {"x": floats(3, 4)}, k=k, dtype=TensorProto.INT64)


@pytest.mark.parametrize(
    ("operator", "attributes", "mean", "deviation"),
    [("RandomNormalLike", {"mean": 5.0, "scale": 2.0}, 5, 2), ("RandomUniformLike", {"low": 2.0, "high": 4.0}, 3, 0.577)],
)
def test_random_numbers_have_the_distribution(operator: str, attributes: dict[str, float], mean: float, deviation: float) -> None:
    feeds = {"x": np.zeros((100, 100), np.float32)}
    [got] = nodes.pytorch(nodes.node_model(operator, feeds, **attributes), feeds)
    assert got.shape == (100, 100)
    assert abs(got.mean() - mean) < 0.1
    assert abs(got.std() - deviation) < 0.1


@pytest.mark.parametrize("columns", [3, 8])
def test_a_grid_of_dynamic_sizes_in_floats(columns: int) -> None:
    model = nodes.detector_grid()
    feeds = {"x": floats(2, columns)}
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))
