"""Normalisations of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_nodes as nodes
import pytest

from interpreters.pytorch.operators.operator_checks import agrees, floats, refusal

_BATCH = {"x": {0: "batch"}}
_IMAGE = {"x": {0: "batch", 2: "height", 3: "width"}}


def _statistics(channels: int, dtype: type = np.float32) -> dict[str, np.ndarray]:
    names = ("scale", "bias", "mean")
    values = {name: floats(channels, dtype=dtype, seed=seed) for seed, name in enumerate(names)}
    return values | {"variance": np.abs(floats(channels, dtype=dtype, seed=9)) + 1}


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization_at_rest(opset: int) -> None:
    agrees("BatchNormalization", {"x": floats(2, 3, 4, 5)}, _statistics(3), opset=opset, dynamic=_IMAGE, epsilon=1e-2)


def test_batch_normalization_in_training() -> None:
    feeds = {"x": floats(4, 3, 5)}
    agrees("BatchNormalization", feeds, _statistics(3), opset=15, outputs=3, training_mode=1, momentum=0.7)


def test_batch_normalization_of_rows() -> None:
    agrees("BatchNormalization", {"x": floats(4, 3)}, _statistics(3), opset=15, dynamic=_BATCH)


def test_statistics_of_the_batch_before_opset_14_are_refused() -> None:
    assert "statistics of the batch" in refusal("BatchNormalization", {"x": floats(2, 3, 4)}, _statistics(3), opset=9, outputs=5)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 1, 1)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    constants = {"scale": floats(3), "bias": floats(3, seed=1)}
    agrees("InstanceNormalization", {"x": floats(*shape, seed=2)}, constants, dynamic=_BATCH if shape[0] > 1 else None)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layer_normalization(axis: int) -> None:
    x = floats(2, 3, 4)
    constants = {"scale": floats(*x.shape[axis:], seed=1), "bias": floats(*x.shape[axis:], seed=2)}
    agrees("LayerNormalization", {"x": x}, constants, axis=axis, epsilon=1e-3)
    agrees("LayerNormalization", {"x": x}, {"scale": constants["scale"]}, axis=axis, outputs=3)


def test_layer_normalization_with_dynamic_sequence_and_broadcast_scale() -> None:
    agrees("LayerNormalization", {"x": floats(2, 3, 4)}, {"scale": floats(4)}, dynamic={"x": {0: "batch", 1: "sequence"}})
    agrees("LayerNormalization", {"x": floats(2, 3, 4)}, {"scale": floats(1), "bias": floats(4)})


def test_half_precision_is_normalised_in_single() -> None:
    x = (floats(2, 300) * 100).astype(np.float16)
    agrees("LayerNormalization", {"x": x}, {"scale": floats(300, dtype=np.float16)}, tolerance=2e-3)


def test_group_normalization() -> None:
    x = {"x": floats(2, 6, 4, 5)}
    agrees("GroupNormalization", x, {"s": floats(6), "b": floats(6, seed=1)}, opset=21, num_groups=3, dynamic=_IMAGE)
    agrees("GroupNormalization", x, {"s": floats(3), "b": floats(3, seed=1)}, opset=18, num_groups=3, dynamic=_IMAGE)


def test_rms_normalization() -> None:
    for axis in (1, -1):
        x = floats(2, 3, 4)
        agrees("RMSNormalization", {"x": x}, {"scale": floats(*x.shape[axis:])}, opset=23, axis=axis, dynamic=_BATCH)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int) -> None:
    x = {"x": floats(2, 6, 3, 4) * 4}
    agrees("LRN", x, size=size, alpha=0.1, beta=0.6, bias=2.0, dynamic=_IMAGE)


@pytest.mark.parametrize("size", [2, 4])
def test_local_response_normalization_over_an_even_number(size: int) -> None:
    """ONNX Runtime has none; the window reaches one channel further behind."""
    x = floats(2, 6, 3, 4) * 4
    first, last = (size - 1) // 2, size // 2
    sums = np.stack([np.sum(x[:, max(0, c - first) : c + last + 1] ** 2, 1) for c in range(6)], 1)
    model = nodes.node_model("LRN", {"x": x}, size=size, alpha=0.1, beta=0.6, bias=2.0)
    nodes.assert_agree(nodes.pytorch(model, {"x": x}), [(x / (2 + 0.1 / size * sums) ** 0.6).astype(np.float32)])


def test_mean_variance_normalization() -> None:
    agrees("MeanVarianceNormalization", {"x": floats(2, 3, 4, 5)}, axes=[0, 2, 3])


def test_dropout_at_rest() -> None:
    x = {"x": floats(2, 3)}
    agrees("Dropout", x, opset=10, outputs=2, ratio=0.7)
    agrees("Dropout", x, {"ratio": np.array(0.7, np.float32)}, opset=13, outputs=2)


def test_dropout_in_training_is_refused() -> None:
    constants = {"ratio": np.array(0.5, np.float32), "training": np.array(True)}
    assert "at random" in refusal("Dropout", {"x": floats(2, 3)}, constants, opset=13)


def test_dropout_of_nothing_in_training() -> None:
    feeds = {"x": floats(2, 3)}
    model = nodes.node_model("Dropout", feeds, {"ratio": np.array(0, np.float32), "training": np.array(True)}, opset=13)
    nodes.assert_agree(nodes.pytorch(model, feeds), [feeds["x"]])
