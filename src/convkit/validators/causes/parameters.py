"""Causes in an operator's parameters: weights in another layout or precision, another epsilon."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause
from convkit.validators.causes.replaying import Replay, replays
from convkit.validators.causes.values import as_bfloat16

__all__: list[str] = []

_EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def _variants(weight: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """What conversions make of weights: code, words, and the weights."""
    if weight.ndim == 2 and weight.shape[0] == weight.shape[1]:
        yield "transposed-weight", "the weight is transposed", weight.T
    if weight.ndim >= 3:
        flipped = np.flip(weight, tuple(range(2, weight.ndim)))
        yield "flipped-kernel", "the kernel is turned round: convolution for correlation", flipped
        if weight.shape[0] == weight.shape[1]:
            yield "transposed-weight", "input and output channels of the weight are swapped", weight.swapaxes(0, 1)
        if weight.ndim == 4 and weight.shape[2] == weight.shape[3]:
            yield "transposed-weight", "rows and columns of the kernel are swapped", weight.swapaxes(2, 3)
    yield "bfloat16", "the weights are rounded to bfloat16", as_bfloat16(weight)
    yield "half-precision", "the weights are rounded to float16", weight.astype(np.float16).astype(np.float32)


@cause(20)
def other_weights(case: Case) -> Cause | None:
    """The operator, computed with its weights as faulty conversions have them."""
    replay = _replay(case)
    if replay is None:
        return None
    for code, text, weight in _variants(replay.weight):
        supposed = replay.compute(weight)
        if replay.explains(case, supposed):
            return Cause(code, text, replay.evidence(case, supposed))
    return None


def _replay(case: Case) -> Replay | None:
    if not case.whole:
        return None
    for replay in replays(case):
        if replay.reproduces(case):
            return replay
    return None


@cause(21)
def other_epsilon(case: Case) -> Cause | None:
    """A normalization, computed with other epsilons; the one that fits is told."""
    if not case.whole or not case.kind.endswith("norm"):
        return None
    for normalized in _normalizations(case):
        declared = [case.attributes[n] for n in ("epsilon", "eps") if n in case.attributes]
        mine = next((float(e) for e in (*declared, *_EPSILONS) if case.reproduces(normalized(float(e)))), None)
        if mine is None:
            continue
        left = {e: case.left(normalized(e)) for e in np.geomspace(1e-12, 1, 49)}
        nearest = min(left, key=lambda e: left[e])
        supposed = normalized(nearest)
        if case.left(supposed) <= 0.2 * case.error and not np.isclose(nearest, mine, rtol=0.3):
            return Cause("epsilon", f"epsilon is about {nearest:.1e}, not {mine:.0e}", case.evidence(supposed))
    return None


def _normalizations(case: Case) -> Iterator[Normalized]:
    x = next((a for a in case.inputs if a is not None and a.shape == case.expected.shape), None)
    if x is None:
        return
    rest = [a for a in case.inputs if a is not None and a is not x]
    x = x.astype(np.float64)
    if case.kind == "batch norm":
        if len(rest) == 4:
            yield Normalized(x, rest[2], rest[3], rest[0], rest[1], 1)
    elif case.kind == "instance norm":
        axes = tuple(range(2, x.ndim))
        scale, shift = ([*rest, None, None])[:2]
        yield Normalized(x, x.mean(axes, keepdims=True), x.var(axes, keepdims=True), scale, shift, 1)
    else:
        scale, shift = ([*rest, None, None])[:2]
        start = x.ndim - (scale.ndim if scale is not None else 1)
        axes = tuple(range(start, x.ndim))
        mean = 0.0 * x.mean(axes, keepdims=True) if case.kind == "rms norm" else x.mean(axes, keepdims=True)
        variance = ((x - mean) ** 2).mean(axes, keepdims=True)
        yield Normalized(x, mean, variance, scale, shift, start)


class Normalized:
    """A normalization as a function of epsilon.

    Args:
        x: float64, the input.
        mean, variance: Of the shape of `x` with axes of one, or one value per channel.
        scale, shift: One value per channel, or None.
        axis: Where the channels are.
    """

    def __init__(
        self,
        x: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        scale: np.ndarray | None,
        shift: np.ndarray | None,
        axis: int,
    ) -> None:
        self._axis = axis
        self._rank = x.ndim
        self._centred = x - self._spread(mean)
        self._variance = self._spread(variance)
        self._scale = 1.0 if scale is None else self._spread(scale)
        self._shift = 0.0 if shift is None else self._spread(shift)

    def _spread(self, array: np.ndarray) -> np.ndarray:
        if array.ndim == self._rank:
            return array
        return array.reshape(array.shape + (1,) * (self._rank - self._axis - array.ndim))

    def __call__(self, epsilon: float) -> np.ndarray:
        return np.asarray(self._centred / np.sqrt(self._variance + epsilon) * self._scale + self._shift)
