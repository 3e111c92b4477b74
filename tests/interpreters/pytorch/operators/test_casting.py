"""Conversions of dtype in the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper

from interpreters.pytorch.operators.operator_checks import agrees, refusal

_NUMBERS = [
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
    bool,
]


@pytest.mark.parametrize("source", _NUMBERS)
def test_cast(source: type) -> None:
    feeds = {"x": np.array([0, 1, 2, 100], source)}
    for target in _NUMBERS:
        agrees("Cast", feeds, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))


@pytest.mark.parametrize("target", [np.float32, np.float64])
def test_large_uint64_as_floats(target: type) -> None:
    x = np.array([2**63, 2**64 - 1, 2**63 + 2**39 + 1, 2**53 + 1, 5], np.uint64)
    agrees("Cast", {"x": x}, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)), tolerance=0)


def test_integers_wrap_around() -> None:
    agrees("Cast", {"x": np.array([-1, 300, 2**40 + 5])}, to=TensorProto.UINT8)
    agrees("Cast", {"x": np.array([-1, 300, 2**40 + 5])}, to=TensorProto.UINT32)
    agrees("Cast", {"x": np.array([-1.5, 1.5, -0.0, np.nan], np.float32)}, to=TensorProto.BOOL)


def _through(dtype: int, saturate: int) -> onnx.ModelProto:
    """Floats cast to a dtype and back."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["h"], to=dtype, saturate=saturate), helper.make_node("Cast", ["h"], ["y"], to=1)],
        "there_and_back",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [7])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize(
    "dtype", [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2FNUZ]
)
def test_8_bit_floats_saturate(dtype: int, saturate: int) -> None:
    feeds = {"x": np.array([0.3, -7.7, 1e6, -1e6, np.nan, 0.0, 200], np.float32)}
    model = _through(dtype, saturate)
    nodes.assert_agree(nodes.pytorch(model, feeds), nodes.onnx_runtime(model, feeds))


def test_cast_like_and_constants_of_bfloat16() -> None:
    graph = helper.make_graph(
        [helper.make_node("CastLike", ["x", "like"], ["h"]), helper.make_node("Cast", ["h"], ["y"], to=1)],
        "like",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [helper.make_tensor("like", TensorProto.BFLOAT16, [1], [1.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": np.array([0.3, 1.1], np.float32)}
    nodes.assert_agree(nodes.pytorch(model, feeds), [feeds["x"].astype(ml_dtypes.bfloat16).astype(np.float32)])


_PAIRS = [(np.float32, np.int32), (np.float32, np.uint32), (np.float64, np.uint64), (np.int16, np.uint16), (np.float16, np.int16)]


@pytest.mark.parametrize(("a", "b"), [*_PAIRS, *((b, a) for a, b in _PAIRS)])
def test_bit_cast(a: type, b: type) -> None:
    x = np.arange(-4, 4).astype(a)
    model = nodes.node_model("BitCast", {"x": x}, opset=26, to=helper.np_dtype_to_tensor_dtype(np.dtype(b)))
    nodes.assert_agree(nodes.pytorch(model, {"x": x}), [x.view(b)])


@pytest.mark.parametrize("dtype", [TensorProto.STRING, TensorProto.INT4])
def test_what_torch_has_no_dtype_for_is_refused(dtype: int) -> None:
    assert "PyTorch has no dtype" in refusal("Cast", {"x": np.zeros(2, np.float32)}, to=dtype)
