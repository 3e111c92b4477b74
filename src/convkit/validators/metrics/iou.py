"""Intersection over union of masks, and of the maps of best classes per pixel."""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind
from convkit.validators.kinds import class_axis, sums_to_one

__all__ = ["METRIC", "iou"]


def iou(expected: np.ndarray, got: np.ndarray) -> dict[str, float] | None:
    """|A ∩ B| / |A ∪ B| of what both sides mark.

    Args:
        expected: A mask (booleans, zeros and ones, or probabilities, which mark from a half on), or scores of shape (N, C, H, W)
            or (N, H, W, C), whose best class per pixel is compared: the mean over the classes that one of the two has. Other
            numbers are taken for logits, which mark from zero on.
        got: Of the same shape.

    Returns:
        None where neither side marks anything.
    """
    shares = expected.dtype.kind != "f" or bool(expected.min() >= 0 and expected.max() <= 1)
    axis = None if expected.dtype.kind != "f" else class_axis(expected)
    if axis is not None and (not shares or sums_to_one(expected, axis)):
        mine, theirs = expected.argmax(axis), got.argmax(axis)
        return {"mean IoU": float(np.mean([_ratio(mine == c, theirs == c) for c in np.union1d(mine, theirs)]))}
    mine, theirs = (a if a.dtype.kind == "b" else a >= (0.5 if shares else 0.0) for a in (expected, got))
    return {"IoU": _ratio(mine, theirs)} if (mine | theirs).any() else None


def _ratio(mine: np.ndarray, theirs: np.ndarray) -> float:
    return float((mine & theirs).sum() / (mine | theirs).sum())


METRIC = Metric(
    name="iou",
    help="intersection over union of masks, and of the best classes per pixel",
    kinds=(OutputKind.MASK, OutputKind.PIXEL_SCORES),
    compute=iou,
)
