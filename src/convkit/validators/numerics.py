"""Compares the outputs of two runs of a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convkit.reports.schema import OutputMetrics, Tolerance
from convkit.validators.metrics.top_k import decided_rows

__all__ = ["compare_output", "compare_outputs", "failed_output"]

_SCORES = range(2, 200_001)
"""Sizes of a last axis that may be a table of scores."""


def compare_outputs(
    expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], tolerances: Mapping[str, Tolerance]
) -> tuple[OutputMetrics, ...]:
    """Compares by name; a missing output is a failed one."""
    return tuple(
        compare_output(name, array, got[name], tolerances[name])
        if name in got
        else failed_output(name, array, "the target has no such output")
        for name, array in expected.items()
    )


def compare_output(name: str, expected: np.ndarray, got: np.ndarray, tolerance: Tolerance) -> OutputMetrics:
    """The metrics of one output.

    Args:
        name: Of the output.
        expected: The source's values.
        got: The target's values, of any dtype that compares with it.
        tolerance: Relative to max |expected|.
    """
    if expected.shape != got.shape:
        return failed_output(name, expected, f"shape {list(got.shape)}, the source's is {list(expected.shape)}")
    if expected.dtype.kind in "USO" or got.dtype.kind in "USO":
        equal = bool((expected.astype(str) == got.astype(str)).all())
        return _exact(name, equal, "" if equal else "strings differ")
    if expected.size == 0:
        return _exact(name, True, "")
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    reference, other = expected.astype(wide).ravel(), got.astype(wide).ravel()
    finite = np.isfinite(reference)
    problem = _non_finite_problem(reference, other)
    both = finite & np.isfinite(other)
    scale = float(np.abs(reference[finite]).max(initial=0.0))
    delta = np.abs(other[both] - reference[both])
    max_abs = float(delta.max(initial=0.0))
    required = 0.0 if max_abs == 0.0 else max_abs / scale if scale > 0 else float("inf")
    large = np.abs(reference[both]) > 1e-3 * scale
    power = float(np.sum(np.abs(reference[both]) ** 2))
    noise = float(np.sum(delta**2))
    floating = expected.dtype.kind in "fc"
    return OutputMetrics(
        name=name,
        scale=scale,
        max_abs=max_abs,
        max_rel=float((delta[large] / np.abs(reference[both][large])).max(initial=0.0)),
        rmse=float(np.sqrt(noise / max(1, delta.size))),
        cosine=_cosine(reference[both], other[both]) if floating else None,
        sqnr_db=float(10 * np.log10(power / noise)) if power > 0 and noise > 0 else None,
        top1=_top1(expected, got) if floating else None,
        required=required,
        allowed=tolerance.relative,
        passed=not problem and required <= tolerance.relative,
        problem=problem,
    )


def _non_finite_problem(reference: np.ndarray, other: np.ndarray) -> str:
    for what, test in (("NaN", np.isnan), ("infinity", np.isinf)):
        mine, theirs = test(reference), test(other)
        if not np.array_equal(mine, theirs):
            return f"{what} in {int(theirs.sum())} places, the source has it in {int(mine.sum())}"
    if np.iscomplexobj(reference):
        return ""
    infinite = np.isinf(reference)
    return "infinities of the other sign" if not np.array_equal(reference[infinite], other[infinite]) else ""


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.abs(np.vdot(a, b)) / norms) if norms > 0 and np.isfinite(norms) else None


def _top1(expected: np.ndarray, got: np.ndarray) -> float | None:
    """Agreement of the argmax over the last axis; rows whose two best scores are as good as equal do not count."""
    if expected.ndim < 2 or expected.shape[-1] not in _SCORES or expected.dtype.kind == "c":
        return None
    rows, decided = decided_rows(expected)
    if not decided.any():
        return None
    agree = rows.argmax(-1) == got.reshape(rows.shape).argmax(-1)
    return float(agree[decided].mean())


def _exact(name: str, equal: bool, problem: str) -> OutputMetrics:
    required = 0.0 if equal else float("inf")
    return OutputMetrics(name, 0.0, 0.0, 0.0, 0.0, None, None, None, required, 0.0, equal, problem)


def failed_output(name: str, expected: np.ndarray, problem: str) -> OutputMetrics:
    """The metrics of an output that cannot be compared."""
    numeric = expected.dtype.kind in "fiub" and expected.size > 0
    scale = float(np.abs(np.nan_to_num(expected.astype(np.float64))).max()) if numeric else 0.0
    inf = float("inf")
    return OutputMetrics(name, scale, inf, inf, inf, None, None, None, inf, 0.0, False, problem)
