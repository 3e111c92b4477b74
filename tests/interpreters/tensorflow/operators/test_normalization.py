"""Normalisations of the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import floats
from interpreters.tensorflow.operators.operator_checks import agrees, agrees_in_litert, refusal


def _statistics(channels: int) -> dict[str, np.ndarray]:
    values = {name: floats(channels, seed=seed) for seed, name in enumerate(("scale", "bias", "mean"))}
    return values | {"variance": np.abs(floats(channels, seed=9)) + 1}


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 3)])
def test_batch_normalization_at_rest(opset: int, shape: tuple[int, ...]) -> None:
    agrees("BatchNormalization", {"x": floats(*shape)}, _statistics(3), opset=opset, epsilon=1e-2)


def test_batch_normalization_is_one_product_and_one_sum() -> None:
    assert agrees_in_litert("BatchNormalization", {"x": floats(2, 3, 4)}, _statistics(3)) == {"MUL", "ADD"}


def test_batch_normalization_in_training() -> None:
    agrees("BatchNormalization", {"x": floats(4, 3, 5)}, _statistics(3), opset=15, outputs=3, training_mode=1, momentum=0.7)


def test_old_forms_of_batch_normalization_are_refused() -> None:
    x = {"x": floats(2, 3, 4)}
    assert "in training" in refusal(nodes.node_model("BatchNormalization", x, _statistics(3), opset=9, outputs=5))
    assert "spatial=0" in refusal(nodes.node_model("BatchNormalization", x, _statistics(3), opset=7, spatial=0))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 1, 1)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    agrees("InstanceNormalization", {"x": floats(*shape, seed=2)}, {"scale": floats(3), "bias": floats(3, seed=1)})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layer_normalization(axis: int) -> None:
    x = floats(2, 3, 4)
    constants = {"scale": floats(*x.shape[axis:], seed=1), "bias": floats(*x.shape[axis:], seed=2)}
    agrees("LayerNormalization", {"x": x}, constants, axis=axis, epsilon=1e-3)
    agrees("LayerNormalization", {"x": x}, {"scale": constants["scale"]}, axis=axis, outputs=3)


def test_half_precision_is_normalised_in_single() -> None:
    x = (floats(2, 300) * 100).astype(np.float16)
    agrees("LayerNormalization", {"x": x}, {"scale": floats(300, dtype=np.float16)}, tolerance=2e-3)


def test_group_normalization() -> None:
    x = {"x": floats(2, 6, 4, 5)}
    agrees("GroupNormalization", x, {"s": floats(6), "b": floats(6, seed=1)}, opset=21, num_groups=3)
    agrees("GroupNormalization", x, {"s": floats(3), "b": floats(3, seed=1)}, opset=18, num_groups=3)


@pytest.mark.parametrize("axis", [1, -1])
def test_rms_normalization(axis: int) -> None:
    x = floats(2, 3, 4)
    agrees("RMSNormalization", {"x": x}, {"scale": floats(*x.shape[axis:])}, opset=23, axis=axis)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int) -> None:
    agrees("LRN", {"x": floats(2, 6, 3, 4) * 4}, size=size, alpha=0.1, beta=0.6, bias=2.0)


def test_local_response_normalization_over_an_even_number() -> None:
    """ONNX Runtime has none; the window reaches one further behind."""
    x = floats(2, 3, 1, 1)
    squares = np.concatenate([x, np.zeros((2, 1, 1, 1), np.float32)], 1) ** 2
    wanted = x / (1 + 0.05 * (squares[:, :-1] + squares[:, 1:])) ** 0.75
    agrees("LRN", {"x": x}, size=2, alpha=0.1, wanted=[wanted.astype(np.float32)])


def test_mean_variance_normalization() -> None:
    agrees("MeanVarianceNormalization", {"x": floats(2, 3, 4, 5)})
    agrees("MeanVarianceNormalization", {"x": floats(2, 3, 4)}, axes=[0, 2])


@pytest.mark.parametrize("p", [1, 2])
def test_norms(p: int) -> None:
    x = {"x": np.concatenate([floats(2, 3), np.zeros((1, 3), np.float32)])}
    agrees("LpNormalization", x, p=p, axis=1)
    assert refusal(nodes.node_model("LpNormalization", x, p=3)) == "p=3"


def test_dropout_at_rest() -> None:
    x = {"x": floats(2, 3)}
    agrees("Dropout", x, opset=10, outputs=2, ratio=0.7)
    agrees("Dropout", x, {"ratio": np.array(0.7, np.float32)}, opset=13, outputs=2)
    agrees("Dropout", x, {"ratio": np.array(0, np.float32), "training": np.array(True)}, opset=13, wanted=[x["x"]])


def test_dropout_in_training_is_refused() -> None:
    constants = {"ratio": np.array(0.5, np.float32), "training": np.array(True)}
    assert "at random" in refusal(nodes.node_model("Dropout", {"x": floats(2, 3)}, constants, opset=13))
    feeds = {"x": floats(2, 3), "training": np.array(False)}
    model = nodes.node_model("Dropout", feeds, {"r": constants["ratio"]}, order=["x", "r", "training"], opset=13)
    assert "while the model runs" in refusal(model)
