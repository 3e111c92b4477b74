"""`convkit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convkit.cli import common


def _complete_emitters(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from convkit.registry import emitters

    return [name for name in emitters() if name.startswith(incomplete)]


@click.command(
    "convert",
    epilog="""\b
Examples:
  convkit convert digits_cnn.pt2 --to litert
  convkit convert model.onnx --to savedmodel -o out/model.savedmodel --force
  convkit convert traced.pt --to onnx --dynamic image:0=batch --option opset=18
  convkit convert --model net.py:build --weights net.safetensors --to executorch --input image:float32[1,3,64,64]
  convkit convert model.keras --to litert --inputs samples.npz --tolerance 1e-4 --json
  convkit convert model.onnx --to litert --stress --inputs tokenized.jsonl
  convkit convert segmenter.onnx --to litert --metric 'masks=metrics.py:dice>=0.98'
  convkit convert model.onnx --to pytorch --emit python
  convkit convert model.onnx --to litert --report summary.md

The report is written beside the model, as OUTPUT.convkit.json. Exit code 0 means converted and proved.""",
)
@common.model_options
@click.option("--to", "target", metavar="FORMAT", help="onnx, savedmodel, litert, executorch, pytorch, tfjs.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write [default: here, under the model's name].")
@click.option("--dynamic", multiple=True, metavar="NAME:AXIS=SYMBOL", help="Make a dimension dynamic. Repeatable.")
@click.option("--output-names", metavar="A,B", help="Names for the outputs of a model that names none.")
@click.option("--via", metavar="FORMAT", help="Force the route through a format.")
@click.option("--route", metavar="A,B", help="Take exactly these converters, as `convkit plan` names them.")
@click.option("--no-validate", is_flag=True, help="Convert without proof.")
@click.option("--allow-drift", is_flag=True, help="Write the model although its numbers or its signature differ.")
@click.option("--tolerance", multiple=True, metavar="[NAME=]X", help="Relative to an output's scale. Repeatable.")
@common.metric_option
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Random input sets for the proof.")
@common.input_options
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of a converter. Repeatable.")
@click.option("--shard-size", type=click.IntRange(1), metavar="BYTES", help="Of a TF.js weight file [default: 4 MiB].")
@click.option(
    "--quantize-weights",
    metavar="DTYPE[=PATTERN],…",
    help="Store TF.js weights as float16, uint16 or uint8; by name: uint8=*dense*,float16=*.",
)
@click.option(
    "--dequantize", is_flag=True, help="Compute a quantized LiteRT model in float, between edges that stay as they are."
)
@click.option(
    "--emit",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_emitters,
    help="Write more beside the model: python, with --to pytorch, for readable source and its weights. Repeatable.",
)
@click.option("--no-install", is_flag=True, help="Do not install a missing toolchain.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--ignore-gaps", is_flag=True, help="Try routes on which the check has found gaps.")
@common.report_option
@common.run_options
def command(
    source: Path | None,
    model_factory: str | None,
    weights: Path | None,
    input_specs: tuple[str, ...],
    inputs: Path | None,
    trust_pickle: bool,
    target: str | None,
    output: Path | None,
    dynamic: tuple[str, ...],
    output_names: str | None,
    via: str | None,
    route: str | None,
    no_validate: bool,
    allow_drift: bool,
    tolerance: tuple[str, ...],
    metrics: tuple[str, ...],
    seeds: int,
    trying: dict[str, Any],
    options: tuple[str, ...],
    shard_size: int | None,
    quantize_weights: str | None,
    dequantize: bool,
    emit: tuple[str, ...],
    no_install: bool,
    force: bool,
    ignore_gaps: bool,
    reports: tuple[Path, ...],
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Convert SOURCE to another format, run both, and compare."""
    from convkit import api
    from convkit.errors import ConvkitError, DriftError
    from convkit.formats import format_of_suffix

    if target is None:
        by_suffix = None if output is None else format_of_suffix(output)
        if by_suffix is None:
            raise click.UsageError("say what to convert to, for example --to litert")
        target = by_suffix.value
    common.check_reports(reports)
    weight_options = {"shard_size": shard_size, "quantize_weights": quantize_weights, "dequantize": dequantize or None}
    weight_options = {name: value for name, value in weight_options.items() if value is not None}
    with common.Lines(shown=not (as_json or quiet)).showing() as lines:
        try:
            result = api.convert(
                source,
                target,
                output,
                inputs=inputs,
                input_specs=input_specs,
                dynamic=common.parse_dynamic(dynamic),
                output_names=None if output_names is None else [n.strip() for n in output_names.split(",")],
                model_factory=model_factory,
                weights=weights,
                trust_pickle=trust_pickle,
                via=via,
                route=None if route is None else [n.strip() for n in route.split(",")],
                validate=not no_validate,
                allow_drift=allow_drift,
                force=force,
                ignore_gaps=ignore_gaps,
                tolerance=common.parse_tolerance(tolerance),
                metrics=metrics,
                seeds=seeds,
                timeout=timeout,
                options=common.parse_pairs(options, "--option") | weight_options,
                install=not no_install,
                emit=emit,
                observe=lines,
                **trying,
            )
        except ConvkitError as error:
            common.write_reports(error.report, reports)
            if as_json and isinstance(error, DriftError) and error.report is not None:
                common.emit_json(error.report.to_json())
            raise
    common.write_reports(result, reports)
    if as_json:
        common.emit_json(result.report.to_json())
    return 0
