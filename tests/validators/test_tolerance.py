"""How large a difference is allowed."""

from __future__ import annotations

from convkit.reports.schema import NoiseFloor
from convkit.validators.tolerance import ILL_CONDITIONED, Tolerance, above_noise, default_tolerance, explained

BASE = Tolerance(1e-5, "base")


def test_an_output_of_zeros_keeps_its_tolerance():
    """Its scale is zero, so that what it moves by is infinitely much of it; no report may allow that."""
    endless = NoiseFloor(float("inf"), "")
    assert above_noise(BASE, endless) == BASE
    assert not explained(1.0, endless)


def test_noise_widens_a_tolerance_by_ten_times_the_floor_and_says_why():
    assert above_noise(BASE, NoiseFloor(1e-7, "")) == BASE
    widened = above_noise(BASE, NoiseFloor(4e-6, "its inputs move by a last bit"))
    assert widened.relative == 4e-5
    assert "its inputs move by a last bit" in widened.reason


def test_no_noise_excuses_everything():
    """What is further off than a thousandth does not pass, however noisy the source is."""
    loud = NoiseFloor(0.3, "")
    assert above_noise(BASE, loud).relative == ILL_CONDITIONED
    assert above_noise(Tolerance(1e-2, "float16"), loud).relative == 1e-2
    assert explained(2.9, loud) and not explained(3.1, loud)


def test_what_is_computed_in_half_precision_is_held_to_that():
    """Runtimes keep sums of halves in float32, or do not; the outputs may be float32 all the same."""
    mixed = default_tolerance("float32", 40, computed="float16")
    assert mixed.relative == default_tolerance("float16", 40).relative
    assert "computes in float16" in mixed.reason
    assert default_tolerance("int64", 40, computed="float16").relative == 0
