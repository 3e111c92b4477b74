"""Casts of the TensorFlow importer, against ONNX Runtime and onnx's reference."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, refusal

_DTYPES = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    bool,
]


@pytest.mark.parametrize("target", _DTYPES)
def test_between_all_numbers(target: type) -> None:
    for source in _DTYPES:
        x = np.array([0, 1, 2.6, 100.2]).astype(source)
        agrees("Cast", {"x": x}, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)), wanted=[x.astype(target)])


def test_truncation_and_truth() -> None:
    x = {"x": np.array([-2.7, 2.7, -0.3, 0.3, np.nan], np.float32)}
    agrees("Cast", {"x": x["x"][:4]}, to=TensorProto.INT32)
    agrees("Cast", x, to=TensorProto.BOOL)


def test_cast_like() -> None:
    agrees("CastLike", {"x": floats(3), "like": ints(1)})


@pytest.mark.parametrize("target", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("saturate", [0, 1])
def test_8_bit_floats(target: type, saturate: int) -> None:
    x = {"x": np.array([0.1, -3.3, 1e6, -np.inf, np.nan, 447], np.float32)}
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    model = nodes.node_model("Cast", x, to=to, saturate=saturate)
    [got], [wanted] = nodes.tensorflow(model, x), ReferenceEvaluator(model).run(None, x)
    np.testing.assert_array_equal(got.astype(np.float32), wanted.astype(np.float32))


def test_bits() -> None:
    agrees("BitCast", {"x": floats(4)}, to=TensorProto.INT32, opset=26, wanted=[floats(4).view(np.int32)])
    agrees("BitCast", {"x": ints(-1, 3, dtype=np.int8)}, to=TensorProto.UINT8, opset=26, wanted=[ints(255, 3, dtype=np.uint8)])


def test_dtypes_that_tensorflow_does_not_compute_with_are_refused() -> None:
    x = {"x": floats(2)}
    assert refusal(nodes.node_model("Cast", x, to=TensorProto.STRING)) == "string tensors"
    assert "float8_e4m3fnuz" in refusal(nodes.node_model("Cast", x, to=TensorProto.FLOAT8E4M3FNUZ))
    assert "int4" in refusal(nodes.node_model("Cast", x, to=TensorProto.INT4))
