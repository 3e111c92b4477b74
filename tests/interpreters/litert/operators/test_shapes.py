"""Shapes, slices and padding against LiteRT's interpreter, at dynamic sizes."""

from __future__ import annotations

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, schema, write
from litert_models import assert_close, compared, floats

from .operator_checks import agrees

X = floats(2, 6, 4)
IMAGE = floats(2, 4, 6, 8)


def cases():
    import tensorflow as tf

    return {
        "RESHAPE": (lambda x: tf.reshape(x, [-1, 3, 8]), X, [[0]]),
        "SHAPE": (lambda x: tf.reshape(x, [tf.shape(x)[0] * 2, -1]) * 2, X, [[0]]),
        "EXPAND_DIMS": (lambda x: tf.expand_dims(x, 2), X, [[0, 1]]),
        "TRANSPOSE": (lambda x: tf.transpose(x, [2, 0, 1]), X, [[0]]),
        "CONCATENATION": (lambda x: tf.concat([x, x * 2], 1), X, [[0]]),
        "PACK": (lambda x: tf.stack([x, x * 2], 1), X, [[0]]),
        "UNPACK": (lambda x: tf.unstack(x, axis=1)[1] * 1, X, [[0]]),
        "SPLIT": (lambda x: tf.split(x, 3, 1)[1], X, [[0]]),
        "SPLIT_V": (lambda x: tf.split(x, [1, 2, 3], 1)[2], X, [[0]]),
        "SLICE": (lambda x: tf.slice(x, [0, 1, 2], [-1, 3, 2]), X, [[0]]),
        "STRIDED_SLICE": (lambda x: x[:, 5:0:-2, tf.newaxis, 1], X, [[0]]),
        "PAD": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]]), X, [[0]]),
        "PADV2": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]], constant_values=1.5), X, [[0]]),
        "MIRROR_PAD": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]], "REFLECT"), X, [[0]]),
        "TILE": (lambda x: tf.tile(x, [2, 1, 3]), X, [[0]]),
        "BROADCAST_TO": (lambda x: tf.broadcast_to(x[:1], tf.shape(x)) + 0, X, []),
        "REVERSE_V2": (lambda x: tf.reverse(x, [1]), X, [[0]]),
        "FILL": (lambda x: x + tf.fill([tf.shape(x)[0], 1, 1], x[0, 0, 0]), X, [[0]]),
        "SPACE_TO_DEPTH": (lambda x: tf.nn.space_to_depth(x, 2), IMAGE, []),
        "DEPTH_TO_SPACE": (lambda x: tf.nn.depth_to_space(x, 2), IMAGE, [[0]]),
        "SPACE_TO_BATCH_ND": (lambda x: tf.space_to_batch(x, [2, 3], [[0, 0], [1, 2]]), IMAGE, []),
        "BATCH_TO_SPACE_ND": (lambda x: tf.batch_to_space(x, [1, 2], [[0, 0], [1, 0]]), IMAGE, []),
        "RANGE": (lambda x: x + tf.cast(tf.range(tf.shape(x)[1]), tf.float32)[:, None], X, [[1]]),
    }


@pytest.mark.parametrize(
    "operator",
    [
        "RESHAPE", "SHAPE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V",
        "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "TILE", "BROADCAST_TO", "REVERSE_V2", "FILL",
        "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "RANGE",
    ],
)  # fmt: skip
def test_against_litert(operator: str) -> None:
    function, example, dynamic = cases()[operator]
    agrees(operator, function, example, dynamic=dynamic)


@pytest.mark.parametrize("axes", [[1], [1, -1], []])
def test_squeeze(axes: list[int]) -> None:
    """By hand: converters write a RESHAPE where they can. No axes are all of size 1."""
    options = schema().SqueezeOptionsT()
    options.squeezeDims = axes
    x = floats(2, 1, 3, 1)
    shape = np.squeeze(x, tuple(axes) or None).shape
    path = write(Graph([T(x.shape), T(shape)], [Op("SQUEEZE", [0], [1], options)], [0], [1]))
    assert_close(*compared(path, [[x]]))


def test_the_mirror_that_repeats_the_edge() -> None:
    import tensorflow as tf

    agrees("MIRROR_PAD", lambda x: tf.pad(x, [[1, 0], [2, 2], [0, 3]], "SYMMETRIC"), X)


def test_ellipsis_and_masks() -> None:
    agrees("STRIDED_SLICE", lambda x: x[..., 1:-1] + x[-1, ..., :2], X)
