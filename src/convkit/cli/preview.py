"""`convkit preview`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convkit.cli import common

if TYPE_CHECKING:
    from convkit.browser.preview import Preview, PreviewReport

_HEADLESS_SECONDS = 600.0


@click.command(
    "preview",
    epilog="""\b
Examples:
  convkit preview model.tfjs
  convkit preview model.onnx --inputs samples.npz
  convkit preview model.tflite --json

Exit code 0: every backend of the browser agrees. 1: one does not (with --json or --headless).""",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--inputs", type=click.Path(path_type=Path), help="Real inputs: an .npz or .npy.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Serve on this port; any free one by default.")
@click.option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@click.option("--headless", is_flag=True, help="Run the page in Chromium without a window, print what it measured, and end.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End a stage that takes longer.")
@click.option("--json", "as_json", is_flag=True, help="Like --headless; print the result as JSON on stdout, and nothing else.")
def command(
    model: Path, inputs: Path | None, port: int, no_open: bool, headless: bool, timeout: float | None, as_json: bool
) -> int:
    """Run MODEL (TF.js, ONNX or LiteRT) in a browser: a page with its signature, and its speed and outputs on every backend."""
    from convkit import api

    with api.preview(model, inputs=inputs, port=port, timeout=timeout) as page:
        if not (headless or as_json):
            return _serve(page, no_open)
        report = page.measure(timeout or _HEADLESS_SECONDS)
    if as_json:
        common.emit_json(report.to_json())
    else:
        _show(report)
    return 0 if report.agrees else 1


def _serve(page: Preview, no_open: bool) -> int:
    import webbrowser

    common.line("preview", page.url)
    common.line("", "Ctrl-C ends it")
    if not no_open:
        webbrowser.open(page.url)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0


def _show(report: PreviewReport) -> None:
    common.line("reference", report.runtime)
    lines = []
    for result in report.backends:
        told = [result["state"]]
        if result["latency_ms"] is not None:
            told.append(f"{result['latency_ms']:.3g} ms")
        if result["difference"] is not None:
            told.append(f"{result['difference']:.1e} of scale (tolerance {report.tolerance:.0e})")
        told += [text for text in (result["reason"], result["note"]) if text]
        lines.append((result["backend"], " · ".join(told)))
    common.lines(lines)
