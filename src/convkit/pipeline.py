"""One conversion, from identification to report; read it from top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from convkit import emission, routing, sources
from convkit.arrays import save_arrays
from convkit.artifact import Artifact, PyTorchSource
from convkit.checking import convert_step, judge
from convkit.components import ConversionRequest, Converter, Emitter
from convkit.delegation.measuring import measured
from convkit.errors import (
    ConversionError,
    ConvkitError,
    DriftError,
    OperatorGapError,
    SourceRunError,
    ToolchainError,
    UsageError,
)
from convkit.events import Event, Observer, ignore
from convkit.formats import Format, Variant
from convkit.legalization.target import Verdict as Legality
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.registry import host_versions
from convkit.reports import terminal
from convkit.reports.schema import Attempt, ConversionReport, Emitted, Stage, ValidationReport, Verdict
from convkit.sources import Source
from convkit.staging import Staging, staging
from convkit.validators.comparison import Comparison, runtime_of
from convkit.validators.explanation import explain
from convkit.workers.pool import WorkerPool

__all__ = ["convert"]


def convert(
    model: Path | None,
    target: Format,
    options: ConvertOptions,
    pytorch: PyTorchSource,
    pool: WorkerPool,
    observe: Observer = ignore,
) -> ConversionReport:
    """Converts a model and proves the result.

    Returns:
        The report; its `artifact` is in its final place.

    Raises:
        UnreadableModelError, UsageError, OutputExistsError: Nothing was started.
        OperatorGapError: Every route has operators that it does not accept.
        DriftError: Routes converted, none agreed with the source.
        ConversionError: Routes failed.
        NoRouteError: There are none.
    """
    artifact, info = sources.identify(model, pytorch)
    artifact = sources.selected(artifact, info, options.converter_options.get("signature"))
    output = _output_path(artifact, target, options)
    emitters = emission.chosen(target, options)
    emitted = {file: e.name for e in emitters for file in emission.companions(e, output)}
    emission.refuse_to_replace(artifact, output, tuple(emitted))
    with staging(output, options.force, tuple(emitted)) as area:
        routes = routing.runnable(routing.chosen(artifact, target, options), options, observe)
        if options.validate:
            routing.provision_runtimes((artifact.variant, target.default_variant), options, observe)
        _warm_up(artifact, routes[0], target, options, pool)
        observe(Event("source", artifact, running=True))
        source = sources.describe(artifact, info, options.inputs, area.directory, pool, options.timeout)
        observe(Event("source", source))
        report = ConversionReport(source.artifact, target.value, source.artifact.signature, options=options.to_json())
        report.notes.extend(source.notes)
        journey = _Journey(source, area, options, emitters, pool, observe, {}, set())
        errors: list[ConvkitError] = []
        for route in routes:
            if journey.is_hopeless(route):
                continue
            attempt = Attempt(route.names)
            report.attempts.append(attempt)
            observe(Event("route", route))
            try:
                routing.provision(route, observe)
                made = journey.travel(route, attempt)
            except (ConversionError, OperatorGapError, DriftError, ToolchainError) as error:
                attempt.error = {**error.to_json(), "stage": getattr(error, "stage", None)}
                errors.append(error)
                observe(Event("failed", error))
                area.discard_output()
                if isinstance(error, SourceRunError):
                    break
                continue
            report.versions = _versions(route, source.artifact.variant, target)
            area.commit()
            report.artifact = Artifact(made.variant, output, source.artifact.signature)
            report.emitted = [Emitted(name, file) for file, name in emitted.items()]
            report.write(_report_path(output))
            observe(Event("wrote", report))
            return report
        summary = _summary(errors, report)
        summary.report = report
        raise summary


@dataclass(frozen=True)
class _Journey:
    """The travel of one source over its routes; what routes share is converted once."""

    source: Source
    area: Staging
    options: ConvertOptions
    emitters: list[Emitter]
    pool: WorkerPool
    observe: Observer
    halts: dict[tuple[str, ...], Artifact]
    dead_ends: set[tuple[str, ...]]

    def is_hopeless(self, route: Route) -> bool:
        """Whether the route begins with steps that have failed already."""
        return any(tuple(route.names[: len(end)]) == end for end in self.dead_ends)

    def travel(self, route: Route, attempt: Attempt) -> Artifact:
        """Takes one route to its end: check and convert step by step, validate, emit."""
        artifact = self._convert(route, attempt)
        verdict = Verdict.UNVALIDATED
        if self.options.validate:
            attempt.validation = self._validate(artifact, attempt)
            verdict = attempt.validation.verdict
            if verdict is Verdict.DRIFT and not self.options.allow_drift:
                attempt.verdict = verdict
                raise DriftError(_drift_message(attempt.validation))
        attempt.delegation = measured(artifact, self.pool, self.options.timeout)
        if attempt.delegation is not None:
            self.observe(Event("delegation", attempt.delegation))
        for emitter in self.emitters:
            self._emit(emitter, artifact, attempt)
        attempt.verdict = verdict
        return artifact

    def _request(self, step: Converter, artifact: Artifact, output: Path) -> ConversionRequest:
        known = {o.name for o in step.options}
        chosen = {k: v for k, v in self.options.converter_options.items() if k in known}
        return ConversionRequest(artifact, output, self.source.artifact.signature, self.source.examples, chosen)

    def _check(self, step: Converter, artifact: Artifact, trail: tuple[str, ...], attempt: Attempt) -> None:
        """Asks a step's converter about the operators of what it will read, before it starts."""
        self.observe(Event("check", step, running=True))
        start = time.perf_counter()
        request = self._request(step, artifact, self.area.scratch("unused"))
        findings, answer = judge(step, request, self.pool, self.options.timeout)
        attempt.stages.append(Stage("check", step.name, time.perf_counter() - start, answer.peak_memory))
        if findings is None:
            return
        # Of an intermediate model only what is not plain is worth telling: the source's operators are the user's.
        told = findings if len(trail) == 1 else [f for f in findings if f.verdict is not Legality.LEGAL]
        attempt.findings = [*attempt.findings, *told]
        gaps = [f for f in findings if f.verdict is Legality.GAP]
        self.observe(Event("check", findings))
        if gaps and not self.options.ignore_gaps:
            attempt.verdict = Verdict.GAP
            self.dead_ends.add(trail)
            raise OperatorGapError(
                f"{step.name} does not accept " + ", ".join(f"{f.operator} ({f.reason})" for f in gaps),
                gaps=[str(g) for g in gaps],
                hint="; or ".join(dict.fromkeys(f.hint for f in gaps if f.hint)),
            )

    def _convert(self, route: Route, attempt: Attempt) -> Artifact:
        artifact = self.source.artifact
        for index, step in enumerate(route.steps):
            trail = tuple(route.names[: index + 1])
            if trail in self.halts:
                artifact = self.halts[trail]
                continue
            self._check(step, artifact, trail, attempt)
            last = index == len(route.steps) - 1
            output = self.area.path if last else self.area.scratch("-".join(trail) + step.target.suffix)
            self.observe(Event("convert", step, running=True))
            try:
                outcome, answer = convert_step(step, self._request(step, artifact, output), self.pool, self.options.timeout)
            except ConversionError:
                self.dead_ends.add(trail)
                raise
            stage = Stage("convert", step.name, answer.seconds, answer.peak_memory, list(outcome.notes))
            attempt.stages.append(stage)
            artifact = Artifact(step.target, output, self.source.artifact.signature)
            self.observe(Event("convert", stage))
            if not last:
                self.halts[trail] = artifact
        return artifact

    def _validate(self, artifact: Artifact, attempt: Attempt) -> ValidationReport:
        self.observe(Event("validate", artifact, running=True))
        start = time.perf_counter()
        comparison = self._comparison()
        report, answers = comparison.run(artifact, self.area.directory, self.pool)
        shrink, failing = self.options.shrink, self.options.failing
        explain(comparison, artifact, report, self.area.directory, self.pool, shrink=shrink, failing=failing)
        peak = max(a.peak_memory for a in answers)
        attempt.stages.append(Stage("validate", report.target_runtime, time.perf_counter() - start, peak))
        self.observe(Event("validate", report))
        return report

    def _comparison(self) -> Comparison:
        return Comparison(
            self.source.artifact,
            self.source.info,
            self.source.given,
            self.source.examples,
            self.options.tolerance,
            self.options.seeds,
            self.options.timeout,
            stress=self.options.stress,
            count_non_finite=self.options.count_non_finite,
            progress=lambda text: self.observe(Event("validate", text, running=True)),
            metrics=self.options.metrics,
        )

    def _emit(self, emitter: Emitter, artifact: Artifact, attempt: Attempt) -> None:
        """Has an emitter write beside the staged output, proved on the inputs that the output itself is proved on."""
        self.observe(Event("emit", emitter, running=True))
        inputs = []
        for index, chosen in enumerate(self._comparison().input_sets(artifact)):
            inputs.append(self.area.scratch(f"emit-{index}.npz"))
            save_arrays(inputs[-1], chosen.arrays)
        origin = emission.origin_of(self.source.artifact, attempt.route)
        stage = emission.emit(emitter, artifact, origin, inputs, self.pool, self.options.timeout)
        attempt.stages.append(stage)
        self.observe(Event("emit", stage))


