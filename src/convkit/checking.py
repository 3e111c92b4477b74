"""One converter asked, and run; and what whole routes say of a model's operators before any conversion."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from convkit import readers, routing, sources
from convkit.artifact import Artifact, PyTorchSource
from convkit.components import ONNX_HOST, ConversionOutcome, ConversionRequest, Converter
from convkit.errors import ConversionError, ConvkitError
from convkit.events import Observer, ignore
from convkit.formats import Format, Variant
from convkit.legalization.target import Finding, Verdict
from convkit.legalization.ways_out import with_ways_out
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.probing.cache import Cache, identity
from convkit.probing.programs import fingerprint
from convkit.workers.pool import Answer, WorkerPool

__all__ = ["StaticWalk", "Walk", "WholeWalk", "check_routes", "convert_step", "judge"]


def judge(
    step: Converter, request: ConversionRequest, pool: WorkerPool, timeout: float | None
) -> tuple[list[Finding] | None, Answer]:
    """What one converter says of a model's operators (None where it cannot tell in advance), and its worker's answer."""
    answer = pool.worker(step.host).call(
        "convkit.workers.running:check",
        {"module": step.module, "request": request.to_json()},
        stage="check",
        component=step.name,
        timeout=timeout,
    )
    found = None if answer.result is None else with_ways_out(map(Finding.from_json, answer.result))
    return found, answer


def convert_step(
    step: Converter, request: ConversionRequest, pool: WorkerPool, timeout: float | None
) -> tuple[ConversionOutcome, Answer]:
    """Has one converter write `request.output`, and what it has to say of it.

    Raises:
        ConversionError: It failed, or wrote nothing.
    """
    answer = pool.worker(step.host).call(
        "convkit.workers.running:convert",
        {"module": step.module, "request": request.to_json()},
        stage="convert",
        component=step.name,
        timeout=timeout,
    )
    if not request.output.exists():
        raise ConversionError(f"{step.name} reported success and wrote nothing", component=step.name)
    return ConversionOutcome.from_json(answer.result), answer


def check_routes(
    model: Path | None,
    target: Format,
    options: ConvertOptions,
    pytorch: PyTorchSource,
    pool: WorkerPool,
    scratch: Path,
    observe: Observer = ignore,
) -> list[tuple[Route, list[Finding] | None]]:
    """What each runnable route's converters say of the model's operators, without converting to the target.

    ONNX models are judged by the tables of operators and rewrites, without a framework, where these tell: where every operator is
    proved in its form and nothing hangs on data; else by a trial, as the conversion begins with one. Of other sources, a route
    through a hub is imported into the hub's format in the scratch directory (seconds, and the only way to know what the next
    converter is given), until a converter has gaps.

    Returns:
        Per route its findings, up to the first without gaps: those behind it are not taken. None where a route's first converter
        cannot tell in advance.
    """
    _warm_up(model, pool)
    artifact, info = sources.identify(model, pytorch)
    artifact = sources.selected(artifact, info, options.converter_options.get("signature"))
    routes = routing.runnable(routing.chosen(artifact, target, options), options, observe)
    source = sources.describe(artifact, info, options.inputs, scratch, pool, options.timeout)
    # A look installs no more than the best route needs.
    routes = [routes[0], *(r for r in routes[1:] if not r.obstacles)]
    walk = StaticWalk(source, options, pool, scratch, variant=target.default_variant)
    found: list[tuple[Route, list[Finding] | None]] = []
    for route in routes:
        found.append((route, walk.findings(route)))
        if all(f.verdict is not Verdict.GAP for f in found[-1][1] or ()):
            break
    return found


def _warm_up(model: Path | None, pool: WorkerPool) -> None:
    """Starts the process that is asked about ONNX models, while this one reads the file."""
    with suppress(ConvkitError):  # which is told when the file is read
        if model is not None and readers.identify(model) is Variant.ONNX:
            pool.worker(ONNX_HOST)


@dataclass(frozen=True)
class Walk:
    """What a source's routes come to. The steps that routes share are judged, and taken, once.

    Attributes:
        judged: What the converters have said, by the steps that lead to each.
        halts: The models in between, by the steps that lead there.
    """

    source: sources.Source
    options: ConvertOptions
    pool: WorkerPool
    scratch: Path
    judged: dict[tuple[str, ...], list[Finding] | None] = field(default_factory=dict)
    halts: dict[tuple[str, ...], Artifact] = field(default_factory=dict)

    def findings(self, route: Route) -> list[Finding] | None:
        """A route's findings, up to the first converter that has gaps, cannot tell, or is not taken."""
        artifact, found = self.source.artifact, None
        for index, step in enumerate(route.steps):
            trail = tuple(route.names[: index + 1])
            output = self.scratch / ("-".join(trail) + step.target.suffix)
            request = ConversionRequest(artifact, output, self.source.artifact.signature, self.source.examples, {})
            if trail not in self.judged:
                try:
                    self.judged[trail] = self.asked(step, request)
                except ConversionError as error:  # another route may do
                    self.judged[trail] = [Finding(step.name, 1, Verdict.GAP, error.message, hint=error.hint or "", code="CK111")]
            mine = self.judged[trail]
            if mine is None and not self.is_taken(step, artifact):
                return found
            mine = mine or []
            # Of an intermediate model only what is not plain is worth telling: the source's operators are the user's.
            found = mine if found is None else [*found, *(f for f in mine if f.verdict is not Verdict.LEGAL or f.reason)]
            last = index == len(route.steps) - 1
            if last or not self.is_taken(step, artifact) or any(f.verdict is Verdict.GAP for f in mine):
                return found
            if trail not in self.halts:
                try:
                    convert_step(step, request, self.pool, self.options.timeout)
                except ConversionError as error:
                    gap = Finding(step.name, 1, Verdict.GAP, error.message, hint=error.hint or "", code="CK111")
                    self.judged[trail] = [gap, *mine]
                    return [gap, *found]
                self.halts[trail] = Artifact(step.target, output, self.source.artifact.signature)
            artifact = self.halts[trail]
        return found

    def asked(self, step: Converter, request: ConversionRequest) -> list[Finding] | None:
        """What a converter says of a model; None where it cannot tell in advance."""
        findings, _ = judge(step, request, self.pool, self.options.timeout)
        return findings if findings is None else [replace(f, evidence=f.evidence or "trial") for f in findings]

    def is_taken(self, step: Converter, artifact: Artifact) -> bool:
        """Whether a step is taken to see what the next converter is given."""
        return step.is_importer


