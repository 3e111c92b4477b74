"""PyTorch exported programs that keep state → SavedModel: what outlives a run becomes variables.

ONNX, which other programs pass through on their way to TensorFlow, has no variables. Here the same steps run in one: torch's
exporter translates the program with its state as inputs and outputs, and TensorFlow traces that graph between reading the
variables and assigning them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, node_gap, refused
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.codes import Reason
from convkit.legalization.exported_program import without_batch_heuristics
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import torch

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="torch-tensorflow",
    sources=(Variant.EXPORTED_PROGRAM,),
    target=Variant.SAVEDMODEL,
    # TensorFlow is imported when there is state to convert, and not before: that is rare, and takes seconds.
    host=Host(group="torch", preload=("torch", "onnxscript"), packages=("torch", "onnxscript", "onnx", "onnx-ir", "tensorflow")),
    cost=4.0,
    reason="for models that keep state between runs, which become variables",
)

_OPSET = 18
_STATELESS = Finding(
    "torch.export",
    1,
    Verdict.GAP,
    Reason("the model keeps no state", "CK116"),
    hint="it goes over ONNX like all such models: see `convkit plan`",
)


@without_batch_heuristics()
def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of a program with state; the gap of one without."""
    return _checked.check(request)


@without_batch_heuristics()
def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a SavedModel directory whose variables start with the program's own values.

    Raises:
        ConversionError: The program keeps no state, or an operator has no counterpart.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.legalization import exported_program as programs
    from convkit.legalization import torchlib
    from convkit.legalization.torch import targets
    from convkit.loading import pytorch as loading

    program = loading.exported_program(request.source)
    if not programs.state_updates(program):
        return refused([], [_STATELESS], CONVERTER.name)
    ready, notes = torchlib.decomposed(program, _OPSET)
    reasons: dict[torch.fx.Node, str] = dict.fromkeys(
        torchlib.unsupported(ready, _OPSET), "torch.onnx has no translation for it, and torch no decomposition"
    )
    reasons |= programs.random_nodes(program)
    findings = programs.findings(program, reasons, targets.rewritten(program, torchlib.target(_OPSET)))
    if reasons:
        return refused(findings, (), CONVERTER.name)
    gaps = _written(request, ready, output)
    return Made(findings, notes=notes) if not gaps else refused(findings, gaps, CONVERTER.name)


def _written(request: ConversionRequest, ready: torch.export.ExportedProgram, output: Path) -> list[Finding]:
    """Writes the SavedModel; returns what keeps it from being written."""
    from convkit.interpreters.tensorflow.importer import OnnxFunction
    from convkit.interpreters.tensorflow.table import operators
    from convkit.legalization import torchlib
    from convkit.legalization.explicit_state import with_explicit_state
    from convkit.legalization.onnx import preparation
    from convkit.legalization.onnx.rewriting import legalize
    from convkit.loading.savedmodel_writer import write_saved_model

    signature = request.signature
    if signature is None:
        raise ConversionError(f"the inputs of {request.source.path} are not known", component=CONVERTER.name)
    explicit, initial = with_explicit_state(ready)
    try:
        model = preparation.prepared(torchlib.translated(explicit, _OPSET))
        if gaps := [finding for finding in legalize(model, operators()) if finding.verdict is Verdict.GAP]:
            return gaps
        write_saved_model(output, signature, _stateful(OnnxFunction(model), initial))
    except Exception as error:
        shutil.rmtree(output, ignore_errors=True)
        reason = " ".join(str(error).split())[:300]
        return [node_gap(error) or Finding("tf.function", 1, Verdict.GAP, reason, code="CK111")]
    return []


def _stateful(function: Any, initial: Sequence[torch.Tensor]) -> Any:
    """A function of the user's tensors around one that takes and gives the state first."""
    import tensorflow as tf

    variables = [tf.Variable(tensor.detach().cpu().numpy(), trainable=False) for tensor in initial]

    def call(tensors: Sequence[Any]) -> list[Any]:
        results = function(*(variable.read_value() for variable in variables), *tensors)
        for variable, value in zip(variables, results, strict=False):
            variable.assign(value)
        return list(results[len(variables) :])

    return call


_checked = Checked(_make)
