"""Non-maximum suppression against LiteRT's interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .operator_checks import agrees


def boxes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (count, 4) as y, x, y, x, a few of them with swapped corners or without area, and their scores."""
    generator = np.random.default_rng(seed)
    corner, size = generator.random((count, 2)), generator.random((count, 2)) * 0.5
    found = np.concatenate([corner, corner + size], 1).astype(np.float32)
    found[1] = found[1, [2, 3, 0, 1]]
    found[2, 2:] = found[2, :2]
    return found, generator.random(count).astype(np.float32)


@pytest.mark.parametrize(("most", "score"), [(8, 0.3), (40, 0.0), (5, 0.9)])
@pytest.mark.parametrize("sigma", [None, 0.0, 0.5])
def test_against_litert(most: int, score: float, sigma: float | None) -> None:
    import tensorflow as tf

    def function(given: Any, scores: Any) -> Any:
        if sigma is None:
            return tf.raw_ops.NonMaxSuppressionV4(
                boxes=given, scores=scores, max_output_size=most, iou_threshold=0.4, score_threshold=score,
                pad_to_max_output_size=True,
            )  # fmt: skip
        return tf.raw_ops.NonMaxSuppressionV5(
            boxes=given, scores=scores, max_output_size=most, iou_threshold=0.4, score_threshold=score, soft_nms_sigma=sigma,
            pad_to_max_output_size=True,
        )  # fmt: skip

    agrees("NON_MAX_SUPPRESSION_V4" if sigma is None else "NON_MAX_SUPPRESSION_V5", function, *boxes(30))
