"""Generated and given inputs."""

from __future__ import annotations

import numpy as np
import pytest

from convkit import InputSpecError, Signature, TensorSpec
from convkit.validators.domains import Domain, Kind
from convkit.validators.inputs import draw, generated, matched, perturbed

SIGNATURE = Signature(
    (TensorSpec("image", "float32", ("batch", 3, "h", 8)), TensorSpec("ids", "int64", ("batch", 4))),
    (TensorSpec("y", "float32", ("batch",)),),
)


def rows(count: int) -> dict[str, Domain]:
    return {"ids": Domain(Kind.INDICES, 0, count - 1, "it indexes a table")}


def test_every_dynamic_dimension_is_tried_at_two_sizes_a_batch_of_one_and_zeros_come_last():
    sets = list(generated(SIGNATURE, rows(17), {}, seeds=3))
    assert len(sets) == 4
    assert [s.arrays["image"].shape[0] for s in sets] == [2, 3, 1, 2]
    assert [s.arrays["image"].shape[2] for s in sets] == [32, 48, 32, 32]
    assert all(s.arrays["image"].shape[0] == s.arrays["ids"].shape[0] for s in sets)
    assert not sets[-1].arrays["image"].any()
    assert "zeros" in sets[-1].recipe
    assert sets[-1].arrays["ids"].dtype == np.int64


def test_token_ids_stay_below_the_rows_of_their_table():
    values = np.concatenate([s.arrays["ids"].ravel() for s in generated(SIGNATURE, rows(5), {}, seeds=20)])
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
        [np.zeros((2, 3, 5, 8)), np.full((2, 4), 1 << 63, np.uint64)],
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays):
    with pytest.raises(InputSpecError):
        matched(SIGNATURE, arrays)


def test_a_known_upper_bound_is_tried_and_never_passed():
    sets = list(generated(SIGNATURE, {}, {}, 3, {"batch": (2, 64), "h": (None, 20)}))
    assert [s.arrays["image"].shape[0] for s in sets] == [2, 3, 64, 2]  # and no batch of one, which is refused
    assert max(s.arrays["image"].shape[2] for s in sets) == 20


def test_a_batch_of_one_follows_the_upper_bound():
    sets = list(generated(SIGNATURE, {}, {}, 3, {"batch": (1, 64)}))
    assert [s.arrays["image"].shape[0] for s in sets] == [2, 3, 64, 1, 2]
    assert [s.recipe.partition(",")[0] for s in sets] == ["seed 0", "seed 1", "seed 2", "seed 3", "zeros"]


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


def test_masks_are_what_padding_makes():
    spec = TensorSpec("attention_mask", "int64", (50, 6))
    mask = draw(spec, {}, 0, Domain(Kind.MASK, 0, 1, "its name says so"))
    assert mask.dtype == np.int64 and set(np.unique(mask)) == {0, 1}
    assert (mask[:, 0] == 1).all() and (np.diff(mask, axis=1) <= 0).all() and len(set(mask.sum(1))) == 6
    signature = Signature((spec,), ())
    *_, last = generated(signature, {"attention_mask": Domain(Kind.MASK, 0, 1, "")}, {}, 1)
    assert last.recipe == "zeros" and last.arrays["attention_mask"].all()


def test_pixels_and_probabilities_lie_in_their_range():
    pixels = draw(TensorSpec("x", "float32", (1, 3, 40, 40)), {}, 0, Domain(Kind.IMAGE, 0, 255, ""))
    assert pixels.min() == 0 and pixels.max() == 255 and (pixels == np.floor(pixels)).all() and pixels.dtype == np.float32
    shares = draw(TensorSpec("p", "float32", (1000,)), {}, 0, Domain(Kind.PROBABILITIES, 0, 1, ""))
    assert 0 < shares.min() < 0.1 and 0.9 < shares.max() <= 1
