"""`convkit validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convkit.cli import common

if TYPE_CHECKING:
    from convkit.browser.validation import BrowserReport
    from convkit.reports.schema import ValidationReport


@click.command(
    "validate",
    epilog="""\b
Examples:
  convkit validate model.pt2 model.tflite
  convkit validate model.onnx model.tflite --inputs samples.npz --tolerance logits=1e-3
  convkit validate model.onnx model.tflite --stress
  convkit validate model.onnx model.tflite --inputs photos/ --image-mean 0.485,0.456,0.406 --image-std 0.229,0.224,0.225
  convkit validate bert.onnx bert.tflite --inputs tokenized.jsonl
  convkit validate model.onnx model.tflite --metric 'masks=iou>=0.99' --metric 'boxes=metrics.py:map50>=0.95'
  convkit validate model.pt2 model.tflite --float64
  convkit validate model.onnx model.tflite --locate --report drift.html
  convkit validate model.onnx model.tflite --baseline last.json
  convkit validate model.onnx model.tfjs --browser

Exit code 0: they agree, or with --baseline: no output got worse. 1: they drift, or one got worse.""",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("converted", type=click.Path(path_type=Path))
@click.option("--model", "model_factory", metavar="MODULE:FUNCTION", help="SOURCE is the weights of this module.")
@click.option("--input", "input_specs", multiple=True, metavar="NAME:DTYPE[DIM,…]", help="Shape of an unrecorded input.")
@click.option(
    "--inputs", type=click.Path(path_type=Path), help="Real inputs: .npz, .npy, .json or .jsonl, a folder of these or of images."
)
@click.option("--trust-pickle", is_flag=True, help="Allow loading a pickled module: executes code from the file.")
@click.option("--tolerance", multiple=True, metavar="[NAME=]X", help="Relative to an output's scale. Repeatable.")
@common.metric_option
@click.option(
    "--float64", is_flag=True, help="Say which side is closer to float64; by default when an output misses its tolerance."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Random input sets.")
@click.option("--locate/--no-locate", default=None, help="Compare what is inside too; by default when the outputs drift.")
@common.input_options
@click.option("--baseline", type=click.Path(path_type=Path), help="An earlier report (JSON): fail when an output got worse.")
@click.option("--browser", is_flag=True, help="Run CONVERTED, a TF.js model, in headless Chromium: wasm, webgl and webgpu.")
@common.report_option
@common.run_options
def command(
    source: Path,
    converted: Path,
    model_factory: str | None,
    input_specs: tuple[str, ...],
    inputs: Path | None,
    trust_pickle: bool,
    tolerance: tuple[str, ...],
    metrics: tuple[str, ...],
    float64: bool,
    seeds: int,
    locate: bool | None,
    trying: dict[str, Any],
    baseline: Path | None,
    browser: bool,
    reports: tuple[Path, ...],
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run SOURCE and CONVERTED on the same inputs, each in its own runtime, and compare."""
    from convkit import api, evidence

    arguments: dict[str, Any] = {
        "inputs": inputs,
        "input_specs": input_specs,
        "model_factory": model_factory,
        "trust_pickle": trust_pickle,
        "tolerance": common.parse_tolerance(tolerance),
        "seeds": seeds,
        "timeout": timeout,
    }
    common.check_reports(reports)
    before = None if baseline is None else evidence.baseline(baseline)
    regressions: list[str] = []
    report: ValidationReport | BrowserReport
    if browser:
        if before is not None:
            raise click.UsageError("--baseline is for a comparison of two runtimes")
        if trying["stress"] or trying["image_mean"] or trying["image_std"]:
            raise click.UsageError("--stress and images are for a comparison of two runtimes")
        if metrics or float64:
            raise click.UsageError("--metric and --float64 are for a comparison of two runtimes")
        if reports:
            raise click.UsageError("--report shows a comparison of two runtimes; --json shows what the browser did")
        report = api.validate_in_browser(source, converted, locate=locate, **arguments)
        shown = [*report.backends.values()]
        absent, failures = list(report.absent.items()), list(report.failures.items())
    else:
        with common.Lines(shown=False).showing() as spinner:
            report = api.validate(
                source,
                converted,
                locate=locate,
                metrics=metrics,
                float64=float64,
                observe=spinner,
                **trying,
                **arguments,
            )
        common.write_reports(report, reports)
        regressions = [] if before is None else evidence.worse_than(before, report)
        shown, absent, failures = [report], [], []
    if as_json:
        common.emit_json({**report.to_json(), **({} if before is None else {"regressions": regressions})})
    elif not quiet:
        for validation in shown:
            _show(validation)
        common.lines([("absent", f"{backend}: {why}") for backend, why in absent])
        common.lines([("failed", f"{backend}: {why}") for backend, why in failures])
        common.lines([("worse", text) for text in regressions])
        common.line("verdict", report.verdict.value)
    if before is not None:
        return 1 if regressions else 0
    return 0 if report.verdict.value == "proved" else 1


def _show(report: ValidationReport) -> None:
    from convkit.reports import terminal
    from convkit.reports.drift_lines import drift_lines

    common.line("validate", terminal.describe_validation(report))
    for text in (*report.signature_differences, *report.notes):
        common.line("", text)
    common.lines([("inputs", f"{name}: {text}") for name, text in report.domains.items()])
    common.lines(terminal.output_lines(report))
    common.lines(terminal.performance_lines(report.performance))
    if report.drift is not None:
        common.lines(drift_lines(report.drift))
    common.lines(terminal.failing_lines(report))
