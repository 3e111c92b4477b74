"""Where the elements of a resized axis lie."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.resampling import nearest, resampled_axes, taps


def test_axes_that_stay_are_left_out() -> None:
    (axis,) = resampled_axes([2, 3, 4, 5], scales=[1.0, 1.0, 1.0, 2.0])
    assert (axis.axis, axis.before, axis.after) == (3, 5, 10)
    assert resampled_axes([2, 3], sizes=[2, 3]) == []


def test_sizes_are_rounded_down_in_single_precision() -> None:
    (axis,) = resampled_axes([10], scales=[float(np.float32(0.7))])
    assert axis.after == 7


def test_aspect_ratios() -> None:
    assert [a.after for a in resampled_axes([10, 20], sizes=[5, 30], policy="not_larger")] == [5, 10]
    assert [a.after for a in resampled_axes([10, 20], sizes=[5, 30], policy="not_smaller")] == [15, 30]
    with pytest.raises(UnsupportedError, match="of a dynamic size"):
        resampled_axes([None, 20], sizes=[5, 30], policy="not_larger")


def test_scales_that_are_not_known_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="scales that depend"):
        resampled_axes([10], scales=[object()])


def test_old_versions_round_up_where_they_shrink() -> None:
    (shrunk,), (grown,) = resampled_axes([6], scales=[0.6]), resampled_axes([3], scales=[2.0])
    assert nearest(shrunk, np, "asymmetric", "").tolist() == [0, 2, 4]
    assert nearest(grown, np, "asymmetric", "").tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("mode", "count"), (("linear", 2), ("cubic", 4)))
@pytest.mark.parametrize("exclude_outside", (False, True))
def test_weights_sum_to_one(mode: str, count: int, exclude_outside: bool) -> None:
    (axis,) = resampled_axes([5], scales=[2.6])
    found = taps(axis, np, mode, "half_pixel", cubic=-0.75, exclude_outside=exclude_outside)
    assert len(found) == count
    np.testing.assert_allclose(sum(weight for _, weight in found), 1, rtol=1e-6)
    assert all(((index >= 0) & (index < 5)).all() for index, _ in found)


def test_what_is_nearly_in_the_middle_is_in_the_middle() -> None:
    """A seventh as a float32 puts the middle a last bit aside; ONNX Runtime does not mind."""
    (axis,) = resampled_axes([7], sizes=[14])
    wanted = [k / 2 for k in range(14)]
    assert nearest(axis, np, "asymmetric", "round_prefer_floor").tolist() == [int(np.ceil(x - 0.5)) for x in wanted]
    assert nearest(axis, np, "asymmetric", "round_prefer_ceil").tolist() == [min(int(np.floor(x + 0.5)), 6) for x in wanted]
