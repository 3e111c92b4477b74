"""Asks, for any converted model, what part of it is delegated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from convkit import readers
from convkit.artifact import Artifact
from convkit.delegation import executorch
from convkit.delegation.shares import Shares
from convkit.errors import ConvkitError
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.registry import runtime_for
from convkit.workers.pool import WorkerPool

__all__ = ["measured", "measured_apart"]

_SIZE = 2


def measured(artifact: Artifact, pool: WorkerPool, timeout: float | None = None) -> Shares | None:
    """The shares of a `.pte` or `.tflite` file; None for other formats, and where they cannot be told."""
    with suppress(ConvkitError, DamagedFileError):
        if artifact.variant is Variant.PTE:
            return executorch.measure(artifact.path)
        if artifact.variant is Variant.TFLITE:
            return Shares.from_json(_asked_of_litert("measure", artifact, {}, pool, timeout))
    return None


def measured_apart(
    artifact: Artifact, models: Sequence[Sequence[str]], pool: WorkerPool, timeout: float | None = None
) -> list[Shares] | None:
    """The same of each of several models that share nothing but the file; of each the names of its outputs."""
    with suppress(ConvkitError, DamagedFileError):
        if artifact.variant is Variant.PTE:
            signature = readers.inspect(artifact.path).signature
            names = () if signature is None else signature.output_names
            return executorch.measure_apart(artifact.path, [[names.index(n) for n in results] for results in models])
        if artifact.variant is Variant.TFLITE:
            more = {"models": [list(results) for results in models]}
            return [Shares.from_json(part) for part in _asked_of_litert("measure_apart", artifact, more, pool, timeout)]
    return None


def _asked_of_litert(question: str, artifact: Artifact, more: Mapping[str, Any], pool: WorkerPool, timeout: float | None) -> Any:
    runtime = runtime_for(artifact.variant)
    assert runtime is not None
    signature = readers.inspect(artifact.path).signature
    dynamic = {} if signature is None else {t.name: t for t in signature.inputs if any(isinstance(d, str) for d in t.shape or ())}
    sizes = {name: list(spec.concrete({}, _SIZE)) for name, spec in dynamic.items()}
    answer = pool.worker(runtime.host).call(
        f"convkit.delegation.litert:{question}",
        {"path": str(artifact.path), "sizes": sizes, **more},
        stage="validate",
        component="LiteRT",
        timeout=timeout,
    )
    return answer.result
