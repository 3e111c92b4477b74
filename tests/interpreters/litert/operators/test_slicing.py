"""Slices, padding and ranges against LiteRT's interpreter: backwards, with bounds that the data tell, on levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats

from .operator_checks import agrees

X = floats(3, 6, 4)


def cases() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "to the end": ("SLICE", lambda x: tf.slice(x, [1, 0, 2], [-1, 6, -1])),
        "negative bounds": ("STRIDED_SLICE", lambda x: x[:, -4:-1, ::3]),
        "backwards": ("STRIDED_SLICE", lambda x: x[::-1, 4:1:-1]),
        "backwards in steps": ("STRIDED_SLICE", lambda x: x[:, ::-2]),
        "one of the last": ("STRIDED_SLICE", lambda x: x[:, -2]),
        "a new axis in the middle": ("STRIDED_SLICE", lambda x: x[1:, tf.newaxis, ..., 1:]),
        "beyond the end": ("STRIDED_SLICE", lambda x: x[:, 2:90]),
        "on every side": ("PAD", lambda x: tf.pad(x, [[1, 0], [2, 3], [0, 1]])),
    }


@pytest.mark.parametrize(
    "case",
    [
        "to the end", "negative bounds", "backwards", "backwards in steps", "one of the last", "a new axis in the middle",
        "beyond the end", "on every side",
    ],
)  # fmt: skip
def test_against_litert(case: str) -> None:
    operator, function = cases()[case]
    agrees(operator, function, X)


def test_a_dynamic_axis_sliced_from_its_end() -> None:
    agrees("STRIDED_SLICE", lambda x: x[-2:, 1:] * 2, X, dynamic=[[0]])


def sliced(begin: list[int], size: list[int]) -> Any:
    tensors = [T((3, 4)), T((2,), "INT32"), constant(np.array(size, np.int32)), T((-1, -1))]
    return write(Graph(tensors, [Op("SLICE", [0, 1, 2], [3], schema().SliceOptionsT())], [0, 1], [3]))


@pytest.mark.parametrize("begin", [[0, 1], [2, 0]])
def test_a_slice_whose_start_the_data_tell(begin: list[int]) -> None:
    path = sliced(begin, [1, 2])
    assert_close(*compared(path, [[X[0, :3], np.array(begin, np.int32)]]))


def test_levels_are_padded_with_their_zero() -> None:
    """A zero of the numbers is the zero point among the levels."""
    how: dict[str, Any] = {"scales": (0.5,), "zero_points": (3,)}
    tensors = [T((1, 2, 3, 2), "INT8", **how), constant(np.array([[0, 0], [1, 1], [2, 0], [0, 1]], np.int32))]
    tensors.append(T((1, 4, 5, 3), "INT8", **how))
    path = write(Graph(tensors, [Op("PAD", [0, 1], [2], schema().PadOptionsT())], [0], [2]))
    levels = np.random.default_rng(0).integers(-128, 128, (1, 2, 3, 2)).astype(np.int8)
    expected, got = compared(path, [[levels]])
    (name,) = expected[0]
    assert (expected[0][name] == 3).any()
    np.testing.assert_array_equal(expected[0][name], got[0][name])
