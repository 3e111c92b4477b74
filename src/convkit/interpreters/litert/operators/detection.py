"""Non-maximum suppression into results of a fixed size, of which the first are filled.

Source: tensorflow/lite/kernels/internal/reference/non_max_suppression.h; soft suppression is that of https://arxiv.org/abs/1704.04503.
"""

from __future__ import annotations

import torch
from torch._higher_order_ops.scan import scan_op

from convkit.interpreters.litert.table import operator
from convkit.interpreters.operators import Known
from convkit.interpreters.pytorch.boxes import corners, intersection_over_union

_NONE = float("-inf")


@operator("NON_MAX_SUPPRESSION_V4")
def non_max_suppression(boxes, scores, most: Known, iou_threshold: Known, score_threshold: Known):
    taken, _, count = _suppressed(boxes, scores, most, iou_threshold, score_threshold, 0.0)
    return taken, count


@operator("NON_MAX_SUPPRESSION_V5")
def soft_non_max_suppression(boxes, scores, most: Known, iou_threshold: Known, score_threshold: Known, sigma: Known):
    return _suppressed(boxes, scores, most, iou_threshold, score_threshold, float(sigma.reshape(-1)[0]))


def _suppressed(boxes, scores, most, iou_threshold, score_threshold, sigma):
    """Which boxes are taken, the best first, with what scores, and how many; zeros behind them."""
    limits = torch.tensor([float(iou_threshold.reshape(-1)[0]), float(score_threshold.reshape(-1)[0])])
    rate = torch.tensor(-0.5 / sigma if sigma > 0 else 0.0)
    left = torch.where(scores > limits[1], scores, _NONE)
    steps = torch.arange(int(most.reshape(-1)[0]))
    _, taken, found = scan_op(_take_best, [left], [steps], (corners(boxes), limits, rate))
    is_taken = (found > _NONE) & (steps < (left > _NONE).sum())
    zero = torch.zeros((), dtype=torch.int32)
    return torch.where(is_taken, taken, zero), torch.where(is_taken, found, 0.0), is_taken.sum(dtype=torch.int32)


def _take_best(left, _, boxes, limits, rate):
    """One step: what is left of the scores, the best box, and its score (minus infinity where none is left).

    Only its overlap with itself takes the best box out: one without area overlaps nothing, and LiteRT takes it again and again.
    """
    best = left.argmax().reshape(1)
    found = left.index_select(0, best)
    overlap = intersection_over_union(boxes.index_select(0, best), boxes)
    damped = left * torch.exp(rate * overlap * overlap)
    stays = (overlap < limits[0]) & (damped > limits[1])
    return [torch.where(stays, damped, _NONE), best.reshape(()).to(torch.int32), found.reshape(())]
