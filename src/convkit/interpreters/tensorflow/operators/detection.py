"""Boxes: non-maximum suppression."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.tensorflow.sizes import size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("NonMaxSuppression")
def non_max_suppression(
    boxes, scores, max_output_boxes_per_class=None, iou_threshold=None, score_threshold=None, *, center_point_box=0
):
    batch, classes, count = sizes_of(scores)
    if not (isinstance(batch, int) and isinstance(classes, int)):
        raise UnsupportedError("a dynamic number of images or of classes")
    if max_output_boxes_per_class is None:
        return tf.zeros([0, 3], tf.int64)
    corners = _corners(boxes) if center_point_box else boxes
    wanted = tf.clip_by_value(tf.reshape(max_output_boxes_per_class, []), 0, tf.cast(size_tensor(count), tf.int64))
    limits = {
        "max_output_size": tf.cast(wanted, tf.int32),
        "iou_threshold": _just_above(tf.constant(0.0) if iou_threshold is None else tf.reshape(iou_threshold, [])),
        "score_threshold": tf.constant(tf.float32.min) if score_threshold is None else tf.reshape(score_threshold, []),
    }
    rows = []
    for image in range(batch):
        for kind in range(classes):
            # Padded and cut: LiteRT's kernel always pads.
            padded, found = tf.raw_ops.NonMaxSuppressionV4(
                boxes=corners[image], scores=scores[image, kind], pad_to_max_output_size=True, **limits
            )
            taken = tf.reshape(padded, [-1, 1])[:found]
            rows.append(tf.pad(taken, [[0, 0], [2, 0]]) + tf.constant([[image, kind, 0]]))
    return tf.cast(tf.concat(rows, 0) if len(rows) > 1 else rows[0], tf.int64)


def _just_above(threshold):
    """The next larger number: LiteRT's kernel suppresses what overlaps as much as the threshold, ONNX what overlaps more."""
    return tf.maximum(threshold * np.float32(1 + 2**-23), np.finfo(np.float32).tiny)


def _corners(boxes):
    """Boxes given by centre and size as two opposite corners, the second coordinate first."""
    x, y, width, height = tf.unstack(boxes, axis=-1)
    return tf.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)
