"""How large a difference is allowed."""

from __future__ import annotations

from convkit.validators.tolerance import Tolerance, above_noise


def test_an_output_of_zeros_keeps_its_tolerance():
    """Its scale is zero, so that what it moves by is infinitely much of it; no report may allow that."""
    assert above_noise(Tolerance(1e-5, "base"), float("inf")) == Tolerance(1e-5, "base")
