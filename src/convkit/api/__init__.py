"""The Python API. The command line calls the same functions."""

from __future__ import annotations

from convkit.api.checks import check, reduce, survey
from convkit.api.comparison import preview, validate, validate_in_browser, verify
from convkit.api.conversion import convert, plan
from convkit.api.files import inspect, write_report
from convkit.results import CheckResult, ConversionResult

__all__ = [
    "CheckResult",
    "ConversionResult",
    "check",
    "convert",
    "inspect",
    "plan",
    "preview",
    "reduce",
    "survey",
    "validate",
    "validate_in_browser",
    "verify",
    "write_report",
]
