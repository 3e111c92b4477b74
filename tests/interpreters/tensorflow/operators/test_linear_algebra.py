"""Products of matrices of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import floats
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 2)),
        ((4,), (4, 2)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 2)),
        ((5, 1, 3, 4), (2, 4, 3)),
        ((4,), (2, 4, 3)),
    ],
)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    agrees("MatMul", {"a": floats(*left), "b": floats(*right, seed=1)})
    agrees("MatMul", {"a": floats(*left)}, {"b": floats(*right, seed=1)})


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_matmul_of_integers(dtype: type) -> None:
    a, b = np.arange(12, dtype=dtype).reshape(3, 4), np.arange(8, dtype=dtype).reshape(2, 4).T.copy()
    agrees("MatMul", {"a": a, "b": b})


def test_matmul_of_integers_in_litert() -> None:
    agrees_in_litert("MatMul", {"a": np.arange(12, dtype=np.int32).reshape(3, 4)}, {"b": np.ones((4, 2), np.int32)})


def test_weights_are_fully_connected_in_litert() -> None:
    assert agrees_in_litert("Gemm", {"a": floats(3, 4)}, {"b": floats(2, 4), "c": floats(2)}, transB=1) == {"FULLY_CONNECTED"}


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("bias", [None, (), (1,), (4,), (1, 4), (3, 1), (3, 4)])
def test_gemm(transposed: tuple[int, int], bias: tuple[int, ...] | None) -> None:
    feeds = {"a": floats(*((6, 3) if transposed[0] else (3, 6))), "b": floats(*((4, 6) if transposed[1] else (6, 4)), seed=1)}
    if bias is not None:
        feeds["c"] = floats(*bias, seed=2)
    options = {"transA": transposed[0], "transB": transposed[1], "alpha": 0.5, "beta": 2.0}
    agrees("Gemm", feeds, opset=11, dynamic={"a": {1 if transposed[0] else 0: "n"}}, **options)


def test_gemm_of_integers() -> None:
    feeds = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.ones((3, 2), np.int32), "c": np.ones(2, np.int32)}
    agrees("Gemm", feeds, wanted=[feeds["a"] @ feeds["b"] + 1])
