"""NonMaxSuppression."""

from __future__ import annotations

import numpy as np
import torch
from torch._higher_order_ops.scan import scan_op

from convkit.interpreters.host import minimum
from convkit.interpreters.operators import Either
from convkit.interpreters.pytorch.backend import as_tensor
from convkit.interpreters.pytorch.boxes import corners, intersection_over_union
from convkit.interpreters.pytorch.sizes import positions
from convkit.interpreters.pytorch.table import operator

_NONE = float("-inf")


@operator("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes, scores, most: Either = None, iou_threshold: Either = None, score_threshold: Either = None, *, center_point_box=0
):
    """Rows of (batch, class, box), the best box of every class first; only the data tell how many.

    One step takes the best box that is left of every class at once, and everything that overlaps it, so that there are as many
    steps as boxes may be selected, and no matrix of all overlaps.
    """
    if most is None:
        return torch.zeros((0, 3), dtype=torch.int64)
    every = _corners(boxes, bool(center_point_box)).unsqueeze(1)  # (batch, 1, box, 4)
    left = scores if score_threshold is None else torch.where(scores > _number(score_threshold), scores, _NONE)
    steps = boxes.shape[1] if isinstance(most, torch.Tensor) else minimum(boxes.shape[1], max(int(_number(most)), 0))
    threshold = 0.0 if iou_threshold is None else _number(iou_threshold)
    if not isinstance(threshold, torch.Tensor):
        threshold = torch.full((), threshold, dtype=boxes.dtype)
    _, taken, is_taken = scan_op(_take_best, [left.clone()], [torch.arange(steps)], (every, threshold))
    is_taken = is_taken.permute(1, 2, 0)  # (batch, class, step)
    if isinstance(most, torch.Tensor):
        is_taken = is_taken & (torch.arange(steps) < _number(most))
    where = positions(is_taken)
    box = taken.permute(1, 2, 0)[where[:, 0], where[:, 1], where[:, 2]]
    # Not by `cat`: where nothing is found, ExecuTorch's kernel forgets that there are three columns.
    return where * as_tensor(np.array([1, 1, 0])) + box.unsqueeze(1) * as_tensor(np.array([0, 0, 1]))


def _number(value):
    return value.reshape(()) if isinstance(value, torch.Tensor) else value.reshape(-1)[0].item()


def _corners(boxes, is_centred):
    if is_centred:  # x, y, width, height
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        return torch.cat([centre - half, centre + half], -1)
    return corners(boxes)


def _take_best(left, _, boxes, threshold):
    """One step: what is left of the scores, the best box of every class, and whether there was one."""
    best = left.argmax(2, keepdim=True)
    has_one = left.gather(2, best) > _NONE
    every = boxes.expand(-1, left.shape[1], -1, -1)
    box = every.gather(2, best.unsqueeze(3).expand(-1, -1, -1, 4))
    goes = ((intersection_over_union(box, every) > threshold) | (torch.arange(left.shape[2]) == best)) & has_one
    return [torch.where(goes, _NONE, left), best.squeeze(2), has_one.squeeze(2)]
