"""Asks, for any converted model, what part of it is delegated."""

from __future__ import annotations

from contextlib import suppress

from convkit.artifact import Artifact
from convkit.components import Host
from convkit.delegation.shares import Shares
from convkit.errors import ConvkitError
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.registry import runtime_for
from convkit.workers.pool import WorkerPool

__all__ = ["measured"]

_SIZE = 2


def measured(artifact: Artifact, pool: WorkerPool, timeout: float | None = None) -> Shares | None:
    """The shares of a `.pte` or `.tflite` file; None for other formats, and where they cannot be told."""
    with suppress(ConvkitError, DamagedFileError):
        if artifact.variant is Variant.PTE:
            from convkit.delegation import executorch

            return executorch.measure(artifact.path)
        runtime = runtime_for(artifact.variant)
        if artifact.variant is Variant.TFLITE and runtime is not None:
            return _of_litert(artifact, pool, runtime.host, timeout)
    return None


def _of_litert(artifact: Artifact, pool: WorkerPool, host: Host, timeout: float | None) -> Shares:
    from convkit import readers

    signature = readers.inspect(artifact.path).signature
    dynamic = {} if signature is None else {t.name: t for t in signature.inputs if any(isinstance(d, str) for d in t.shape or ())}
    answer = pool.worker(host).call(
        "convkit.delegation.litert:measure",
        {"path": str(artifact.path), "sizes": {name: list(spec.concrete({}, _SIZE)) for name, spec in dynamic.items()}},
        stage="validate",
        component="LiteRT",
        timeout=timeout,
    )
    return Shares.from_json(answer.result)
