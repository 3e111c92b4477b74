"""`convkit verify`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command(
    "verify",
    epilog="""\b
Examples:
  convkit verify model.tflite
  convkit verify model.tflite --source ../models/model.onnx

Exit code 0: the record holds. 1: it does not.""",
)
@click.argument("converted", type=click.Path(path_type=Path))
@click.option("--source", type=click.Path(path_type=Path), help="What it was converted from; by default beside it, by its name.")
@click.option("--inputs", type=click.Path(path_type=Path), help="The real inputs that it was proved on: an .npz or .npy.")
@click.option("--trust-pickle", is_flag=True, help="Allow loading a pickled module: executes code from the file.")
@common.run_options
def command(
    converted: Path,
    source: Path | None,
    inputs: Path | None,
    trust_pickle: bool,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Test the record beside CONVERTED again: are the files the same, and do the models still agree, here and now?"""
    from convkit import api
    from convkit.reports import terminal

    found = api.verify(converted, source, inputs=inputs, trust_pickle=trust_pickle, timeout=timeout)
    if as_json:
        common.emit_json(found.to_json())
    elif not quiet:
        if found.report is not None:
            common.line("validate", terminal.describe_validation(found.report))
        common.lines([("version", f"{name}: {then} then, {now} now") for name, (then, now) in found.changed.items()])
        common.lines([("fails", text) for text in found.failures])
        common.line("verdict", "the record holds" if found.ok else "the record does not hold")
    return 0 if found.ok else 1
