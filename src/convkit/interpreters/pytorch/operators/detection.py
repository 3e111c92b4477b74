"""NonMaxSuppression."""

from __future__ import annotations

import numpy as np
import torch
from torch._higher_order_ops.scan import scan_op

from convkit.interpreters.host import minimum
from convkit.interpreters.operators import Either
from convkit.interpreters.pytorch.backend import as_tensor
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
    corners = _corners(boxes, bool(center_point_box)).unsqueeze(1)  # (batch, 1, box, 4)
    left = scores if score_threshold is None else torch.where(scores > _number(score_threshold), scores, _NONE)
    steps = boxes.shape[1] if isinstance(most, torch.Tensor) else minimum(boxes.shape[1], max(int(_number(most)), 0))
    threshold = 0.0 if iou_threshold is None else _number(iou_threshold)
    if not isinstance(threshold, torch.Tensor):
        threshold = torch.full((), threshold, dtype=boxes.dtype)
    _, taken, is_taken = scan_op(_take_best, [left.clone()], [torch.arange(steps)], (corners, threshold))
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
    """Two opposite corners, the smaller coordinates first; which axis is which does not matter to an overlap."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if is_centred:  # x, y, width, height
        return torch.cat([first - second / 2, first + second / 2], -1)
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def _take_best(left, _, corners, threshold):
    """One step: what is left of the scores, the best box of every class, and whether there was one."""
    best = left.argmax(2, keepdim=True)
    has_one = left.gather(2, best) > _NONE
    every = corners.expand(-1, left.shape[1], -1, -1)
    box = every.gather(2, best.unsqueeze(3).expand(-1, -1, -1, 4))
    goes = (_overlaps(box, every, threshold) | (torch.arange(left.shape[2]) == best)) & has_one
    return [torch.where(goes, _NONE, left), best.squeeze(2), has_one.squeeze(2)]


def _overlaps(one, other, threshold):
    """Whether intersection over union exceeds the threshold; boxes without area overlap nothing."""
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (one, other)]
    union = areas[0] + areas[1] - intersection
    return (areas[0] > 0) & (areas[1] > 0) & (union > 0) & (intersection / union > threshold)
