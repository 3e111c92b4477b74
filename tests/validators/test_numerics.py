"""The comparison: what passes, what fails, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.reports.schema import Tolerance
from convkit.validators.numerics import compare_output, compare_outputs
from convkit.validators.tolerance import default_tolerance

FLOAT = Tolerance(1e-5, "test")
RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((4, 10)).astype(np.float32)


def test_equal_arrays_pass_with_perfect_metrics():
    metrics = compare_output("y", SCORES, SCORES.copy(), FLOAT)
    assert metrics.passed
    assert (metrics.max_abs, metrics.required, metrics.top1) == (0.0, 0.0, 1.0)
    assert metrics.cosine == pytest.approx(1.0)


def test_the_tolerance_is_relative_to_the_scale():
    for scale in (1e-9, 1.0, 1e6):
        reference = SCORES * np.float32(scale)
        assert compare_output("y", reference, reference * np.float32(1 + 2e-6), FLOAT).passed
        drifted = reference + np.float32(1e-3) * np.abs(reference).max()
        metrics = compare_output("y", reference, drifted, FLOAT)
        assert not metrics.passed
        assert metrics.required == pytest.approx(1e-3, rel=1e-2)


def test_a_zero_reference_cannot_hide_a_difference():
    metrics = compare_output("y", np.zeros((2, 3), np.float32), np.full((2, 3), 1e-12, np.float32), FLOAT)
    assert not metrics.passed


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (SCORES[:2], "shape [2, 10]"),
        (np.where(SCORES.max() == SCORES, np.nan, SCORES), "NaN in 1 places"),
        (np.where(SCORES.max() == SCORES, np.inf, SCORES), "infinity in 1 places"),
    ],
)
def test_problems_beyond_numbers_are_named(got, said):
    metrics = compare_output("y", SCORES, got, FLOAT)
    assert not metrics.passed
    assert said in metrics.problem


def test_the_same_nan_pattern_passes():
    holed = np.where(SCORES > 1, np.nan, SCORES)
    assert compare_output("y", holed, holed.copy(), FLOAT).passed
    infinite = np.where(SCORES > 1, np.inf, SCORES)
    assert compare_output("y", infinite, infinite.copy(), FLOAT).passed
    assert "sign" in compare_output("y", infinite, np.where(SCORES > 1, -np.inf, SCORES), FLOAT).problem


def test_integers_are_exact():
    ids = np.arange(6).reshape(2, 3)
    exact = default_tolerance("int64", 10)
    assert compare_output("ids", ids, ids.astype(np.int32), exact).passed
    assert not compare_output("ids", ids, ids + (ids == 5), exact).passed


def test_a_missing_output_fails():
    (metrics,) = compare_outputs({"y": SCORES}, {}, {"y": FLOAT})
    assert not metrics.passed
    assert "no such output" in metrics.problem


def test_top1_counts_only_decided_rows():
    reference = np.array([[0, 0, 0], [1, 2, 3]], np.float32)
    assert compare_output("y", reference, reference[:, ::-1].copy(), Tolerance(10, "loose")).top1 == 0.0
    assert compare_output("y", reference * 0, reference * 0, FLOAT).top1 is None


def test_tolerances_grow_with_depth_up_to_a_ceiling():
    shallow, deep, deepest = (default_tolerance("float32", n).relative for n in (14, 400, 100_000))
    assert shallow == 1e-5
    assert shallow < deep < deepest == 1e-4
    assert default_tolerance("float16", 14).relative > deepest
    assert default_tolerance("bool", 14).relative == 0
    assert all(default_tolerance(d, 5).reason for d in ("float32", "int64", "bfloat16"))
