"""What becomes of one operator alone: its probe is converted to the target, run and compared, as any model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit import pipeline
from convkit.artifact import PyTorchSource
from convkit.delegation.shares import Shares
from convkit.errors import ConversionError, ConvkitError, DriftError, OperatorGapError, WorkerTimeoutError
from convkit.formats import Format, Variant
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.ways_out import with_ways_out
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.probing.signatures import OperatorSignature
from convkit.registry import runtime_for
from convkit.reports.schema import ConversionReport
from convkit.validators.comparison import titled
from convkit.workers.pool import WorkerPool

__all__ = ["Outcome", "judged"]

_SEEDS = 2
_PATIENCE = 300.0
"""Seconds that a stage of one probe may take where the user has set no limit."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on one signature.

    Attributes:
        verdict: As findings have it; None where nothing could be told (the source does not run on its own, or too slowly).
        reason, hint, code: As findings have them.
        delegation: What XNNPACK has of the converted operator, for the targets that have it.
    """

    verdict: Verdict | None
    reason: str = ""
    hint: str = ""
    code: str = ""
    delegation: Shares | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "delegation": None if self.delegation is None else self.delegation.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Raises ValueError, LookupError or TypeError where it is none."""
        verdict, shares = data["verdict"], data["delegation"]
        return cls(
            None if verdict is None else Verdict(verdict),
            str(data["reason"]),
            str(data["hint"]),
            str(data["code"]),
            None if shares is None else Shares.from_json(shares),
        )

    def finding(self, signature: OperatorSignature) -> Finding | None:
        """The finding on all nodes of that signature; None where nothing could be told."""
        if self.verdict is None:
            return None
        where = signature.where if self.verdict is Verdict.GAP else ()
        found = Finding(
            signature.operator, signature.count, self.verdict, self.reason, where, self.hint, self.code, evidence="probe"
        )
        return with_ways_out([found])[0]


def judged(model: Path, source: Variant, target: Format, route: Route, pool: WorkerPool, timeout: float | None) -> Outcome:
    """Converts, runs and compares a one-operator model over one route. The converted file is left beside it."""
    options = ConvertOptions(
        output=model.with_name(f"{model.stem}-converted{target.default_variant.suffix}"),
        route=tuple(route.names),
        force=True,
        seeds=_SEEDS,
        timeout=timeout or _PATIENCE,
        shrink=False,
    )
    try:
        report = pipeline.convert(model, target, options, PyTorchSource(), pool)
    except WorkerTimeoutError:
        return Outcome(None)
    except DriftError as error:
        same = _computes_the_same(error.report)
        return Outcome(Verdict.LEGAL) if same else Outcome(Verdict.GAP, error.message, code="CK302")
    except OperatorGapError as error:
        return _refused(error)
    except ConversionError as error:
        return _failed(error, source)
    except ConvkitError:  # of its inputs, or of its file: no verdict on the operator
        return Outcome(None)
    told = [f for f in _findings(report) if f.verdict is Verdict.REWRITTEN]
    shares = report.attempts[-1].delegation
    if told:
        return Outcome(Verdict.REWRITTEN, told[0].reason, code=told[0].code, delegation=shares)
    return Outcome(Verdict.LEGAL, delegation=shares)


def _computes_the_same(report: ConversionReport | None) -> bool:
    """Whether all that differs is what the file says of its inputs and outputs, which are inner values of the model."""
    compared = None if report is None else report.validation
    return compared is not None and bool(compared.sets) and all(s.passed for s in compared.sets)


def _findings(report: ConversionReport | None) -> list[Finding]:
    return report.attempts[-1].findings if report is not None and report.attempts else []


def _refused(error: OperatorGapError) -> Outcome:
    gaps = [f for f in _findings(error.report) if f.verdict is Verdict.GAP]
    if not gaps:
        return Outcome(Verdict.GAP, error.message, error.hint, "CK112")
    first = gaps[0]
    return Outcome(Verdict.GAP, "; ".join(dict.fromkeys(g.reason for g in gaps)), first.hint, first.code)


def _failed(error: ConversionError, source: Variant) -> Outcome:
    runtime = runtime_for(source)
    if error.stage in {"validate", "describe"}:
        if runtime is not None and (error.component == titled(runtime) or error.message.startswith(runtime.name)):
            return Outcome(None)  # the source itself does not run on made-up inputs
        return Outcome(Verdict.GAP, error.message, error.hint, "CK113")
    return Outcome(Verdict.GAP, error.message, error.hint, "CK112")
