"""`convkit check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convkit.cli import common

if TYPE_CHECKING:
    from convkit.results import CheckResult
    from convkit.surveys import Survey

_MARKS = {"legal": "ok", "rewritten": "rewritten", "gap": "GAP"}


@click.command(
    "check",
    epilog="""\b
Examples:
  convkit check model.onnx --to litert
  convkit check model.onnx
  convkit check model.pt2 --to executorch --probe
  convkit check model.onnx --to litert --reduce repro/
  convkit check --fleet models/ --to executorch --report gaps.html
  convkit check model.onnx --to tfjs --json --report gaps.sarif

Without --to, operators × targets. Exit code 0: some route accepts every operator. 1: every route has gaps.""",
)
@common.model_options
@click.option("--to", "target", metavar="FORMAT", help="The format to reach [default: all that the model is not in].")
@click.option(
    "--fleet",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Check every model in a directory, and rank the operators that block most of them.",
)
@click.option("--dynamic", multiple=True, metavar="NAME:AXIS=SYMBOL", help="Make a dimension dynamic. Repeatable.")
@click.option("--via", metavar="FORMAT", help="Only routes through a format.")
@click.option("--probe", is_flag=True, help="Convert, run and compare every distinct operator alone; kept for the next time.")
@click.option(
    "--reduce",
    "reduce_to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Shrink a failing model to the few operators that show it: a small model, a script and an issue's text.",
)
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
    fleet: Path | None,
    dynamic: tuple[str, ...],
    via: str | None,
    probe: bool,
    reduce_to: Path | None,
    reports: tuple[Path, ...],
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say which operators of SOURCE the routes to a format accept, without converting."""
    from convkit import api
    from convkit.surveys import model_files

    if fleet is not None and source is not None:
        raise click.UsageError("give a model or --fleet, not both")
    if fleet is None and source is None and model_factory is None:
        raise click.UsageError("say what to check: a model, or --fleet DIR")
    common.check_reports(reports)
    if reduce_to is not None:
        return _reduce(source, target, reduce_to, inputs, via, timeout, as_json=as_json, quiet=quiet)
    arguments: dict[str, Any] = {
        "inputs": inputs,
        "input_specs": input_specs,
        "dynamic": common.parse_dynamic(dynamic),
        "model_factory": model_factory,
        "weights": weights,
        "trust_pickle": trust_pickle,
        "via": via,
        "probe": probe,
        "timeout": timeout,
    }
    result: CheckResult | Survey
    with common.Lines(shown=False).showing() as lines:
        if fleet is None and target is not None:
            result = api.check(source, target, observe=lines, **arguments)
        else:
            if fleet is None and source is None:
                raise click.UsageError("say which format to reach, for example --to litert")
            models = model_files(fleet) if fleet is not None else [source or Path()]
            result = api.survey(models, () if target is None else (target,), observe=lines, **arguments)
    common.write_reports(result, reports)
    if as_json:
        common.emit_json(result.to_json())
    elif not quiet:
        _show(result)
    return 0 if result.ok else 1


def _reduce(
    source: Path | None,
    target: str | None,
    directory: Path,
    inputs: Path | None,
    via: str | None,
    timeout: float | None,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    """Writes the small model, and says what it shows. Exit code 1: there is a failure."""
    from convkit import api

    if source is None or target is None:
        raise click.UsageError("--reduce takes a model and --to FORMAT")
    with common.Lines(shown=False).showing() as lines:
        found = api.reduce(source, target, directory, inputs=inputs, via=via, timeout=timeout, observe=lines)
    if as_json:
        common.emit_json(found.to_json())
    elif not quiet:
        shown = [("failure", f"{found.failure.kind}: {found.failure.message}")]
        shown.append(("reduced", f"{found.before} nodes to {found.after} in {found.seconds:.1f} s"))
        common.lines([*shown, ("wrote", f"{found.directory} (ISSUE.md, repro.py, {found.model.name})")])
    return 1


def _show(result: CheckResult | Survey) -> None:
    from convkit.surveys import Survey

    if not isinstance(result, Survey):
        _show_routes(result)
    elif len(result.models) == 1:
        _show_matrix(result)
    else:
        _show_fleet(result)


def _show_routes(result: CheckResult) -> None:
    from convkit.legalization.target import Verdict
    from convkit.reports import terminal

    for route, findings in result.routes:
        common.line("route", str(route))
        common.line("", "cannot tell before it tries" if findings is None else terminal.describe_findings(findings))
        for finding in findings or []:
            if finding.verdict is not Verdict.LEGAL or finding.reason:
                common.line("", f"{finding.verdict.value} {finding.code} {finding}")
        if findings and all(f.evidence == "registry" and f.verdict is not Verdict.GAP for f in findings):
            common.line("", "all of its operators have been proved on this way in other models; --probe proves them in this one")
    if result.delegation is not None:
        common.line("delegated", f"{result.delegation} (each operator alone)")


def _show_matrix(survey: Survey) -> None:
    """Operators × targets: what is not legal everywhere, then how many are."""
    from convkit.errors import ConvkitError

    (model,) = survey.models
    table = survey.table(model)
    plain = [operator for operator, verdicts in table if {str(v) for v in verdicts.values()} == {"legal"}]
    rows = [(operator, verdicts) for operator, verdicts in table if operator not in plain]
    columns = [(target, max(len(target), len("rewritten"))) for target in survey.targets]
    if rows:
        width = max(len(operator) for operator, _ in rows)
        common.line("", " ".join([" " * width, *(target.ljust(room) for target, room in columns)]))
        for operator, verdicts in rows:
            cells = [_MARKS[str(verdicts[t])].ljust(room) if t in verdicts else "–".ljust(room) for t, room in columns]
            common.line("", " ".join([operator.ljust(width), *cells]))
    common.line("", f"{len(plain)} kinds of operators are legal everywhere")
    for target, _ in columns:
        result = survey.results[model, target]
        if isinstance(result, ConvkitError):
            common.line(target, f"cannot tell: {result.message}", colour="red")
        elif result.ok:
            common.line(target, "no gaps")
        else:
            common.lines([(target, f"gap {gap.code} {gap}") for gap in result.gaps])


def _show_fleet(survey: Survey) -> None:
    """What to mend first, then a line per model and target."""
    from convkit.errors import ConvkitError

    for blocker in survey.blockers:
        told = f"{blocker.operator} → {blocker.target} ({blocker.code}): {blocker.reason}"
        common.line(f"blocks {len(blocker.models)}", f"{told}; {blocker.hint}" if blocker.hint else told)
    for (model, target), result in survey.results.items():
        if isinstance(result, ConvkitError):
            state = f"cannot tell: {result.message}"
        else:
            state = "no gaps" if result.ok else f"{len(result.gaps)} gaps"
        common.line("", f"{model} → {target}: {state}")
