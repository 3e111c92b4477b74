"""ONNX → exported program, by an interpreter of the graph that torch.export traces.

See `convkit.interpreters` for how, and `convkit.legalization.onnx` for what is rewritten first. Only tracing tells whether a
shape is computed from data, so the check traces, and the conversion that follows takes the traced program.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="onnx-torch",
    sources=(Variant.ONNX,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch", "onnx_ir", "onnx", "onnxscript"), packages=("torch", "onnx", "onnx-ir")),
    cost=1.0,
    is_importer=True,
    reason="traces the ONNX graph operator by operator; keeps names, weights and dynamic dimensions",
)


@dataclass(frozen=True)
class _Traced:
    """What came of one model: the verdicts on its operators, and the program or why there is none."""

    key: tuple[Any, ...]
    findings: list[Finding]
    program: torch.export.ExportedProgram | None
    error: ConversionError | None


_latest: _Traced | None = None


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model, what only tracing shows included."""
    return _traced(request).findings


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.pt2` file whose parameters have the initializers' names.

    Raises:
        ConversionError: An operator has no counterpart, or a value that must be known is computed from data.
    """
    global _latest
    from convkit.artifact import Artifact
    from convkit.loading import pytorch as loading
    from convkit.loading import pytorch_capture

    traced = _traced(request)
    _latest = None  # a worker must not hold a model's weights until the next one comes
    if traced.program is None or request.signature is None:
        raise traced.error or ConversionError("the signature of the model is not known", component=CONVERTER.name)
    pytorch_capture.save(traced.program, request.signature, request.output)
    loading.remember(Artifact(Variant.EXPORTED_PROGRAM, request.output), traced.program)
    return ConversionOutcome(pytorch_capture.limits(traced.program, request.signature))


def _traced(request: ConversionRequest) -> _Traced:
    """The model legalised and traced; once for the check and the conversion after it."""
    global _latest
    key = _key(request)
    if _latest is None or _latest.key != key:
        _latest = None  # two models at once need not fit into memory
        _latest = _trace(request, key)
    return _latest


def _key(request: ConversionRequest) -> tuple[Any, ...]:
    def stamp(path: Path | None) -> tuple[Any, ...]:
        return () if path is None else (str(path), path.stat().st_mtime_ns, path.stat().st_size)

    return (*stamp(request.source.path), *stamp(request.examples), repr(request.signature))


def _trace(request: ConversionRequest, key: tuple[Any, ...]) -> _Traced:
    from torch.fx import traceback

    from convkit.arrays import load_arrays
    from convkit.interpreters.interpreter import NodeError
    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.interpreters.pytorch.table import operators
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading import pytorch_capture

    if request.signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    examples = _stand_ins(request.signature) if request.examples is None else load_arrays(request.examples)
    model = preparation.load(request.source.path)
    findings = legalize(model, operators())
    gaps = [str(f) for f in findings if f.verdict is Verdict.GAP]
    if gaps:
        return _Traced(key, findings, None, ConversionError("; ".join(gaps), component=CONVERTER.name))
    try:
        with traceback.preserve_node_meta():  # the names of the ONNX nodes, for what later converters have to say
            program = pytorch_capture.export(OnnxModule(model).eval(), request.signature, examples)
    except ConversionError as error:
        cause = next((e for e in _causes(error) if isinstance(e, NodeError)), None)
        operator, where = (cause.operator, (cause.place,)) if cause else ("torch.export", ())
        gap = Finding(operator, 1, Verdict.GAP, cause.reason if cause else error.message, where)
        return _Traced(key, [gap, *findings], None, error)
    return _Traced(key, findings, program, None)


def _stand_ins(signature: Signature) -> dict[str, np.ndarray]:
    """Arrays of zeros for a trace, which looks at shapes only.

    Every dynamic dimension gets a size of its own, so that none is mistaken for another, and one that what halves its input
    several times can divide.
    """
    import numpy as np

    sizes = {symbol: 64 + 32 * position for position, symbol in enumerate(signature.dynamic_dims)}
    return {spec.name: np.zeros(spec.concrete(sizes, 64), spec.dtype) for spec in signature.inputs}


def _causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
