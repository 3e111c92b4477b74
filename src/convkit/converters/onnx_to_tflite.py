"""ONNX → LiteRT: an interpreter of the graph over TensorFlow operators, traced, and lowered by TensorFlow's own converter.

`check` makes the file, and has LiteRT run it in a process of its own; `convert` hands out what `check` has made. So what is
called legal has run, and what is called a gap has failed. See `convkit.legalization.onnx.litert` for what is rewritten first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convkit.components import ONNX_HOST, ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, refused
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import onnx_ir as ir

    from convkit.converters import _litert_tracing as tracing

__all__ = ["CONVERTER", "check", "convert", "survey"]

CONVERTER = Converter(
    name="onnx-tflite",
    sources=(Variant.ONNX,),
    target=Variant.TFLITE,
    host=Host(
        group="tensorflow",
        preload=("tensorflow", "onnx_ir", "onnx"),
        packages=("tensorflow", "onnx", "onnx-ir", "ai-edge-litert"),
    ),
    cost=0.9,
    reason="keeps layouts, dtypes and dynamic dimensions; every file has run in LiteRT before it is handed out",
    static_host=ONNX_HOST,
)

_HINT = "replace it in the model, or see `convkit plan` for another route"


_LARGEST = (1 << 31) - (1 << 24)
"""Bytes of weights that a LiteRT file can hold: offsets in a flatbuffer are 32 bits wide and signed."""


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model; where it is no gap, the file has been made and has run.

    Raises:
        ConversionError: The model cannot be read.
    """
    return _checked.check(request)


def survey(request: ConversionRequest) -> list[Finding]:
    """What the tables of operators and rewrites say of the model, without a trace."""
    from convkit.legalization.onnx import surveying

    return surveying.survey(request.source.path, "litert")


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file with the request's signature.

    Raises:
        ConversionError: An operator has no counterpart, or LiteRT does not run the file.
    """
    return _checked.convert(request)


def _notes(findings: list[Finding]) -> tuple[str, ...]:
    rewritten = dict.fromkeys(f"{f.operator}: {f.reason}" for f in findings if f.verdict is Verdict.REWRITTEN)
    return tuple(rewritten)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.converters import _litert_tracing as tracing
    from convkit.converters._litert_trial import trouble
    from convkit.interpreters.interpreter import NodeError
    from convkit.legalization.onnx import litert, preparation

    signature = request.signature or request.source.signature
    if signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    model = preparation.load(request.source.path)
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    findings = litert.legalize(model, as_is=bool(request.options.get("as_is")))
    if weights > _LARGEST:
        reason = f"{weights / 2**30:.1f} GiB of weights, and a LiteRT file holds 2"
        return refused(findings, [Finding("the graph", 1, Verdict.GAP, reason, hint=_HINT, code="CK111")], CONVERTER.name)
    if any(f.verdict is Verdict.GAP for f in findings):
        return refused(findings, (), CONVERTER.name)
    try:
        tracing.write(model, signature, output)
        complaint = trouble(output, signature, request.examples)
    except NodeError as error:
        gaps = [(error.operator, error.reason, error.place)]
    except tracing.LoweringError as error:
        gaps = _named(error, model)
    else:
        gaps = [(_only_operator(findings), complaint, "")] if complaint else []
    if not gaps:
        return Made(findings, notes=_notes(findings))
    output.unlink(missing_ok=True)
    told = [Finding(o, 1, Verdict.GAP, reason, (where,) if where else (), _HINT) for o, reason, where in gaps]
    return refused(findings, told, CONVERTER.name)


_checked = Checked(_make)


def _named(error: tracing.LoweringError, model: ir.Model) -> list[tuple[str, str, str]]:
    """What TFLiteConverter refuses, told by the ONNX node that it comes from."""
    from convkit.interpreters.interpreter import place

    operators = {place(node): node.op_type for graph in model.graphs() for node in graph}
    return [
        (operators.get(where, operator or "the graph"), error.reason, where) for where, operator in error.places or (("", ""),)
    ]


def _only_operator(findings: list[Finding]) -> str:
    names = {f.operator for f in findings}
    return names.pop() if len(names) == 1 else "the graph"
