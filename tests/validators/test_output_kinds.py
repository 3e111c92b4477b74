"""What an output is taken for: by a sign, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.components import OutputKind
from convkit.validators.kinds import class_axis, inferred

RNG = np.random.default_rng(0)


def softmax(array: np.ndarray, axis: int) -> np.ndarray:
    raised = np.exp(array)
    return raised / raised.sum(axis, keepdims=True)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("logits", normal(2, 10), OutputKind.SCORES),
        ("Identity", softmax(normal(2, 10), -1), OutputKind.SCORES),
        ("fc", normal(2, 1000), OutputKind.SCORES),
        ("logits", normal(2, 5, 30522), OutputKind.TOKEN_LOGITS),
        ("out", softmax(normal(1, 21, 16, 16), 1), OutputKind.PIXEL_SCORES),
        ("segmentation", normal(1, 32, 32, 21), OutputKind.PIXEL_SCORES),
        ("attention_mask", RNG.random((2, 16)) < 0.5, OutputKind.MASK),
        ("out", (RNG.random((2, 16, 16)) < 0.5).astype(np.float32), OutputKind.MASK),
        ("alpha_matte", RNG.random((1, 1, 16, 16), np.float32), OutputKind.MASK),
        ("keep", (RNG.random((2, 16)) < 0.5).astype(np.int64), OutputKind.MASK),
        ("ids", RNG.integers(0, 100, (2, 16)), OutputKind.LABELS),
        ("pred_boxes", normal(2, 100, 4), OutputKind.BOXES),
    ],
)
def test_a_sign_tells_the_kind(name, array, kind):
    found = inferred(name, array)
    assert found.kind is kind and found.why and str(found) == f"{kind.value} ({found.why})"


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("embedding", normal(2, 768)),
        ("last_hidden_state", normal(2, 8, 32)),
        ("features", normal(1, 64, 16, 16)),
        ("output", normal(2, 4)),
        ("class_token", normal(2, 192)),
        ("output", np.zeros((2, 16, 16), np.float32)),
        ("logits", np.zeros((0, 10), np.float32)),
        ("score", np.float32(0.5)),
        ("text", np.full((2,), "convkit")),
        ("spectrum", normal(2, 8).astype(np.complex64)),
    ],
)
def test_without_a_sign_it_is_values(name, array):
    assert inferred(name, np.asarray(array)).kind is OutputKind.VALUES


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 21, 64, 64), 1), ((1, 64, 64, 21), 3), ((1, 21, 16, 16), None), ((2, 3, 64, 64), 1), ((1, 1000, 8, 8), None)],
)
def test_the_axis_of_the_classes_is_told_where_the_shape_tells(shape, axis):
    assert class_axis(normal(*shape)) == axis


def test_probabilities_tell_the_axis_where_the_shape_does_not():
    assert class_axis(softmax(normal(1, 64, 64, 21), 3)) == 3
    assert class_axis(softmax(normal(1, 21, 64, 64), 1)) == 1
