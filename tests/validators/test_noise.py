"""The noise floor: what a source's own outputs move by, told from what a target does."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.components import Variation
from convkit.reports.schema import NoiseFloor
from convkit.validators import noise

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((4, 10)).astype(np.float32)


def test_a_floor_is_a_share_of_the_scale():
    moved = SCORES.copy()
    moved[1, 2] += np.float32(3e-4) * np.abs(SCORES).max()
    for scale in (1e-9, 1.0, 1e6):
        floors = noise.floors_between({"y": SCORES * np.float32(scale)}, {"y": moved * np.float32(scale)}, noise.INPUTS)
        assert floors["y"].relative == pytest.approx(3e-4, rel=1e-2)
        assert floors["y"].reason == noise.INPUTS


def test_what_cannot_be_compared_tells_nothing():
    zeros = np.zeros((2, 3), np.float32)
    assert noise.floors_between({"y": zeros}, {"y": zeros + 1}, "") == {}
    assert noise.floors_between({"y": SCORES}, {"y": SCORES[:2]}, "") == {}
    assert noise.floors_between({"y": SCORES}, {}, "") == {}
    assert noise.error_of(SCORES, SCORES[:, :3]) is None


def test_the_highest_floor_of_several_experiments_counts():
    low, high = NoiseFloor(1e-7, "a"), NoiseFloor(2e-6, "b")
    assert noise.combined([{"y": low, "z": high}, {"y": high, "z": low}, {}]) == {"y": high, "z": high}


def test_no_output_is_nearer_than_its_dtype_rounds():
    floors = noise.least_floors({"f": SCORES, "h": SCORES.astype(np.float16), "i": np.arange(3), "b": SCORES > 0})
    assert set(floors) == {"f", "h"}
    assert floors["f"].relative == 2.0**-24 < floors["h"].relative == 2.0**-11


def test_every_variation_has_a_reason():
    assert len({noise.reason_of(v) for v in Variation}) == len(Variation)
