"""IoU of boxes, one by one: only where their four numbers can be told to be corners."""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind

__all__ = ["METRIC", "box_iou"]


def box_iou(expected: np.ndarray, got: np.ndarray) -> dict[str, float] | None:
    """The lowest and the mean IoU of boxes of the same place in both outputs.

    Args:
        expected: Of shape (…, 4): (left, top, right, bottom), or top before left, which is the same IoU.
        got: Of the same shape.

    Returns:
        None where a box of the source has no area that way: its numbers may be centre and size, and corners of a guess would be
        an invention.
    """
    mine, theirs = (a.reshape(-1, 4).astype(np.float64) for a in (expected, got))
    sides = mine[:, 2:] - mine[:, :2]
    if not len(mine) or not (np.isfinite(mine).all() and np.isfinite(theirs).all()) or not (sides > 0).all():
        return None
    low, high = np.maximum(mine[:, :2], theirs[:, :2]), np.minimum(mine[:, 2:], theirs[:, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    either = sides.prod(-1) + np.clip(theirs[:, 2:] - theirs[:, :2], 0, None).prod(-1) - both
    ratios = both / either
    return {"lowest box IoU": float(ratios.min()), "mean box IoU": float(ratios.mean())}


METRIC = Metric(
    name="box-iou",
    help="IoU of boxes of the same place, where they are corners",
    kinds=(OutputKind.BOXES,),
    compute=box_iou,
)
