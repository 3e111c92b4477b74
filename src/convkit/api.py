"""The Python API. The command line calls the same functions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.arguments import Inputs, Metrics, Numbers, compared, materialised, normalisation, pytorch_source, tolerances
from convkit.artifact import ModelInfo, PyTorchSource
from convkit.errors import UsageError
from convkit.formats import Format, Variant, parse_format
from convkit.options import ConvertOptions
from convkit.results import CheckResult, ConversionResult
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convkit.browser.preview import Preview
    from convkit.browser.validation import BrowserReport
    from convkit.events import Observer
    from convkit.evidence import Verification
    from convkit.planner import Route
    from convkit.reduction.repros import Repro
    from convkit.reports.schema import ConversionReport, ValidationReport
    from convkit.surveys import Survey
    from convkit.workers.pool import WorkerPool

__all__ = [
    "CheckResult",
    "ConversionResult",
    "check",
    "convert",
    "inspect",
    "plan",
    "preview",
    "reduce",
    "survey",
    "validate",
    "validate_in_browser",
    "verify",
    "write_report",
]


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

    target = _target(to)
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
            via=None if via is None else _target(via),
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
        options = ConvertOptions(inputs=described, via=None if via is None else _target(via), timeout=timeout, install=install)
        source = pytorch_source(model_factory, weights, trust_pickle)
        asked = (path, _target(to), options, source, pool or default_pool(), Path(scratch), observe or ignore)
        names = str(path or model_factory), _target(to).value
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
        [_target(target) for target in to] or [*Format],
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
            via=None if via is None else _target(via),
            timeout=timeout,
            converter_options=dict(options or {}),
        )
        workers = pool or default_pool()
        return reduce_model(path, _target(to), chosen, Path(directory), workers, Path(scratch), observe or ignore)


def write_report(report: CheckResult | ConversionResult | ConversionReport | ValidationReport | Survey, path: str | Path) -> None:
    """Writes a report as a file for people or for machines; its suffix says as which.

    Args:
        report: What `check`, `survey`, `convert` or `validate` returned, or `.report` of the error that `convert` raised.
        path: `.md` (a pull request), `.html` (a page that needs no network), `.json`, `.sarif` (2.1.0), `.xml` (JUnit), or
            a suffix of somebody's own face.

    Raises:
        UsageError: No face has that suffix, or the file cannot be written.
    """
    from convkit.reports import document, writing
    from convkit.reports.schema import ValidationReport
    from convkit.surveys import Survey

    if isinstance(report, ConversionResult):
        report = report.report
    if isinstance(report, CheckResult):
        routes = [(route.names, found) for route, found in report.routes]
        made = document.of_check(report.source, report.target, routes, report.to_json())
    elif isinstance(report, Survey):
        made = document.of_survey(report)
    elif isinstance(report, ValidationReport):
        made = document.of_validation(report)
    else:
        made = document.of_conversion(report)
    writing.write(made, Path(path))


def validate(
    source: str | Path | None,
    converted: str | Path,
    *,
    inputs: Inputs | None = None,
    input_specs: Sequence[str | TensorSpec] = (),
    model_factory: str | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    tolerance: float | Mapping[str, float] | None = None,
    metrics: Metrics | None = None,
    float64: bool = False,
    seeds: int = 3,
    locate: bool | None = None,
    stress: bool = False,
    count_non_finite: bool = False,
    failing: str | Path | None = None,
    shrink: bool = True,
    image_mean: Numbers | None = None,
    image_std: Numbers | None = None,
    timeout: float | None = None,
    pool: WorkerPool | None = None,
    observe: Observer | None = None,
) -> ValidationReport:
    """Runs two artifacts of any formats on the same inputs and compares them.

    Args:
        source: The reference.
        converted: The artifact to judge.
        inputs: Real inputs; generated ones by default.
        input_specs: For a source that records no shapes.
        locate: Compare the tensors inside too, and tell where a difference starts (`.drift`): by default when the models differ.
        float64: Say how far both are from what the source computes in float64: by default when an output misses its tolerance.
        stress, count_non_finite, failing, shrink, image_mean, image_std: As for `convert`.
        model_factory, weights, trust_pickle, tolerance, metrics, seeds, timeout, pool, observe: As for `convert`.

    Raises:
        ConvkitError: One of them cannot be read or does not run. Drift is no error here: see `.verdict`.
    """
    from convkit import routing, sources
    from convkit.events import Event, ignore
    from convkit.reports.schema import Verdict
    from convkit.validators import own_metrics
    from convkit.validators.localization import add_drift
    from convkit.validators.performance import add_performance
    from convkit.validators.shrinking import add_failing
    from convkit.workers.pool import default_pool

    workers = pool or default_pool()
    loading = pytorch_source(model_factory, weights, trust_pickle)
    judged, _ = sources.identify(Path(converted), PyTorchSource(trust_pickle=trust_pickle))
    asked = own_metrics.parse(metrics)
    told = observe or ignore
    taken = source, loading, inputs, input_specs, tolerances(tolerance), seeds, timeout, workers
    with compared(*taken, normalisation(image_mean, image_std)) as (described, scratch):
        comparison = replace(
            described,
            metrics=asked,
            float64=float64,
            stress=stress,
            count_non_finite=count_non_finite,
            progress=lambda text: told(Event("validate", text, running=True)),
        )
        routing.provision_runtimes((judged.variant,), ConvertOptions(), ignore)
        report, _ = comparison.run(judged, scratch, workers)
        add_performance(comparison, judged, report, workers)
        if locate or (locate is None and report.verdict is Verdict.DRIFT):
            add_drift(comparison, judged, report, scratch, workers)
        if shrink and report.verdict is Verdict.DRIFT:
            add_failing(comparison, judged, report, scratch, workers, None if failing is None else Path(failing))
    report.source, report.target = str(source or model_factory), str(converted)
    return report


def verify(
    converted: str | Path,
    source: str | Path | None = None,
    *,
    inputs: Inputs | None = None,
    trust_pickle: bool = False,
    timeout: float | None = None,
    pool: WorkerPool | None = None,
) -> Verification:
    """Tests the record beside a converted model again: the files' digests, and the comparison, here and now.

    Args:
        converted: A model that `convert` wrote, with its `.convkit.json` beside it.
        source: What it was converted from; by default the file of the recorded name beside it.
        inputs: The real inputs that it was proved on, if it was; generated ones are made again by their recipe.
        trust_pickle, timeout, pool: As for `convert`.

    Returns:
        A `convkit.evidence.Verification`: `.ok`, `.failures`, `.changed` versions, `.report`.

    Raises:
        UsageError: There is no record, or the source is not there.
        ConvkitError: A model cannot be read or does not run.
    """
    from convkit import evidence

    judged = Path(converted)
    record = evidence.load(judged)
    # The name comes from a file that anybody may have written: only what lies beside the model is taken.
    reference = judged.with_name(Path(record.source[0]).name) if source is None else Path(source)
    for path in (judged, reference):
        if not path.exists():
            raise UsageError(f"there is no file {path}", hint="name what it was converted from: --source FILE")
    failures = evidence.other_files(record, reference, judged)
    if failures:
        return evidence.Verification(tuple(failures), {}, None)
    report = validate(
        reference,
        judged,
        inputs=inputs,
        tolerance=record.tolerance or None,
        seeds=record.seeds,
        stress=record.stress,
        trust_pickle=trust_pickle,
        timeout=timeout,
        pool=pool,
    )
    if report.verdict.value != "proved":
        failures.append(f"the models do not agree: {report.required:.1e} of scale")
    failures += evidence.worse_than(record.required, report) if record.required else []
    return evidence.Verification(tuple(failures), evidence.other_versions(record), report)


def validate_in_browser(
    source: str | Path | None,
    converted: str | Path,
    *,
    inputs: Inputs | None = None,
    input_specs: Sequence[str | TensorSpec] = (),
    model_factory: str | None = None,
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    tolerance: float | Mapping[str, float] | None = None,
    seeds: int = 3,
    locate: bool | None = None,
    timeout: float | None = None,
    pool: WorkerPool | None = None,
) -> BrowserReport:
    """Runs a TF.js model in headless Chromium, on its wasm, webgl and webgpu backends, and compares with another artifact.

    Args:
        source: The reference.
        converted: The TF.js model.
        inputs, input_specs, model_factory, weights, trust_pickle, tolerance, seeds, locate, timeout, pool: As for
            `validate`; where a difference starts is told for each backend.

    Raises:
        UsageError: `converted` is no TF.js model.
        ToolchainError: There is no Chromium.
        ConvkitError: One of the two cannot be read. What does not run on a backend is in the report.
    """
    from convkit import sources
    from convkit.browser import validation
    from convkit.workers.pool import default_pool

    workers = pool or default_pool()
    loading = pytorch_source(model_factory, weights, trust_pickle)
    judged, _ = sources.identify(Path(converted), PyTorchSource(trust_pickle=trust_pickle))
    with compared(source, loading, inputs, input_specs, tolerances(tolerance), seeds, timeout, workers) as (comparison, scratch):
        return validation.validate(comparison, judged, scratch, workers, locate)


@contextmanager
def preview(
    model: str | Path,
    *,
    inputs: Inputs | None = None,
    port: int = 0,
    timeout: float | None = None,
    pool: WorkerPool | None = None,
) -> Iterator[Preview]:
    """Serves a page on this machine that runs a TF.js, ONNX or LiteRT model in a browser, for as long as the block lasts.

    Args:
        model: The model.
        inputs: Real inputs; generated ones by default.
        port: To serve on, by default any free one.
        timeout: Seconds for the reference.
        pool: Whose worker computes the reference.

    Yields:
        The page: `.url` to open, `.measure(timeout)` to run it in headless Chromium.

    Raises:
        UsageError: No browser runs models of this format.
        ConvkitError: The model cannot be read or does not run.
    """
    from convkit.browser.preview import prepare
    from convkit.workers.pool import default_pool

    workers = pool or default_pool()
    with compared(model, PyTorchSource(), inputs, (), {}, 2, timeout, workers) as (comparison, scratch):
        page = prepare(comparison, scratch, workers, port)
        try:
            yield page
        finally:
            page.close()


def inspect(path: str | Path) -> ModelInfo:
    """What a model file is and holds, told from its content; no framework is loaded and nothing is executed.

    Raises:
        UnreadableModelError: It is no model, or a broken one.
    """
    from convkit import readers

    return readers.inspect(Path(path))


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
    return plan_routes(variant, _target(to), via=None if via is None else _target(via))


def _target(text: str | Format) -> Format:
    if not text:
        raise UsageError("no target format was given", hint="for example --to litert")
    return text if isinstance(text, Format) else parse_format(text)
