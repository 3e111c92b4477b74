"""What becomes of operators alone: their probes are converted to the target, run and compared, as any model is.

Several probes that share nothing can be one model: of what converts and agrees, all is proved at once, in a fraction of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit import pipeline
from convkit.artifact import PyTorchSource
from convkit.delegation.measuring import measured_apart
from convkit.delegation.shares import Shares
from convkit.errors import ConversionError, ConvkitError, DriftError, OperatorGapError, WorkerTimeoutError
from convkit.formats import Format, Variant
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.ways_out import with_ways_out
from convkit.options import ConvertOptions, InputOptions
from convkit.planner import Route
from convkit.probing.signatures import OperatorSignature
from convkit.registry import runtime_for
from convkit.reports.schema import ConversionReport
from convkit.validators.comparison import titled
from convkit.workers.pool import WorkerPool

__all__ = ["Judgement", "Outcome", "Probe", "halves", "judged"]

_SEEDS = 3
"""Random input sets: as many as a conversion is compared on."""
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


@dataclass(frozen=True)
class Probe:
    """An operator in a model of probes.

    Attributes:
        signature: What is probed.
        outputs: The names that its results have there.
        inputs: Its inputs there → the values of the whole model that they stand for.
    """

    signature: OperatorSignature
    outputs: tuple[str, ...]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Judgement:
    """What a model of probes has shown.

    Attributes:
        outcomes: The verdicts by digest.
        rest: The signatures that it has shown nothing of, in the companies that may show more.
    """

    outcomes: Mapping[str, Outcome]
    rest: Sequence[Sequence[OperatorSignature]] = ()


def judged(
    model: Path,
    probes: Sequence[Probe],
    source: Variant,
    target: Format,
    route: Route,
    pool: WorkerPool,
    timeout: float | None,
    samples: Path | None = None,
) -> Judgement:
    """Converts, runs and compares a model of probes over one route. The converted file is left beside it.

    Args:
        model: The file that holds the probes, in the format `source`.
        probes: What it holds.
        source, target, route: What it is converted from, to, and how.
        pool, timeout: As for every conversion.
        samples: A folder with inputs for it; by default they are made up.
    """
    options = ConvertOptions(
        output=model.with_name(f"{model.stem}-converted{target.default_variant.suffix}"),
        inputs=InputOptions(arrays=samples),
        route=tuple(route.names),
        force=True,
        seeds=_SEEDS,
        timeout=timeout or _PATIENCE,
        shrink=False,
    )
    try:
        report = pipeline.convert(model, target, options, PyTorchSource(), pool)
    except ConvkitError as error:
        if len(probes) > 1:
            return Judgement({}, _parted(probes, _suspects(probes, error)))
        return Judgement({probes[0].signature.digest: _failed(error, source)})
    return _converted(probes, report, pool, timeout)


def _converted(probes: Sequence[Probe], report: ConversionReport, pool: WorkerPool, timeout: float | None) -> Judgement:
    """The verdicts on probes that agree; but on those of an operator that was rewritten in some of them only."""
    rewritten = {f.operator: f for f in reversed(_findings(report)) if f.verdict is Verdict.REWRITTEN}
    counts = Counter(p.signature.operator for p in probes)
    assert report.artifact is not None
    shares = measured_apart(report.artifact, [p.outputs for p in probes], pool, timeout)
    outcomes, rest = {}, []
    for position, signature in enumerate(p.signature for p in probes):
        delegation = None if shares is None else shares[position]
        told = rewritten.get(signature.operator)
        if told is None:
            outcomes[signature.digest] = Outcome(Verdict.LEGAL, delegation=delegation)
        elif len(probes) == 1 or told.count >= counts[signature.operator]:
            outcomes[signature.digest] = Outcome(Verdict.REWRITTEN, told.reason, code=told.code, delegation=delegation)
        else:
            rest.append([signature])
    return Judgement(outcomes, rest)


def _suspects(probes: Sequence[Probe], error: ConvkitError) -> list[OperatorSignature]:
    """On whose account a model of several probes may have failed; none where nothing tells."""
    if isinstance(error, OperatorGapError):
        refused = {f.operator for f in _findings(error.report) if f.verdict is Verdict.GAP}
        return [p.signature for p in probes if p.signature.operator in refused]
    compared = error.report.validation if isinstance(error, DriftError) and error.report is not None else None
    if compared is None:
        return []
    differing = {o.name for s in compared.sets for o in s.outputs if not o.passed}
    return [p.signature for p in probes if differing & set(p.outputs)]


def _parted(probes: Sequence[Probe], suspects: Sequence[OperatorSignature]) -> list[list[OperatorSignature]]:
    """Suspects alone and the others together, else two halves."""
    every = [p.signature for p in probes]
    others = [s for s in every if s not in suspects]
    if suspects and others:
        return [others, *([s] for s in suspects)]
    return halves(every)


def halves(company: Sequence[OperatorSignature]) -> list[list[OperatorSignature]]:
    middle = len(company) // 2
    return [list(company[:middle]), list(company[middle:])]


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


def _failed(error: ConvkitError, source: Variant) -> Outcome:
    if isinstance(error, DriftError):
        same = _computes_the_same(error.report)
        return Outcome(Verdict.LEGAL) if same else Outcome(Verdict.GAP, error.message, code="CK302")
    if isinstance(error, OperatorGapError):
        return _refused(error)
    if isinstance(error, WorkerTimeoutError) or not isinstance(error, ConversionError):
        return Outcome(None)  # of its inputs, or of its file: no verdict on the operator
    runtime = runtime_for(source)
    if error.stage in {"validate", "describe"}:
        if runtime is not None and (error.component == titled(runtime) or error.message.startswith(runtime.name)):
            return Outcome(None)  # the source itself does not run on made-up inputs
        return Outcome(Verdict.GAP, error.message, error.hint, "CK113")
    return Outcome(Verdict.GAP, error.message, error.hint, "CK112")
