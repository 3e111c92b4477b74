"""Reduces a model on the route that a conversion would take first."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convkit import pipeline, routing, sources
from convkit.artifact import Artifact, PyTorchSource
from convkit.components import ONNX_HOST
from convkit.errors import ConversionError, ConvkitError, UsageError
from convkit.events import Event, Observer, ignore
from convkit.formats import Format, Variant
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.reduction import repros
from convkit.reduction.failures import Failure
from convkit.reduction.minimizing import minimized
from convkit.registry import host_versions, runtime_for
from convkit.workers.pool import WorkerPool

__all__ = ["reduce_model"]

_PATIENCE = 50.0
"""Seconds of search after the model has failed as a whole."""
_SEEDS = 2
_SINGLE = 12
"""Nodes that the failure names and that are tried alone."""


def reduce_model(
    model: Path,
    target: Format,
    options: ConvertOptions,
    directory: Path,
    pool: WorkerPool,
    scratch: Path,
    observe: Observer = ignore,
) -> repros.Repro:
    """Finds the few nodes of a model that fail as the whole does, and writes them up.

    Args:
        model: An ONNX file or an exported program.
        target: The format that it should reach.
        options: How; see `convert`.
        directory: Where to write the small model, a script and the text of an issue; must not exist.
        pool: Whose workers convert.
        scratch: An existing directory.

    Raises:
        UsageError: The model converts, or is in a format that cannot be cut, or the directory exists.
    """
    if directory.exists():
        raise UsageError(f"{directory} exists", hint="name another directory for --reduce")
    artifact, _ = sources.identify(model, PyTorchSource())
    if artifact.variant not in (Variant.ONNX, Variant.EXPORTED_PROGRAM):
        raise UsageError(
            f"{artifact.variant.title} models cannot be cut into pieces",
            hint="convert it to ONNX or to PyTorch first, and reduce what comes out",
        )
    route = routing.runnable(routing.chosen(artifact, target, options), options, observe)[0]
    search = _Search(artifact, target, route, options, pool, scratch, observe)
    start = time.monotonic()
    observe(Event("reduce", "the model as a whole", running=True))
    failure = search.failure_of(model)
    if failure is None:
        raise UsageError(
            f"the model converts over {route}: there is nothing to reduce", hint="convkit validate compares it on other inputs"
        )
    kept, order = search.kept(failure)
    directory.mkdir(parents=True)
    small = directory / f"model{artifact.variant.suffix}"
    count = search.cut(kept, small) if len(kept) < len(order) else _copied(model, small, len(order))
    repro = repros.Repro(directory, small, len(order), count, failure, time.monotonic() - start)
    repros.write(repro, target.value, target.default_variant.suffix, route.names, search.versions())
    return repro


def _copied(model: Path, small: Path, count: int) -> int:
    shutil.copyfile(model, small)
    return count


@dataclass
class _Search:
    """The search in one model."""

    artifact: Artifact
    target: Format
    route: Route
    options: ConvertOptions
    pool: WorkerPool
    scratch: Path
    observe: Observer
    known: dict[tuple[int, ...], bool] = field(default_factory=dict)

    def failure_of(self, model: Path, patience: float | None = None, *, is_run: bool = True) -> Failure | None:
        """How a model fails on the route, when it is converted or also when it is run; None where it does not."""
        output = self.scratch / f"reduced-converted{self.target.default_variant.suffix}"
        # Cut-out models have inputs of their own: what the user said of the whole model's does not fit them.
        options = replace(
            self.options, output=output, route=tuple(self.route.names), force=True, seeds=_SEEDS, validate=is_run,
            timeout=self.options.timeout or patience, shrink=False,
        )  # fmt: skip
        try:
            pipeline.convert(model, self.target, options, PyTorchSource(), self.pool)
        except ConvkitError as error:
            return Failure.of(error)
        return None

    def kept(self, failure: Failure) -> tuple[list[int], list[tuple[str, str]]]:
        """The positions of the nodes that are left, and name and operator of all."""
        order = [(str(name), str(kind)) for name, kind in self._call("order", {})]
        deadline = time.monotonic() + _PATIENCE

        def fails(part: Sequence[int]) -> bool:
            key = tuple(part)
            if key not in self.known:
                self.observe(Event("reduce", f"{len(part)} of {len(order)} nodes", running=True))
                self.known[key] = self._fails(part, failure, deadline)
            return self.known[key]

        # An importer's operators have other names than the ONNX nodes, whose own names tell them apart.
        by_name = self.artifact.variant is Variant.ONNX
        places = {place for _, place in failure.places}
        named = [k for k, (name, kind) in enumerate(order) if (kind, name) in failure.places or (by_name and name in places)]
        for position in named[:_SINGLE]:
            if fails([position]):
                return [position], order
        return minimized(range(len(order)), fails, deadline), order

    def _fails(self, part: Sequence[int], failure: Failure, deadline: float) -> bool:
        file = self.scratch / f"reduced{self.artifact.variant.suffix}"
        try:
            self.cut(part, file)
        except ConvkitError:
            return False
        is_run = failure.kind in {"does not run", "drift"}
        return failure.is_same(self.failure_of(file, max(5.0, deadline - time.monotonic()), is_run=is_run))

    def cut(self, part: Sequence[int], file: Path) -> int:
        """Writes a part of the model; how many nodes it has.

        Raises:
            ConversionError: It is no model of its own.
        """
        return int(self._call("cut", {"kept": list(part), "file": str(file)}))

    def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        if self.artifact.variant is Variant.ONNX:
            host, module = ONNX_HOST, "onnx_cuts"
            source: dict[str, Any] = {"path": str(self.artifact.path)}
        else:
            runtime = runtime_for(self.artifact.variant)
            if runtime is None:
                raise ConversionError("nothing here runs exported programs")
            host, module = runtime.host, "program_cuts"
            source = {"artifact": self.artifact.to_json()}
        worker = self.pool.worker(host)
        target = f"convkit.reduction.{module}:{function}"
        return worker.call(target, {**source, **arguments}, stage="reduce", component=host.group).result

    def versions(self) -> dict[str, str]:
        hosts = routing.hosts(self.route, self.artifact.variant, self.target.default_variant)
        return {name: version for host in hosts for name, version in host_versions(host).items()}
