"""Gathering, scattering and indices against LiteRT's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from litert_models import floats

from .operator_checks import agrees

X = floats(3, 5, 4)
INDICES = np.array([[1, 0], [2, 2], [0, 1]], np.int32)


def cases():
    import tensorflow as tf

    table = floats(7, 6, seed=3)
    return {
        "GATHER": (lambda x, i: tf.gather(x, i, axis=1), [X, INDICES]),
        "GATHER in batches": (lambda x, i: tf.gather(x, i, axis=1, batch_dims=1), [X, INDICES]),
        "GATHER of a table": (lambda i: tf.gather(table, i), [INDICES]),
        "GATHER_ND": (lambda x, i: tf.gather_nd(x, i), [X, INDICES]),
        "SCATTER_ND": (lambda i, u: tf.scatter_nd(i, u, [4, 3]), [INDICES, floats(3)]),
        "ONE_HOT": (lambda i: tf.one_hot(i, 4, on_value=2.0, off_value=-1.0), [INDICES]),
        "TOPK_V2": (lambda x: tf.math.top_k(x, 3), [X]),
        "ARG_MAX": (lambda x: tf.argmax(x, 1) + 1, [X]),
        "ARG_MIN": (lambda x: tf.argmin(x, -1) + 1, [X]),
        "CUMSUM": (lambda x: tf.cumsum(x, 1, exclusive=True, reverse=True), [X]),
        "WHERE": (lambda x: tf.where(x > 0), [X]),
        "REVERSE_SEQUENCE": (lambda x, n: tf.reverse_sequence(x, n, 1, 0), [X, np.array([2, 5, 3], np.int32)]),
        "MATRIX_DIAG": (lambda x: tf.linalg.diag(x), [X]),
        "MATRIX_SET_DIAG": (lambda x, d: tf.linalg.set_diag(x, d), [X, floats(3, 4)]),
        "UNSORTED_SEGMENT_SUM": (lambda x: tf.math.unsorted_segment_sum(x, [1, 0, 1], 3), [X]),
        "UNSORTED_SEGMENT_MAX": (lambda x: tf.math.unsorted_segment_max(x, [1, 0, 1], 2), [X]),
        "SEGMENT_SUM": (lambda x: tf.math.segment_sum(x, [0, 0, 1]), [X]),
    }


@pytest.mark.parametrize(
    "case",
    [
        "GATHER", "GATHER in batches", "GATHER of a table", "GATHER_ND", "SCATTER_ND", "ONE_HOT", "TOPK_V2", "ARG_MAX",
        "ARG_MIN", "CUMSUM", "REVERSE_SEQUENCE", "MATRIX_DIAG", "MATRIX_SET_DIAG", "UNSORTED_SEGMENT_SUM",
        "UNSORTED_SEGMENT_MAX", "SEGMENT_SUM", "WHERE",
    ],
)  # fmt: skip
def test_against_litert(case: str) -> None:
    function, examples = cases()[case]
    agrees(case.split()[0], function, *examples)
