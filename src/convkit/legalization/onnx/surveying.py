"""What can be told of an ONNX model in a process without a framework: which operators are registered, and what is rewritten.

The same preparation, the same rewrites and the same tables as the conversion has (`convkit.interpreters.placeholders` lets them
be read); what only a trace shows is not seen here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.formats import Variant

if TYPE_CHECKING:
    import onnx_ir as ir

    from convkit.legalization.target import Finding

__all__ = ["outlook", "survey"]


def survey(path: Path, target: str) -> list[Finding]:
    """The verdict on every operator, as far as the tables tell.

    Args:
        path: The model.
        target: "pytorch", "tensorflow" or "litert".

    Raises:
        ConversionError: The model cannot be read.
    """
    from convkit.legalization.onnx import preparation

    found = _legalizations()[target](preparation.load(path))
    return [replace(finding, evidence="registry") for finding in found]


def outlook(path: str, variant: str) -> dict[str, Any]:
    """What the beginning of a route through a hub tells of its end.

    Args:
        path: Of the ONNX model.
        variant: What the route leads to.

    Returns:
        "certain": whether the tables are enough, or a trial is to be made; "refusals": what the end refuses whatever comes
        between, as JSON.

    Raises:
        ConversionError: The model cannot be read.
    """
    from convkit.legalization.onnx import executorch, preparation
    from convkit.legalization.onnx.certainty import is_certain

    model = preparation.load(Path(path))
    found = executorch.refusals(model) if variant == Variant.PTE.value else []
    return {"certain": bool(found) or is_certain(model, variant), "refusals": [finding.to_json() for finding in found]}


def _legalizations() -> dict[str, Callable[[ir.Model], list[Finding]]]:
    from convkit.interpreters.pytorch import table as pytorch
    from convkit.interpreters.tensorflow import table as tensorflow
    from convkit.legalization.onnx import litert, rewriting

    return {
        "pytorch": lambda model: rewriting.legalize(model, pytorch.operators()),
        "tensorflow": lambda model: rewriting.legalize(model, tensorflow.operators()),
        "litert": litert.legalize,
    }
