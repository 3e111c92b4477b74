"""The exceptions that convkit raises, and the exit code that the command line gives each.

Every error says what is wrong, where, and what to do next (`hint`); where a worker took part it names the
file that holds the third-party output (`log`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convkit.reports.schema import ConversionReport

__all__ = [
    "ConversionError",
    "ConvkitError",
    "DriftError",
    "InputSpecError",
    "NoRouteError",
    "OperatorGapError",
    "OutputExistsError",
    "SourceRunError",
    "ToolchainError",
    "UnreadableModelError",
    "UntrustedPickleError",
    "UsageError",
    "WorkerCrashError",
    "WorkerTimeoutError",
]


class ConvkitError(Exception):
    """Base of all convkit errors.

    Attributes:
        hint: What the user can do next, as one sentence or command; empty where there is nothing.
        log: The file with the full third-party output, if a worker took part.
        report: The record of a conversion that went so far that it has one.
        exit_code: What the command line exits with.
    """

    exit_code = 70
    report: ConversionReport | None = None

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def to_json(self) -> dict[str, Any]:
        """What reports and `--json` say of an error."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "gaps": list(getattr(self, "gaps", ())),
            "log": None if self.log is None else str(self.log),
        }


class UsageError(ConvkitError):
    """The request itself is wrong: an unknown format, a bad flag value."""

    exit_code = 2


class UnreadableModelError(ConvkitError):
    """The file is no model that convkit knows, or it is truncated or corrupt."""

    exit_code = 2


class UntrustedPickleError(UnreadableModelError):
    """Loading the file would execute a pickle, and the user has not said `--trust-pickle`."""


class InputSpecError(UsageError):
    """The model records no input shapes, or the given ones do not fit it; the hint has the flag to add."""


class OutputExistsError(UsageError):
    """The output exists and `--force` was not given."""


class NoRouteError(ConvkitError):
    """No installed converter leads from the source to the target."""

    exit_code = 3


class ConversionError(ConvkitError):
    """A converter, a runtime or the capture of a model failed.

    Attributes:
        stage: The stage of the pipeline that failed ("describe", "convert", "validate", …).
        component: The converter or runtime that failed, for example "litert-torch".
    """

    exit_code = 3

    def __init__(
        self, message: str, *, stage: str = "convert", component: str = "", hint: str = "", log: Path | None = None
    ) -> None:
        super().__init__(message, hint=hint, log=log)
        self.stage = stage
        self.component = component


class SourceRunError(ConversionError):
    """The source's own run gives nothing to compare with: no other route would help, and none is tried."""


class WorkerCrashError(ConversionError):
    """A worker process died (SIGSEGV, SIGABRT, SIGKILL, out of memory); the caller's process did not."""

    def __init__(
        self,
        message: str,
        *,
        signal: int | None = None,
        stage: str = "convert",
        hint: str = "",
        log: Path | None = None,
    ) -> None:
        super().__init__(message, stage=stage, hint=hint, log=log)
        self.signal = signal


class WorkerTimeoutError(ConversionError):
    """A stage took longer than `--timeout` seconds and its worker was ended."""


class ToolchainError(ConvkitError):
    """A toolchain is not installed, cannot be installed, or is broken."""

    exit_code = 3


class OperatorGapError(ConvkitError):
    """The model has operators that no route to the target accepts; found before any conversion work.

    Attributes:
        gaps: One line per operator: name, count, place and way out.
    """

    exit_code = 1

    def __init__(self, message: str, *, gaps: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.gaps = tuple(gaps)


class DriftError(ConvkitError):
    """Every route converted, but the outputs or the signature disagree with the source; `report` has the metrics."""

    exit_code = 1
