"""What a tensor looks like on both sides, small enough for a report."""

from __future__ import annotations

import numpy as np

from convkit.reports.drift import Picture
from convkit.validators.layouts import scale_of

__all__ = ["picture_of"]

_POINTS = 300
_CELLS = 32


def picture_of(expected: np.ndarray, got: np.ndarray) -> Picture | None:
    """A sample of pairs of values, and for tensors with a grid where on it the difference is.

    Args:
        expected, got: Arrays of one shape; None is returned where they are no real numbers.
    """
    if expected.dtype.kind not in "fiub" or got.dtype.kind not in "fiub" or not expected.size:
        return None
    mine, theirs = expected.reshape(-1), got.reshape(-1)
    both = np.flatnonzero(np.isfinite(mine) & np.isfinite(theirs))
    chosen = both if both.size <= _POINTS else np.random.default_rng(0).choice(both, _POINTS, replace=False)
    pairs = tuple((_short(a), _short(b)) for a, b in zip(mine[chosen], theirs[chosen], strict=True))
    return Picture(pairs, _heat(expected, got))


def _short(value: float) -> float:
    return float(f"{float(value):.5g}")


def _heat(expected: np.ndarray, got: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """The largest |Δ| per cell of the two neighbouring axes that are largest, as shares of the scale."""
    if expected.ndim < 2:
        return ()
    first = max(range(expected.ndim - 1), key=lambda a: (min(expected.shape[a : a + 2]), a))
    if min(expected.shape[first : first + 2]) < 4:
        return ()
    scale = scale_of(expected) or 1.0
    with np.errstate(invalid="ignore"):
        delta = np.nan_to_num(np.abs(got.astype(np.float64) - expected) / scale, nan=1.0, posinf=1.0)
    grid = delta.max(axis=tuple(a for a in range(delta.ndim) if a not in (first, first + 1)))
    for axis in (0, 1):
        starts = np.linspace(0, grid.shape[axis], min(_CELLS, grid.shape[axis]), endpoint=False).astype(int)
        grid = np.maximum.reduceat(grid, starts, axis)
    return tuple(tuple(_short(v) for v in row) for row in grid)
