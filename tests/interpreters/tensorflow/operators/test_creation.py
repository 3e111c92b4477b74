"""Tensors from shapes and scalars in the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees


@pytest.mark.parametrize("value", [np.array([3], np.int32), np.array([True]), np.array([0.5], np.float16), None])
def test_constant_of_shape(value: np.ndarray | None) -> None:
    attributes = {} if value is None else {"value": onnx.numpy_helper.from_array(value)}
    agrees("ConstantOfShape", {"shape": ints(2, 3)}, dynamic={"shape": {}}, **attributes)


@pytest.mark.parametrize(
    ("start", "limit", "delta"), [(1, 9, 2), (9, 1, -3), (5, 1, 1), (1, 1, 1), (0.5, 3.1, 0.5), (1.0, -1.0, -0.25)]
)
def test_range_from_data(start: float, limit: float, delta: float) -> None:
    dtype = np.float32 if isinstance(start, float) else np.int64
    agrees("Range", {name: np.array(v, dtype) for name, v in {"start": start, "limit": limit, "delta": delta}.items()})


def test_range_of_short_integers() -> None:
    agrees("Range", {name: np.array(v, np.int16) for name, v in {"start": 2, "limit": 8, "delta": 3}.items()})


def test_positions_of_a_dynamic_sequence() -> None:
    """torch.arange(x.shape[1]), as transformers count positions."""
    build = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=2),
        helper.make_node("Squeeze", ["s"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["y"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.array(v), n) for n, v in (("zero", 0), ("one", 1))]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence"])
    result = helper.make_tensor_value_info("y", TensorProto.INT64, ["sequence"])
    graph = helper.make_graph(build, "g", [info], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": floats(2, 5)}
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("k", [0, 1, -2])
def test_eye_like(k: int) -> None:
    agrees("EyeLike", {"x": floats(3, 5)}, k=k)
    agrees("EyeLike", {"x": floats(3, 5)}, k=k, dtype=TensorProto.INT32)


def test_random_numbers() -> None:
    x = {"x": np.zeros((400, 50), np.float32)}
    [normal] = nodes.tensorflow(nodes.node_model("RandomNormalLike", x, mean=3.0, scale=2.0), x)
    [uniform] = nodes.tensorflow(nodes.node_model("RandomUniformLike", x, low=1.0, high=3.0), x)
    assert normal.shape == uniform.shape == (400, 50)
    assert abs(normal.mean() - 3) < 0.1 and abs(normal.std() - 2) < 0.1
    assert 1 <= uniform.min() < 1.1 and 2.9 < uniform.max() <= 3


@pytest.mark.parametrize("operator", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(operator: str, periodic: int) -> None:
    agrees(operator, {"size": np.array(9)}, periodic=periodic, tolerance=1e-6)


@pytest.mark.parametrize("columns", [3, 8])
def test_a_grid_of_dynamic_sizes_in_floats(columns: int) -> None:
    model = nodes.detector_grid()
    feeds = {"x": floats(2, columns)}
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))
