"""Regions of interest, sampled: RoiAlign.

MaxRoiPool is not here: it rounds its bins to whole elements, so that their sizes come from the data, and no exporter of the
last years writes it.
"""

from __future__ import annotations

import tensorflow as tf

from convkit.interpreters.tensorflow.sizes import size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


def _has_fixed_grid(node):
    if node.attributes.get_int("sampling_ratio", 0) <= 0:
        return "sampling_ratio 0 takes as many samples as a region is large, which only the data tell"
    if node.attributes.get_string("mode", "avg") not in ("avg", "max"):
        return f"mode {node.attributes.get_string('mode')}"
    return None


@operator("RoiAlign", since=10, accepts=_has_fixed_grid)
def roi_align_10(x, rois, batch_indices, *, mode="avg", output_height=1, output_width=1, sampling_ratio=0, spatial_scale=1.0):
    return _aligned(x, rois, batch_indices, mode, (output_height, output_width), sampling_ratio, spatial_scale, False)


@operator("RoiAlign", since=16, accepts=_has_fixed_grid)
def roi_align(
    x,
    rois,
    batch_indices,
    *,
    coordinate_transformation_mode="half_pixel",
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    half_pixel = coordinate_transformation_mode == "half_pixel"
    return _aligned(x, rois, batch_indices, mode, (output_height, output_width), sampling_ratio, spatial_scale, half_pixel)


def _aligned(x, rois, batch_indices, mode, output, ratio, scale, half_pixel):
    """Pools `ratio` × `ratio` bilinear samples of every bin of every region."""
    _, channels, height, width = (size_tensor(size) for size in sizes_of(x))
    corners = rois * scale - (0.5 if half_pixel else 0.0)
    starts, extents = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not half_pixel:
        extents = tf.maximum(extents, 1.0)
    rows = _samples_along(starts[:, 1], extents[:, 1], output[0], ratio, height)
    columns = _samples_along(starts[:, 0], extents[:, 0], output[1], ratio, width)
    # Every element of an image is a row of channels, so that only what is sampled is copied.
    elements = tf.reshape(tf.transpose(x, [0, 2, 3, 1]), tf.stack([-1, channels]))
    images = tf.reshape(tf.cast(batch_indices, tf.int32) * height * width, [-1, 1, 1])
    neighbours = []
    for row, row_weight in rows:
        for column, column_weight in columns:
            places = images + tf.expand_dims(row * width, 2) + tf.expand_dims(column, 1)
            weights = tf.expand_dims(row_weight, 2) * tf.expand_dims(column_weight, 1)
            neighbours.append(tf.gather(elements, places) * tf.expand_dims(weights, 3))
    if mode == "avg":
        pooled = tf.nn.avg_pool2d(tf.add_n(neighbours), ratio, ratio, "VALID")
    else:  # ONNX Runtime takes the largest of the weighted neighbours, not of the interpolated samples
        pooled = tf.nn.max_pool2d(tf.reduce_max(tf.stack(neighbours), 0), ratio, ratio, "VALID")
    pooled = tf.transpose(pooled, [0, 3, 1, 2])
    pooled.set_shape([None, x.shape[1], *output])
    return pooled


def _samples_along(start, extent, bins, ratio, size):
    """The two neighbours (index and weight) of every sample along an axis: (regions, bins * ratio) each."""
    places = (tf.range(bins * ratio, dtype=start.dtype) + 0.5) / ratio
    x = tf.expand_dims(start, 1) + tf.expand_dims(extent, 1) / bins * places
    end = tf.cast(size, start.dtype)
    inside = tf.cast((x >= -1.0) & (x <= end), x.dtype)
    x = tf.clip_by_value(x, 0.0, end - 1)
    low = tf.floor(x)
    high = tf.minimum(low + 1, end - 1)
    t = x - low
    return [(tf.cast(low, tf.int32), (1 - t) * inside), (tf.cast(high, tf.int32), t * inside)]
