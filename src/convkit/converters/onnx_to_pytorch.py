"""ONNX → exported program, by an interpreter of the graph that torch.export traces.

See `convkit.interpreters` for how, and `convkit.legalization.onnx` for what is rewritten first.
"""

from __future__ import annotations

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="onnx-torch",
    sources=(Variant.ONNX,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch", "onnx_ir", "onnx"), packages=("torch", "onnx", "onnx-ir")),
    cost=1.0,
    is_importer=True,
    reason="traces the ONNX graph operator by operator; keeps names, weights and dynamic dimensions",
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model."""
    from convkit.interpreters.pytorch.table import operators
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize

    return legalize(preparation.load(request.source.path), operators())


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.pt2` file whose parameters have the initializers' names.

    Raises:
        ConversionError: An operator has no counterpart, or a value that must be known is computed from data.
    """
    from torch.fx import traceback

    from convkit.arrays import load_arrays
    from convkit.artifact import Artifact
    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.interpreters.pytorch.table import operators
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading import pytorch as loading
    from convkit.loading import pytorch_capture

    if request.signature is None or request.examples is None:
        raise ConversionError("an ONNX model can only be traced with example inputs")
    model = preparation.load(request.source.path)
    legalize(model, operators())
    with traceback.preserve_node_meta():  # the names of the ONNX nodes, for what later converters have to say
        program = pytorch_capture.export(OnnxModule(model).eval(), request.signature, load_arrays(request.examples))
    pytorch_capture.save(program, request.signature, request.output)
    loading.remember(Artifact(Variant.EXPORTED_PROGRAM, request.output), program)
    return ConversionOutcome(pytorch_capture.limits(program, request.signature))
