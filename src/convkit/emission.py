"""Has emitters write beside a converted model what people read; their part of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from convkit.artifact import Artifact, digest_of
from convkit.components import EmissionRequest, Emitter, Origin
from convkit.errors import ConversionError, UsageError
from convkit.formats import Format
from convkit.options import ConvertOptions
from convkit.registry import emitters, lacking_packages
from convkit.reports.schema import Stage
from convkit.workers.pool import WorkerPool

__all__ = ["chosen", "companions", "emit", "origin_of", "refuse_to_replace"]


def chosen(target: Format, options: ConvertOptions) -> list[Emitter]:
    """The emitters that the user named.

    Raises:
        UsageError: There is none of that name, it reads another format, or packages that it needs are not installed.
    """
    found = [_named(name) for name in options.emit]
    for emitter in found:
        if emitter.source is not target.default_variant:
            theirs = emitter.source.format.value
            raise UsageError(f"--emit {emitter.name} goes with --to {theirs}, not with --to {target.value}")
        if lacking := lacking_packages(emitter.host):
            raise UsageError(
                f"--emit {emitter.name} needs {', '.join(lacking)}, which is not installed",
                hint=f"pip install {' '.join(lacking)}",
            )
    return found


def _named(name: str) -> Emitter:
    known = emitters()
    if name not in known:
        raise UsageError(
            f"there is nothing to emit that is called {name!r}", hint="; ".join(f"{e.name}: {e.help}" for e in known.values())
        )
    return known[name]


def companions(emitter: Emitter, output: Path) -> tuple[Path, ...]:
    """The files that an emitter writes beside a model."""
    files: tuple[Path, ...] = import_module(emitter.module).files(output)
    return files


def refuse_to_replace(source: Artifact, output: Path, files: Sequence[Path]) -> None:
    """Emitted files get names of their own choosing, and must not hit what the model is made of.

    Raises:
        UsageError: One would replace the output, the source, the code of its factory or its weights.
    """
    loading = source.pytorch
    taken = [output, source.path, *([loading.weights] if loading is not None and loading.weights is not None else [])]
    for file in files:
        if any(file == other or (file.exists() and other.exists() and file.samefile(other)) for other in taken):
            raise UsageError(f"the emitted file {file} would replace a file of the model itself", hint="choose another --output")


def origin_of(source: Artifact, route: Sequence[str]) -> Origin:
    """What a model was made of; of a module, its weights, or the file with its code."""
    loading = source.pytorch
    path = loading.weights if loading is not None and loading.weights is not None else source.path
    if path.is_dir() and loading is not None:  # a factory in an installed package
        return Origin(loading.factory or path.name, source.variant.title, "", tuple(route))
    return Origin(path.name, source.variant.title, digest_of(path), tuple(route))


def emit(
    emitter: Emitter, artifact: Artifact, origin: Origin, inputs: Sequence[Path], pool: WorkerPool, timeout: float | None
) -> Stage:
    """Has one emitter write its files beside a staged model, and prove them.

    Raises:
        ConversionError: It could not, or what it wrote does not compute what the model does.
    """
    request = EmissionRequest(artifact, origin, tuple(inputs))
    answer = pool.worker(emitter.host).call(
        "convkit.workers.running:emit",
        {"module": emitter.module, "request": request.to_json()},
        stage="emit",
        component=emitter.name,
        timeout=timeout,
    )
    lacking = [f.name for f in companions(emitter, artifact.path) if not f.exists()]
    if lacking:
        raise ConversionError(f"{emitter.name} did not write {', '.join(lacking)}", stage="emit", component=emitter.name)
    return Stage("emit", emitter.name, answer.seconds, answer.peak_memory, list(answer.result))
