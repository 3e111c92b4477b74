"""What the routes say of a model's operators, before any conversion."""

from __future__ import annotations

from pathlib import Path

from convkit import routing, sources
from convkit.artifact import PyTorchSource
from convkit.components import ConversionRequest, Converter
from convkit.events import Observer, ignore
from convkit.formats import Format
from convkit.legalization.target import Finding
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.workers.pool import Answer, WorkerPool

__all__ = ["check_routes", "judge"]


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


def check_routes(
    model: Path | None,
    target: Format,
    options: ConvertOptions,
    pytorch: PyTorchSource,
    pool: WorkerPool,
    scratch: Path,
    observe: Observer = ignore,
) -> list[tuple[Route, list[Finding] | None]]:
    """What each runnable route's first converter says of the model's operators, without converting.

    Returns:
        Per route its findings; None where its converter cannot tell in advance.
    """
    artifact, info = sources.identify(model, pytorch)
    routes = routing.runnable(routing.chosen(artifact, target, options), options, observe)
    source = sources.describe(artifact, info, options.inputs, scratch, pool, options.timeout)
    judged: dict[str, list[Finding] | None] = {}
    # A look installs no more than the best route needs.
    routes = [routes[0], *(r for r in routes[1:] if not r.obstacles)]
    for route in routes:
        step = route.steps[0]
        if step.name not in judged:
            request = ConversionRequest(source.artifact, scratch / "unused", source.artifact.signature, source.examples, {})
            judged[step.name], _ = judge(step, request, pool, options.timeout)
    return [(route, judged[route.steps[0].name]) for route in routes]
