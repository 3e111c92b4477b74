"""`convkit check`."""

from __future__ import annotations

from pathlib import Path

import click

from convkit.cli import common


@click.command(
    "check",
    epilog="""\b
Examples:
  convkit check model.onnx --to litert
  convkit check model.pt2 --to executorch --json
  convkit check model.onnx --to tfjs --report gaps.html --report gaps.sarif

Exit code 0: some route accepts every operator. 1: every route has gaps.""",
)
@common.model_options
@click.option("--to", "target", required=True, metavar="FORMAT", help="The format to reach.")
@click.option("--dynamic", multiple=True, metavar="NAME:AXIS=SYMBOL", help="Make a dimension dynamic. Repeatable.")
@click.option("--via", metavar="FORMAT", help="Only routes through a format.")
@common.report_option
@common.run_options
def command(
    source: Path | None,
    model_factory: str | None,
    weights: Path | None,
    input_specs: tuple[str, ...],
    inputs: Path | None,
    trust_pickle: bool,
    target: str,
    dynamic: tuple[str, ...],
    via: str | None,
    reports: tuple[Path, ...],
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say which operators of SOURCE the routes to a format accept, without converting."""
    from convkit import api
    from convkit.legalization.target import Verdict
    from convkit.reports import terminal

    common.check_reports(reports)
    with common.Lines(shown=False).showing() as lines:
        result = api.check(
            source,
            target,
            inputs=inputs,
            input_specs=input_specs,
            dynamic=common.parse_dynamic(dynamic),
            model_factory=model_factory,
            weights=weights,
            trust_pickle=trust_pickle,
            via=via,
            timeout=timeout,
            observe=lines,
        )
    common.write_reports(result, reports)
    if as_json:
        common.emit_json(result.to_json())
    elif not quiet:
        for route, findings in result.routes:
            text = "cannot tell before it tries" if findings is None else terminal.describe_findings(findings)
            common.line("route", str(route))
            common.line("", text)
            for finding in findings or []:
                if finding.verdict is not Verdict.LEGAL:
                    common.line("", f"{finding.verdict.value} {finding.code} {finding}")
    return 0 if result.ok else 1
