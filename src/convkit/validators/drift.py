"""Where two models begin to differ: the first operators whose inputs agree and whose outputs do not."""

from __future__ import annotations

from convkit.reports.drift import DriftReport, OperatorDrift
from convkit.traces import Trace, TracedOperator
from convkit.validators.agreement import Agreement
from convkit.validators.suspicion import suspects

__all__ = ["locate"]


def locate(source: Trace, target: Trace, report: DriftReport) -> DriftReport:
    """Fills a report with the operators of the source, their counterparts, and the suspects.

    Args:
        source, target: Traces on the same inputs.
        report: With the tolerance; is filled, and returned.
    """
    agreement = Agreement(source, target, report.tolerated)
    report.operators = [_drift_of(agreement, operator) for operator in agreement.operators]
    report.compared = sum(o.agrees or o.error is not None for o in report.operators)
    report.suspects = suspects(agreement)
    for name, mine in source.outputs.items():
        found = agreement.known.get(mine)
        if found is not None and found.error <= report.tolerated and found.layout.axes:
            report.notes.append(f"output {name} agrees but for its layout: {found.layout}")
    return report


def _drift_of(agreement: Agreement, operator: TracedOperator) -> OperatorDrift:
    found = [agreement.known[o] for o in operator.outputs if o in agreement.known]
    worst = max(found, key=lambda c: c.error, default=None)
    inputs = [agreement.known[n].error for n in operator.inputs if n in agreement.known]
    return OperatorDrift(
        operator.name,
        operator.operator,
        operator.place,
        None if worst is None else worst.error,
        max(inputs, default=None),
        "" if worst is None else worst.name,
        "" if worst is None or not worst.layout.axes else str(worst.layout),
        operator.name in agreement.clean,
    )
