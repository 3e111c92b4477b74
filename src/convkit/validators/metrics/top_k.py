"""Top-k agreement of class scores: does the target rank the same class first, and is it among its first five?"""

from __future__ import annotations

import numpy as np

from convkit.components import Metric, OutputKind

__all__ = ["METRIC", "decided_rows", "top_k"]

_DECIDED = 1e-3
"""The lead, as a share of the scale, from which a best score is one."""


def top_k(expected: np.ndarray, got: np.ndarray) -> dict[str, float] | None:
    """The shares of rows in which the source's best class is the target's best, and among its best five.

    Args:
        expected: Of shape (…, classes).
        got: Of the same shape.

    Returns:
        None where no row has a best class: rows whose two best scores are as good as equal do not count.
    """
    rows, decided = decided_rows(expected)
    if not decided.any():
        return None
    best, others = rows.argmax(-1)[decided], got.reshape(rows.shape)[decided]
    found = {"top-1 agreement": float((others.argmax(-1) == best).mean())}
    if rows.shape[-1] > 5:
        first = np.argpartition(-others.astype(np.float64), 4, axis=-1)[:, :5]
        found["top-5 agreement"] = float((first == best[:, None]).any(-1).mean())
    return found


def decided_rows(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores as (rows, classes), and for each row whether its best score leads; none where one is not finite."""
    rows = scores.reshape(-1, scores.shape[-1])
    if rows.shape[-1] < 2 or not np.isfinite(rows).all():
        return rows, np.zeros(len(rows), bool)
    best = np.partition(rows.astype(np.float64), -2, axis=-1)[:, -2:]
    return rows, best[:, 1] - best[:, 0] > _DECIDED * np.abs(rows).max()


METRIC = Metric(
    name="top-k",
    help="share of rows whose best class is the target's best, and among its best five",
    kinds=(OutputKind.SCORES,),
    compute=top_k,
)
