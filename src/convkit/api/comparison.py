"""Comparing a model with what it was converted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convkit.arguments import Inputs, Metrics, Numbers, compared, normalisation, pytorch_source, tolerances
from convkit.artifact import PyTorchSource
from convkit.errors import UsageError
from convkit.options import ConvertOptions
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convkit.browser.preview import Preview
    from convkit.browser.validation import BrowserReport
    from convkit.events import Observer
    from convkit.evidence import Verification
    from convkit.reports.schema import ValidationReport
    from convkit.workers.pool import WorkerPool

__all__ = ["preview", "validate", "validate_in_browser", "verify"]


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
    from convkit.validators import own_metrics
    from convkit.validators.explanation import explain
    from convkit.validators.performance import add_performance
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
        kept = None if failing is None else Path(failing)
        explain(comparison, judged, report, scratch, workers, locate=locate, shrink=shrink, failing=kept)
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
