"""Causes that show in single channels: weights, biases and scales that belong to one of them."""

from __future__ import annotations

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause

__all__: list[str] = []

_FEW = 0.34
"""Up to which share of its channels a difference is one of single channels."""


def _by_channel(case: Case) -> list[tuple[int, np.ndarray]]:
    """Per axis the largest difference of each of its places, as shares of the scale."""
    delta = np.abs(case.got.astype(np.float64) - case.expected)
    scale = case.scale or 1.0
    return [
        (axis, delta.max(axis=tuple(a for a in range(delta.ndim) if a != axis)) / scale)
        for axis, size in enumerate(delta.shape)
        if size > 2
    ]


@cause(30)
def single_channels(case: Case) -> Cause | None:
    """The difference is in few places of one axis: the weights of these channels."""
    if case.expected.dtype.kind != "f" or case.expected.ndim < 2 or not np.isfinite(case.got).all():
        return None
    # The batch comes last: what differs in one sample only is no channel.
    for axis, apart in sorted(_by_channel(case), key=lambda f: (f[0] == 0, (f[1] > 0.02 * case.error).mean())):
        wrong = np.flatnonzero(apart > 0.02 * case.error)
        if not 0 < wrong.size <= max(1, _FEW * apart.size):
            continue
        channel = int(wrong[0])
        mine, theirs = (np.take(a, channel, axis).astype(np.float64).reshape(-1) for a in (case.expected, case.got))
        where = f"channel {channel}" if wrong.size == 1 else f"{wrong.size} channels ({', '.join(map(str, wrong[:4]))})"
        found = f"axis {axis}: {wrong.size} of {apart.size} places differ"
        if mine.size > 2 and np.abs(mine).max() > 0:
            ratio = float(mine @ theirs) / float(mine @ mine)
            if np.abs(theirs - ratio * mine).max() <= 0.02 * np.abs(theirs - mine).max():
                return Cause("channel-scale", f"{where} is {ratio:.4g} times what it should be", found)
        return Cause("corrupted-weight", f"only {where} is wrong, so its weights are", found)
    return None


@cause(31)
def bias(case: Case) -> Cause | None:
    """A constant per channel is missing, or another."""
    if (
        case.kind not in {"convolution", "transposed convolution", "matrix product", "batch norm", "add"}
        or case.expected.ndim < 2
    ):
        return None
    if not np.isfinite(case.got).all():
        return None
    delta = case.got.astype(np.float64) - case.expected
    for axis in (1, delta.ndim - 1):
        others = tuple(a for a in range(delta.ndim) if a != axis)
        if delta.shape[axis] < 2 or int(np.prod([delta.shape[a] for a in others])) < 2:
            continue
        mean = delta.mean(axis=others, keepdims=True)
        if np.abs(delta - mean).max() > 0.02 * np.abs(delta).max():
            continue
        known = [a for a in case.inputs if a is not None and a.size == mean.size]
        dropped = any(np.allclose(a.reshape(-1), -mean.reshape(-1), rtol=1e-3, atol=1e-5 * case.scale) for a in known)
        text = "the bias is missing" if dropped else "a constant per channel is wrong: the bias"
        return Cause("bias", text, f"the difference is constant in each of the {mean.size} places of axis {axis}")
    return None
