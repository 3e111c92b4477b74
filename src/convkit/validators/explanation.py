"""What is told of two models beyond that they differ: where the difference starts, and the smallest inputs that show it."""

from __future__ import annotations

from pathlib import Path

from convkit.artifact import Artifact
from convkit.reports.schema import ValidationReport, Verdict
from convkit.validators.comparison import Comparison
from convkit.workers.pool import WorkerPool

__all__ = ["explain"]


def explain(
    comparison: Comparison,
    target: Artifact,
    report: ValidationReport,
    scratch: Path,
    pool: WorkerPool,
    *,
    locate: bool | None = None,
    shrink: bool = True,
    failing: Path | None = None,
) -> None:
    """Adds to a report where a difference starts, and the inputs that drift.

    Args:
        comparison: What was compared.
        target: The other artifact.
        report: What the comparison came to.
        scratch: The comparison's directory.
        pool: Whose workers run both sides.
        locate: Whether to look inside: by default where the models differ.
        shrink: Whether to keep the inputs on which they differ, made small.
        failing: Where to write these; by default below the cache directory.
    """
    drifts = report.verdict is Verdict.DRIFT
    if drifts if locate is None else locate:
        from convkit.validators.localization import add_drift  # what a sound conversion need not wait for

        add_drift(comparison, target, report, scratch, pool)
    if drifts and shrink:
        from convkit.validators.shrinking import add_failing

        add_failing(comparison, target, report, scratch, pool, failing)
