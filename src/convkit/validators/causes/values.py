"""Causes that show in the values alone: what was done to the right result."""

from __future__ import annotations

import numpy as np

from convkit.validators.causes.case import Case, Cause, cause

__all__: list[str] = []


@cause(40)
def truncation(case: Case) -> Cause | None:
    """Fractions are cut off, or rounded away."""
    if case.expected.dtype.kind != "f" or not (case.got == np.trunc(case.got)).all():
        return None
    for name, function in (("cut off", np.trunc), ("rounded down", np.floor), ("rounded", np.rint)):
        supposed = function(case.expected)
        if case.explains(supposed):
            return Cause("truncation", f"fractions are {name}: an integer type stands in between", case.evidence(supposed))
    return None


@cause(41)
def half_overflow(case: Case) -> Cause | None:
    """Infinities, or the largest half-precision number, where values are large."""
    if case.expected.dtype.kind != "f" or not np.isfinite(case.expected).all():
        return None
    beyond = ~np.isfinite(case.got) | (np.abs(case.got) == np.float32(65504))
    if not beyond.any() or beyond.all():
        return None
    inside, outside = np.abs(case.expected[~beyond]).max(), np.abs(case.expected[beyond]).min()
    if outside < inside:
        return None
    return Cause(
        "half-overflow",
        "values overflow a 16-bit float",
        f"{int(beyond.sum())} values are infinite, of magnitude {outside:.3g} and more; up to {inside:.3g} all are finite",
    )


@cause(42)
def nan_semantics(case: Case) -> Cause | None:
    """NaN stands in other places, and all else is right."""
    if case.expected.dtype.kind != "f" or case.got.dtype.kind != "f":
        return None
    mine, theirs = np.isnan(case.expected), np.isnan(case.got)
    if np.array_equal(mine, theirs):
        return None
    both = ~mine & ~theirs
    if not both.any() or not np.allclose(case.got[both], case.expected[both], rtol=1e-4, atol=1e-5 * case.scale):
        return None
    return Cause(
        "nan", "NaN is treated otherwise", f"NaN in {int(theirs.sum())} places instead of {int(mine.sum())}; the rest agrees"
    )


@cause(43)
def saturation(case: Case) -> Cause | None:
    """Values beyond a limit are cut to it."""
    if case.expected.dtype.kind not in "fiu" or not np.isfinite(case.got).all():
        return None
    low, high = case.got.min(), case.got.max()
    supposed = np.clip(case.expected, low, high)
    if not case.explains(supposed):
        return None
    cut = int((case.expected > high).sum() + (case.expected < low).sum())
    return Cause(
        "saturation", f"values are clipped to [{low:.4g}, {high:.4g}]", f"{cut} values are cut; {case.evidence(supposed)}"
    )


@cause(44)
def lower_precision(case: Case) -> Cause | None:
    """The result is that of a 16-bit float."""
    if case.expected.dtype.kind != "f":
        return None
    wide = np.ascontiguousarray(case.expected, np.float32)
    for code, name, supposed in (
        ("half-precision", "float16", wide.astype(np.float16).astype(np.float32)),
        ("bfloat16", "bfloat16", as_bfloat16(wide)),
    ):
        if np.isfinite(supposed).all() and case.explains(supposed):
            return Cause(code, f"values are rounded to {name}", case.evidence(supposed))
    return None


def as_bfloat16(array: np.ndarray) -> np.ndarray:
    """float32 values, rounded to the nearest of bfloat16."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


@cause(45)
def negation(case: Case) -> Cause | None:
    """The sign is the other."""
    if case.expected.dtype.kind not in "fi" or not case.explains(-case.expected):
        return None
    return Cause("sign", "the sign is turned round", case.evidence(-case.expected))


@cause(46)
def factor(case: Case) -> Cause | None:
    """All values are off by one factor."""
    wide = case.expected.astype(np.float64)
    power = float((wide * wide).sum())
    if case.expected.dtype.kind != "f" or not power or not np.isfinite(case.got).all():
        return None
    ratio = float((case.got * wide).sum()) / power
    supposed = ratio * wide
    if ratio == 0 or not case.explains(supposed):
        return None
    return Cause("scale", f"all values are {ratio:.6g} times what they should be", case.evidence(supposed))


@cause(47)
def offset(case: Case) -> Cause | None:
    """All values are off by one term."""
    if case.expected.dtype.kind != "f" or not np.isfinite(case.got).all():
        return None
    term = float(np.mean(case.got.astype(np.float64) - case.expected))
    supposed = case.expected + term
    if term == 0 or not case.explains(supposed):
        return None
    return Cause("offset", f"{term:.6g} is added to all values", case.evidence(supposed))


@cause(48)
def shifted(case: Case) -> Cause | None:
    """The values stand one place further along an axis."""
    for axis, size in enumerate(case.expected.shape):
        if size < 3 or np.array_equal(np.roll(case.expected, 1, axis), case.expected):
            continue
        for step in (1, -1):
            there = [slice(None)] * case.expected.ndim
            there[axis] = slice(1, None) if step == 1 else slice(None, -1)
            moved = np.roll(case.expected, step, axis)[tuple(there)]
            apart = np.abs(moved.astype(np.float64) - case.got[tuple(there)]).max(initial=0.0) / (case.scale or 1.0)
            if apart <= 0.02 * case.error and apart <= 1e-4:
                return Cause(
                    "off-by-one",
                    f"values stand one place {'later' if step == 1 else 'earlier'} along axis {axis}",
                    f"moved back they agree to {apart:.1e} of scale",
                )
    return None
