"""Options that several verbs share, and the observer that prints a conversion's lines."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from convkit.events import Event

__all__ = [
    "Lines",
    "check_reports",
    "emit_json",
    "input_options",
    "metric_option",
    "model_options",
    "parse_dynamic",
    "parse_pairs",
    "report_option",
    "run_options",
    "write_reports",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_LABEL_WIDTH = 10
_LONG = 1.0
"""Seconds from which on a check says how long it took."""


def _stacked(*options: Callable[[Any], Any]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options = _stacked(
    click.argument("source", required=False, type=click.Path(path_type=Path)),
    click.option(
        "--model",
        "model_factory",
        metavar="MODULE:FUNCTION",
        help="Build an nn.Module: package.module:build or file.py:build. SOURCE or --weights are then its weights.",
    ),
    click.option("--weights", type=click.Path(path_type=Path), help="A state dict (.pt, .safetensors) for --model."),
    click.option(
        "--input",
        "input_specs",
        multiple=True,
        metavar="NAME:DTYPE[DIM,…]",
        help="Shape of an input that the model does not record; a name is a dynamic dimension. Repeatable.",
    ),
    click.option(
        "--inputs",
        type=click.Path(path_type=Path),
        help="Real inputs: an .npz with arrays by input name, an .npy, .json or .jsonl, a folder of these or of images.",
    ),
    click.option("--trust-pickle", is_flag=True, help="Allow loading a pickled module: executes code from the file."),
)

_input_options = _stacked(
    click.option("--stress", is_flag=True, help="Try inputs that find bugs too: scales, ends of dtypes, NaN, images, sizes."),
    click.option("--count-non-finite", is_flag=True, help="With --stress: NaN or infinity that spread differently are drift."),
    click.option(
        "--failing",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Where to write the inputs that drift, shrunk, as .npz [default: beside the report, else in the cache].",
    ),
    click.option("--no-shrink", is_flag=True, help="Do not look for the smallest inputs that drift (up to 15 seconds)."),
    click.option("--image-mean", metavar="M[,M,M]", help="Of images as inputs, for pixels from 0 to 1: (pixel - mean) / std."),
    click.option("--image-std", metavar="S[,S,S]", help="Their standard deviation."),
)


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the inputs that models are compared on; `function` gets them as the API takes them, in one `trying`."""

    @functools.wraps(function)
    def command(*args: Any, failing: Path | None, no_shrink: bool, image_mean: str | None, image_std: str | None,
                stress: bool, count_non_finite: bool, reports: tuple[Path, ...], **given: Any) -> Any:  # fmt: skip
        trying = {
            "stress": stress,
            "count_non_finite": count_non_finite,
            "failing": _failing_file(failing, reports),
            "shrink": not no_shrink,
            "image_mean": _numbers(image_mean, "--image-mean"),
            "image_std": _numbers(image_std, "--image-std"),
        }
        return function(*args, trying=trying, reports=reports, **given)

    return _input_options(command)


run_options = _stacked(
    click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End a stage that takes longer."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, and nothing else."),
    click.option("-q", "--quiet", is_flag=True, help="Print only what went wrong."),
)


metric_option = click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="[OUTPUT=]FUNCTION[>=X]",
    help="Measure outputs by file.py:function(expected, got), or a registered metric, too; fail beyond the bound. Repeatable.",
)

report_option = click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report as .md, .html, .json, .sarif or .xml (JUnit). Repeatable.",
)


def check_reports(paths: tuple[Path, ...]) -> None:
    """Refuses a file that no face writes before the work, not after it.

    Raises:
        UsageError: A suffix is not known.
    """
    from convkit.reports.writing import face_of

    for path in paths:
        face_of(path)


def write_reports(report: Any, paths: tuple[Path, ...]) -> None:
    """Writes what `convkit.write_report` takes to every file; nothing where there is no report."""
    from convkit import api

    for path in paths if report is not None else ():
        api.write_report(report, path)


def parse_dynamic(values: tuple[str, ...]) -> dict[str, dict[int, str]]:
    """Reads `image:0=batch` (the symbol may be left out)."""
    found: dict[str, dict[int, str]] = {}
    for value in values:
        name, _, rest = value.rpartition(":")
        axis, _, symbol = rest.partition("=")
        if not name or not axis.isdigit():
            raise click.BadParameter(f"cannot read {value!r}; write NAME:AXIS=SYMBOL, for example image:0=batch")
        found.setdefault(name, {})[int(axis)] = symbol
    return found


