"""What each metric of the room says, against values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.components import OutputKind
from convkit.registry import metrics
from convkit.validators.metrics.box_iou import box_iou
from convkit.validators.metrics.iou import iou
from convkit.validators.metrics.label_agreement import label_agreement
from convkit.validators.metrics.spearman import spearman
from convkit.validators.metrics.token_agreement import token_agreement
from convkit.validators.metrics.top_k import top_k

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((4, 10)).astype(np.float32)


def test_every_metric_is_registered_and_says_that_equal_outputs_agree():
    assert set(metrics()) == {"top-k", "token-agreement", "label-agreement", "iou", "spearman", "box-iou"}
    samples = {
        OutputKind.SCORES: SCORES,
        OutputKind.TOKEN_LOGITS: SCORES[None],
        OutputKind.PIXEL_SCORES: RNG.standard_normal((1, 3, 16, 16)).astype(np.float32),
        OutputKind.MASK: SCORES > 0,
        OutputKind.LABELS: np.arange(6),
        OutputKind.BOXES: np.array([[0, 0, 2, 2], [1, 1, 4, 3]], np.float32),
    }
    for metric in metrics().values():
        assert metric.kinds and metric.help
        for kind in metric.kinds:
            found = metric.compute(samples[kind], samples[kind].copy())
            values = found.values() if isinstance(found, dict) else [found]
            assert [*values] == pytest.approx([1.0] * len([*values]))


def test_top_k_looks_for_the_source_s_best_class_in_the_target():
    other = SCORES.copy()
    best = SCORES[0].argmax()
    other[0, best] = np.sort(SCORES[0])[-3] - 1e-3  # the fourth now
    other[1, SCORES[1].argmax()] = -100  # the last
    assert top_k(SCORES, other) == {"top-1 agreement": 0.5, "top-5 agreement": 0.75}
    assert top_k(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)) is None
    assert list(top_k(SCORES[:, :3], SCORES[:, :3])) == ["top-1 agreement"]
    assert top_k(np.full((2, 3), np.nan), SCORES[:2, :3]) is None


def test_token_agreement_counts_every_position():
    other = SCORES[None].copy()
    other[0, 2] = -other[0, 2]
    assert token_agreement(SCORES[None], other) == 0.75


def test_labels_agree_where_they_are_equal():
    assert label_agreement(np.arange(8), np.arange(8) + (np.arange(8) == 3)) == 7 / 8


def test_iou_of_masks():
    mine, theirs = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    mine[0, :2], theirs[0, 1:3] = True, True
    assert iou(mine, theirs) == {"IoU": pytest.approx(1 / 3)}
    assert iou(mine.astype(np.float32), theirs.astype(np.int64)) == {"IoU": pytest.approx(1 / 3)}
    assert iou(mine * 0.9, theirs * 0.4) == {"IoU": 0.0}
    assert iou(mine * 8.0 - 4.0, theirs * 8.0 - 4.0) == {"IoU": pytest.approx(1 / 3)}
    assert iou(mine & False, theirs & False) is None


def test_mean_iou_of_the_best_class_per_pixel():
    scores = np.zeros((1, 3, 16, 16), np.float32)
    scores[:, 0, :8], scores[:, 1, 8:] = 5.0, 5.0
    other = scores.copy()
    other[:, :, 7] = [[[0.0] * 16, [9.0] * 16, [0.0] * 16]]
    assert iou(scores, other) == {"mean IoU": pytest.approx((7 / 8 + 8 / 9) / 2)}


def test_spearman_is_that_of_scipy():
    from scipy.stats import spearmanr

    tied = np.round(SCORES, 0)
    other = SCORES[::-1].copy()
    wanted = min(spearmanr(a, b).statistic for a, b in zip(tied, other, strict=True))
    assert spearman(tied, other) == {"rank correlation": pytest.approx(wanted)}
    assert spearman(SCORES[:, :4], SCORES[:, :4]) is None
    assert spearman(SCORES * 0, SCORES) is None


def test_box_iou_only_of_corners():
    boxes = np.array([[[0, 0, 10, 10], [5, 5, 10, 20]]], np.float32)
    moved = boxes + np.array([5, 0, 5, 0], np.float32)
    found = box_iou(boxes, moved)
    assert found == {"lowest box IoU": pytest.approx(0.0), "mean box IoU": pytest.approx((1 / 3 + 0) / 2)}
    centres = np.array([[100, 100, 20, 20]], np.float32)
    assert box_iou(centres, centres) is None
    assert box_iou(boxes[:, :0], boxes[:, :0]) is None
