"""Generated and given inputs."""

from __future__ import annotations

import numpy as np
import pytest

from convkit import InputSpecError, Signature, TensorSpec
from convkit.validators.inputs import draw, generated, matched, perturbed

SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", 3, "h", 8)), TensorSpec("ids", "int64", ("batch", 4))),
    (TensorSpec("y", "float32", ("batch",)),),
)


def test_every_dynamic_dimension_is_tried_at_two_sizes_and_zeros_come_last():
    sets = list(generated(SIGNATURE, {"ids": 17}, {}, seeds=3))
    assert len(sets) == 4
    for axis in (0, 2):
        assert len({s.arrays["image"].shape[axis] for s in sets}) == 2
    assert all(s.arrays["image"].shape[0] == s.arrays["ids"].shape[0] for s in sets)
    assert not sets[-1].arrays["image"].any()
    assert "zeros" in sets[-1].recipe
    assert sets[-1].arrays["ids"].dtype == np.int64


def test_token_ids_stay_below_the_rows_of_their_table():
    values = np.concatenate([s.arrays["ids"].ravel() for s in generated(SIGNATURE, {"ids": 5}, {}, seeds=20)])
    assert values.min() >= 0
    assert values.max() == 4
    unknown = np.concatenate([s.arrays["ids"].ravel() for s in generated(SIGNATURE, {}, {}, seeds=5)])
    assert unknown.max() < 2


def test_drawing_is_reproducible_and_differs_between_inputs():
    a, b = (TensorSpec(n, "float32", (64,)) for n in "ab")
    np.testing.assert_array_equal(draw(a, {}, 1), draw(a, {}, 1))
    assert not np.array_equal(draw(a, {}, 1), draw(b, {}, 1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "bool", "complex64"])
def test_drawn_arrays_have_the_dtype(dtype):
    assert str(draw(TensorSpec("x", dtype, (2, 3)), {}, 0).dtype) == dtype


def test_given_arrays_are_matched_by_name_then_by_position():
    image, ids = np.zeros((2, 3, 5, 8), np.float32), np.zeros((2, 4), np.int64)
    assert list(matched(SIGNATURE, {"ids": ids, "image": image})) == ["image", "ids"]
    assert matched(SIGNATURE, [image, ids.astype(np.int32)])["ids"].dtype == np.int64


@pytest.mark.parametrize(
    "arrays",
    [
        [np.zeros((2, 3, 5, 8))],
        [np.zeros((2, 3, 5, 9)), np.zeros((2, 4), np.int64)],
        [np.zeros((2, 3, 8)), np.zeros((2, 4), np.int64)],
        [np.zeros((2, 3, 5, 8)), np.zeros((2, 4), np.float32)],
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays):
    with pytest.raises(InputSpecError):
        matched(SIGNATURE, arrays)


def test_a_known_upper_bound_is_tried_and_never_passed():
    sets = list(generated(SIGNATURE, {}, {}, 3, {"batch": (2, 64), "h": (None, 20)}))
    assert [s.arrays["image"].shape[0] for s in sets] == [2, 3, 64, 2]
    assert max(s.arrays["image"].shape[2] for s in sets) == 20


def test_a_far_upper_bound_is_not_tried():
    sets = list(generated(SIGNATURE, {}, {}, 3, {"batch": (1, 1 << 40)}))
    assert max(s.arrays["image"].shape[0] for s in sets) == 3


def test_a_perturbation_is_a_last_bit():
    arrays = {"x": np.array([1.0, 0.5], np.float32), "ids": np.array([3])}
    moved = perturbed(arrays)
    assert 0 < np.abs(moved["x"] - arrays["x"]).max() < 2e-7
    np.testing.assert_array_equal(moved["ids"], arrays["ids"])
    assert perturbed({"ids": arrays["ids"]}) is None
    assert np.abs(perturbed({"x": np.zeros(8, np.float32)})["x"]).max() == np.float32(2.0**-24)
