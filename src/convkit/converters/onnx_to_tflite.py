"""ONNX → LiteRT: an interpreter of the graph over TensorFlow operators, traced, and lowered by TensorFlow's own converter.

`check` makes the file, and has LiteRT run it in a process of its own; `convert` hands out what `check` has made. So what is
called legal has run, and what is called a gap has failed. See `convkit.legalization.onnx.litert` for what is rewritten first.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import onnx_ir as ir

    from convkit.converters import _litert_tracing as tracing

__all__ = ["CONVERTER", "check", "convert"]

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
)

_HINT = "replace it in the model, or see `convkit plan` for another route"


@dataclass(frozen=True)
class _Made:
    """What became of a model.

    Attributes:
        findings: The verdict on every operator.
        path: The file, None where there is a gap.
        error: Why there is none.
    """

    findings: list[Finding]
    path: Path | None = None
    error: ConversionError | None = None


_made: dict[tuple[Any, ...], _Made] = {}
"""The last model that was checked; `convert` follows `check`."""


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model; where it is no gap, the file has been made and has run.

    Raises:
        ConversionError: The model cannot be read.
    """
    _made.clear()
    made = _made[_key(request)] = _make(request, request.output.with_name(f"{request.output.name}.checked.tflite"))
    return made.findings


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.tflite` file with the request's signature.

    Raises:
        ConversionError: An operator has no counterpart, or LiteRT does not run the file.
    """
    made = _made.pop(_key(request), None)
    if made is None or made.path is None or not made.path.exists():
        made = _make(request, request.output)
    if made.error is not None:
        request.output.unlink(missing_ok=True)
        raise made.error
    assert made.path is not None
    if made.path != request.output:
        shutil.move(made.path, request.output)
    return ConversionOutcome(_notes(made.findings))


def _key(request: ConversionRequest) -> tuple[Any, ...]:
    stamp = request.source.path.stat()
    return str(request.source.path), stamp.st_mtime_ns, stamp.st_size, request.signature, request.examples


def _notes(findings: list[Finding]) -> tuple[str, ...]:
    rewritten = dict.fromkeys(f"{f.operator}: {f.reason}" for f in findings if f.verdict is Verdict.REWRITTEN)
    return tuple(rewritten)


def _make(request: ConversionRequest, output: Path) -> _Made:
    from convkit.converters import _litert_tracing as tracing
    from convkit.converters._litert_trial import trouble
    from convkit.interpreters.interpreter import NodeError
    from convkit.legalization.onnx import litert, preparation

    signature = request.signature or request.source.signature
    if signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    model = preparation.load(request.source.path)
    findings = litert.legalize(model, as_is=bool(request.options.get("as_is")))
    if any(f.verdict is Verdict.GAP for f in findings):
        return _Made(findings, None, _error("; ".join(str(f) for f in findings if f.verdict is Verdict.GAP)))
    try:
        tracing.write(model, signature, output)
        complaint = trouble(output, signature, request.examples)
    except NodeError as error:
        return _refused(findings, [(error.operator, error.reason, error.place)], output)
    except tracing.LoweringError as error:
        return _refused(findings, _named(error, model), output)
    if complaint:
        return _refused(findings, [(_only_operator(findings), complaint, "")], output)
    return _Made(findings, output)


def _refused(findings: list[Finding], found: list[tuple[str, str, str]], output: Path) -> _Made:
    """The findings with these gaps (operator, reason, place) in front."""
    output.unlink(missing_ok=True)
    gaps = [Finding(o, 1, Verdict.GAP, reason, (where,) if where else (), _HINT) for o, reason, where in found]
    return _Made([*gaps, *findings], None, _error("; ".join(f"{g.operator}: {g.reason}" for g in gaps)))


def _error(message: str) -> ConversionError:
    return ConversionError(message, component=CONVERTER.name, hint=_HINT)


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
