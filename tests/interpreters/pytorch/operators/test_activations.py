"""Activation functions of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
@pytest.mark.parametrize("opset", [9, 13])
def test_softmax_over_one_axis_or_all_that_follow(operator: str, axis: int | None, opset: int) -> None:
    attributes = {} if axis is None else {"axis": axis}
    agrees(operator, {"x": floats(2, 3, 4)}, opset=opset, dynamic={"x": {0: "batch"}}, **attributes)


def test_the_first_of_the_largest_is_taken() -> None:
    agrees("Hardmax", {"x": np.array([[1, 3, 3, 0], [2, 2, 2, 2]], np.float32)})


@pytest.mark.parametrize(
    ("operator", "attributes", "opset"),
    [
        ("Elu", {"alpha": 2.0}, 21),
        ("Celu", {"alpha": 1.5}, 21),
        ("Selu", {"alpha": 2.0, "gamma": 0.5}, 21),
        ("HardSigmoid", {"alpha": 0.5, "beta": 0.6}, 21),
        ("HardSwish", {}, 21),
        ("ThresholdedRelu", {"alpha": 0.3}, 21),
        ("LeakyRelu", {"alpha": 0.3}, 21),
        ("Shrink", {"bias": 0.2, "lambd": 0.7}, 21),
        ("Softplus", {}, 21),
        ("Softsign", {}, 21),
        ("Mish", {}, 21),
        ("Gelu", {}, 21),
        ("Gelu", {"approximate": "tanh"}, 21),
    ],
)
def test_activation(operator: str, attributes: dict[str, object], opset: int) -> None:
    x = np.concatenate([floats(40) * 3, np.array([0, 30, -30, 90, -90], np.float32)]).astype(np.float32)
    agrees(operator, {"x": x}, opset=opset, dynamic={"x": {0: "n"}}, **attributes)


@pytest.mark.parametrize("slope", [(3, 1, 1), (4,), (1,), (2, 3, 4, 4)])
def test_prelu_broadcasts_its_slope(slope: tuple[int, ...]) -> None:
    agrees("PRelu", {"x": floats(2, 3, 4, 4)}, {"slope": floats(*slope, seed=1)})


def test_shrink_integers() -> None:
    agrees("Shrink", {"x": np.arange(-4, 5, dtype=np.int32)}, lambd=1.5, bias=1.5)


def test_relu_of_integers() -> None:
    agrees("Relu", {"x": np.arange(-4, 5, dtype=np.int32)})
