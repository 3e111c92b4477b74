"""What every face shows of a check, a conversion or a validation: one neutral document, made from the record.

A face lays it out; it computes nothing. Texts may come from model files: every face escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convkit import __version__
from convkit.delegation.shares import Shares
from convkit.errors import ConvkitError
from convkit.legalization.target import Finding, Verdict
from convkit.reports import terminal
from convkit.reports.drift import DriftReport
from convkit.reports.graphs import Node, marked
from convkit.reports.schema import ConversionReport, ValidationReport
from convkit.reports.schema import Verdict as Outcome
from convkit.surveys import Survey

__all__ = ["Comparison", "Document", "RouteSection", "of_check", "of_conversion", "of_survey", "of_validation"]

_MOST_BLOCKERS = 20


@dataclass(frozen=True)
class RouteSection:
    """What became of one route.

    Attributes:
        name: "onnx-torch → executorch".
        findings: The verdict on every operator, gaps first; None where the converters cannot tell in advance.
        stages: What was done, and how long it took.
        error: Why it failed, "" where it did not.
    """

    name: str
    findings: tuple[Finding, ...] | None
    stages: tuple[tuple[str, str], ...] = ()
    error: str = ""

    @property
    def gaps(self) -> tuple[Finding, ...]:
        return self.with_verdict(Verdict.GAP)

    def with_verdict(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings or () if f.verdict is verdict)

    @property
    def summary(self) -> str:
        """One line: how many operators, and which are gaps or rewritten."""
        if self.error:
            return self.error
        return "cannot tell before it tries" if self.findings is None else terminal.describe_findings(list(self.findings))


@dataclass(frozen=True)
class Comparison:
    """One output over one input set: whether it agrees, and the numbers.

    Attributes as in `OutputMetrics`, but for `noise`: the difference in multiples of the noise floor; and `metrics`: as texts.
    """

    output: str
    recipe: str
    passed: bool
    allowed: float
    required: float
    max_abs: float
    scale: float
    cosine: float | None
    sqnr_db: float | None
    problem: str
    noise: str = ""
    kind: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def smallest(self) -> str:
        """The smallest tolerance that would have passed."""
        return terminal.passing(self.required)

    @property
    def failure(self) -> str:
        """What is wrong with an output that does not pass, and what would have passed."""
        if self.problem:
            return self.problem
        told = f"the smallest tolerance that passes is {self.smallest}, {self.allowed:.1e} is allowed"
        return f"{told}; the difference is {self.noise}" if self.noise else told


@dataclass(frozen=True)
class Document:
    """A report, ready to be laid out.

    Attributes:
        kind: "check", "survey", "conversion" or "validation".
        title: "model.onnx → LiteRT".
        verdict: One word.
        passed: Whether a gate lets it through.
        facts: Label and text.
        model: The source's path as the user gave it, for faces that point at files.
        routes, comparisons, notes: Its parts; empty where the kind has none.
        record: The record as JSON has it.
        drift: Where the difference starts, where that was looked for.
        graph: The model's operators with their verdicts on the best route, where its file has a graph that can be shown.
    """

    kind: str
    title: str
    verdict: str
    passed: bool
    facts: tuple[tuple[str, str], ...]
    model: str
    routes: tuple[RouteSection, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    graph: tuple[Node, ...] = ()
    drift: DriftReport | None = None


def of_check(
    source: str,
    target: str,
    routes: Sequence[tuple[Sequence[str], Sequence[Finding] | None]],
    record: Mapping[str, Any],
) -> Document:
    """The document of a check: per route (the names of its converters) its findings."""
    sections = tuple(RouteSection(" → ".join(names), None if f is None else tuple(f)) for names, f in routes)
    passed = any(not section.gaps for section in sections)
    shares = record.get("delegation")
    delegated = [] if shares is None else [("delegated", f"{Shares.from_json(shares)} (each operator alone)")]
    return Document(
        "check",
        f"{Path(source).name} → {target}",
        "no gaps" if passed else "gaps on every route",
        passed,
        (("model", source), ("target", target), ("routes", str(len(sections))), *delegated, ("convkit", __version__)),
        source,
        sections,
        record=record,
        graph=marked(source, _best(sections)),
    )


def _best(sections: Sequence[RouteSection]) -> Sequence[Finding]:
    told = [section for section in sections if section.findings is not None]
    return min(told, key=lambda section: len(section.gaps)).findings or () if told else ()


def of_survey(survey: Survey) -> Document:
    """The document of many checks: a section per model and target, with its best route."""
    sections = []
    for (model, target), result in survey.results.items():
        name = f"{model} → {target}"
        if isinstance(result, ConvkitError):
            sections.append(RouteSection(name, None, error=result.message))
        else:
            sections.append(RouteSection(name, tuple(result.best)))
    blocked = survey.blockers
    facts = [("models", str(len(survey.models))), ("targets", ", ".join(survey.targets)), ("convkit", __version__)]
    facts += [(f"blocks {len(b.models)}", f"{b.operator} ({b.code}, → {b.target}): {b.reason}") for b in blocked[:_MOST_BLOCKERS]]
    title = survey.models[0] if len(survey.models) == 1 else f"{len(survey.models)} models"
    return Document(
        "survey",
        f"{title} → {', '.join(survey.targets)}",
        "no gaps" if survey.ok else "gaps",
        survey.ok,
        tuple(facts),
        title,
        tuple(sections),
        record=survey.to_json(),
    )


def of_conversion(report: ConversionReport) -> Document:
    """The document of a conversion, with the routes that were tried before the one that was taken."""
    sections = tuple(
        RouteSection(
            " → ".join(attempt.route),
            tuple(attempt.findings),
            tuple((stage.name, terminal.describe_stage(stage)) for stage in attempt.stages),
            str((attempt.error or {}).get("message", "")),
        )
        for attempt in report.attempts
    )
    facts = [("source", terminal.describe_source(report.source)), ("target", report.target)]
    if report.artifact is not None:
        facts.append(("wrote", terminal.written_line(report.artifact)))
    if report.validation is not None:
        facts.append(("validation", terminal.describe_validation(report.validation)))
    if report.attempts and report.attempts[-1].delegation is not None:
        facts.append(("delegated", str(report.attempts[-1].delegation)))
    facts += [(name, version) for name, version in report.versions.items()]
    return Document(
        "conversion",
        f"{report.source.path.name} → {report.target}",
        report.verdict.value,
        report.verdict is Outcome.PROVED,
        tuple(facts),
        str(report.source.path),
        sections,
        _comparisons(report.validation),
        (*report.notes, *_notes(report.validation)),
        report.to_json(),
        marked(str(report.source.path), _best(sections)),
    )


def of_validation(report: ValidationReport) -> Document:
    """The document of a comparison of two models."""
    return Document(
        "validation",
        f"{Path(report.source).name} against {Path(report.target).name}",
        report.verdict.value,
        report.verdict is Outcome.PROVED,
        (
            ("reference", f"{report.source} in {report.source_runtime}"),
            ("judged", f"{report.target} in {report.target_runtime}"),
            ("result", terminal.describe_validation(report)),
            *((f"input {name}", text) for name, text in report.domains.items()),
            *terminal.failing_lines(report),
            *terminal.performance_lines(report.performance),
            ("convkit", __version__),
        ),
        report.target,
        comparisons=_comparisons(report),
        notes=_notes(report),
        record=report.to_json(),
        drift=report.drift,
    )


def _comparisons(report: ValidationReport | None) -> tuple[Comparison, ...]:
    return tuple(
        Comparison(
            o.name, result.recipe, o.passed, o.allowed, o.required, o.max_abs, o.scale, o.cosine, o.sqnr_db, o.problem,
            terminal.noise_text(o), o.kind, tuple(terminal.metric_values(o)),
        )
        for result in (report.sets if report else ())
        for o in result.outputs
    )  # fmt: skip


def _notes(report: ValidationReport | None) -> tuple[str, ...]:
    return (*report.signature_differences, *report.notes) if report else ()
