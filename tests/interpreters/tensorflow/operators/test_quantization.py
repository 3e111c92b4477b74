"""QuantizeLinear and its kin in the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import litert_nodes
import ml_dtypes
import numpy as np
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

_rng = np.random.default_rng(0)
FLOATS = {
    "x": np.concatenate([_rng.normal(size=(2, 3, 4)).astype(np.float32) * 300, [[[0.5, 1.5, 2.5, -0.5]] * 3]]).astype(np.float32)
}


def agrees(model, feeds) -> None:
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantizing(dtype) -> None:
    """Saturates at both ends, and rounds half to even."""
    constants = {"s": np.float32(1), "z": np.array(3, dtype)}
    for dynamic in ({}, {"x": {0: "n"}}):
        agrees(nodes.node_model("QuantizeLinear", FLOATS, constants, opset=21, dynamic=dynamic), FLOATS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32])
def test_dequantizing(dtype) -> None:
    feeds = {"x": _rng.integers(0, 100, (2, 3, 4)).astype(dtype)}
    constants = {"s": np.float32(0.3)} if dtype == np.int32 else {"s": np.float32(0.3), "z": np.array(3, dtype)}
    agrees(nodes.node_model("DequantizeLinear", feeds, constants, opset=21), feeds)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_along_an_axis(axis) -> None:
    size = FLOATS["x"].shape[axis]
    scale, zero = _rng.random(size).astype(np.float32) + 0.5, _rng.integers(0, 9, size).astype(np.int8)
    agrees(nodes.node_model("QuantizeLinear", FLOATS, {"s": scale, "z": zero}, axis=axis, opset=13), FLOATS)
    feeds = {"x": _rng.integers(-100, 100, FLOATS["x"].shape).astype(np.int8)}
    agrees(nodes.node_model("DequantizeLinear", feeds, {"s": scale, "z": zero}, axis=axis, opset=13), feeds)


def test_in_blocks() -> None:
    """The last block is shorter."""
    feeds = {"x": _rng.integers(-100, 100, (3, 10)).astype(np.int8)}
    scale, zero = _rng.random((3, 3)).astype(np.float32) + 0.5, _rng.integers(0, 9, (3, 3)).astype(np.int8)
    agrees(nodes.node_model("DequantizeLinear", feeds, {"s": scale, "z": zero}, axis=1, block_size=4, opset=21), feeds)


def test_without_a_zero_point() -> None:
    agrees(nodes.node_model("QuantizeLinear", FLOATS, {"s": np.float32(0.7)}, opset=13), FLOATS)
    agrees(nodes.node_model("QuantizeLinear", FLOATS, {"s": np.float32(0.7)}, output_dtype=3, opset=21), FLOATS)


def test_the_oldest_form() -> None:
    agrees(nodes.node_model("QuantizeLinear", FLOATS, {"s": np.float32(0.7), "z": np.uint8(9)}, opset=10), FLOATS)


@pytest.mark.parametrize("values", [[1.0, -2.0, 5.5], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
def test_dynamic_quantizing(values) -> None:
    feeds = {"x": np.array(values, np.float32)}
    agrees(nodes.node_model("DynamicQuantizeLinear", feeds, outputs=3), feeds)


def test_weights_are_dequantized_while_tracing() -> None:
    """So that their layout can change too, and LiteRT sees a constant kernel."""
    weight = _rng.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8)
    constants = {"w": weight, "s": np.full(4, 0.01, np.float32), "z": np.zeros(4, np.int8)}
    chain = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"], axis=0),
        helper.make_node("Conv", ["x", "f"], ["y"]),
    ]
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 6, 6]), ("y", [1, 4, 4, 4]))]
    graph = helper.make_graph(chain, "g", edges[:1], edges[1:], [numpy_helper.from_array(a, n) for n, a in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
    feeds = {"x": _rng.normal(size=(1, 3, 6, 6)).astype(np.float32)}
    wanted = nodes.onnx_runtime(model, feeds)
    nodes.assert_agree(nodes.tensorflow(model, feeds), wanted)
    outputs, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(outputs, wanted)
    assert "CONV_2D" in used
    assert "CAST" not in used


def test_weights_of_four_bits() -> None:
    levels = np.array([[-8, 7, 3], [1, 0, -2]], ml_dtypes.int4)
    chain = [helper.make_node("DequantizeLinear", ["w", "s"], ["f"]), helper.make_node("MatMul", ["x", "f"], ["y"])]
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [4, 2]), ("y", [4, 3]))]
    weights = [helper.make_tensor("w", TensorProto.INT4, [2, 3], levels.flatten()), numpy_helper.from_array(np.float32(0.1), "s")]
    graph = helper.make_graph(chain, "g", edges[:1], edges[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": _rng.normal(size=(4, 2)).astype(np.float32)}
    # ONNX Runtime fuses the two and computes with integers.
    nodes.assert_agree(nodes.tensorflow(model, feeds), [feeds["x"] @ (levels.astype(np.float32) * np.float32(0.1))])
