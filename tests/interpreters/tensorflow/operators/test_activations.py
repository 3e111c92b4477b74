"""Activation functions of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import floats
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert

_RANGE = np.concatenate([floats(40) * 3, np.array([0, 30, -30, 90, -90], np.float32)]).astype(np.float32)

ACTIVATIONS = [
    ("Relu", {}, {"RELU"}),
    ("Sigmoid", {}, {"LOGISTIC"}),
    ("Elu", {}, {"ELU"}),
    ("Elu", {"alpha": 2.0}, set()),
    ("Celu", {"alpha": 1.5}, set()),
    ("Selu", {"alpha": 2.0, "gamma": 0.5}, set()),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.6}, set()),
    ("HardSwish", {}, {"HARD_SWISH"}),
    ("ThresholdedRelu", {"alpha": 0.3}, set()),
    ("LeakyRelu", {"alpha": 0.3}, {"LEAKY_RELU"}),
    ("Shrink", {"bias": 0.2, "lambd": 0.7}, set()),
    ("Softplus", {}, set()),
    ("Softsign", {}, set()),
    ("Mish", {}, set()),
    ("Gelu", {}, {"GELU"}),
    ("Gelu", {"approximate": "tanh"}, {"GELU"}),
]


@pytest.mark.parametrize(("operator", "attributes", "builtins"), ACTIVATIONS)
def test_activation(operator: str, attributes: dict[str, object], builtins: set[str]) -> None:
    agrees(operator, {"x": _RANGE}, **attributes)
    used = agrees_in_litert(operator, {"x": _RANGE}, **attributes)
    assert not builtins or used == builtins


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
@pytest.mark.parametrize("opset", [9, 13])
def test_softmax_over_one_axis_or_all_that_follow(operator: str, axis: int | None, opset: int) -> None:
    agrees(operator, {"x": floats(2, 3, 4)}, opset=opset, **({} if axis is None else {"axis": axis}))


def test_the_first_of_the_largest_is_taken() -> None:
    agrees("Hardmax", {"x": np.array([[1, 3, 3, 0], [2, 2, 2, 2]], np.float32)})


@pytest.mark.parametrize("slope", [(3, 1, 1), (4,), (1,), (2, 3, 4, 4)])
def test_prelu_broadcasts_its_slope(slope: tuple[int, ...]) -> None:
    agrees("PRelu", {"x": floats(2, 3, 4, 4)}, {"slope": floats(*slope, seed=1)})


def test_integers() -> None:
    x = np.arange(-4, 5, dtype=np.int32)
    agrees("Shrink", {"x": x}, lambd=1.5, bias=1.5)
    agrees("Relu", {"x": x})
    agrees("PRelu", {"x": x}, {"slope": np.array([3], np.int32)}, wanted=[np.where(x < 0, 3 * x, x)])
