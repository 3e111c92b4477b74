"""Spearman's rank correlation of scores: is the order of the classes kept, below the first as well?"""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind

__all__ = ["METRIC", "spearman"]

_LEAST = 5
"""Ranks of fewer classes correlate by chance."""
_MOST = 1 << 22


def spearman(expected: np.ndarray, got: np.ndarray) -> dict[str, float] | None:
    """The lowest rank correlation of any row, ties at their mean rank (C. Spearman, 1904).

    Args:
        expected: Of shape (…, classes).
        got: Of the same shape.

    Returns:
        None for rows of fewer than five classes, of equal scores only, or that are not finite, and for more than four million.
    """
    if expected.shape[-1] < _LEAST or expected.size > _MOST or not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return None
    pairs = zip(expected.reshape(-1, expected.shape[-1]), got.reshape(-1, got.shape[-1]), strict=True)
    found = [_correlation(_ranks(a), _ranks(b)) for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0]
    return {"rank correlation": min(found)} if found else None


def _ranks(row: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


METRIC = Metric(
    name="spearman",
    help="lowest rank correlation of a row's scores",
    kinds=(OutputKind.SCORES,),
    compute=spearman,
)
