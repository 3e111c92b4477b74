"""ONNX → SavedModel, by an interpreter of the graph over TensorFlow operators that `tf.function` traces.

See `convkit.interpreters` for how, and `convkit.legalization.onnx` for what is rewritten first. Layouts stay ONNX's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from convkit.arrays import load_arrays
from convkit.components import ONNX_HOST, ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, node_gap, refused
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

__all__ = ["CONVERTER", "check", "convert", "survey"]

CONVERTER = Converter(
    name="onnx-tensorflow",
    sources=(Variant.ONNX,),
    target=Variant.SAVEDMODEL,
    host=Host(group="tensorflow", preload=("tensorflow", "onnx_ir", "onnx"), packages=("tensorflow", "onnx", "onnx-ir")),
    cost=0.9,
    reason="traces the ONNX graph operator by operator; keeps names, layouts and dynamic dimensions",
    static_host=ONNX_HOST,
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model, what only tracing shows included."""
    return _checked.check(request)


def survey(request: ConversionRequest) -> list[Finding]:
    """What the tables of operators and rewrites say of the model, without a trace."""
    from convkit.legalization.onnx import surveying

    return surveying.survey(request.source.path, "tensorflow")


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a SavedModel directory whose `serving_default` has the source's signature.

    Raises:
        ConversionError: An operator has no counterpart, or a value that must be known is computed from data.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.interpreters.tensorflow.importer import OnnxFunction
    from convkit.interpreters.tensorflow.table import operators
    from convkit.interpreters.tensorflow.variables import VariableBackend, exceeds_a_graph
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading.savedmodel_writer import write_saved_model

    signature = request.signature or request.source.signature
    if signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    model = preparation.load(request.source.path)
    findings = legalize(model, operators())
    if any(f.verdict is Verdict.GAP for f in findings):
        return refused(findings, (), CONVERTER.name)
    inputs, outputs = [v.name for v in model.graph.inputs], [v.name for v in model.graph.outputs]
    variables: dict[Any, Any] = {}
    function = OnnxFunction(model, partial(VariableBackend, variables)) if exceeds_a_graph(model) else OnnxFunction(model)

    def call(tensors: Sequence[Any]) -> list[Any]:
        given = dict(zip(signature.input_names, tensors, strict=True))
        results = dict(zip(outputs, function(*(given[name] for name in inputs)), strict=True))
        return [results[name] for name in signature.output_names]

    try:
        write_saved_model(output, signature, call, shapes=_shapes(request, signature))
    except ConversionError as error:
        shutil.rmtree(output, ignore_errors=True)
        gap = node_gap(error)
        cause = error.__cause__ if gap is not None and isinstance(error.__cause__, ConversionError) else error
        return refused(
            findings, [gap or Finding("tf.function", 1, Verdict.GAP, error.message, code="CK111")], CONVERTER.name, cause
        )
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return Made(findings)


def _shapes(request: ConversionRequest, signature: Signature) -> list[tuple[int, ...]] | None:
    if request.examples is None:
        return None
    examples = load_arrays(request.examples)
    return [examples[name].shape for name in signature.input_names]


_checked = Checked(_make)
