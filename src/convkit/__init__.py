"""convkit: any of six model formats in, any of six out, the same signature, with proof."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convkit.api import (
        ConversionResult,
        check,
        convert,
        inspect,
        plan,
        preview,
        reduce,
        survey,
        validate,
        validate_in_browser,
        verify,
        write_report,
    )
    from convkit.artifact import Artifact, ModelInfo
    from convkit.errors import (
        ConversionError,
        ConvkitError,
        DriftError,
        InputSpecError,
        NoRouteError,
        OperatorGapError,
        OutputExistsError,
        ToolchainError,
        UnreadableModelError,
        UntrustedPickleError,
        UsageError,
        WorkerCrashError,
        WorkerTimeoutError,
    )
    from convkit.formats import Format, Variant
    from convkit.signature import Signature, TensorSpec

__version__ = "0.1.0"

_HOMES = {
    "api": (
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
    ),
    "artifact": ("Artifact", "ModelInfo"),
    "errors": (
        "ConversionError",
        "ConvkitError",
        "DriftError",
        "InputSpecError",
        "NoRouteError",
        "OperatorGapError",
        "OutputExistsError",
        "ToolchainError",
        "UnreadableModelError",
        "UntrustedPickleError",
        "UsageError",
        "WorkerCrashError",
        "WorkerTimeoutError",
    ),
    "formats": ("Format", "Variant"),
    "signature": ("Signature", "TensorSpec"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Artifact",
    "ConversionError",
    "ConversionResult",
    "ConvkitError",
    "DriftError",
    "Format",
    "InputSpecError",
    "ModelInfo",
    "NoRouteError",
    "OperatorGapError",
    "OutputExistsError",
    "Signature",
    "TensorSpec",
    "ToolchainError",
    "UnreadableModelError",
    "UntrustedPickleError",
    "UsageError",
    "Variant",
    "WorkerCrashError",
    "WorkerTimeoutError",
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


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `import convkit` alone costs milliseconds."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'convkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"convkit.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