class WholeWalk(Walk):
    """The walk that takes every step but the last: what is refused of a model in between, only the next converter knows."""

    def is_taken(self, step: Converter, artifact: Artifact) -> bool:
        return True


@dataclass(frozen=True)
class StaticWalk(Walk):
    """The walk that asks tables in place of a trial, where there are any and they tell.

    Attributes:
        variant: What the routes lead to.
        outlooks: What `convkit.legalization.onnx.surveying:outlook` has told, by model.
    """

    variant: Variant = field(kw_only=True)
    outlooks: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    def findings(self, route: Route) -> list[Finding] | None:
        found, source = super().findings(route), self.source.artifact
        if found is None or source.variant is not Variant.ONNX or len(route.steps) == 1:
            return found
        refused = with_ways_out(map(Finding.from_json, self._outlook(source)["refusals"]))
        return [*refused, *found]

    def asked(self, step: Converter, request: ConversionRequest) -> list[Finding] | None:
        if request.source.variant is Variant.EXPORTED_PROGRAM:
            return self._proved or self._remembered(step, request)
        if step.static_host is None or not self._tables_tell(step, request.source):
            return super().asked(step, request)
        answer = self.pool.worker(step.static_host).call(
            "convkit.workers.running:survey",
            {"module": step.module, "request": request.to_json()},
            stage="check",
            component=step.name,
            timeout=self.options.timeout,
        )
        return with_ways_out(map(Finding.from_json, answer.result))

    def is_taken(self, step: Converter, artifact: Artifact) -> bool:
        return not self._tables_tell(step, artifact) and (step.is_importer or self._is_tried)

    @property
    def _is_tried(self) -> bool:
        """Whether only a trial tells what becomes of the source."""
        source = self.source.artifact
        if source.variant is Variant.EXPORTED_PROGRAM:
            return not self._proved
        return source.variant is not Variant.ONNX or not self._outlook(source)["certain"]

    def _tables_tell(self, step: Converter, artifact: Artifact) -> bool:
        """Whether tables know everything that a model consists of."""
        if artifact == self.source.artifact and self._proved:
            return True
        return step.static_host is not None and bool(self._outlook(artifact)["certain"])

    def _outlook(self, artifact: Artifact) -> Mapping[str, Any]:
        if artifact.path not in self.outlooks:
            answer = self.pool.worker(ONNX_HOST).call(
                "convkit.legalization.onnx.surveying:outlook",
                {"path": str(artifact.path), "variant": self.variant.value},
                stage="check",
                component="onnx",
                timeout=self.options.timeout,
            )
            self.outlooks[artifact.path] = answer.result
        return self.outlooks[artifact.path]

    @cached_property
    def _proved(self) -> list[Finding]:
        """The operators of an exported program, where all of them have been proved on the way to the target; else nothing."""
        source = self.source.artifact
        if source.variant is not Variant.EXPORTED_PROGRAM:
            return []
        from convkit.legalization.torch.certainty import proved_findings

        return proved_findings(source.path, self.variant) or []

    def _remembered(self, step: Converter, request: ConversionRequest) -> list[Finding] | None:
        """What a converter has said of the same program, with whatever weights; else what it says now.

        To load a program and to decompose it takes torch several seconds.
        """
        source = request.source
        if request.examples is not None:
            return super().asked(step, request)
        cache = Cache.of(identity(source.variant, Route((step,)), step.target.format))
        key = f"check-{fingerprint(source.path)}"
        return cache.findings(key, lambda: super(StaticWalk, self).asked(step, request))
