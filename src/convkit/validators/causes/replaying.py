"""Operators with weights, computed in numpy as a function of the weights: the bench that experiments run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convkit.validators.causes.case import Case

__all__ = ["Replay", "convolved", "replays"]

_CHANNELS = 16
"""Output channels that a convolution is computed for: what weights do shows in any of them."""
_WORK = 1 << 28
"""Multiplications up to which an experiment is worth its time."""


@dataclass(frozen=True)
class Replay:
    """An operator as a function of its weight.

    Attributes:
        weight: The weight as the source has it.
        compute: From a weight of any values to the output, or to its first channels.
        axis, channels: Which part of the output that is; all of it where `channels` is 0.
    """

    weight: np.ndarray
    compute: Callable[[np.ndarray], np.ndarray]
    axis: int = 1
    channels: int = 0

    def _part(self, case: Case) -> Case:
        if not self.channels:
            return case
        there = (slice(None),) * self.axis + (slice(self.channels),)
        return Case(case.operator, case.inputs, case.attributes, case.expected[there], case.got[there], then=case.then)

    def reproduces(self, case: Case) -> bool:
        """Whether it is what the source computes."""
        return self._part(case).reproduces(self.compute(self.weight))

    def explains(self, case: Case, supposed: np.ndarray) -> bool:
        """As `Case.explains`, on the part that is computed."""
        part = self._part(case)
        return part.error > 0 and part.explains(supposed)

    def evidence(self, case: Case, supposed: np.ndarray) -> str:
        """As `Case.evidence`, on the part that is computed."""
        return self._part(case).evidence(supposed)


def replays(case: Case) -> Iterator[Replay]:
    """The ways in which an operator may be meant; at most one of them reproduces the source."""
    arrays = [a for a in case.inputs if a is not None and a.dtype.kind == "f"]
    if case.kind == "matrix product" and len(arrays) >= 2:
        yield from _products(case, arrays)
    if case.kind == "convolution" and len(arrays) >= 2 and arrays[0].ndim == arrays[1].ndim:
        yield from _convolutions(case, arrays)


def _products(case: Case, arrays: Sequence[np.ndarray]) -> Iterator[Replay]:
    x, weight = arrays[:2]
    if x.size * weight.shape[-1] > _WORK:
        return
    shift = arrays[2] if len(arrays) > 2 else np.float32(0)
    if weight.ndim >= 2 and x.shape[-1] == weight.shape[-2]:
        yield Replay(weight, lambda w: np.asarray(x @ w + shift))
    if weight.ndim == 2 and x.shape[-1] == weight.shape[1]:
        yield Replay(weight, lambda w: np.asarray(x @ w.T + shift))
    if len(arrays) > 2 and arrays[2].ndim == 2 and arrays[1].ndim == 2 and arrays[1].shape[-1] == arrays[2].shape[0]:
        yield Replay(arrays[2], lambda w: np.asarray(arrays[1] @ w + arrays[0]))  # addmm: the bias comes first


def _convolutions(case: Case, arrays: Sequence[np.ndarray]) -> Iterator[Replay]:
    x, weight = arrays[:2]
    axes = x.ndim - 2
    strides = _numbers(case.attributes, ("strides", "stride"), axes, 1)
    dilations = _numbers(case.attributes, ("dilations", "dilation"), axes, 1)
    pads = _pads(case.attributes, axes)
    groups = int(case.attributes.get("group", case.attributes.get("groups", 1)))
    count = weight.shape[0] if groups > 1 else min(_CHANNELS, weight.shape[0])
    if case.expected.size // max(1, weight.shape[0]) * count * weight[0].size > _WORK:
        return

    def compute(w: np.ndarray) -> np.ndarray:
        result = convolved(x, w[:count], strides, dilations, pads, groups)
        if len(arrays) > 2:
            result = result + arrays[2][:count].reshape(1, -1, *[1] * axes)
        return result

    yield Replay(weight, compute, 1, count)


def _numbers(attributes: Any, names: Sequence[str], count: int, default: int) -> list[int]:
    found = next((attributes[n] for n in names if n in attributes), None)
    if found is None or found == []:
        return [default] * count
    numbers = [int(n) for n in found] if isinstance(found, list | tuple) else [int(found)]
    return numbers * count if len(numbers) == 1 else numbers


def _pads(attributes: Any, axes: int) -> list[tuple[int, int]]:
    if "pads" in attributes:
        pads = list(attributes["pads"])
        return list(zip(pads[:axes], pads[axes:], strict=True))
    return [(n, n) for n in _numbers(attributes, ("padding",) if not isinstance(attributes.get("padding"), str) else (), axes, 0)]


def convolved(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    groups: int = 1,
) -> np.ndarray:
    """A correlation as frameworks compute it.

    Args:
        x: float[batch, channels, *spatial].
        weight: float[outputs, channels / groups, *kernel].
        strides, dilations: One per spatial axis.
        pads: Zeros before and behind, per spatial axis.
        groups: Of channels.
    """
    axes = x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    windows = sliding_window_view(padded, extent, axis=tuple(range(2, 2 + axes)))
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))
    windows = windows[steps]
    inner = x.shape[1] // groups
    outer = weight.shape[0] // groups
    contracted = [1, *range(2 + axes, 2 + 2 * axes)]
    parts = [
        np.tensordot(
            windows[:, g * inner : (g + 1) * inner], weight[g * outer : (g + 1) * outer], (contracted, range(1, 2 + axes))
        )
        for g in range(groups)
    ]
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)
