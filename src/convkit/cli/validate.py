"""`convkit validate`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command(
    "validate",
    epilog="""\b
Examples:
  convkit validate model.pt2 model.tflite
  convkit validate model.onnx model.tflite --inputs samples.npz --tolerance logits=1e-3

Exit code 0: they agree. 1: they drift.""",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("converted", type=click.Path(path_type=Path))
@click.option("--model", "model_factory", metavar="MODULE:FUNCTION", help="SOURCE is the weights of this module.")
@click.option("--input", "input_specs", multiple=True, metavar="NAME:DTYPE[DIM,…]", help="Shape of an unrecorded input.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Real inputs: an .npz or .npy.")
@click.option("--trust-pickle", is_flag=True, help="Allow loading a pickled module: executes code from the file.")
@click.option("--tolerance", multiple=True, metavar="[NAME=]X", help="Relative to an output's scale. Repeatable.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Random input sets.")
@common.run_options
def command(
    source: Path,
    converted: Path,
    model_factory: str | None,
    input_specs: tuple[str, ...],
    inputs: Path | None,
    trust_pickle: bool,
    tolerance: tuple[str, ...],
    seeds: int,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run SOURCE and CONVERTED on the same inputs, each in its own runtime, and compare."""
    from convkit import api
    from convkit.reports import terminal
    from convkit.reports.schema import Verdict

    report = api.validate(
        source,
        converted,
        inputs=inputs,
        input_specs=input_specs,
        model_factory=model_factory,
        trust_pickle=trust_pickle,
        tolerance=common.parse_tolerance(tolerance),
        seeds=seeds,
        timeout=timeout,
    )
    if as_json:
        common.emit_json(report.to_json())
    elif not quiet:
        common.line("validate", terminal.describe_validation(report))
        for text in (*report.signature_differences, *report.notes):
            common.line("", text)
        common.lines(terminal.metric_lines(report))
        common.line("verdict", report.verdict.value)
    return 0 if report.verdict is Verdict.PROVED else 1
