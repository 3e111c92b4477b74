"""One converter asked, and run; and what whole routes say of a model's operators before any conversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convkit import routing, sources
from convkit.artifact import Artifact, PyTorchSource
from convkit.components import ConversionOutcome, ConversionRequest, Converter
from convkit.errors import ConversionError
from convkit.events import Observer, ignore
from convkit.formats import Format
from convkit.legalization.target import Finding, Verdict
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.workers.pool import Answer, WorkerPool

__all__ = ["check_routes", "convert_step", "judge"]


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
    return None if answer.result is None else [Finding.from_json(f) for f in answer.result], answer


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

    A route through a hub is imported into the hub's format in the scratch directory (seconds, and the only way to know what
    the next converter is given), until a converter has gaps.

    Returns:
        Per route its findings; None where its first converter cannot tell in advance.
    """
    artifact, info = sources.identify(model, pytorch)
    artifact = sources.selected(artifact, info, options.converter_options.get("signature"))
    routes = routing.runnable(routing.chosen(artifact, target, options), options, observe)
    source = sources.describe(artifact, info, options.inputs, scratch, pool, options.timeout)
    # A look installs no more than the best route needs.
    routes = [routes[0], *(r for r in routes[1:] if not r.obstacles)]
    walk = _Walk(source, options, pool, scratch, {}, {})
    return [(route, walk.findings(route)) for route in routes]


@dataclass(frozen=True)
class _Walk:
    """The steps that routes share are judged, and taken, once."""

    source: sources.Source
    options: ConvertOptions
    pool: WorkerPool
    scratch: Path
    judged: dict[tuple[str, ...], list[Finding] | None]
    halts: dict[tuple[str, ...], Artifact]

    def findings(self, route: Route) -> list[Finding] | None:
        """A route's findings, up to the first converter that has gaps, cannot tell, or is no importer."""
        artifact, found = self.source.artifact, None
        for index, step in enumerate(route.steps):
            trail = tuple(route.names[: index + 1])
            output = self.scratch / ("-".join(trail) + step.target.suffix)
            request = ConversionRequest(artifact, output, self.source.artifact.signature, self.source.examples, {})
            if trail not in self.judged:
                self.judged[trail], _ = judge(step, request, self.pool, self.options.timeout)
            mine = self.judged[trail]
            if mine is None and not step.is_importer:
                return found
            mine = mine or []
            # Of an intermediate model only what is not plain is worth telling: the source's operators are the user's.
            found = mine if found is None else [*found, *(f for f in mine if f.verdict is not Verdict.LEGAL)]
            last = index == len(route.steps) - 1
            if last or not step.is_importer or any(f.verdict is Verdict.GAP for f in mine):
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
