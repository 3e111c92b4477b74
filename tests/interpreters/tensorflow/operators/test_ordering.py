"""Extremes, the largest elements and running totals of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest
from onnx.reference import ReferenceEvaluator

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_first_or_last_of_equals(operator: str, last: int, axis: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.float32)
    agrees(operator, {"x": x}, axis=axis, select_last_index=last, keepdims=last)
    agrees_in_litert(operator, {"x": x}, axis=axis, select_last_index=last, keepdims=last)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k(largest: int, axis: int) -> None:
    x = np.random.default_rng(0).integers(0, 4, (4, 3, 5)).astype(np.float32)
    agrees("TopK", {"x": x}, {"k": ints(2)}, outputs=2, axis=axis, largest=largest)
    agrees("TopK", {"x": x, "k": ints(2)}, outputs=2, axis=axis, largest=largest, dynamic={"x": {0: "n", 1: "m"}})


def test_top_k_before_opset_10() -> None:
    agrees("TopK", {"x": floats(3, 5)}, opset=9, outputs=2, k=3)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint64])
def test_smallest_integers(dtype: type) -> None:
    limits = np.iinfo(dtype)
    x = np.array([limits.max, 3, limits.min, 3, limits.max], dtype)
    wanted = [np.array([limits.min, 3, 3], dtype), ints(2, 1, 3)]
    agrees("TopK", {"x": x}, {"k": ints(3)}, outputs=2, largest=0, wanted=wanted)


@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
@pytest.mark.parametrize("axis", [0, -1])
def test_running_totals(attributes: dict[str, int], axis: int) -> None:
    agrees("CumSum", {"x": floats(3, 5)}, {"axis": np.array(axis, np.int32)}, **attributes)
    agrees("CumSum", {"x": floats(3, 5), "axis": np.array(axis, np.int64)}, **attributes)
    for inputs in ({"x": floats(3, 5)}, {"x": floats(3, 5), "axis": np.array(axis)}):
        constants = {} if "axis" in inputs else {"axis": np.array(axis)}
        model = nodes.node_model("CumProd", inputs, constants, opset=26, **attributes)
        wanted = ReferenceEvaluator(model).run(None, inputs)
        agrees("CumProd", inputs, constants, opset=26, wanted=wanted, **attributes)


def test_running_products_of_nothing_and_of_one() -> None:
    for length in (0, 1):
        x = floats(2, length)
        agrees("CumProd", {"x": x}, {"axis": np.array(1)}, opset=26, exclusive=1, wanted=[np.ones_like(x)])
        agrees("CumProd", {"x": x}, {"axis": np.array(1)}, opset=26, wanted=[x])
