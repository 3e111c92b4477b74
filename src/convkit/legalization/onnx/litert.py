"""What LiteRT's kernels run of ONNX, and what is rewritten so that they do."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from convkit.legalization.onnx import rewriting
from convkit.legalization.target import Finding

__all__ = ["VERDICTS", "legalize"]

VERDICTS = Path(__file__).with_name("litert_verdicts.json")


def legalize(model: ir.Model, as_is: bool = False) -> list[Finding]:
    """Rewrites a prepared model in place until LiteRT runs it; the verdict on every operator.

    Args:
        model: The model.
        as_is: Leave the dtypes as they are, to see what LiteRT makes of them.
    """
    from convkit.interpreters.tensorflow.table import operators

    return rewriting.legalize(model, operators())
