"""Label agreement of integers: the share of equal elements."""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind

__all__ = ["METRIC", "label_agreement"]


def label_agreement(expected: np.ndarray, got: np.ndarray) -> float:
    """The share of elements that are equal; of any shape."""
    return float((expected == got).mean())


METRIC = Metric(
    name="label-agreement",
    help="share of equal elements",
    kinds=(OutputKind.LABELS, OutputKind.MASK),
    compute=label_agreement,
)