def parse_pairs(values: tuple[str, ...], what: str) -> dict[str, Any]:
    """Reads `name=value` pairs; values that are JSON (numbers, true, false) become what they are."""
    found: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"cannot read {value!r}; write NAME=VALUE", param_hint=what)
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def parse_tolerance(values: tuple[str, ...]) -> Mapping[str, float] | None:
    """Reads `1e-3` (all outputs) and `logits=1e-3` (one)."""
    found: dict[str, float] = {}
    for value in values:
        name, _, number = value.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise click.BadParameter(f"cannot read the tolerance {value!r}; write 1e-3 or name=1e-3") from None
        if not found[name] >= 0:  # NaN is no bound either
            raise click.BadParameter(f"the tolerance {value!r} is not a positive number")
    return found or None


def _numbers(value: str | None, what: str) -> list[float] | None:
    """Reads `0.485,0.456,0.406`."""
    if value is None:
        return None
    try:
        return [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"cannot read {value!r}; write one number, or one per channel", param_hint=what) from None


def _failing_file(failing: Path | None, reports: tuple[Path, ...]) -> Path | None:
    """Where inputs that drift are written: as the user says, else beside the first report."""
    return failing or (reports[0].with_suffix(".failing.npz") if reports else None)


def emit_json(data: Any) -> None:
    """Prints JSON for machines: the only thing on stdout."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def line(label: str, text: str, width: int = _LABEL_WIDTH, colour: str | None = None) -> None:
    """One labelled line of the result."""
    from convkit.reports.terminal import printable

    text = click.style(printable(text), fg=colour) if colour else printable(text)
    click.echo(f"  {click.style(label, bold=True)}{' ' * max(1, width - len(label))}{text}")


def lines(pairs: list[tuple[str, str]]) -> None:
    """Labelled lines, aligned under each other."""
    width = max([_LABEL_WIDTH, *(len(label) + 2 for label, _ in pairs)])
    for label, text in pairs:
        line(label, text, width)


class Lines:
    """Prints the lines of a conversion as its stages finish; on a terminal, a spinner on stderr while one runs."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._status: Any = None
        self._since = time.perf_counter()

    def __call__(self, event: Event) -> None:
        if event.running:
            self._since = time.perf_counter()
            self._spin(event)
            return
        self._stop()
        if event.stage == "toolchain":
            # Minutes may pass here, also where nothing but JSON is wanted on stdout.
            click.echo(str(event.detail), err=True)
            return
        if not self._shown:
            return
        self._print(event)

    def _print(self, event: Event) -> None:
        from convkit.reports import terminal

        detail: Any = event.detail
        if event.stage == "source":
            line("source", terminal.describe_source(detail.artifact))
            for note in detail.notes:
                line("", note)
        elif event.stage == "route":
            formats = dict.fromkeys([detail.steps[0].sources[0].format, *(s.target.format for s in detail.steps)])
            steps = ", ".join(terminal.describe_step(s) for s in detail.steps)
            line("route", " → ".join(f.value for f in formats) + f" ({steps})")
        elif event.stage == "check":
            # Where only a trial tells, the conversion is made here.
            taken = time.perf_counter() - self._since
            line("check", terminal.describe_findings(detail) + (f" · {terminal.human_seconds(taken)}" if taken >= _LONG else ""))
        elif event.stage == "convert":
            line("convert", terminal.describe_stage(detail))
            for note in detail.notes:
                line("", note)
        elif event.stage == "validate":
            line("validate", terminal.describe_validation(detail))
            for note in detail.notes:
                line("", note)
            lines(terminal.failing_lines(detail))
        elif event.stage == "delegation":
            line("delegated", str(detail))
        elif event.stage == "emit":
            line("emit", terminal.describe_stage(detail))
            for note in detail.notes:
                line("", note)
        elif event.stage == "failed":
            line("failed", detail.message, colour="red")
        elif event.stage == "wrote":
            report = f"{detail.artifact.path.name}.convkit.json"
            files = [terminal.written_line(detail.artifact), *(terminal.written_line(e) for e in detail.emitted)]
            line("wrote", f"{', '.join(files)}     report: {report}")

    def _spin(self, event: Event) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console

        name = getattr(event.detail, "name", event.detail if isinstance(event.detail, str) else "")
        text = f"{event.stage} {name}…"
        if self._status is None:
            self._status = Console(stderr=True).status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    @contextlib.contextmanager
    def showing(self) -> Iterator[Lines]:
        """Ends the spinner however the block ends."""
        try:
            yield self
        finally:
            self._stop()
