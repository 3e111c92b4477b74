"""NonMaxSuppression of the PyTorch importer, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters.pytorch.operators.operator_checks import agrees

_RNG = np.random.default_rng(0)


def _boxes(batch: int, count: int) -> np.ndarray:
    first = _RNG.uniform(0, 10, (batch, count, 2))
    boxes = np.concatenate([first, first + _RNG.uniform(-3, 3, (batch, count, 2))], -1)
    return np.concatenate([boxes, boxes[:, :2]], 1).astype(np.float32)  # some equal ones


def _scores(batch: int, classes: int, count: int) -> np.ndarray:
    return np.round(_RNG.uniform(0, 1, (batch, classes, count)), 2).astype(np.float32)  # some equal ones


@pytest.mark.parametrize("centred", (0, 1))
@pytest.mark.parametrize("most", (3, 1000))
def test_best_boxes_of_every_class(most: int, centred: int) -> None:
    feeds = {"boxes": _boxes(2, 20), "scores": _scores(2, 3, 22)}
    constants = {"m": np.array([most]), "i": np.array([0.3], np.float32), "s": np.array([0.2], np.float32)}
    dynamic = {"boxes": {0: "batch", 1: "boxes"}, "scores": {0: "batch", 2: "boxes"}}
    agrees("NonMaxSuppression", feeds, constants, opset=11, center_point_box=centred, dynamic=dynamic)


def test_without_thresholds() -> None:
    feeds = {"boxes": _boxes(1, 6), "scores": _scores(1, 1, 8)}
    agrees("NonMaxSuppression", feeds, {"m": np.array([4])}, opset=10)
    agrees("NonMaxSuppression", feeds, opset=10)


def test_limits_that_only_the_data_tell() -> None:
    feeds = {"boxes": _boxes(1, 10), "scores": _scores(1, 2, 12), "m": np.array([2]), "i": np.array([0.4], np.float32)}
    agrees("NonMaxSuppression", feeds, opset=11)
