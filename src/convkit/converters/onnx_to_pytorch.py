"""ONNX → exported program, by an interpreter of the graph that torch.export traces.

See `convkit.interpreters` for how, and `convkit.legalization.onnx` for what is rewritten first. Only tracing tells whether a
shape is computed from data, so the check traces, and the conversion that follows takes the traced program.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ONNX_HOST, ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, node_gap, refused, remember_program
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch

__all__ = ["CONVERTER", "check", "convert", "survey"]

CONVERTER = Converter(
    name="onnx-torch",
    sources=(Variant.ONNX,),
    target=Variant.EXPORTED_PROGRAM,
    host=Host(group="torch", preload=("torch", "onnx_ir", "onnx", "onnxscript"), packages=("torch", "onnx", "onnx-ir")),
    cost=1.0,
    is_importer=True,
    reason="traces the ONNX graph operator by operator; keeps names, weights and dynamic dimensions",
    static_host=ONNX_HOST,
)


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model, what only tracing shows included."""
    return _checked.check(request)


def survey(request: ConversionRequest) -> list[Finding]:
    """What the tables of operators and rewrites say of the model, without a trace."""
    from convkit.legalization.onnx import surveying

    return surveying.survey(request.source.path, "pytorch")


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a `.pt2` file whose parameters have the initializers' names.

    Raises:
        ConversionError: An operator has no counterpart, or a value that must be known is computed from data.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from torch.fx import traceback

    from convkit.arrays import load_arrays
    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.interpreters.pytorch.table import operators
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading import pytorch_capture

    if request.signature is None:
        raise ConversionError(f"{request.source.path} has no signature", component=CONVERTER.name)
    given = {} if request.examples is None else load_arrays(request.examples)
    model = preparation.load(request.source.path)
    findings = legalize(model, operators())
    if any(f.verdict is Verdict.GAP for f in findings):
        return refused(findings, (), CONVERTER.name)
    try:
        with traceback.preserve_node_meta():  # the names of the ONNX nodes, for what later converters have to say
            program, signature = _program(OnnxModule(model).eval(), request.signature, given)
    except ConversionError as error:
        return refused(
            findings,
            [node_gap(error) or Finding("torch.export", 1, Verdict.GAP, error.message, code="CK111")],
            CONVERTER.name,
            error,
        )
    pytorch_capture.save(program, signature, output)
    return Made(findings, notes=pytorch_capture.limits(program, signature), kept=program)


def _program(
    module: Any, signature: Signature, given: Mapping[str, np.ndarray]
) -> tuple[torch.export.ExportedProgram, Signature]:
    """The traced program and its signature; of the user's own sizes where the model takes no others (a batch that must be 1)."""
    from convkit.loading import pytorch_capture

    def traced(signature: Signature) -> torch.export.ExportedProgram:
        return pytorch_capture.export(module, signature, _stand_ins(signature, given), imported=True)

    try:
        return pytorch_capture.of_any_sizes(traced, signature)
    except ConversionError:
        stand_ins = _stand_ins(signature, given)
        if any(stand_ins[name].shape != array.shape for name, array in given.items()):
            with suppress(ConversionError):  # the first reason is the better one
                return pytorch_capture.export(module, signature, given, free=True), signature
        raise


_checked = Checked(_make, remember_program)


def _stand_ins(signature: Signature, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of zeros for a trace, which looks at shapes only.

    The user's sizes, where they are distinct and not 1: torch takes a size of 1 for a promise, and one of two that are equal
    for the other. Any other dynamic dimension gets a size of its own: a large one that what halves its input several times can
    divide; a small one where the user's model is known to run at 1.
    """
    import numpy as np

    own = {
        dim: size
        for spec in signature.inputs
        for dim, size in zip(spec.shape or (), given[spec.name].shape if spec.name in given else (), strict=False)
        if isinstance(dim, str)
    }
    primes = (p for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47) if p not in own.values())
    sizes: dict[str, int] = {}
    for position, symbol in enumerate(signature.dynamic_dims):
        size = own.get(symbol, 64 + 32 * position)
        sizes[symbol] = size if size > 1 else next(primes)
    return {spec.name: np.zeros(spec.concrete(sizes, 64), spec.dtype) for spec in signature.inputs}
