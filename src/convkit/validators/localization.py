"""Traces two artifacts on the same inputs, each in its own runtime, and locates where they begin to differ."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from convkit.artifact import Artifact
from convkit.checking import convert_step
from convkit.components import ConversionRequest, Converter, Tracer
from convkit.errors import ConvkitError, NoRouteError
from convkit.formats import Variant
from convkit.registry import converters, tracers
from convkit.reports.drift import DriftReport
from convkit.reports.schema import ValidationReport
from convkit.traces import Trace
from convkit.validators.comparison import Comparison
from convkit.validators.drift import locate
from convkit.workers.pool import WorkerPool

__all__ = ["add_drift", "localized"]


def localized(
    sides: tuple[Artifact, Artifact],
    inputs: tuple[str, Path],
    tolerated: float,
    scratch: Path,
    pool: WorkerPool,
    timeout: float | None = None,
    tracer: Tracer | None = None,
) -> DriftReport:
    """Where the target begins to differ from the source.

    Args:
        sides: The source and the target, with signatures of the same names.
        inputs: A recipe, and the `.npz` that it made.
        tolerated: Up to which share of its scale an operator's output may be off.
        scratch: An existing directory; traces take the room of all tensors of both models there.
        pool: Whose workers trace, both at the same time.
        timeout: Seconds per side.
        tracer: What looks into the target, where that is not what is registered for its variant.

    Raises:
        NoRouteError: Nothing here tells the tensors inside one of the two.
        ConversionError, WorkerCrashError: A tracer failed.
    """
    recipe, file = inputs
    notes: list[str] = []
    steps = [_way_inside(sides[0].variant), _way_inside(sides[1].variant, tracer)]

    def traced(side: int) -> Trace:
        (step, chosen), artifact = steps[side], sides[side]
        directory = Path(tempfile.mkdtemp(prefix="trace-", dir=scratch))
        if step is not None:
            notes.append(f"{artifact.path.name} was looked into through {step.name}: its own runtime hides what is inside")
            request = ConversionRequest(artifact, directory / f"inside{step.target.suffix}", artifact.signature)
            convert_step(step, request, pool, timeout)
            artifact = Artifact(step.target, request.output, artifact.signature)
        pool.worker(chosen.host).call(
            "convkit.workers.tracing:trace",
            {
                "module": chosen.module,
                "artifact": artifact.to_json(),
                "inputs": str(file),
                "directory": str(directory),
                "settings": dict(chosen.settings),
            },
            stage="trace",
            component=chosen.name,
            timeout=timeout,
        )
        return Trace.open(directory)

    with ThreadPoolExecutor(2) as threads:
        source, target = threads.map(traced, (0, 1))
    report = DriftReport(recipe, steps[0][1].name, steps[1][1].name, tolerated)
    report.notes += [*notes, *source.notes, *target.notes]
    return locate(source, target, report)


def add_drift(
    comparison: Comparison,
    target: Artifact,
    report: ValidationReport,
    scratch: Path,
    pool: WorkerPool,
    tracer: Tracer | None = None,
) -> None:
    """Adds to a comparison's report where the target begins to differ, on the inputs on which it differs most.

    What keeps the search from looking inside becomes a note: the comparison stands without it.

    Args:
        comparison: What was compared.
        target: The other artifact.
        report: What the comparison came to.
        scratch, pool, tracer: As for `localized`.
    """
    worst = report.worst
    if worst is None:
        return
    sides = comparison.source, comparison.as_compared(target)
    inputs = worst.recipe, report.input_files[worst.recipe]
    tolerated = comparison.tolerated_inside(target)
    try:
        report.drift = localized(sides, inputs, tolerated, scratch, pool, comparison.timeout, tracer)
    except ConvkitError as error:
        report.notes.append(f"where the difference starts could not be told: {error.message}")


def _way_inside(variant: Variant, preferred: Tracer | None = None) -> tuple[Converter | None, Tracer]:
    """What traces a variant, and what has to bring it there first."""
    known = tracers() if preferred is None else (*tracers(), preferred)
    by_variant = {v: tracer for tracer in known for v in tracer.variants}
    if variant in by_variant:
        return None, by_variant[variant]
    for converter in sorted(converters(), key=lambda c: c.cost):
        if variant in converter.sources and converter.target in by_variant and converter.target.format is variant.format:
            return converter, by_variant[converter.target]
    for converter in sorted(converters(), key=lambda c: c.cost):
        if variant in converter.sources and converter.target in by_variant and converter.is_importer:
            return converter, by_variant[converter.target]
    raise NoRouteError(f"nothing here tells what is inside a {variant.title}", hint="compare with another format")
