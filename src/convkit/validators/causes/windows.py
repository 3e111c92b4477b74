"""Causes in how an operator goes over a grid: padding, pooling, resizing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause
from convkit.validators.causes.replaying import Replay, replays

__all__: list[str] = []

_WINDOWED = {"convolution", "transposed convolution", "max pool", "average pool", "resize", "pad"}


@cause(22)
def other_padding(case: Case) -> Cause | None:
    """A convolution whose padding is divided otherwise between the sides."""
    if not case.whole or case.kind != "convolution" or not any(r.reproduces(case) for r in replays(case)):
        return None
    for words, attributes in _other_pads(case):
        changed = Case(case.operator, case.inputs, attributes, case.expected, case.got, then=case.then)
        for replay in replays(changed):
            supposed = replay.compute(replay.weight)
            if supposed.shape == _shape(replay, case) and replay.explains(case, supposed):
                return Cause("padding", words, replay.evidence(case, supposed))
    return None


def _shape(replay: Replay, case: Case) -> tuple[int, ...]:
    shape = list(case.expected.shape)
    if replay.channels:
        shape[replay.axis] = min(replay.channels, shape[replay.axis])
    return tuple(shape)


def _other_pads(case: Case) -> Iterator[tuple[str, dict[str, object]]]:
    axes = case.expected.ndim - 2
    if isinstance(case.attributes.get("padding"), str):
        return
    if "pads" in case.attributes:
        pads = list(case.attributes["pads"])
    else:
        found = case.attributes.get("padding", 0)
        one_side = [int(n) for n in found] if isinstance(found, list | tuple) else [int(found)]
        one_side = one_side * axes if len(one_side) == 1 else one_side
        pads = [*one_side, *one_side]
    kept = {k: v for k, v in case.attributes.items() if k not in ("pads", "padding")}
    for step, words in ((1, "less before and more behind"), (-1, "more before and less behind")):
        moved = [p - step for p in pads[:axes]] + [p + step for p in pads[axes:]]
        if min(moved) >= 0:
            yield f"the padding is one {words}", {**kept, "pads": moved}
    yield "there is no padding", {**kept, "pads": [0] * len(pads)}


@cause(23)
def other_pooling(case: Case) -> Cause | None:
    """Max for average, or the padding counted in an average."""
    x = next((a for a in case.inputs if a is not None), None)
    if not case.whole or case.then is not None or case.kind not in {"max pool", "average pool"}:
        return None
    if x is None or x.ndim != case.expected.ndim:
        return None
    low, high = float(x.min()), float(x.max())
    larger = case.got >= case.expected - 1e-5 * case.scale
    if case.kind == "max pool" and (case.got <= case.expected + 1e-5 * case.scale).all() and low <= case.got.min():
        inside = _interior(case)
        if inside is None or np.abs(case.got - case.expected)[inside].max(initial=0.0) > 1e-5 * case.scale:
            return Cause(
                "pooling", "it does not take the maximum: no value is larger, and many are smaller", "the average, most likely"
            )
    if case.kind == "average pool":
        inside = _interior(case)
        if inside is not None and np.abs(case.got - case.expected)[inside].max(initial=0.0) <= 1e-5 * case.scale:
            return Cause("pooling", "the padding is counted in the average, or is not", "only values at the border differ")
        if larger.all() and case.got.max() <= high:
            return Cause("pooling", "it takes the maximum, not the average", "no value is smaller, and many are larger")
    return None


@cause(24)
def other_resize(case: Case) -> Cause | None:
    """A resize by another rule for coordinates, or another interpolation."""
    x = next((a for a in case.inputs if a is not None and a.ndim == case.expected.ndim and a.dtype.kind == "f"), None)
    if not case.whole or case.kind != "resize" or x is None:
        return None
    computed = dict(_resized(x, case.expected.shape))
    mine = next((name for name, y in computed.items() if case.reproduces(y)), None)
    for name, supposed in computed.items():
        if name != mine and case.explains(supposed):
            return Cause("resize-mode", f"it is resized as {name}, not as {mine or 'in the source'}", case.evidence(supposed))
    return None


_RULES: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "half_pixel": lambda i, n, m: (i + 0.5) * n / m - 0.5,
    "align_corners": lambda i, n, m: i * (n - 1) / max(1, m - 1),
    "asymmetric": lambda i, n, m: i * n / m,
}


def _resized(x: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """All usual ways to resize (ONNX's words for them), computed axis by axis."""
    for rule, place in _RULES.items():
        result = x.astype(np.float64)
        for axis, size in enumerate(shape):
            if size != x.shape[axis]:
                result = _linear(result, axis, np.clip(place(np.arange(size), x.shape[axis], size), 0, x.shape[axis] - 1))
        yield f"linear, {rule}", result
        for rounding, function in (("floor", np.floor), ("round", lambda c: np.ceil(c - 0.5)), ("ceil", np.ceil)):
            picked = x
            for axis, size in enumerate(shape):
                if size != x.shape[axis]:
                    where = function(place(np.arange(size), x.shape[axis], size))
                    picked = picked.take(np.clip(where, 0, x.shape[axis] - 1).astype(int), axis)
            yield f"nearest, {rule}, {rounding}", picked


def _linear(x: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, x.shape[axis] - 1)
    share = (places - below).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return np.asarray(x.take(below, axis) * (1 - share) + x.take(above, axis) * share)


@cause(32)
def border(case: Case) -> Cause | None:
    """The difference is at the border only."""
    inside = _interior(case) if case.kind in _WINDOWED else None
    if inside is None:
        return None
    delta = np.abs(case.got.astype(np.float64) - case.expected)
    if delta[inside].max(initial=0.0) > 0.01 * delta.max():
        return None
    return Cause("padding", "the padding is another", "only values at the border differ")


def _interior(case: Case) -> tuple[slice, ...] | None:
    """The places of a grid that no padding reaches in the usual case; None where nothing is left."""
    shape = case.expected.shape
    if len(shape) < 3 or min(shape[2:]) < 5:
        return None
    return (slice(None), slice(None), *(slice(2, -2) for _ in shape[2:]))
