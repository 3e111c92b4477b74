"""Quantisation of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from convkit.interpreters.pytorch.table import operators
from interpreters.pytorch.operators.operator_checks import agrees, floats

_X = np.concatenate([floats(3, 8) * 100, np.arange(-4, 4, dtype=np.float32)[None] + 0.5])  # halves round to even
_DTYPES = (np.int8, np.uint8, np.int16, np.uint16)


@pytest.mark.parametrize("dtype", _DTYPES)
def test_one_scale_or_one_per_slice(dtype: Any) -> None:
    feeds, zero = {"x": _X}, 3
    agrees("QuantizeLinear", feeds, {"s": np.float32(0.5), "z": dtype(zero)}, dynamic={"x": {0: "batch"}})
    per_column = {"s": np.linspace(0.1, 1, 8, dtype=np.float32), "z": np.arange(8, dtype=dtype)}
    agrees("QuantizeLinear", feeds, per_column, axis=-1, dynamic={"x": {0: "batch"}})
    agrees("DequantizeLinear", {"x": _X.astype(dtype)}, per_column, axis=1)


@pytest.mark.parametrize("dtype", _DTYPES)
def test_one_scale_per_block(dtype: Any) -> None:
    scales = {"s": np.linspace(0.1, 1, 12, dtype=np.float32).reshape(4, 3), "z": np.arange(12, dtype=dtype).reshape(4, 3)}
    agrees("QuantizeLinear", {"x": _X[:, :7]}, scales, axis=1, block_size=3)
    agrees("DequantizeLinear", {"x": _X[:, :7].astype(dtype)}, scales, axis=1, block_size=3)


def test_without_a_zero_point() -> None:
    agrees("QuantizeLinear", {"x": _X}, {"s": np.float32(0.5)}, opset=13)
    agrees("QuantizeLinear", {"x": _X}, {"s": np.float32(0.5)}, output_dtype=TensorProto.INT16)
    agrees("DequantizeLinear", {"x": np.arange(-5, 5, dtype=np.int32)}, {"s": np.float32(0.5)}, opset=10)


def test_half_precision() -> None:
    agrees("QuantizeLinear", {"x": _X.astype(np.float16)}, {"s": np.float16(0.5), "z": np.int8(1)})
    agrees("DequantizeLinear", {"x": _X.astype(np.int8)}, {"s": np.float16(0.3), "z": np.int8(1)})


@pytest.mark.parametrize("x", (_X, np.abs(_X), -np.abs(_X), np.zeros((2, 3), np.float32)))
def test_the_datas_own_range(x: np.ndarray) -> None:
    agrees("DynamicQuantizeLinear", {"x": x}, outputs=3, opset=11, dynamic={"x": {0: "batch"}})


def test_four_bits_are_refused_as_results() -> None:
    x, scale = (ir.val(name, ir.DataType.FLOAT, [2]) for name in ("x", "scale"))
    node = ir.node("QuantizeLinear", [x, scale], {"output_dtype": TensorProto.INT4})
    assert "INT4" in str(operators().refusal(node, 21))


def test_four_bits_are_read_as_weights() -> None:
    import onnx
    import onnx_nodes as nodes
    from onnx import helper

    weight = helper.make_tensor("w", TensorProto.INT4, [2, 3], [1, -8, 7, 0, 3, -2])
    scale = helper.make_tensor("s", TensorProto.FLOAT, [2], [0.5, 2.0])
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["w", "s"], ["f"], axis=0), helper.make_node("MatMul", ["x", "f"], ["y"])],
        "four_bits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weight, scale],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    )
    feeds = {"x": floats(4, 2)}
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))
