"""Exponentials, logarithms and trigonometry of the TensorFlow importer, against numpy in float64, in LiteRT too."""

from __future__ import annotations

import math

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert

_TINY, _LARGE = np.logspace(-12, -1, 23), np.linspace(0.1, 80, 60)
_BETWEEN = np.linspace(-0.999, 0.999, 60)

CASES = {
    "Sin": (np.sin, _BETWEEN * 10),
    "Cos": (np.cos, _BETWEEN * 10),
    "Tan": (np.tan, _BETWEEN * 1.5),
    "Asin": (np.arcsin, [*_BETWEEN, *_TINY, -1, 1]),
    "Acos": (np.arccos, [*_BETWEEN, -1, 1]),
    "Atan": (np.arctan, [*_LARGE, *_TINY, -3]),
    "Sinh": (np.sinh, [*_LARGE, *-_LARGE, *_TINY, 0, 89.3]),
    "Cosh": (np.cosh, [*_LARGE, *-_LARGE, *_TINY, 0, 89.3]),
    "Asinh": (np.arcsinh, [*_LARGE, *-_LARGE, *_TINY, 0, 1e20, -3e38]),
    "Acosh": (np.arccosh, [*(_TINY + 1), *(_LARGE + 1), 1, 1e20]),
    "Atanh": (np.arctanh, [*_BETWEEN, *_TINY, 0]),
    "Tanh": (np.tanh, [*_LARGE, *-_LARGE, *_TINY]),
    "Erf": (np.vectorize(math.erf), [*_BETWEEN * 5, *_TINY, 0, 30, -30]),
    "Exp": (np.exp, [*_LARGE, *-_LARGE]),
    "Log": (np.log, [*_LARGE, *_TINY, 1e30]),
}


@pytest.mark.parametrize("operator", CASES)
def test_relative_precision(operator: str) -> None:
    function, points = CASES[operator]
    x = np.array(points, np.float32)
    [got] = nodes.tensorflow(nodes.node_model(operator, {"x": x}), {"x": x})
    np.testing.assert_allclose(got, function(x.astype(np.float64)), rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("operator", CASES)
def test_in_litert(operator: str) -> None:
    x = np.array(CASES[operator][1], np.float32)
    agrees_in_litert(operator, {"x": x[np.abs(x) < 10]})


def test_ends_of_the_domain() -> None:
    for operator, x in {"Atanh": [-1, 1], "Acosh": [1, 0.5], "Asin": [2], "Log": [0, -1], "Acos": [np.nan]}.items():
        agrees(operator, {"x": np.array(x, np.float32)}, wanted=[np.array(_NUMPY[operator](np.float32(x)), np.float32)])


_NUMPY = {"Atanh": np.arctanh, "Acosh": np.arccosh, "Asin": np.arcsin, "Acos": np.arccos, "Log": np.log}