def _output_path(artifact: Artifact, target: Format, options: ConvertOptions) -> Path:
    """The user's output, or the model's name with the target's suffix in the working directory."""
    name = artifact.path.stem
    if artifact.pytorch is not None and artifact.variant is Variant.MODULE_FACTORY:
        factory = (artifact.pytorch.factory or "model").rpartition(":")[2]
        name = artifact.pytorch.weights.stem if artifact.pytorch.weights else factory
    name += target.default_variant.suffix
    if options.output is None:
        output = Path.cwd() / name
    elif options.output.is_dir() and not _is_model(options.output):
        output = options.output.absolute() / name
    else:
        output = options.output.absolute()
    if output == artifact.path or output in artifact.path.parents:
        raise UsageError(f"the output {output} would replace the source", hint="choose another --output")
    return output


def _is_model(directory: Path) -> bool:
    """Whether a directory is itself a model, to be replaced as a whole, and not a place to put one into."""
    return any((directory / name).exists() for name in ("saved_model.pb", "model.json"))


def _report_path(output: Path) -> Path:
    return output.with_name(output.name + ".convkit.json")


def _warm_up(artifact: Artifact, route: Route, target: Format, options: ConvertOptions, pool: WorkerPool) -> None:
    """Starts every worker that the best route needs, so that their imports overlap."""
    for step in route.steps:
        pool.worker(step.host)
    if options.validate:
        for variant in (artifact.variant, target.default_variant):
            pool.worker(runtime_of(variant).host)


