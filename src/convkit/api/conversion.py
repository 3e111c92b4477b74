"""Converting a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.arguments import Inputs, Metrics, Numbers, materialised, normalisation, pytorch_source, target_format, tolerances
from convkit.errors import UsageError
from convkit.formats import Format, Variant
from convkit.options import ConvertOptions
from convkit.results import ConversionResult
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from convkit.events import Observer
    from convkit.planner import Route
    from convkit.workers.pool import WorkerPool

__all__ = ["convert", "plan"]


def convert(
    model: Any = None,
    to: str | Format = "",
    output: str | Path | None = None,
    *,
    inputs: Inputs | None = None,
    input_specs: Sequence[str | TensorSpec] = (),
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    output_names: Sequence[str] | None = None,
    model_factory: str | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    via: str | Format | None = None,
    route: Sequence[str] | None = None,
    validate: bool = True,
    allow_drift: bool = False,
    force: bool = False,
    ignore_gaps: bool = False,
    tolerance: float | Mapping[str, float] | None = None,
    metrics: Metrics | None = None,
    seeds: int = 3,
    stress: bool = False,
    count_non_finite: bool = False,
    failing: str | Path | None = None,
    shrink: bool = True,
    image_mean: Numbers | None = None,
    image_std: Numbers | None = None,
    timeout: float | None = None,
    options: Mapping[str, Any] | None = None,
    install: bool = True,
    emit: Sequence[str] = (),
    pool: WorkerPool | None = None,
    observe: Observer | None = None,
) -> ConversionResult:
    """Converts a model and proves the result in the target's own runtime.

    Args:
        model: A path, or a live `nn.Module`, `ExportedProgram`, `onnx.ModelProto` or `keras.Model`; None with
            `model_factory`.
        to: The target format ("litert", "onnx", "savedmodel", "executorch", "pytorch", "tfjs", or an alias).
        output: Where to write; by default the model's name with the target's suffix, in the working directory.
        inputs: Real inputs, arrays or a path (see `convkit.samples`): they shape a model that records no shapes, and are what
            the proof runs on.
        input_specs: `name:dtype[dim,…]` for models that record no shapes; a name in place of a number is a dynamic
            dimension.
        dynamic: Input → axis → symbol: dimensions to make dynamic in a model that records no shapes.
        output_names: Names for the outputs, in order.
        model_factory: `package.module:function` or `file.py:function` that builds an nn.Module.
        weights: A state dict for the factory's module.
        trust_pickle: Allow loading a pickled module, which executes its code.
        via: A format that the route must pass through.
        route: The names of the converters to take, in order, as `plan` shows them.
        validate: Run both sides and compare.
        allow_drift: Write the artifact although it drifts.
        force: Overwrite the output.
        ignore_gaps: Try routes that have operator gaps.
        tolerance: Relative to the scale of an output; one number, or one per output name.
        metrics: Metrics of your own: functions, or "file.py:function>=0.99"; a list for all outputs, or a mapping by output.
        seeds: Random input sets per validation.
        stress: Validate on inputs that find bugs too: scales, ends of dtypes, denormals, NaN and infinity, constant and one-hot
            images, masks, corners of dynamic dimensions.
        count_non_finite: Of these, let differences in how NaN and infinity spread count as drift.
        failing: Where to write the inputs on which the models differ most; by default below the cache directory.
        shrink: Whether to keep these, made as small as a few seconds allow.
        image_mean, image_std: For images whose normalisation the model's file does not tell: (pixel / 255 - mean) / std.
        timeout: Seconds per stage.
        options: Converter options by name, for example {"opset": 18}.
        install: Provision a missing toolchain at first use.
        emit: What else to write beside the output: "python" (with `to="pytorch"`) for a readable Python module and its weights.
        pool: The workers to use; the process's own by default.
        observe: Called with an `Event` when something happens.

    Raises:
        ConvkitError: See `convkit.errors`; nothing is left half-written.
    """
    from convkit import live, pipeline
    from convkit.events import ignore
    from convkit.validators import own_metrics
    from convkit.workers.pool import default_pool

    target = target_format(to)
    source = pytorch_source(model_factory, weights, trust_pickle)
    if target is Format.PYTORCH and live.is_module(model):
        raise UsageError(
            "an nn.Module is a PyTorch model already",
            hint="torch.export.save(torch.export.export(module, args), 'model.pt2') writes it to a file",
        )
    scaling = normalisation(image_mean, image_std)
    with materialised(model, inputs, input_specs, dynamic, output_names, model_factory, scaling) as (path, described):
        if output is None and path is not None and not isinstance(model, str | Path):
            output = f"model{target.default_variant.suffix}"
        chosen = ConvertOptions(
            output=None if output is None else Path(output),
            inputs=described,
            via=None if via is None else target_format(via),
            route=None if route is None else tuple(route),
            validate=validate,
            allow_drift=allow_drift,
            force=force,
            ignore_gaps=ignore_gaps,
            tolerance=tolerances(tolerance),
            metrics=own_metrics.parse(metrics),
            seeds=seeds,
            stress=stress,
            count_non_finite=count_non_finite,
            failing=None if failing is None else Path(failing),
            shrink=shrink,
            timeout=timeout,
            converter_options=dict(options or {}),
            install=install,
            emit=(emit,) if isinstance(emit, str) else tuple(dict.fromkeys(emit)),
        )
        report = pipeline.convert(
            path,
            target,
            chosen,
            source,
            pool or default_pool(),
            observe or ignore,
        )
    assert report.artifact is not None
    return ConversionResult(report.artifact, report.verdict, report, tuple(e.path for e in report.emitted))


def plan(model: str | Path | Format, to: str | Format, *, via: str | Format | None = None) -> list[Route]:
    """The routes from a model (or from a format's written variant) to a format, best first.

    Raises:
        UnreadableModelError: The model cannot be read.
        NoRouteError: Nothing leads there.
    """
    from convkit import readers
    from convkit.planner import plan_routes

    variant = model.default_variant if isinstance(model, Format) else readers.identify(Path(model))
    if variant in (Variant.STATE_DICT, Variant.SAFETENSORS):
        variant = Variant.MODULE_FACTORY  # what weights travel as, once `convert` is told the module that they are for
    return plan_routes(variant, target_format(to), via=None if via is None else target_format(via))
