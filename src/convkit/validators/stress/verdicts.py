"""What the outcome of a stressing set means for the verdict.

* Where the source is finite, a set counts as any other does: a target that differs, gives NaN, or does not run, drifts.
* Where the source itself gives NaN or infinity on finite inputs, or is ill-conditioned, the set does not count: no target can
  be held to that. How the target differs there is told.
* How planted NaN and infinity spread is told, and counts only where the user wants it to.
* Where values are so large that squares overflow, a target that overflows and a source that does not are told of in the same
  way: another order of the same operations is enough for that.
* Behind padding on the left a causal model has places that see nothing: where outputs differ in those alone, it is told.
* A target that gives on denormals exactly what it gives on zeros flushes them, as many runtimes do: told, not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convkit.validators.bench import Outcome
from convkit.validators.inputs import Arrays
from convkit.validators.stress.recipes import Purpose, StressSet

__all__ = ["Judgement", "judged"]

_FLUSHED = 1e-35
"""Differences up to here are sums of denormals that one side takes for zero."""


@dataclass(frozen=True)
class Judgement:
    """Whether a set counts, and what is told of it."""

    counts: bool
    notes: tuple[str, ...] = ()


def judged(chosen: StressSet, outcome: Outcome, on_zeros: Arrays | None, count_non_finite: bool) -> Judgement:
    """The meaning of an outcome.

    Args:
        chosen: The set.
        outcome: What it came to.
        on_zeros: What the target gives on zeros at the same sizes, where that is known.
        count_non_finite: Whether differences in how NaN and infinity spread count.
    """
    if outcome.result is None:
        return Judgement(False, (f"inputs not counted ({chosen.recipe}): {outcome.reason}",) if outcome.expected else ())
    spread = _spreading(chosen, outcome)
    if chosen.purpose is Purpose.NON_FINITE:
        return Judgement(count_non_finite, spread or _finite_places(chosen, outcome))
    wild = [name for name, array in outcome.expected.items() if _kind(array) and not np.isfinite(array).all()]
    if wild:
        reason = f"the source itself gives NaN or infinity in '{wild[0]}'"
        return Judgement(False, (f"inputs not counted ({chosen.recipe}): {reason}", *spread))
    if chosen.purpose is Purpose.PADDING and outcome.drifts and _agrees_where_seen(chosen, outcome):
        return Judgement(
            False, (f"{chosen.recipe.partition(',')[0]}: outputs differ in places that '{chosen.touched}' hides alone",)
        )
    if chosen.purpose is Purpose.OVERFLOW and spread:
        return Judgement(count_non_finite, spread)
    if chosen.purpose is Purpose.DENORMALS and outcome.drifts:
        if all(o.max_abs <= _FLUSHED for o in outcome.result.outputs):
            return Judgement(False, (f"denormals in '{chosen.touched}' come out as 0 in the target",))
        if on_zeros is not None and outcome.got and all(np.array_equal(outcome.got[n], a) for n, a in on_zeros.items()):
            return Judgement(False, (f"the target takes denormals in '{chosen.touched}' for 0, the source does not",))
    return Judgement(True, spread)


def _agrees_where_seen(chosen: StressSet, outcome: Outcome) -> bool:
    """Whether all outputs that fail have the mask's axes, and are within their tolerance where it is not zero."""
    assert outcome.result is not None
    seen = chosen.arrays[chosen.touched] != 0
    for output in outcome.result.outputs:
        expected, got = outcome.expected[output.name], outcome.got.get(output.name)
        if output.passed:
            continue
        if got is None or got.shape != expected.shape or got.shape[: seen.ndim] != seen.shape:
            return False
        mine, theirs = expected[seen].astype(np.float64), got[seen].astype(np.float64)
        if not (np.isfinite(theirs).all() and np.abs(mine - theirs).max(initial=0.0) <= output.allowed * output.scale):
            return False
    return True


def _kind(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc"


def _spreading(chosen: StressSet, outcome: Outcome) -> tuple[str, ...]:
    """A line per output in which NaN or infinity stand elsewhere in the target than in the source."""
    found = []
    for name, expected in outcome.expected.items():
        got = outcome.got.get(name)
        if got is None or got.shape != expected.shape or not (_kind(expected) and _kind(got)):
            continue
        for title, test in (("NaN", np.isnan), ("infinity", np.isinf)):
            mine, theirs = test(expected), test(got)
            lost, new = mine & ~theirs, theirs & ~mine
            if lost.any():
                found.append(
                    f"{_origin(chosen, title)} comes out as {_values(got[lost])} in the target: in {int(lost.sum())} of the "
                    f"{int(mine.sum())} places of '{name}' where the source gives {title}"
                )
            elif new.any():
                found.append(
                    f"{_origin(chosen, '')} comes out as {title} in {int(new.sum())} places of '{name}' in the target where the "
                    f"source gives {_values(expected[new])}"
                )
    return tuple(found)


def _origin(chosen: StressSet, title: str) -> str:
    if chosen.purpose in (Purpose.NON_FINITE, Purpose.OVERFLOW):
        return chosen.recipe.partition(",")[0]
    return f"{title or 'what is put in'} ({chosen.recipe})"


def _values(array: np.ndarray) -> str:
    if np.isnan(array).all():
        return "NaN"
    if np.isinf(array).all():
        return "infinity"
    low, high = float(np.nanmin(array.real)), float(np.nanmax(array.real))
    return f"{low:.4g}" if low == high else f"numbers from {low:.4g} to {high:.4g}"


def _finite_places(chosen: StressSet, outcome: Outcome) -> tuple[str, ...]:
    """Where NaN and infinity stand in the same places, what else differs."""
    assert outcome.result is not None
    off = [o for o in outcome.result.outputs if not o.passed]
    title = chosen.recipe.partition(",")[0]
    return tuple(f"{title}: '{o.name}' differs {o.problem or f'by {o.required:.1e} of its scale elsewhere'}" for o in off)
