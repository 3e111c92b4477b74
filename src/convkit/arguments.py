"""What callers of the API give, as the pipeline takes it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.artifact import PyTorchSource
from convkit.errors import UsageError
from convkit.formats import Format, parse_format
from convkit.options import ConvertOptions, InputOptions, Normalisation
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from convkit.validators.comparison import Comparison
    from convkit.workers.pool import WorkerPool

__all__ = [
    "Inputs",
    "Metrics",
    "Numbers",
    "compared",
    "materialised",
    "normalisation",
    "pytorch_source",
    "target_format",
    "tolerances",
]

Inputs = Mapping[str, Any] | Sequence[Any] | str | Path
"""Example inputs: arrays or tensors by name or by position, or a path: see `convkit.samples`."""
Numbers = float | Sequence[float]

OneMetric = str | Callable[..., Any]
Metrics = OneMetric | Sequence[OneMetric] | Mapping[str, OneMetric | Sequence[OneMetric]]
"""Metrics of one's own, for all outputs or by output: functions of the source's array and the target's, or
`file.py:function>=0.99`, or the name of a registered metric."""


def target_format(target: str | Format) -> Format:
    """A format by name, or as it is.

    Raises:
        UsageError: There is no such format, or none was given.
    """
    if not target:
        raise UsageError("no target format was given", hint="for example --to litert")
    return target if isinstance(target, Format) else parse_format(target)


def pytorch_source(factory: str | None, weights: str | Path | None, trusted: bool) -> PyTorchSource:
    """How to load a PyTorch model, from the arguments of that name.

    Raises:
        UsageError: Weights without the module that they are for.
    """
    if weights is not None and factory is None:
        raise UsageError("--weights needs --model", hint="name the function that builds the model: --model file.py:build")
    return PyTorchSource(factory, None if weights is None else Path(weights), trusted)


def tolerances(tolerance: float | Mapping[str, float] | None) -> dict[str, float]:
    """Relative tolerances by output, "" for all."""
    if tolerance is None:
        return {}
    return dict(tolerance) if isinstance(tolerance, Mapping) else {"": float(tolerance)}


def normalisation(mean: Numbers | None, std: Numbers | None) -> Normalisation | None:
    """How images are normalised, from the arguments of that name; None where the user says nothing.

    Raises:
        UsageError: They are of pixels from 0 to 255.
    """
    if mean is None and std is None:
        return None
    values = (0.0 if mean is None else mean), (1.0 if std is None else std)
    given = [(value,) if isinstance(value, int | float) else value for value in values]
    return Normalisation(*(tuple(map(float, values)) for values in given))


@contextmanager
def materialised(
    model: Any,
    inputs: Inputs | None,
    input_specs: Sequence[str | TensorSpec],
    dynamic: Mapping[str, Mapping[int, str]] | None,
    output_names: Sequence[str] | None,
    factory: str | None,
    normalisation: Normalisation | None = None,
) -> Iterator[tuple[Path | None, InputOptions]]:
    """The model as a file and the inputs as a file, for as long as the block lasts."""
    from convkit import live

    with tempfile.TemporaryDirectory(prefix="convkit-") as directory:
        arrays: Path | None = None
        if isinstance(inputs, str | Path):
            arrays = Path(inputs)
        elif inputs is not None:
            arrays = live.save_inputs(inputs, Path(directory) / "inputs.npz")
        described = InputOptions(
            live.parse_specs(input_specs),
            arrays,
            dict(dynamic or {}),
            None if output_names is None else tuple(output_names),
            normalisation,
        )
        if model is None or isinstance(model, str | Path):
            if model is None and factory is None:
                raise UsageError("no model was given", hint="name a file, or --model package.module:build")
            yield None if model is None else Path(model), described
        else:
            yield live.save_live(model, described, Path(directory))


@contextmanager
def compared(
    source: str | Path | None,
    loading: PyTorchSource,
    inputs: Inputs | None,
    input_specs: Sequence[str | TensorSpec],
    tolerance: Mapping[str, float],
    seeds: int,
    timeout: float | None,
    workers: WorkerPool,
    normalisation: Normalisation | None = None,
) -> Iterator[tuple[Comparison, Path]]:
    """The comparison of a source with anything, and a directory for its arrays, for as long as the block lasts."""
    from convkit import routing, sources
    from convkit.events import ignore
    from convkit.validators.comparison import Comparison

    with (
        tempfile.TemporaryDirectory(prefix="convkit-") as scratch,
        materialised(source, inputs, input_specs, None, None, loading.factory, normalisation) as (path, described),
    ):
        artifact, info = sources.identify(path, loading)
        routing.provision_runtimes((artifact.variant,), ConvertOptions(), ignore)
        reference = sources.describe(artifact, info, described, Path(scratch), workers, timeout)
        comparison = Comparison(
            reference.artifact,
            reference.info,
            reference.given,
            reference.examples,
            tolerance,
            seeds,
            timeout,
            notes=reference.notes,
        )
        yield comparison, Path(scratch)
