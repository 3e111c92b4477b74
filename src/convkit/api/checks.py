"""Asking what a conversion would come to."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.arguments import Inputs, materialised, pytorch_source, target_format
from convkit.formats import Format
from convkit.options import ConvertOptions
from convkit.results import CheckResult
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from convkit.events import Observer
    from convkit.reduction.repros import Repro
    from convkit.surveys import Survey
    from convkit.workers.pool import WorkerPool

__all__ = ["check", "reduce", "survey"]


def check(
    model: Any = None,
    to: str | Format = "",
    *,
    inputs: Inputs | None = None,
    input_specs: Sequence[str | TensorSpec] = (),
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    model_factory: str | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    via: str | Format | None = None,
    timeout: float | None = None,
    install: bool = True,
    probe: bool = False,
    pool: WorkerPool | None = None,
    observe: Observer | None = None,
) -> CheckResult:
    """Says which operators the routes to a format accept, without converting. Arguments as for `convert`.

    Args:
        probe: Convert, run and compare every distinct operator as a model of its own, and have the converters try the model as a
            whole. What was found is kept in the cache directory. By default tables are asked where they tell, and the converters
            tried where they do not.

    Raises:
        ConvkitError: The model cannot be read, or no route leads there.
    """
    from convkit.checking import check_routes
    from convkit.events import ignore
    from convkit.workers.pool import default_pool

    with (
        tempfile.TemporaryDirectory(prefix="convkit-") as scratch,
        materialised(model, inputs, input_specs, dynamic, None, model_factory) as (path, described),
    ):
        options = ConvertOptions(
            inputs=described, via=None if via is None else target_format(via), timeout=timeout, install=install
        )
        source = pytorch_source(model_factory, weights, trust_pickle)
        asked = (path, target_format(to), options, source, pool or default_pool(), Path(scratch), observe or ignore)
        names = str(path or model_factory), target_format(to).value
        if probe:
            from convkit.probing.checks import probe_routes

            probed = probe_routes(*asked)
            return CheckResult(probed.routes, *names, probed.delegation)
        return CheckResult(check_routes(*asked), *names)


def survey(models: str | Path | Sequence[str | Path], to: Sequence[str | Format] = (), **arguments: Any) -> Survey:
    """Checks one or many models against one or many targets, and ranks the operators that block them.

    Args:
        models: Paths.
        to: The targets; by default all six formats, for each model those that it is not in.
        arguments: As for `check`, for every model.

    Returns:
        A `convkit.surveys.Survey`; what goes wrong with one model is in its place, and no exception.
    """
    from convkit import surveys

    paths = [models] if isinstance(models, str | Path) else models
    return surveys.surveyed(
        [str(path) for path in paths],
        [target_format(target) for target in to] or [*Format],
        lambda model, target: check(model, target, **arguments),
    )


def reduce(
    model: str | Path,
    to: str | Format,
    directory: str | Path,
    *,
    inputs: Inputs | None = None,
    via: str | Format | None = None,
    timeout: float | None = None,
    options: Mapping[str, Any] | None = None,
    pool: WorkerPool | None = None,
    observe: Observer | None = None,
) -> Repro:
    """Shrinks a model that is not converted, or drifts, to the few operators that still show it.

    Args:
        model: An ONNX file or an exported program.
        to: The target that it should reach, over the route that a conversion would take first.
        directory: Where to write the small model, a script that shows the failure, and the text of an issue.
        inputs, via, timeout, options, pool, observe: As for `convert`.

    Raises:
        UsageError: The model converts, cannot be cut into pieces, or the directory exists.
    """
    from convkit.events import ignore
    from convkit.reduction.reducing import reduce_model
    from convkit.workers.pool import default_pool

    with (
        tempfile.TemporaryDirectory(prefix="convkit-") as scratch,
        materialised(model, inputs, (), None, None, None) as (path, described),
    ):
        assert path is not None
        chosen = ConvertOptions(
            inputs=described,
            via=None if via is None else target_format(via),
            timeout=timeout,
            converter_options=dict(options or {}),
        )
        workers = pool or default_pool()
        return reduce_model(path, target_format(to), chosen, Path(directory), workers, Path(scratch), observe or ignore)
