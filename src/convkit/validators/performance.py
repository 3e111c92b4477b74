"""What both sides of a comparison cost: the time of a run when warm, and the size of the file."""

from __future__ import annotations

import statistics
from pathlib import Path

from convkit.artifact import Artifact, ModelInfo
from convkit.components import Runtime
from convkit.errors import ConvkitError
from convkit.reports.schema import Cost, Performance, ValidationReport
from convkit.validators.comparison import Comparison
from convkit.workers.pool import WorkerPool

__all__ = ["add_performance"]

_RUNS = 5
_BUDGET = 0.5
"""Seconds per side after which no further run starts."""


def add_performance(comparison: Comparison, target: Artifact, report: ValidationReport, pool: WorkerPool) -> None:
    """Adds to a comparison's report what both sides cost, on the first input set that was compared.

    The sides run one after the other: runtimes that compute at the same time take each other's cores. What keeps one from
    being timed becomes a note: the comparison stands without it.

    Args:
        comparison: What was compared.
        target: The other artifact.
        report: What the comparison came to; its files are still there.
        pool: Whose workers have both models loaded.
    """
    recipe = next((s.recipe for s in report.sets if s.recipe in report.input_files), "")
    if not recipe:
        return
    inputs = report.input_files[recipe]
    sides = comparison.sides(comparison.as_compared(target), pool)
    try:
        times = [_times(*side, inputs, pool, comparison.timeout) for side in zip(sides.artifacts, sides.runtimes, strict=True)]
    except ConvkitError as error:
        report.notes.append(f"the time of a run could not be measured: {error.message}")
        return
    infos = comparison.source_info, comparison.info(target)
    report.performance = Performance(recipe, *(_cost(*side) for side in zip(times, infos, strict=True)))


def _cost(times: list[float], info: ModelInfo | None) -> Cost:
    return Cost(statistics.median(times), len(times), None if info is None else info.size)


def _times(artifact: Artifact, runtime: Runtime, inputs: Path, pool: WorkerPool, timeout: float | None) -> list[float]:
    answer = pool.worker(runtime.host).call(
        "convkit.workers.running:timed",
        {
            "module": runtime.module,
            "artifact": artifact.to_json(),
            "inputs": str(inputs),
            "settings": dict(runtime.settings),
            "runs": _RUNS,
            "budget": _BUDGET,
        },
        stage="validate",
        component=runtime.name,
        timeout=timeout,
    )
    return list(answer.result)
