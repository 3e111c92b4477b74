"""Loads an ONNX model and brings it into the form that importers and rewrites work on.

Model-local functions are inlined, constants folded, types and shapes inferred, all by onnx's, onnx_ir's and onnxscript's
own passes. The file itself is never written to, and large external data stays mapped.
"""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from convkit.errors import ConversionError

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "infer_shapes", "load", "prepared"]

OLDEST_OPSET = 7
NEWEST_OPSET = 28
"""Of ai.onnx, as the installed onnx may know more than the importers were written for."""


def load(path: Path) -> ir.Model:
    """A prepared model; see `prepared`.

    Raises:
        ConversionError: Its opset is older or newer than what the importers know.
    """
    return prepared(ir.load(path))


def prepared(model: ir.Model) -> ir.Model:
    """The model (changed in place) with functions inlined, constants as initializers and folded, shapes inferred.

    Raises:
        ConversionError: Its opset is older or newer than what the importers know.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", NEWEST_OPSET))
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ConversionError(
            f"the model is in opset {opset}; convkit reads opsets {OLDEST_OPSET} to {NEWEST_OPSET}",
            hint="onnx.version_converter.convert_version brings it to another one",
        )
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    passes = ir.passes.Sequential(
        common.InlinePass(),
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.RemoveUnusedNodesPass(),
    )
    passes(model)
    _make_topological(model)
    infer_shapes(model)
    return model


def infer_shapes(model: ir.Model) -> None:
    """Fills in the types and shapes of values, data propagation included; weights are not serialised for it."""
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _make_topological(model: ir.Model) -> None:
    common.TopologicalSortPass()(model)
