"""Model files, and files of reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convkit.artifact import ModelInfo
from convkit.results import CheckResult, ConversionResult

if TYPE_CHECKING:
    from convkit.reports.schema import ConversionReport, ValidationReport
    from convkit.surveys import Survey

__all__ = ["inspect", "write_report"]


def inspect(path: str | Path) -> ModelInfo:
    """What a model file is and holds, told from its content; no framework is loaded and nothing is executed.

    Raises:
        UnreadableModelError: It is no model, or a broken one.
    """
    from convkit import readers

    return readers.inspect(Path(path))


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