def _versions(route: Route, source: Variant, target: Format) -> dict[str, str]:
    """The versions of every distribution that took part."""
    found: dict[str, str] = {}
    for host in routing.hosts(route, source, target.default_variant):
        for package, version in host_versions(replace(host, packages=(*host.packages, "numpy"))).items():
            found[package if host.toolchain == "main" else f"{package} ({host.toolchain})"] = version
    return found


def _drift_message(report: ValidationReport) -> str:
    if report.signature_differences:
        return "the signature was not kept: " + "; ".join(report.signature_differences)
    output, recipe = max(
        ((o, s.recipe) for s in report.sets for o in s.outputs if not o.passed), key=lambda pair: pair[0].required
    )
    if output.problem:
        return f"output '{output.name}' ({recipe}): {output.problem}"
    told = f"output '{output.name}' ({recipe}) differs by {output.max_abs:.2g}, that is {terminal.describe_difference(output)}; "
    told += f"the tolerance is {output.allowed:.1e}, the smallest that passes {terminal.passing(output.required)}"
    if report.drift is not None and report.drift.suspects:
        first = report.drift.suspects[0]
        told += f"; it starts at {first.operator} {first.name}" + (f": {first.cause}" if first.cause else "")
    return told


def _summary(errors: list[ConvkitError], report: ConversionReport) -> ConvkitError:
    """The one error for all failed routes: a lone one as it is; several told in order, named by the gravest."""
    drifts = [e for e in errors if isinstance(e, DriftError)]
    gaps = [e for e in errors if isinstance(e, OperatorGapError)]
    told = "; ".join(f"{' → '.join(a.route)}: {e.message}" for a, e in zip(report.attempts, errors, strict=True))
    if drifts:
        return DriftError(
            drifts[0].message if len(errors) == 1 else told,
            hint="the report says where; --allow-drift writes the file all the same",
        )
    if len(gaps) == len(errors):
        lines = dict.fromkeys(g for e in gaps for g in e.gaps)
        return OperatorGapError(
            gaps[0].message if len(errors) == 1 else told,
            gaps=tuple(lines),
            hint="convkit check lists every gap; --ignore-gaps tries the conversion all the same",
        )
    failures = [e for e in errors if isinstance(e, ConversionError)]
    if len(errors) == 1 or not failures:
        return errors[0]
    return ConversionError(
        f"none of {len(errors)} routes could convert: {told}",
        stage=failures[0].stage,
        component=failures[0].component,
        hint="; or ".join(dict.fromkeys(e.hint for e in errors if e.hint)),
        log=failures[0].log,
    )
